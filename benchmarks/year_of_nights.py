"""A year of nights, one after the other, as an operator lives through them: nothing lost, and nothing that grows.

Run ``python -m benchmarks.year_of_nights [PRICES]``. `PRICES` is a file of daily bars with instruments and dates, such
as those of ../shared/data/prices; without one, seeded walks are taken. Bars up to a date and a calibration of each
region come first; then each weekday of a year has its file, its load and its night, each a process of its own, on an
embedded server of the benchmark's own. Some files come after a first night, one comes cut in half, one day the market
is closed though its calendar has a session, and the server is killed twice, once between nights and once in the middle
of one. Each month the tables are vacuumed, beside what autovacuum does. Printed by month: processor seconds and seconds
by the clock of a night, the size of tables, indexes and write-ahead log, dead rows, and runs of autovacuum.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.idle_night import children_cpu, home
from benchmarks.recording import record
from benchmarks.servers import server_cpu_s
from prometheus.app import App, open_app
from prometheus.core.config import PrometheusConfig
from prometheus.market.calendar import US_EQ, is_trading_day, trading_days_between

LATE_EVERY, CUT_AT, CLOSED_AT, KILLED_AT, KILLED_DURING_AT = 25, 40, 130, 80, 160
"""Which sessions of the year have a late file, a cut one, none at all, and a server that is killed."""
SIZES = """
    SELECT sum(pg_table_size(c.oid))::float8, sum(pg_indexes_size(c.oid))::float8 FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname = 'public'
"""
ACTIVITY = "SELECT sum(n_dead_tup)::float8, sum(autovacuum_count)::float8 FROM pg_stat_user_tables"
MEBIBYTE = 2.0**20


@dataclass(slots=True)
class Month:
    """What the nights of a month took: processor seconds and seconds each, and what stood on the disk at its end."""

    cpu: list[float] = field(default_factory=list)
    clock: list[float] = field(default_factory=list)
    stood: dict[str, float] = field(default_factory=dict)


def main() -> None:
    """Run the nights, print the months, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prices", nargs="?", type=Path)
    parser.add_argument("--instruments", type=int, default=20)
    parser.add_argument("--year", type=int, default=2020)
    parser.add_argument("--nights", type=int, default=250)
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result")
    given = parser.parse_args()
    with home(None) as folder:
        bars = read_bars(given.prices, given.instruments, given.year)
        year = Year(folder, bars, given.year, given.nights)
        year.prepare()
        year.run()
        figures = {**year.outcome(), **dict(_figures(year.months))}
    settings = {"prices": given.prices.name if given.prices else "seeded walks"}
    settings |= {name: getattr(given, name) for name in ("instruments", "year", "nights")}
    record("year_of_nights", settings, figures, keep=not given.is_trial)


def read_bars(path: Path | None, n_instruments: int, year: int) -> pa.Table:
    """Return the bars of some instruments with the longest histories from nine years before a year to its end."""
    table = _walks(n_instruments, year) if path is None else pq.read_table(path)
    columns = [
        name
        for name in ("instrument_id", "trade_date", "open", "high", "low", "close", "volume")
        if name in table.column_names
    ]
    table = table.select(columns)
    day = pc.cast(table["trade_date"], pa.date32())
    table = table.set_column(table.column_names.index("trade_date"), "trade_date", day)
    first, last = pa.scalar(date(year - 9, 1, 1)), pa.scalar(date(year, 12, 31))
    table = table.filter(pc.and_(pc.greater_equal(day, first), pc.less_equal(day, last)))
    counts = table.group_by("instrument_id").aggregate([("trade_date", "count")])
    by_length = sorted(counts.to_pylist(), key=lambda row: (-row["trade_date_count"], row["instrument_id"]))
    chosen = [row["instrument_id"] for row in by_length[:n_instruments]]
    return table.filter(pc.is_in(table["instrument_id"], pa.array(chosen)))


