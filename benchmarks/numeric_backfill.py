"""The whole history of many instruments through ``num-regime-core-v1``: against a loop, a bare COPY, and two workers.

Run ``python -m benchmarks.numeric_backfill``. Random walks are loaded into an embedded server of its own. Measured side
by side, in turn, several rounds of: the backfill by one worker into the empty table; the same again with nothing
changed; a binary COPY of the very bytes the backfill stored into the same empty table with its indexes; the backfill
by two workers; and the first again as on a server of one's own, whose table is not held and whose rows are logged. The
loop of one query and one insert per window is measured on a sample. Medians are reported: by the clock, and in seconds
of all processors, of the client and the server together, which other work on the machine hardly changes.

``--levels 100000 1000000 4000000`` measures instead what a window costs in first fills of so many, and what is left on
the disk; the last one takes 12 GB.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from tests.reference.loops import embed_by_the_api, embed_one_by_one

from benchmarks.costs import Cost, cost_of, disk_bytes, server_peak_mib
from benchmarks.recording import record
from benchmarks.servers import LAST, empty_table, load_random_walks, own_server
from prometheus.app import App
from prometheus.app.backfills import EngineChoice
from prometheus.app.databases import DatabaseManager
from prometheus.backfill.plan import DateSpan, NumericRequest
from prometheus.data.migrations import DatabaseName
from prometheus.encoders.identity import NUM_REGIME_CORE_V1

WINDOW_DAYS = 63
N_LOOPED = 1_000
TABLE = "numeric_window_embeddings"
DUMP = f"COPY {TABLE} TO STDOUT (FORMAT BINARY)"
LOAD = f"COPY {TABLE} FROM STDIN (FORMAT BINARY)"


def main() -> None:
    """Print rates and ratios, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instruments", type=int, default=500)
    parser.add_argument("--dates", type=int, default=2_500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--levels", type=int, nargs="+", help="first fills of so many windows, instead")
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result")
    arguments = parser.parse_args()
    if arguments.levels:
        figures = measure_levels(arguments.levels, arguments.dates)
        settings = {"levels": arguments.levels, "dates": arguments.dates}
        record("numeric_first_fills", settings, figures, keep=not arguments.is_trial)
        return
    figures = measure(arguments.instruments, arguments.dates, arguments.rounds)
    settings = {"instruments": arguments.instruments, "dates": arguments.dates, "rounds": arguments.rounds}
    record("numeric_backfill", settings, figures, keep=not arguments.is_trial)


def measure_levels(levels: Sequence[int], n_dates: int) -> dict[str, float]:
    """Return the cost of a window, by how many an empty table is filled with, and what the largest fill leaves."""
    figures: dict[str, float] = {}
    with own_server() as app:
        manager = app.db_manager
        names = load_random_walks(manager, max(levels) // n_dates, n_dates + WINDOW_DAYS - 1)
        for level in sorted(levels):
            request = request_of(names[: level // n_dates])
            empty_table(manager, TABLE)
            cost = cost_of(manager, partial(run, app, request, 1, level // n_dates * n_dates))
            figures[f"{level:,} windows: microseconds each"] = 1e6 * cost.clock / level
            figures[f"{level:,}: of all processors"] = 1e6 * cost.processors / level
            figures[f"{level:,}: WAL written, bytes each"] = cost.wal / level
            figures |= {f"{level:,}: {name}": value for name, value in disk_figures(manager, level).items()}
    return figures | {"peak MiB of this process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def disk_figures(manager: DatabaseManager, n_windows: int) -> dict[str, float]:
    """Return what a run left on the disk."""
    rows, indexes, wal = disk_bytes(manager, TABLE)
    return {
        "rows, MB per million": rows / n_windows,
        "index, MB per million": indexes / n_windows,
        "WAL kept, MB": wal / 1e6,
    }


def request_of(names: Sequence[str]) -> NumericRequest:
    """Return the request for every window of some instruments."""
    return NumericRequest(tuple(names), DateSpan.of_range(date(2000, 1, 1), LAST), WINDOW_DAYS, NUM_REGIME_CORE_V1)


def measure(n_instruments: int, n_dates: int, n_rounds: int) -> dict[str, float]:
    """Return rates, ratios and peaks."""
    with own_server() as app:
        names = load_random_walks(app.db_manager, n_instruments, n_dates + WINDOW_DAYS - 1)
        request = request_of(names)
        n_windows = n_instruments * n_dates
        empty_table(app.db_manager, TABLE)
        run(app, request, 1, n_windows)
        peak_of_one = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        figures = disk_figures(app.db_manager, n_windows)
        rows = dump(app.db_manager)
        rounds = [one_round(app, request, n_windows, rows) for _ in range(n_rounds)]
        looped = seconds_of_loops(app.db_manager, names[0])
    one = statistics.median(each.one.clock for each in rounds)
    return {
        "windows": n_windows,
        "one worker, seconds": one,
        "windows a second": n_windows / one,
        "the loop in SQL, milliseconds a window": looped[0] * 1e3,
        "the loop by the API, milliseconds a window": looped[1] * 1e3,
        "times the loop in SQL": looped[0] / (one / n_windows),
        "times the loop by the API": looped[1] / (one / n_windows),
        "second run / first": statistics.median(each.again.clock / each.one.clock for each in rounds),
        **compared("bare COPY / one worker", [(each.copy, each.one) for each in rounds]),
        **compared("bare COPY / one worker, own server", [(each.copy, each.logged) for each in rounds]),
        **compared("one worker / two workers", [(each.one, each.two) for each in rounds]),
        **compared("one worker, own server / two workers", [(each.logged, each.two) for each in rounds]),
        **{
            f"WAL written, bytes a row: {name}": statistics.median(getattr(each, name).wal for each in rounds)
            / n_windows
            for name in ("copy", "one", "logged", "two")
        },
        **figures,
        "peak MiB, one worker": peak_of_one,
        "peak MiB, each of two workers": max(each.worker_peak for each in rounds),
        "peak MiB, a process of the server": max(each.server_peak for each in rounds),
    }


def compared(name: str, pairs: Sequence[tuple[Cost, Cost]]) -> dict[str, float]:
    """Return the median ratio of the first to the second, by the clock and by seconds of processors."""
    return {
        name: statistics.median(first.clock / second.clock for first, second in pairs),
        f"{name}, processors": statistics.median(first.processors / second.processors for first, second in pairs),
    }


@dataclass(frozen=True, slots=True)
class Round:
    """The cost of each contestant, and the peak memory of a worker and of a process of the server in MiB."""

    one: Cost
    again: Cost
    copy: Cost
    two: Cost
    logged: Cost
    worker_peak: float
    server_peak: float


def one_round(app: App, request: NumericRequest, n_windows: int, rows: bytes) -> Round:
    """Let each contestant fill the empty table once."""
    manager = app.db_manager
    empty_table(manager, TABLE)
    one = cost_of(manager, partial(run, app, request, 1, n_windows))
    server_peak = server_peak_mib(manager)
    again = cost_of(manager, partial(run, app, request, 1, 0))
    empty_table(manager, TABLE)
    copy = cost_of(manager, partial(load, manager, rows))
    empty_table(manager, TABLE)
    with peak_of_children() as peaks:
        two = cost_of(manager, partial(run, app, request, 2, n_windows))
    empty_table(manager, TABLE)
    with as_own_server(app) as theirs:
        logged = cost_of(manager, partial(run, theirs, request, 1, n_windows))
    return Round(one, again, copy, two, logged, max(peaks, default=0.0), server_peak)


@contextmanager
def as_own_server(app: App) -> Iterator[App]:
    """Yield an app that takes the same server for one that it was given addresses of."""
    names: tuple[DatabaseName, ...] = ("historical", "runtime")
    addresses = {f"{name}_dsn": SecretStr(app.db_manager.embedded_conninfo(name, owner=False)) for name in names}
    manager = DatabaseManager(app.db_manager.config.model_copy(update=addresses))
    try:
        yield App(manager)
    finally:
        manager.close_all()


@contextmanager
def peak_of_children() -> Iterator[list[float]]:
    """Yield a list that fills with the peak memory, in MiB, of this process's workers while they live."""
    peaks: list[float] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.05):
            peaks.extend(peak_mib(child.pid) for child in multiprocessing.active_children())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        is_over.set()
        thread.join()


def peak_mib(pid: int | None) -> float:
    """Return the peak resident memory of a process so far, 0 where it cannot be told."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def run(app: App, request: NumericRequest, n_workers: int, n_expected: int) -> None:
    """Run a backfill and prove that it wrote what it should."""
    report = app.embeddings.backfill(request, EngineChoice(workers=n_workers)).report
    if report.written != n_expected:
        raise SystemExit(f"{report.written} rows written, {n_expected} expected")


def seconds(work: Callable[[], Any]) -> float:
    """Return how long it took."""
    clock = time.perf_counter()
    work()
    return time.perf_counter() - clock


def seconds_of_loops(db_manager: DatabaseManager, name: str) -> tuple[float, float]:
    """Return the time per window of one query and one insert each, in plain SQL and by the API, into the full table."""
    query = "SELECT trade_date FROM prices_daily WHERE instrument_id = %s ORDER BY trade_date DESC LIMIT %s"
    with db_manager.get_historical_connection() as connection:
        wanted = [(name, row[0]) for row in connection.execute(query, (name, N_LOOPED)).fetchall()]
        in_sql = seconds(lambda: embed_one_by_one(connection, wanted, WINDOW_DAYS, "looped"))
    by_api = seconds(lambda: embed_by_the_api(db_manager, wanted, WINDOW_DAYS, "looped-by-api"))
    return in_sql / N_LOOPED, by_api / N_LOOPED


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
