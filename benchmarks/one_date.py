"""Many instruments on one date as a whole process, against loops of one query and one insert each as whole processes.

Run ``python -m benchmarks.one_date``. All start from nothing, find the server running, and store the same vectors, in
turn, several times; the medians of the ratios are reported. One loop is plain SQL, the other calls `embed_and_store`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.recording import record
from benchmarks.servers import LAST, empty_table, load_random_walks, own_server
from prometheus.app import App

WINDOW_DAYS = 63


def main() -> None:
    """Print the ratio, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instruments", type=int, default=500)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result")
    arguments = parser.parse_args()
    with own_server() as app:
        figures = measure(app, arguments.instruments, arguments.pairs)
    settings = {"instruments": arguments.instruments, "pairs": arguments.pairs}
    record("one_date", settings, figures, keep=not arguments.is_trial)


def measure(app: App, n_instruments: int, n_pairs: int) -> dict[str, float]:
    """Return seconds and ratios; the first pair warms the caches and does not count."""
    names = load_random_walks(app.db_manager, n_instruments, 500)
    list_in_market(app, names)
    ours = [
        sys.executable, "-m", "prometheus.scripts.backfill_numeric_embeddings",
        "--market-id", "US_EQ", "--as-of", str(LAST), "--workers", "1",
    ]  # fmt: skip
    loops = {
        way: [sys.executable, "-m", "tests.reference.loops", way, str(LAST), str(WINDOW_DAYS), *names]
        for way in ("sql", "api")
    }
    rounds = []
    for _ in range(n_pairs + 1):
        empty_table(app.db_manager, "numeric_window_embeddings")
        took = {way: seconds(loop) for way, loop in loops.items()}
        rounds.append({**took, "ours": seconds(ours), "again": seconds(ours)})
    prove_equal(app, n_instruments)
    counted = rounds[1:]
    return {
        "the loop in SQL, seconds": statistics.median(each["sql"] for each in counted),
        "the loop by the API, seconds": statistics.median(each["api"] for each in counted),
        "the command, seconds": statistics.median(each["ours"] for each in counted),
        "times the loop in SQL": statistics.median(each["sql"] / each["ours"] for each in counted),
        "times the loop by the API": statistics.median(each["api"] / each["ours"] for each in counted),
        "the command again / first": statistics.median(each["again"] / each["ours"] for each in counted),
    }


def list_in_market(app: App, names: Sequence[str]) -> None:
    """Tell which market the instruments are of."""
    with app.db_manager.get_runtime_connection() as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO markets (market_id, name, calendar) VALUES ('US_EQ', 'US', 'XNYS') ON CONFLICT DO NOTHING"
        )
        cursor.executemany(
            "INSERT INTO instruments (instrument_id, market_id, symbol, currency) VALUES (%s, 'US_EQ', %s, 'USD')",
            [(name, name) for name in names],
        )


def prove_equal(app: App, n_instruments: int) -> None:
    """Stop unless both stored the same vectors."""
    query = """
        SELECT count(*) FROM numeric_window_embeddings AS ours
        JOIN numeric_window_embeddings AS looped USING (entity_id, as_of_date, vector)
        WHERE ours.model_id <> 'looped' AND looped.model_id = 'looped'
    """
    with app.db_manager.get_historical_connection() as connection:
        row = connection.execute(query).fetchone()
    if row != (n_instruments,):
        raise SystemExit(f"{row} of {n_instruments} vectors are equal")


def seconds(command: Sequence[str]) -> float:
    """Return how long a process took."""
    clock = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - clock


if __name__ == "__main__":
    main()