def _walks(n_instruments: int, year: int) -> pa.Table:
    days = trading_days_between(US_EQ, date(year - 9, 1, 1), date(year, 12, 31))
    generator = np.random.default_rng(1)
    closes = 100 * np.exp(generator.normal(0, 0.01, (n_instruments, len(days))).cumsum(axis=1))
    names = np.repeat([f"B{number:04d}" for number in range(n_instruments)], len(days))
    return pa.table({
        "instrument_id": names, "trade_date": days * n_instruments, "close": closes.reshape(-1),
        "volume": generator.integers(1_000, 1_000_000, closes.size),
    })  # fmt: skip


class Year:
    """The nights of a year in a folder of their own."""

    def __init__(self, folder: Path, bars: pa.Table, year: int, n_nights: int) -> None:
        self.months: dict[str, Month] = defaultdict(Month)
        self.lost: list[str] = []
        self._folder, self._bars = folder, bars
        self._first, self._begin = date(year - 9, 1, 1), date(year, 1, 1)
        weekdays = [self._begin + timedelta(days=n) for n in range(366)]
        self._days = [day for day in weekdays if day.weekday() < 5][:n_nights]
        self._n_days = self._n_sessions = 0
        self._n_waited = self._n_refused = 0

    def prepare(self) -> None:
        """Load the bars before the year and calibrate a region of each instrument, and one of all."""
        (self._folder / "regions.json").write_text("{}")
        self._load(pc.less(self._bars["trade_date"], pa.scalar(self._begin)), "before.parquet")
        names = sorted(set(self._bars["instrument_id"].to_pylist()))
        until = str(self._begin - timedelta(days=366))
        for name in names:
            calibrate = ["calibrate", "--region", name, "--instrument-id", name, "--until", until]
            self._must(*calibrate, "--output", str(self._folder / f"{name}.json"))
        regions: dict[str, Any] = {name: {"instrument_id": name, "prototypes": f"{name}.json"} for name in names}
        regions["ALL"] = {"members": dict.fromkeys(names, 1.0)}
        (self._folder / "regions.json").write_text(json.dumps(regions))
        self._must("nightly", "--as-of", str(self._begin - timedelta(days=1)), "--since", until)

    def run(self) -> None:
        """Live through every weekday; the first of a month vacuums and notes what stands on the disk."""
        month = ""
        for day in self._days:
            if month and month != str(day)[:7]:
                self._end_month(month)
            month = str(day)[:7]
            self._day(day, self.months[month])
        self._end_month(month)

    def outcome(self) -> dict[str, float]:
        """Return how many nights ran and were lost, and whether every session of every region has its state."""
        with open_app(PrometheusConfig()) as app:
            query = (
                "SELECT count(*), count(DISTINCT as_of_date) FROM regimes WHERE as_of_date >= %s AND region <> 'ALL'"
            )
            with app.db_manager.get_runtime_connection() as connection:
                n_states, n_dates = connection.execute(query, (self._begin,)).fetchone() or (0, 0)
        n_regions = len(set(self._bars["instrument_id"].to_pylist()))
        return {
            "nights": len(self._days), "nights lost": len(self.lost),
            "nights that waited for a file first": self._n_waited, "files refused": self._n_refused,
            "sessions without a state of every region": n_regions * self._n_sessions - n_states,
            "sessions that were never": n_dates - self._n_sessions,
            "record verified": float(self._call("record", "verify").returncode == 0),
        }  # fmt: skip

    def _day(self, day: date, month: Month) -> None:
        own, server, begin = children_cpu(), server_cpu_s(), time.perf_counter()
        if is_trading_day(US_EQ, day):
            self._n_days += 1
            self._n_sessions += self._n_days != CLOSED_AT
            self._session(day, self._n_days)
        done = self._call("nightly", "--as-of", str(day), "--json")
        if done.returncode not in (0, 3):
            self.lost.append(f"{day}: {done.returncode} {done.stderr[-300:]}")
            print(self.lost[-1])
        month.clock.append(time.perf_counter() - begin)
        month.cpu.append(children_cpu() - own + max(0.0, server_cpu_s() - server))

    def _session(self, day: date, number: int) -> None:
        """Bring the bars of a session, with what befalls them."""
        if number == CLOSED_AT:
            with open_app(PrometheusConfig()) as app:
                app.wired.told.close(US_EQ, day, "a storm", "benchmark")
            return
        if number % LATE_EVERY == 0:
            self._n_waited += self._call("nightly", "--as-of", str(day)).returncode == 5
        if number == CUT_AT:
            path = self._write(pc.equal(self._bars["trade_date"], pa.scalar(day)), "cut.parquet")
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            self._n_refused += self._call("ingest", "prices", str(path)).returncode != 0
            self._n_waited += self._call("nightly", "--as-of", str(day)).returncode == 5
        if number == KILLED_AT:
            self._kill()
        self._load(pc.equal(self._bars["trade_date"], pa.scalar(day)), "day.parquet")
        if number == KILLED_DURING_AT:
            with subprocess.Popen([*COMMAND, "nightly", "--as-of", str(day)], stderr=subprocess.DEVNULL) as night:
                time.sleep(1.0)
                self._kill()
                night.wait()

    def _kill(self) -> None:
        pid = int((Path(os.environ["PROMETHEUS_HOME"]) / "postgresql/data/postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)

    def _load(self, chosen: Any, name: str) -> None:
        self._must("ingest", "prices", str(self._write(chosen, name)), "--currency", "USD")

    def _write(self, chosen: Any, name: str) -> Path:
        path = self._folder / name
        pq.write_table(self._bars.filter(chosen), path)
        return path

    def _must(self, *arguments: str) -> None:
        done = self._call(*arguments)
        if done.returncode not in (0, 3):
            raise SystemExit(f"{arguments}: {done.returncode}\n{done.stderr}")

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*COMMAND, *arguments], check=False, capture_output=True, text=True)

    def _end_month(self, name: str) -> None:
        with open_app(PrometheusConfig()) as app:
            self.months[name].stood = stood(app)
            for database in ("historical", "runtime"):
                with app.db_manager._connect(database, owner=True) as connection:  # noqa: SLF001 -- the owner's work
                    connection.autocommit = True
                    connection.execute("VACUUM")
        print(
            name, f"{statistics.median(self.months[name].cpu):.2f} CPU s a night", self.months[name].stood, flush=True
        )


