"""A region's joint rows over many years against one query per date and branch, side by side.

Run ``python -m benchmarks.joint_backfill``. Regime states and macro texts of seeded vectors are stored in an embedded
server of its own. Both ways fill the empty table in turn; the loop does a sample of the dates and is scaled up.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from tests.reference.loops import join_one_by_one

from benchmarks.recording import record
from benchmarks.servers import LAST, empty_table, own_server, server_cpu_s
from prometheus.app import App
from prometheus.app.joint import JointModelChoice
from prometheus.arrays import encode_vector
from prometheus.backfill.joint import JointRequest
from prometheus.backfill.plan import DateSpan
from prometheus.encoders.joint.examples import REGIME_MACRO
from prometheus.regime import RegimeLabel, RegimeState, RegimeStorage

DIM = 384
MODELS = ("num-regime-core-v1", "text-macro-v1", "joint-regime-core-v1")


def main() -> None:
    """Print the ratio, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, default=25)
    parser.add_argument("--texts-a-day", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--looped", type=int, default=1_000, help="dates the loop does")
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result")
    arguments = parser.parse_args()
    with own_server() as app:
        days = store_branches(app, 261 * arguments.years, arguments.texts_a_day)
        figures = measure(app, days, arguments.rounds, arguments.looped)
    settings = {"years": arguments.years, "texts_a_day": arguments.texts_a_day, "rounds": arguments.rounds}
    record("joint_backfill", settings, figures, keep=not arguments.is_trial)


def measure(app: App, days: list[date], n_rounds: int, n_looped: int) -> dict[str, float]:
    """Return seconds and ratios."""
    request = JointRequest(REGIME_MACRO, "US", DateSpan.of_range(days[0], days[-1]), MODELS[0], MODELS[1], {})
    choice = JointModelChoice(*MODELS)
    rounds, shares = [], list[float]()
    for _ in range(n_rounds):
        empty_table(app.db_manager, "joint_embeddings")
        begin = cpu()
        ours = seconds(lambda: app.joint.backfill([request], choice))
        first = cpu() - begin
        again = seconds(lambda: app.joint.backfill([request], choice))
        shares.append((cpu() - begin - first) / first)
        loop = seconds(lambda: run_loop(app, days[-n_looped:])) * len(days) / n_looped
        prove_equal(app, n_looped)
        rounds.append((ours, again, loop))
    return {
        "dates": len(days),
        "backfill, seconds": statistics.median(ours for ours, _, _ in rounds),
        "the loop, seconds": statistics.median(loop for _, _, loop in rounds),
        "times the loop": statistics.median(loop / ours for ours, _, loop in rounds),
        "second run / first": statistics.median(again / ours for ours, again, _ in rounds),
        "second run / first, CPU": statistics.median(shares),
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def run_loop(app: App, days: list[date]) -> None:
    """Join a sample of the dates one by one."""
    with (
        app.db_manager.get_historical_connection() as historical,
        app.db_manager.get_runtime_connection() as runtime,
    ):
        join_one_by_one(historical, runtime, "US", days, (MODELS[0], MODELS[1], "looped"))


def prove_equal(app: App, n_looped: int) -> None:
    """Stop unless both stored the same vectors."""
    query = """
        SELECT count(*) FROM joint_embeddings AS ours JOIN joint_embeddings AS looped USING (as_of_date, vector)
        WHERE ours.model_id <> 'looped' AND looped.model_id = 'looped'
    """
    with app.db_manager.get_historical_connection() as connection:
        row = connection.execute(query).fetchone()
    if row != (n_looped,):
        raise SystemExit(f"{row} of {n_looped} vectors are equal")


def store_branches(app: App, n_days: int, n_texts: int) -> list[date]:
    """Store one state and some texts on each of the weekdays up to `LAST`, and return these."""
    days: list[date] = np.busday_offset(np.datetime64(LAST, "D"), np.arange(1 - n_days, 1)).astype("M8[D]").tolist()
    generator = np.random.default_rng(2)
    vectors = generator.normal(size=(n_days, DIM)).astype(np.float32)
    RegimeStorage(db_manager=app.db_manager).save_regimes(
        [
            RegimeState(day, "US", RegimeLabel.NEUTRAL, 1.0, vector, {}, MODELS[0], MODELS[0])
            for day, vector in zip(days, vectors, strict=True)
        ]
    )
    with app.db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        events = [
            (number * n_texts + at, datetime(day.year, day.month, day.day, 12, tzinfo=UTC), f"text {number} {at}")
            for number, day in enumerate(days)
            for at in range(n_texts)
        ]
        cursor.executemany(
            "INSERT INTO macro_events (event_id, event_type, timestamp, description) VALUES (%s, 'CPI', %s, %s)", events
        )
        cursor.executemany(
            "INSERT INTO text_embeddings (source_type, source_id, model_id, dim, vector)"
            " VALUES ('MACRO', %s, 'text-macro-v1', 384, %s)",
            [(str(event[0]), encode_vector(generator.normal(size=DIM).astype(np.float32))) for event in events],
        )
    with app.db_manager.get_historical_connection() as connection:
        connection.execute("ANALYZE macro_events, text_embeddings")
    return days


def cpu() -> float:
    """Return the processor seconds of this process and the server."""
    return time.process_time() + server_cpu_s()


def seconds(work: Callable[[], Any]) -> float:
    """Return how long it took."""
    clock = time.perf_counter()
    work()
    return time.perf_counter() - clock


if __name__ == "__main__":
    main()
