"""How long analogs take: of one day among 8,564, and of one window among a million with the index, and what it misses.

Run ``python -m benchmarks.analog_search``; the index alone takes some five minutes to build. The windows are those of
seeded random walks, embedded by num-regime-core-v2 in an embedded server of its own.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from datetime import date
from typing import TypeVar

import numpy as np

from benchmarks.recording import record
from benchmarks.servers import LAST, load_random_walks, own_server
from prometheus.analogs.search import AnalogSearch
from prometheus.app import App
from prometheus.app.backfills import EngineChoice
from prometheus.app.window_search import WindowRequest
from prometheus.backfill.plan import DateSpan, NumericRequest
from prometheus.data.vectors.index import WindowIndex
from prometheus.data.vectors.scan import WindowScan
from prometheus.encoders.catalogue import default_window_days
from prometheus.encoders.identity import NUM_REGIME_CORE_V2

QuestionT = TypeVar("QuestionT")
N_DAYS = 8_564
DIM = 384
K = 10


def main() -> None:
    """Print the figures, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instruments", type=int, default=245)
    parser.add_argument("--sessions", type=int, default=4_600)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result")
    arguments = parser.parse_args()
    figures = among_days()
    with own_server() as app:
        figures |= among_windows(app, arguments.instruments, arguments.sessions, arguments.queries)
    settings = {"instruments": arguments.instruments, "sessions": arguments.sessions, "queries": arguments.queries}
    record("analog_search", settings, figures, keep=not arguments.is_trial)


def among_days() -> dict[str, float]:
    """Return how long the exact search takes; it does not depend on what the vectors say."""
    days = np.datetime64("1990-01-01", "D") + np.arange(N_DAYS)
    vectors = np.random.default_rng(1).normal(size=(N_DAYS, DIM)).astype(np.float32)
    search = AnalogSearch().fit(days, vectors)
    asked = days[-200:].tolist()
    found = milliseconds(lambda day: search.predict(day, K), asked)
    distances = search.predict(asked[-1], K)[1]
    shares = milliseconds(lambda day: search.percentiles(day, distances), asked[:20])
    return {
        "ms, ten analogs among 8,564 days, median": float(np.median(found)),
        "ms, the same, 99th percentile": float(np.quantile(found, 0.99)),
        "ms, shares of nearer pairs, median": float(np.median(shares)),
    }


def among_windows(app: App, n_instruments: int, n_sessions: int, n_queries: int) -> dict[str, float]:
    """Return what the index takes, finds and costs."""
    names = load_random_walks(app.db_manager, n_instruments, n_sessions)
    window_days = default_window_days(NUM_REGIME_CORE_V2)
    span = DateSpan.of_range(date.min, LAST)
    app.embeddings.backfill(NumericRequest(names, span, window_days, NUM_REGIME_CORE_V2), EngineChoice(workers=2))
    begin = time.perf_counter()
    _, status = app.window_search.build_index(NUM_REGIME_CORE_V2)
    built = time.perf_counter() - begin
    checked = app.window_search.check_index(NUM_REGIME_CORE_V2, n_queries, K)
    requests = [WindowRequest(name, LAST, K) for name in names[:: max(1, len(names) // 50)]]
    index = WindowIndex(app.db_manager, NUM_REGIME_CORE_V2)
    asked = [(request, newest_vector(app, request)) for request in requests]
    raw = milliseconds(lambda pair: index.nearest(pair[0].space, pair[1], pair[0].before, K), asked)
    whole = milliseconds(app.window_search.find, requests)
    return {
        "windows": float(status.n_indexed),
        "MiB of the index": status.n_bytes / 2**20,
        "seconds to build it": built,
        "recall@10": checked.recall,
        "recall@10, worst query": checked.worst,
        "ms, ten nearest windows, median": float(np.median(raw)),
        "ms, the same, 99th percentile": float(np.quantile(raw, 0.99)),
        "ms, a whole answer, median": float(np.median(whole)),
    }


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
