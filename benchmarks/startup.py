"""Whole-process time of a single-date command against the cost of its unavoidable imports, side by side."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

BASELINE = [sys.executable, "-c", "import numpy, psycopg"]
COMMAND = [
    sys.executable, "-m", "prometheus.scripts.run_numeric_regime",
    "--region", "US", "--instrument-id", "AAPL.US", "--as-of", "2025-01-31",
]  # fmt: skip
N_PAIRS = 15


def seconds(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    return time.perf_counter() - begin


def main() -> None:
    seconds(COMMAND)
    seconds(BASELINE)
    ratios = sorted(seconds(COMMAND) / seconds(BASELINE) for _ in range(N_PAIRS))
    print(
        f"run_numeric_regime / import numpy, psycopg: median {statistics.median(ratios):.2f}, "
        f"lowest {ratios[0]:.2f}, highest {ratios[-1]:.2f} over {N_PAIRS} pairs"
    )


if __name__ == "__main__":
    main()
