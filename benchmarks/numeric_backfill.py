"""The whole history of many instruments through ``num-regime-core-v1``: against a loop, a bare COPY, and two workers.

Run ``python -m benchmarks.numeric_backfill``. Random walks are loaded into an embedded server of its own. Measured side
by side, in turn, several rounds of: the backfill by one worker into the empty table; the same again with nothing
changed; a binary COPY of the very bytes the backfill stored into the same empty table with its indexes; the backfill
by two workers. The loop of one query and one insert per window is measured on a sample. Medians are reported.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from tests.reference.loops import embed_by_the_api, embed_one_by_one

from benchmarks.recording import record
from benchmarks.servers import LAST, empty_table, load_random_walks, own_server
from prometheus.app import App
from prometheus.app.backfills import EngineChoice
from prometheus.app.databases import DatabaseManager
from prometheus.backfill.plan import DateSpan, NumericRequest
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
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result")
    arguments = parser.parse_args()
    figures = measure(arguments.instruments, arguments.dates, arguments.rounds)
    settings = {"instruments": arguments.instruments, "dates": arguments.dates, "rounds": arguments.rounds}
    record("numeric_backfill", settings, figures, keep=not arguments.is_trial)


def measure(n_instruments: int, n_dates: int, n_rounds: int) -> dict[str, float]:
    """Return rates, ratios and peaks."""
    with own_server() as app:
        names = load_random_walks(app.db_manager, n_instruments, n_dates + WINDOW_DAYS - 1)
        request = NumericRequest(names, DateSpan.of_range(date(2000, 1, 1), LAST), WINDOW_DAYS, NUM_REGIME_CORE_V1)
        n_windows = n_instruments * n_dates
        empty_table(app.db_manager, TABLE)
        run(app, request, 1, n_windows)
        peak_of_one = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows = dump(app.db_manager)
        rounds = [one_round(app, request, n_windows, rows) for _ in range(n_rounds)]
        looped = seconds_of_loops(app.db_manager, names[0])
    one = statistics.median(each.one for each in rounds)
    return {
        "windows": n_windows,
        "one worker, seconds": one,
        "windows a second": n_windows / one,
        "the loop in SQL, milliseconds a window": looped[0] * 1e3,
        "the loop by the API, milliseconds a window": looped[1] * 1e3,
        "times the loop in SQL": looped[0] / (one / n_windows),
        "times the loop by the API": looped[1] / (one / n_windows),
        "bare COPY / one worker": statistics.median(each.copy / each.one for each in rounds),
        "second run / first": statistics.median(each.again / each.one for each in rounds),
        "one worker / two workers": statistics.median(each.one / each.two for each in rounds),
        "peak MiB, one worker": peak_of_one,
        "peak MiB, each of two workers": max(each.worker_peak for each in rounds),
    }


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of each contestant, and the peak memory of a worker process in MiB."""

    one: float
    again: float
    copy: float
    two: float
    worker_peak: float


def one_round(app: App, request: NumericRequest, n_windows: int, rows: bytes) -> Round:
    """Let each contestant fill the empty table once."""
    empty_table(app.db_manager, TABLE)
    one = seconds(lambda: run(app, request, 1, n_windows))
    again = seconds(lambda: run(app, request, 1, 0))
    empty_table(app.db_manager, TABLE)
    copy = seconds(lambda: load(app.db_manager, rows))
    empty_table(app.db_manager, TABLE)
    with peak_of_children() as peaks:
        two = seconds(lambda: run(app, request, 2, n_windows))
    return Round(one, again, copy, two, max(peaks, default=0.0))


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
