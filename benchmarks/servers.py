"""PostgreSQL servers of a benchmark's own, and prices to fill them with."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path

import numpy as np

from prometheus.app import App, open_app
from prometheus.app.databases import DatabaseManager
from prometheus.cli.runner import run_named
from prometheus.core.config import PrometheusConfig
from prometheus.data.postgres.binary_copy import copy_in

LAST = date(2025, 1, 31)


@contextmanager
def own_server() -> Iterator[App]:
    """Yield an app over an empty embedded server, which is stopped and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="prometheus-bench-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        os.environ["PROMETHEUS_HOME"] = f"{folder}/home"
        try:
            with open_app(PrometheusConfig()) as app:
                yield app
        finally:
            run_named("db", ["stop"])


def load_random_walks(db_manager: DatabaseManager, n_instruments: int, n_rows: int, first: int = 0) -> tuple[str, ...]:
    """Store bars of seeded random walks up to `LAST` and return the names of the instruments, numbered from `first`."""
    numbers = range(first, first + n_instruments)
    names = tuple(f"B{number:04d}" for number in numbers)
    days = np.busday_offset(np.datetime64(LAST, "D"), np.arange(1 - n_rows, 1)).astype("M8[D]")
    generator = np.random.default_rng(1)
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE walk (number int4, trade_date date, close float8, volume float8) ON COMMIT DROP"
        )
        for number in numbers:
            columns = {
                "number": np.full(n_rows, number, np.int32),
                "trade_date": days,
                "close": 100 * np.exp(generator.normal(0, 0.01, n_rows).cumsum()),
                "volume": generator.integers(1_000, 1_000_000, n_rows).astype(np.float64),
            }
            copy_in(cursor, "walk", columns)
        cursor.execute(
            "INSERT INTO prices_daily (instrument_id, trade_date, close, adjusted_close, volume, currency)"
            " SELECT 'B' || lpad(number::text, 4, '0'), trade_date, close, close, volume, 'USD' FROM walk ORDER BY 1, 2"
        )
    with db_manager.get_historical_connection() as connection:
        connection.execute("ANALYZE prices_daily")
    return names


def empty_table(db_manager: DatabaseManager, table: str) -> None:
    """Leave nothing of a table but its definition and indexes, as its owner, and let the server settle."""
    with db_manager._connect("historical", owner=True) as connection:  # noqa: SLF001 -- only the owner may
        connection.execute(f"TRUNCATE {table}")
        connection.commit()
        connection.autocommit = True
        connection.execute("CHECKPOINT")


def server_cpu_s(home: str | Path | None = None) -> float:
    """Return the processor seconds that an embedded server, of this home if none is named, has used so far.

    Those of its ended processes are included; 0.0 if it has not been started.
    """
    pid_file = Path(home or os.environ["PROMETHEUS_HOME"]) / "postgresql" / "data" / "postmaster.pid"
    if not pid_file.exists():
        return 0.0
    postmaster, ticks = int(pid_file.read_text().split("\n", 1)[0]), 0
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                parent, times = int(fields[1]), [int(each) for each in fields[11:15]]
                if int(process.name) == postmaster:
                    ticks += sum(times)
                elif parent == postmaster:
                    ticks += sum(times[:2])
    return ticks / os.sysconf("SC_CLK_TCK")
