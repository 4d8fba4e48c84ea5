"""The whole history of a file of prices through a Ray cluster of two nodes on this machine, against the local engine.

Run ``python -m benchmarks.ray_cluster PRICES.parquet`` (needs the extra ``ray``). Each engine writes into an embedded
server of its own, and every row of every table is compared, all but the instants at which it was written.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from psycopg import sql

from benchmarks.recording import write_result
from benchmarks.servers import own_server
from prometheus.app import App
from prometheus.app.backfills import EngineChoice
from prometheus.backfill.plan import DateSpan, NumericRequest
from prometheus.encoders.identity import NUM_REGIME_CORE_V1
from prometheus.encoders.texts.chunks import available_cores
from prometheus.ingest.report import IngestOptions

WINDOW_DAYS = 63
SPAN = DateSpan.of_range(date(1900, 1, 1), date(2100, 1, 1))
HISTORICAL_TABLES = ("prices_daily", "models", "numeric_window_embeddings")
DIGEST = """
    SELECT count(*), md5(coalesce(string_agg(digest, '' ORDER BY digest), ''))
    FROM (SELECT md5((to_jsonb(row) - 'created_at' - 'updated_at' - 'ingested_at')::text) AS digest FROM {} AS row) AS t
"""

Digests = dict[str, tuple[int, str]]


def main() -> None:
    """Print times and digests, and as JSON with ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prices", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.prices)
    lines = [f"{name:<28}{value:>40}" for name, value in found.items()]
    print(json.dumps(found) if arguments.json else "\n".join(lines))
    write_result("ray_cluster", {}, found)


def measure(prices: Path) -> dict[str, str | float | int]:
    """Return times, counts and digests; fail where the rows of the engines differ."""
    local_s, n_written, local = carry_out(prices, EngineChoice())
    with two_nodes() as address:
        ray_s, n_written_by_ray, by_ray = carry_out(prices, EngineChoice("ray", ray_address=address))
    assert (local, n_written) == (by_ray, n_written_by_ray), (local, by_ray)
    return {
        "workers": available_cores(),
        "nodes": 2,
        "windows": n_written,
        "local_s": round(local_s, 1),
        "ray_s": round(ray_s, 1),
        "local_windows_per_s": round(n_written / local_s),
        "ray_windows_per_s": round(n_written / ray_s),
        **{f"{table}_rows": count for table, (count, _) in local.items()},
        **{f"{table}_md5": digest for table, (_, digest) in local.items()},
    }


def carry_out(prices: Path, choice: EngineChoice) -> tuple[float, int, Digests]:
    """Return how long the backfill took on a fresh server, how many rows it wrote, and digests of all tables."""
    with own_server() as app:
        app.prices.ingest_prices([prices], IngestOptions(today=SPAN.end))
        names = instruments_of(app)
        request = NumericRequest(names, SPAN, WINDOW_DAYS, NUM_REGIME_CORE_V1)
        done = app.embeddings.backfill(request, choice)
        return done.seconds, done.report.written, digests_of(app)


def instruments_of(app: App) -> tuple[str, ...]:
    """Return everything that has prices."""
    query = "SELECT DISTINCT instrument_id FROM prices_daily ORDER BY 1"
    with app.db_manager.get_historical_connection() as connection:
        return tuple(row[0] for row in connection.execute(query).fetchall())


def digests_of(app: App) -> Digests:
    """Return count and digest of every row, by table."""
    found: Digests = {}
    with app.db_manager.get_historical_connection() as connection:
        for table in HISTORICAL_TABLES:
            row = connection.execute(sql.SQL(DIGEST).format(sql.Identifier(table))).fetchone()
            assert row is not None
            found[table] = (int(row[0]), str(row[1]))
    return found


@contextmanager
def two_nodes() -> Iterator[str]:
    """Yield the address of a cluster whose two nodes share the cores of this machine."""
    from ray.cluster_utils import Cluster  # noqa: PLC0415 -- optional

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    n_cpus = max(1, available_cores() // 2)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": n_cpus, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=n_cpus)
        cluster.wait_for_nodes()
        yield cluster.address
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