COMMAND = (sys.executable, "-m", "prometheus")


def stood(app: App) -> dict[str, float]:
    """Return the sizes of both databases, MiB, their dead rows, and the runs of autovacuum since the server started."""
    found: dict[str, float] = defaultdict(float)
    for database in ("historical", "runtime"):
        with app.db_manager._connect(database, owner=True) as connection:  # noqa: SLF001 -- sizes are the owner's to see
            tables, indexes = connection.execute(SIZES).fetchone() or (0, 0)
            dead, vacuums = connection.execute(ACTIVITY).fetchone() or (0, 0)
            found["tables, MiB"] += tables / MEBIBYTE
            found["indexes, MiB"] += indexes / MEBIBYTE
            found["dead rows"] += dead
            found["autovacuums"] += vacuums
    wal = Path(os.environ["PROMETHEUS_HOME"]) / "postgresql" / "data" / "pg_wal"
    found["write-ahead log, MiB"] = sum(each.stat().st_size for each in wal.iterdir() if each.is_file()) / MEBIBYTE
    return dict(found)


def _figures(months: Mapping[str, Month]) -> Iterator[tuple[str, float]]:
    for name, month in months.items():
        yield f"{name}, CPU s a night", statistics.median(month.cpu)
        yield f"{name}, s a night", statistics.median(month.clock)
        yield from ((f"{name}, {what}", value) for what, value in month.stood.items())
    first, *_, last = months.values()
    yield "CPU s a night, last month / first", statistics.median(last.cpu) / statistics.median(first.cpu)
    disk = [sum(size for what, size in each.stood.items() if "MiB" in what) for each in (first, last)]
    yield "disk, last month / first", disk[1] / disk[0]


if __name__ == "__main__":
    main()
