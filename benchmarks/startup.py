"""Whole-process time of a single-date command and of its help, each against its unavoidable imports, side by side."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from benchmarks.servers import own_server
from prometheus.cli.runner import run_named
from prometheus.ingest.sample import PRICES

BASELINE = [sys.executable, "-c", "import numpy, psycopg"]
REGIME = [sys.executable, "-m", "prometheus.scripts.run_numeric_regime"]
COMMANDS = {
    "one date": [*REGIME, "--region", "US", "--instrument-id", "AAPL.US", "--as-of", "2025-01-31"],
    "help": [*REGIME, "--help"],
}
N_PAIRS = 15


def seconds(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    return time.perf_counter() - begin


def main() -> None:
    with own_server():
        if run_named("ingest", ["prices", str(PRICES)]):
            sys.exit("the packaged prices could not be loaded")
        for name, command in COMMANDS.items():
            seconds(command)
            seconds(BASELINE)
            ratios = sorted(seconds(command) / seconds(BASELINE) for _ in range(N_PAIRS))
            print(
                f"run_numeric_regime, {name} / import numpy, psycopg: median {statistics.median(ratios):.2f}, "
                f"lowest {ratios[0]:.2f}, highest {ratios[-1]:.2f} over {N_PAIRS} pairs"
            )


if __name__ == "__main__":
    main()
