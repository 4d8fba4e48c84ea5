"""Processor time of a single-date command and of its help, as whole processes, against the imports none can do without.

Run ``python -m benchmarks.startup``; ``--before`` is the ``src`` of another checkout, measured in turn with this one.
The time of the clock says on a busy machine how busy it is, so it is printed beside.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.recording import record
from benchmarks.servers import own_server
from prometheus.cli.runner import run_named
from prometheus.ingest.sample import PRICES

BASELINE = [sys.executable, "-c", "import numpy, psycopg"]
REGIME = [sys.executable, "-m", "prometheus.scripts.run_numeric_regime"]
COMMANDS = {
    "one date": [*REGIME, "--region", "US", "--instrument-id", "AAPL.US", "--as-of", "2025-01-31"],
    "help": [*REGIME, "--help"],
}
N_ROUNDS = 15


def seconds(command: list[str], source: Path | None = None) -> tuple[float, float]:
    """Return processor seconds and those of the clock."""
    environment = os.environ if source is None else os.environ | {"PYTHONPATH": str(source)}
    begin, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return processor, time.perf_counter() - begin


def compare(name: str, command: list[str], versions: dict[str, Path | None]) -> float:
    """Print how many times the processor time of the imports a command takes; return that of this version."""
    ratios: dict[str, list[tuple[float, float]]] = {version: [] for version in versions}
    for number in range(N_ROUNDS + 1):  # the first warms the caches
        base = seconds(BASELINE)
        for version, source in versions.items():
            took = seconds(command, source)
            if number:
                ratios[version].append((took[0] / base[0], took[1] / base[1]))
    for version, each in ratios.items():
        processor, clock = (sorted(column) for column in zip(*each, strict=True))
        print(
            f"{version}: run_numeric_regime, {name} / import numpy, psycopg: processor time {median(processor):.2f} "
            f"({processor[0]:.2f} to {processor[-1]:.2f}), clock {median(clock):.2f}, medians of {N_ROUNDS} rounds"
        )
    return median(processor for processor, _ in ratios["this"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="src of another checkout")
    before = parser.parse_args().before
    versions: dict[str, Path | None] = {"this": None} | ({} if before is None else {"before": before})
    with own_server():
        if run_named("ingest", ["prices", str(PRICES)]):
            sys.exit("the packaged prices could not be loaded")
        figures = {
            f"{name} / import numpy, psycopg": compare(name, command, versions) for name, command in COMMANDS.items()
        }
    record("startup", {"rounds": N_ROUNDS}, figures)


if __name__ == "__main__":
    main()
