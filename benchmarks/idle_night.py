"""A night with nothing to do, of many regions and many texts, from the start of Python to its end.

Run ``python -m benchmarks.idle_night``. Regions of seeded walks, each with a calibration of its own, and short texts
are stored in an embedded server of its own; the first night embeds all texts by their words, labels all sessions and
joins both. The nights after it have nothing to do; the first of them looks at every region once more. Each is a process
of its own; its processor seconds are counted with those that the server spends on it, as the clock tells more of the
machine's other work than of the night.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.recording import record
from benchmarks.servers import LAST, load_random_walks, server_cpu_s
from prometheus.app import open_app
from prometheus.app.databases import DatabaseManager
from prometheus.cli.runner import run_named
from prometheus.core.config import PrometheusConfig

CALIBRATED_UNTIL = "2012-12-31"
SUBJECTS = ("Inflation", "Credit growth", "The policy rate", "Unemployment", "Housing", "Trade", "Output", "Lending")
VERBS = ("rose", "fell", "was left where it was", "surprised", "stalled", "recovered", "slowed down", "picked up")
PLACES = ("in the north", "at the coast", "in the capital", "abroad", "in the cities", "in the south")


@dataclass(frozen=True, slots=True)
class Spent:
    """The seconds of one night: by the clock, of its process, and of the server."""

    clock: float
    process: float
    server: float

    @property
    def cpu(self) -> float:
        """Processor seconds of both."""
        return self.process + self.server


def main() -> None:
    """Print the seconds, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=50)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--sessions", type=int, default=6_525)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--home", type=Path, help="a folder to fill, or filled before, which is kept")
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result")
    arguments = parser.parse_args()
    with home(arguments.home) as folder:
        first = fill(folder, arguments.regions, arguments.texts, arguments.sessions)
        figures = measure(arguments.rounds, first)
    settings = {name: getattr(arguments, name) for name in ("regions", "texts", "sessions", "rounds")}
    record("idle_night", settings, figures, keep=not arguments.is_trial)


@contextmanager
def home(kept: Path | None) -> Iterator[Path]:
    """Yield the folder of the server; one of its own is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="prometheus-bench-", dir="/tmp") as own:
        folder = Path(own) if kept is None else kept
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        os.environ |= {
            "PROMETHEUS_HOME": f"{folder}/home", "PROMETHEUS_REGIONS_FILE": f"{folder}/regions.json",
            "PROMETHEUS_TEXT_MODEL_ID": "text-static-v1", "PROMETHEUS_NEWS_TEXT_MODEL_ID": "text-static-v1",
        }  # fmt: skip
        yield folder
        if kept is None:
            run_named("db", ["stop"])


def fill(folder: Path, n_regions: int, n_texts: int, n_sessions: int) -> Spent | None:
    """Store bars, prototypes and texts, and return what the first night took; None where it was done before."""
    regions = folder / "regions.json"
    if regions.exists():
        return None
    regions.write_text("{}")
    with open_app(PrometheusConfig()) as app:
        names = load_random_walks(app.db_manager, n_regions, n_sessions)
        load_texts(app.db_manager, n_texts)
    for name in names:
        run_named("calibrate", ["--region", name, "--instrument-id", name, "--until", CALIBRATED_UNTIL,
                                "--output", str(folder / f"{name}.json")])  # fmt: skip
    definitions = {name: {"instrument_id": name, "prototypes": f"{name}.json", "country": "US"} for name in names}
    regions.write_text(json.dumps(definitions))
    return night()


def load_texts(db_manager: DatabaseManager, n_texts: int) -> None:
    """Store half as many macro events as news, one every two hours up to `LAST`."""
    query = """
        INSERT INTO {table} ({columns})
        SELECT {kind}, %(last)s::timestamptz - n * interval '2 hours', 'US',
               (%(subjects)s::text[])[1 + n %% 8] || ' ' || (%(verbs)s::text[])[1 + n / 8 %% 8] || ' '
               || (%(places)s::text[])[1 + n / 64 %% 6] || ', by ' || n || ' basis points.'
        FROM generate_series(%(newest)s, 0, -1) AS n
    """
    tables = {
        "macro_events": ("event_type, timestamp, country, description", "'NOTE'"),
        "news_articles": ("language, published_at, source, headline", "'en'"),
    }
    for table, (columns, kind) in tables.items():
        given = {
            "last": f"{LAST} 12:00+00", "subjects": list(SUBJECTS), "verbs": list(VERBS), "places": list(PLACES),
            "newest": n_texts // 2 - 1,
        }  # fmt: skip
        with db_manager.get_historical_connection() as connection:
            connection.execute(query.format(table=table, columns=columns, kind=kind), given)
            connection.execute(f"ANALYZE {table}")


def measure(n_rounds: int, first: Spent | None) -> dict[str, float]:
    """Return the seconds of nights with nothing to do, and their share of the first night's."""
    second = night()
    idle = [night() for _ in range(n_rounds)]
    clock, process, server, cpu = (
        statistics.median(getattr(each, name) for each in idle) for name in ("clock", "process", "server", "cpu")
    )
    figures = {"clock, s": clock, "process, CPU s": process, "server, CPU s": server, "both, CPU s": cpu}
    if first is not None:
        figures |= {
            "first night, CPU s": first.cpu,
            "the night after it, CPU s": second.cpu,
            "idle / first": cpu / first.cpu,
        }
    return figures


def night() -> Spent:
    """Run a night in a process of its own."""
    command = [sys.executable, "-m", "prometheus", "nightly", "--as-of", str(LAST), "--json"]
    own, server, begin = children_cpu(), server_cpu_s(), time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    clock = time.perf_counter() - begin
    if done.returncode not in (0, 3):
        raise SystemExit(done.stderr)
    return Spent(clock, children_cpu() - own, server_cpu_s() - server)


def children_cpu() -> float:
    """Return the processor seconds of this process's children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
