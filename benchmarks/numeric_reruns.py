"""What a run of numeric windows costs that has nothing to do, or one new day, beside one that looks at every row.

Run ``python -m benchmarks.numeric_reruns`` (``--instruments 1600`` for four million windows, ``--judged`` for
num-regime-core-v2, ``--ingest`` for what the digests cost a load of bars). Random walks are loaded into an embedded
server of its own and embedded by one worker. Then, in turn, several rounds of: the same run again; the same, told to
trust nothing; a day of new bars, embedded by a run that trusts what is known to be stored, and by one that looks at
everything. Seconds are of processors, of this process and of the server; medians, and on the clock where it says so.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from typing import Any

from benchmarks.recording import record
from benchmarks.servers import LAST, load_random_walks, own_server, server_cpu_s
from prometheus.app import App
from prometheus.app.backfills import EngineChoice
from prometheus.app.databases import DatabaseManager
from prometheus.backfill.plan import BackfillReport, DateSpan, NumericRequest
from prometheus.encoders.catalogue import default_window_days
from prometheus.encoders.identity import NUM_REGIME_CORE_V1, NUM_REGIME_CORE_V2

FRIDAY = 5
FOUR_MILLION = 4_000_000
"""Windows of a result that is kept beside that of fewer."""
TRIGGER = "digest_new_rows"
LOAD = """
    INSERT INTO prices_daily (instrument_id, trade_date, close, adjusted_close, volume, currency)
    SELECT 'again ' || instrument_id, trade_date, close, close, volume, 'USD' FROM prices_daily
    WHERE instrument_id = ANY(%s) ORDER BY 1, 2
"""
NEW_DAY = """
    INSERT INTO prices_daily (instrument_id, trade_date, close, adjusted_close, volume, currency)
    SELECT instrument_id, %s, close * 1.001, close * 1.001, volume, currency FROM prices_daily WHERE trade_date = %s
"""


def main() -> None:
    """Print seconds and ratios, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instruments", type=int, default=500)
    parser.add_argument("--dates", type=int, default=2_500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--judged", action="store_true", help="take num-regime-core-v2")
    parser.add_argument("--ingest", action="store_true", help="only load bars, with and without digests")
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result")
    arguments = parser.parse_args()
    model_id = NUM_REGIME_CORE_V2 if arguments.judged else NUM_REGIME_CORE_V1
    with own_server() as app:
        if arguments.ingest:
            figures = measure_load(app.db_manager, arguments.instruments, arguments.dates, arguments.rounds)
        else:
            figures = measure(app, model_id, arguments.instruments, arguments.dates, arguments.rounds)
    settings = {"model": model_id, "instruments": arguments.instruments, "dates": arguments.dates}
    name = "numeric_reruns_4m" if figures.get("windows", 0) >= FOUR_MILLION else "numeric_reruns"
    record(name, settings, figures, keep=not (arguments.is_trial or arguments.ingest))


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of processors and on the clock."""

    processor: float
    clock: float


def spent(work: Callable[[], Any]) -> Spent:
    """Return what some work took, of this process and the server."""
    begun = server_cpu_s() + time.process_time(), time.perf_counter()
    work()
    return Spent(server_cpu_s() + time.process_time() - begun[0], time.perf_counter() - begun[1])


def measure(app: App, model_id: str, n_instruments: int, n_dates: int, n_rounds: int) -> dict[str, float]:
    """Return seconds and ratios of runs with nothing to do and with a new day."""
    days = default_window_days(model_id)
    names = load_random_walks(app.db_manager, n_instruments, n_dates + days - 1)
    request = NumericRequest(names, DateSpan.of_range(date(1990, 1, 1), LAST), days, model_id)
    first = spent(lambda: run(app, request))
    n_windows = run(app, request).planned
    again, looked, new_day, looked_day = list[Spent](), list[Spent](), list[Spent](), list[Spent]()
    newest = LAST
    for _ in range(n_rounds):
        request = replace(request, span=DateSpan.of_range(request.span.start, newest))
        again.append(spent(partial(run, app, request)))
        looked.append(spent(partial(run, app, request, trusts=False)))
        for trusts, seconds in ((True, new_day), (False, looked_day)):
            newest = add_day(app.db_manager, newest)
            request = replace(request, span=DateSpan.of_range(request.span.start, newest))
            seconds.append(spent(partial(run, app, request, trusts=trusts, n_written=n_instruments)))
    figures = {"windows": float(n_windows), "first run": first.processor, "first run, on the clock": first.clock}
    for name, each in (
        ("again", again), ("again, every row looked at", looked),
        ("a new day", new_day), ("a new day, every row looked at", looked_day),
    ):  # fmt: skip
        figures[name] = statistics.median(one.processor for one in each)
        figures[f"{name}, on the clock"] = statistics.median(one.clock for one in each)
    return figures | {
        "second run / first": figures["again"] / first.processor,
        "second run / first, on the clock": figures["again, on the clock"] / first.clock,
        "again / every row looked at": figures["again"] / figures["again, every row looked at"],
        "a new day / every row looked at": figures["a new day"] / figures["a new day, every row looked at"],
    }


def run(app: App, request: NumericRequest, *, trusts: bool = True, n_written: int | None = None) -> BackfillReport:
    """Run a backfill by one worker; prove that it wrote what it should."""
    other = App(app.db_manager)
    if not trusts:
        other.wired.coverage = None
    report = other.embeddings.backfill(request, EngineChoice(workers=1)).report
    if n_written not in (None, report.written):
        raise SystemExit(f"{report.written} rows written, {n_written} expected")
    return report


def add_day(db_manager: DatabaseManager, newest: date) -> date:
    """Store one more bar of every instrument, of the next weekday; return that."""
    day = newest + timedelta(days=3 if newest.isoweekday() == FRIDAY else 1)
    with db_manager.get_historical_connection() as connection:
        connection.execute(NEW_DAY, (day, newest))
    return day


def measure_load(db_manager: DatabaseManager, n_instruments: int, n_dates: int, n_rounds: int) -> dict[str, float]:
    """Return what a statement that stores bars takes, with and without keeping digests; nothing stays stored."""
    names = load_random_walks(db_manager, n_instruments, n_dates)
    seconds: dict[str, list[float]] = {"ENABLE": [], "DISABLE": []}
    for _ in range(n_rounds):
        for switch, each in seconds.items():
            each.append(load_again(db_manager, names, switch))
    kept, not_kept = (statistics.median(each) for each in seconds.values())
    n_rows = n_instruments * n_dates
    return {"bars": n_rows, "µs a bar": 1e6 * kept / n_rows, "µs a bar without digests": 1e6 * not_kept / n_rows}


def load_again(db_manager: DatabaseManager, names: Sequence[str], switch: str) -> float:
    """Return the processor seconds of a load that is rolled back."""
    with db_manager._connect("historical", owner=True) as connection:  # noqa: SLF001 -- only the owner may
        connection.execute(f"ALTER TABLE prices_daily {switch} TRIGGER {TRIGGER}")
        connection.execute("SET LOCAL work_mem = '128MB'")
        took = spent(lambda: connection.execute(LOAD, (list(names),)))
        connection.rollback()
    return took.processor


if __name__ == "__main__":
    main()
