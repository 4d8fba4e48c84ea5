"""The whole history of many instruments through ``num-regime-core-v1``, against a loop and against a bare COPY.

Run ``python -m benchmarks.numeric_backfill``. Random walks are loaded into an embedded server of its own. Measured side
by side in one run: the backfill; the same again with nothing changed; one query and one insert per window, on a sample
of them; and a binary COPY of the very bytes the backfill stored into the same empty table with its indexes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from prometheus.app import App, open_app
from prometheus.backfill import DateSpan, NumericRequest
from prometheus.core.binary_copy import copy_in
from prometheus.core.config import PrometheusConfig
from prometheus.core.database import DatabaseManager
from prometheus.core.time import TradingCalendar
from prometheus.data.reader import DataReader
from prometheus.encoders import NumericEmbeddingStore, NumericWindowBuilder, NumericWindowEncoder, NumericWindowSpec
from prometheus.encoders.registry import NUM_REGIME_CORE_V1, create_numeric_model
from prometheus.scripts.terminal import run_named

WINDOW_DAYS = 63
LAST = date(2025, 1, 31)
N_LOOPED = 400
DUMP = "COPY numeric_window_embeddings TO STDOUT (FORMAT BINARY)"
LOAD = "COPY numeric_window_embeddings FROM STDIN (FORMAT BINARY)"


def main() -> None:
    """Print rows per second and ratios, and as JSON with ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instruments", type=int, default=100)
    parser.add_argument("--dates", type=int, default=2_500)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.instruments, arguments.dates)
    lines = [f"{name:<28}{value:>14,.3f}" for name, value in found.items()]
    print(json.dumps(found) if arguments.json else "\n".join(lines))


def measure(n_instruments: int, n_dates: int) -> dict[str, float]:
    """Return seconds, rates and ratios."""
    with own_server() as app:
        names = load_random_walks(app.db_manager, n_instruments, n_dates + WINDOW_DAYS - 1)
        request = NumericRequest(names, DateSpan.of_range(date(2000, 1, 1), LAST), WINDOW_DAYS, NUM_REGIME_CORE_V1)
        first, report = seconds(lambda: app.regimes.backfill_embeddings(request))
        again, second = seconds(lambda: app.regimes.backfill_embeddings(request))
        assert (report.written, second.written) == (n_instruments * n_dates, 0), (report, second)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        looped = seconds_of_a_loop(app.db_manager, names[0])
        rows = dump(app.db_manager)
    with own_server() as app:
        copied, _ = seconds(lambda: load(app.db_manager, rows))
    return {
        "windows": report.written,
        "backfill_s": first,
        "windows_per_s": report.written / first,
        "times_the_loop": looped / (first / report.written),
        "share_of_bare_copy": copied / first,
        "second_run_share": again / first,
        "peak_mib": peak,
    }


@contextmanager
def own_server() -> Iterator[App]:
    """Yield an app over an empty embedded server, which is stopped and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="prometheus-bench-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        os.environ["PROMETHEUS_HOME"] = f"{folder}/home"
        with open_app(PrometheusConfig()) as app:
            yield app
        run_named("db", ["stop"])


def load_random_walks(db_manager: DatabaseManager, n_instruments: int, n_rows: int) -> tuple[str, ...]:
    """Store bars of seeded random walks and return the names of the instruments."""
    names = tuple(f"B{number:04d}" for number in range(n_instruments))
    days = np.busday_offset(np.datetime64(LAST, "D"), np.arange(1 - n_rows, 1)).astype("M8[D]")
    generator = np.random.default_rng(1)
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE walk (number int4, trade_date date, close float8, volume float8) ON COMMIT DROP"
        )
        for number in range(n_instruments):
            closes = 100 * np.exp(generator.normal(0, 0.01, n_rows).cumsum())
            volumes = generator.integers(1_000, 1_000_000, n_rows).astype(np.float64)
            columns = {
                "number": np.full(n_rows, number, np.int32),
                "trade_date": days,
                "close": closes,
                "volume": volumes,
            }
            copy_in(cursor, "walk", columns)
        cursor.execute(
            "INSERT INTO prices_daily (instrument_id, trade_date, close, adjusted_close, volume, currency)"
            " SELECT 'B' || lpad(number::text, 4, '0'), trade_date, close, close, volume, 'USD' FROM walk ORDER BY 1, 2"
        )
    with db_manager.get_historical_connection() as connection:
        connection.execute("ANALYZE prices_daily")
    return names


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return how long it took, and what came of it."""
    clock = time.perf_counter()
    result = work()
    return time.perf_counter() - clock, result


def seconds_of_a_loop(db_manager: DatabaseManager, name: str) -> float:
    """Return the time per window of one query and one insert each, into the table as it is."""
    reader = DataReader(db_manager=db_manager)
    builder = NumericWindowBuilder(reader, TradingCalendar())
    encoder = NumericWindowEncoder(
        builder=builder,
        model=create_numeric_model(NUM_REGIME_CORE_V1),
        store=NumericEmbeddingStore(db_manager=db_manager),
        model_id="looped",
    )
    days = np.busday_offset(np.datetime64(LAST, "D"), np.arange(1 - N_LOOPED, 1)).astype("M8[D]").tolist()
    spec = NumericWindowSpec("INSTRUMENT", name, WINDOW_DAYS)
    encoder.register()
    took, _ = seconds(lambda: [encoder.embed_and_store(spec, day) for day in days])
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM numeric_window_embeddings WHERE model_id = 'looped'")
    return took / N_LOOPED


def dump(db_manager: DatabaseManager) -> bytes:
    """Return the stored rows as PostgreSQL sends them."""
    with (
        db_manager.get_historical_connection() as connection,
        connection.cursor() as cursor,
        cursor.copy(DUMP) as copy,
    ):
        return b"".join(copy)


def load(db_manager: DatabaseManager, rows: bytes) -> None:
    """Give rows to an empty table, as fast as it takes them."""
    with (
        db_manager.get_historical_connection() as connection,
        connection.cursor() as cursor,
        cursor.copy(LOAD) as copy,
    ):
        for start in range(0, len(rows), 1 << 20):
            copy.write(rows[start : start + (1 << 20)])


if __name__ == "__main__":
    main()
