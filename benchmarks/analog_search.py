"""What analogs cost: of a date never asked about before, and of one window among a million, with and without an index.

Run ``python -m benchmarks.analog_search``; building the index a quarter, half and whole takes most of the time. The
windows are those of seeded random walks, embedded by num-regime-core-v2 in an embedded server of its own. Processor
seconds tell more than the clock on a machine with other work; each is told beside what it is to be compared with:
a process that keeps nothing, and the server reading the same rows for nothing.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import TypeVar

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `serve` does: threads that wait count as work

import numpy as np

from benchmarks.recording import record
from benchmarks.servers import LAST, load_random_walks, own_server, server_cpu_s
from prometheus.analogs.search import AnalogRequest
from prometheus.app import App
from prometheus.app.backfills import EngineChoice
from prometheus.app.window_search import WindowRequest
from prometheus.backfill.plan import DateSpan, NumericRequest
from prometheus.data.vectors.index import WindowIndex, build_memory
from prometheus.data.vectors.scan import FEW_WINDOWS, WindowScan
from prometheus.encoders.catalogue import default_window_days
from prometheus.encoders.identity import NUM_REGIME_CORE_V2
from prometheus.regime import RegimeLabel, RegimeState

QuestionT = TypeVar("QuestionT")
N_DAYS = 8_564
DIM = 384
K = 10
REGION = "WALK"
WINDOW_DAYS = default_window_days(NUM_REGIME_CORE_V2)


def main() -> None:
    """Print the figures, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instruments", type=int, default=326)
    parser.add_argument("--sessions", type=int, default=4_990)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result")
    arguments = parser.parse_args()
    with own_server() as app:
        figures = of_new_dates(app)
        names = load_random_walks(app.db_manager, arguments.instruments, arguments.sessions, first=1)
        embed(app, names[: FEW_WINDOWS // arguments.sessions])
        figures |= among_few(app, names[0])
        for share in (0.25, 0.5, 1.0):
            embed(app, names[: int(share * len(names))])
            figures |= build(app, share)
        figures |= among_all(app, names, arguments.queries)
    settings = {"instruments": arguments.instruments, "sessions": arguments.sessions, "queries": arguments.queries}
    record("analog_search", settings, figures, keep=not arguments.is_trial)


def of_new_dates(app: App) -> dict[str, float]:
    """Return what a date costs that was not asked about before, in a session that answered others."""
    (name,) = load_random_walks(app.db_manager, 1, N_DAYS)
    days = np.busday_offset(np.datetime64(LAST, "D"), np.arange(1 - N_DAYS, 1)).astype("M8[D]").tolist()
    vectors = np.random.default_rng(1).normal(size=(N_DAYS, DIM)).cumsum(axis=0).astype(np.float32)
    made_of = {"instrument_id": name, "window_days": WINDOW_DAYS}
    app.wired.storage.save_regimes([
        RegimeState(day, REGION, RegimeLabel.NEUTRAL, 0.5, vector, made_of, "made-up", NUM_REGIME_CORE_V2)
        for day, vector in zip(days, vectors, strict=True)
    ])  # fmt: skip
    kept = App(app.db_manager)
    for day in days[-210:-200]:
        kept.analogs.find(AnalogRequest(REGION, day))
    asked = [AnalogRequest(REGION, day) for day in days[-200:]]
    warm = [spent(partial(kept.analogs.find, each)) for each in asked]
    anew = [spent(partial(App(app.db_manager).analogs.find, each)) for each in asked[::10]]
    return {
        "a new date of 8,564, ms of clock, median": 1e3 * float(np.median([clock for clock, _, _ in warm])),
        "the same, ms of processor, median": 1e3 * float(np.median([own for _, own, _ in warm])),
        "the same, ms of processor, nothing kept": 1e3 * float(np.median([own for _, own, _ in anew])),
    }


def embed(app: App, names: Sequence[str]) -> None:
    app.window_search.drop_index(NUM_REGIME_CORE_V2)
    request = NumericRequest(tuple(names), DateSpan.of_range(date.min, LAST), WINDOW_DAYS, NUM_REGIME_CORE_V2)
    app.embeddings.backfill(request, EngineChoice(workers=2))


def among_few(app: App, name: str) -> dict[str, float]:
    """Return what the search of up to 100,000 windows costs when they are read, and when they are in memory."""
    request, kept = WindowRequest(name, LAST, K), App(app.db_manager)
    first, again = (spent(lambda: kept.window_search.find(request)) for _ in range(2))
    return {
        "windows kept in memory": float(WindowScan(app.db_manager, request.space).n_windows()),
        "all compared, s of processor, first": first[1] + first[2],
        "all compared, s of processor, from memory": again[1] + again[2],
    }


def build(app: App, share: float) -> dict[str, float]:
    """Return what the index costs over the windows that there are."""
    clock, own, server = spent(lambda: app.window_search.build_index(NUM_REGIME_CORE_V2))
    status = app.window_search.index_status(NUM_REGIME_CORE_V2)
    return {
        f"windows, {share:.0%}": float(status.n_indexed),
        f"index of {share:.0%}, s of clock": clock,
        f"index of {share:.0%}, s of processor": own + server,
        f"index of {share:.0%}, MiB": status.n_bytes / 2**20,
        f"index of {share:.0%}, MiB of memory asked for": build_memory(status.n_indexed) / 2**20,
    }


def among_all(app: App, names: Sequence[str], n_queries: int) -> dict[str, float]:
    """Return what an answer costs with the index and without it, and what the index misses."""
    checked = app.window_search.check_index(NUM_REGIME_CORE_V2, n_queries, K)
    requests = [WindowRequest(name, LAST, K) for name in names[:: max(1, len(names) // 50)]]
    index = WindowIndex(app.db_manager, NUM_REGIME_CORE_V2)
    asked = [(request, newest_vector(app, request)) for request in requests]
    raw = milliseconds(lambda pair: index.nearest(pair[0].space, pair[1], pair[0].before, K), asked)
    whole = milliseconds(app.window_search.find, requests)
    by_index = [app.window_search.find(request) for request in requests[::8]]
    index.drop()
    exact = [(app.window_search.find(each), *spent(partial(app.window_search.find, each))) for each in requests[::8]]
    read = spent(lambda: read_all(app))
    shares = [len({*here.windows} & {*there[0].windows}) / K for here, there in zip(by_index, exact, strict=True)]
    return {
        "recall@10": checked.recall,
        "recall@10, worst query": checked.worst,
        "recall of whole answers": float(np.mean(shares)),
        "ms, ten nearest windows, median": float(np.median(raw)),
        "ms, the same, 99th percentile": float(np.quantile(raw, 0.99)),
        "ms, a whole answer, median": float(np.median(whole)),
        "no index, s of clock, median": float(np.median([each[1] for each in exact])),
        "no index, s of processor, here": float(np.median([each[2] for each in exact])),
        "no index, s of processor, server": float(np.median([each[3] for each in exact])),
        "the server reading them alone, s of processor": read[2],
    }


def read_all(app: App) -> None:
    with app.db_manager.get_historical_connection() as connection:
        connection.execute("SELECT sum(octet_length(vector)) FROM numeric_window_embeddings").fetchall()


def spent(work: Callable[[], object]) -> tuple[float, float, float]:
    """Return the seconds of the clock, of this process and of the server that some work took."""
    home = os.environ["PROMETHEUS_HOME"]
    clock, own, server = time.perf_counter(), time.process_time(), server_cpu_s(home)
    work()
    return time.perf_counter() - clock, time.process_time() - own, server_cpu_s(home) - server


def newest_vector(app: App, request: WindowRequest) -> np.ndarray:
    vector: np.ndarray = WindowScan(app.db_manager, request.space).load(request.instrument_id).vectors[-1]
    return vector


def milliseconds(ask: Callable[[QuestionT], object], questions: Sequence[QuestionT]) -> list[float]:
    """Return how long each question took."""
    taken = []
    for question in questions:
        begin = time.perf_counter()
        ask(question)
        taken.append(1000 * (time.perf_counter() - begin))
    return taken


if __name__ == "__main__":
    main()
