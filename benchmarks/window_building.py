"""Windows built and encoded by ``num-regime-core-v1`` on one core, without the database, against the machine's memory.

Run ``python -m benchmarks.window_building``. Bars of random walks are in memory; timed is everything from them to
vectors and input hashes. The slow twin of the tests does a sample. The bound is how many vectors the memory takes in
the same time: a plain copy of as many bytes as are read and written, timed in turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
from tests.reference.windows import Row, bars_of_histories, float32_bytes, slow_vector, slow_window, walk

from benchmarks.recording import record
from prometheus.encoders.models_simple_numeric import PadToDimNumericEmbeddingModel
from prometheus.encoders.numeric.windows import windows_in_range
from prometheus.market.bars import PriceBars

WINDOW_DAYS = 63
DIM = 384
CHUNK = 16_384
BYTES_MOVED = 4 * (3 * WINDOW_DAYS + DIM)
"""Of one window: its features read, its vector written."""
ONE_CORE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def main() -> None:
    """Print rates and ratios, and keep them."""
    if any(os.environ.get(name) != value for name, value in ONE_CORE.items()):
        os.execve(sys.executable, [sys.executable, "-m", __spec__.name, *sys.argv[1:]], {**os.environ, **ONE_CORE})
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result")
    arguments = parser.parse_args()
    n_rows = CHUNK // 6 + WINDOW_DAYS - 1
    histories = {f"B{number}": walk(n_rows, seed=number) for number in range(6)}
    figures = measure(bars_of_histories(histories), histories["B0"], arguments.rounds)
    record("window_building", {"rounds": arguments.rounds}, figures, keep=not arguments.is_trial)


def measure(bars: PriceBars, history: list[Row], n_rounds: int) -> dict[str, float]:
    """Return rates and ratios; a round is our way and the copy, one after the other."""
    model = PadToDimNumericEmbeddingModel(DIM)
    n_windows = len(build_and_encode(bars, model))
    prove_equal(bars, model, history)
    source = np.ones(n_windows * BYTES_MOVED // 2, dtype=np.uint8)
    target = np.empty_like(source)
    rounds = [
        (seconds(lambda: build_and_encode(bars, model)), seconds(lambda: np.copyto(target, source)))
        for _ in range(n_rounds)
    ]
    sample = [row[0] for row in history[-50:]]
    slow = seconds(lambda: [slow_vector(slow_window(history, day, WINDOW_DAYS) or [], DIM) for day in sample])
    ours = statistics.median(own for own, _ in rounds)
    return {
        "windows a second": n_windows / ours,
        "times the slow twin": slow / len(sample) / (ours / n_windows),
        "bytes moved, GB a second": n_windows * BYTES_MOVED / ours / 1e9,
        "share of a plain copy": statistics.median(copy / own for own, copy in rounds),
    }


def build_and_encode(bars: PriceBars, model: PadToDimNumericEmbeddingModel) -> Any:
    """Return the vectors of all windows."""
    return windows_in_range(bars, date(1900, 1, 1), date(2100, 1, 1), WINDOW_DAYS).windows.vectors(model)


def prove_equal(bars: PriceBars, model: PadToDimNumericEmbeddingModel, history: list[Row]) -> None:
    """Stop unless the newest vector of the first history is that of the slow twin."""
    windows = windows_in_range(bars, date(1900, 1, 1), date(2100, 1, 1), WINDOW_DAYS).windows
    newest = int(np.flatnonzero(windows.entity_index == 0)[-1])
    features = slow_window(history, history[-1][0], WINDOW_DAYS)
    expected = float32_bytes(slow_vector(features or [], DIM))
    if windows.take(slice(newest, newest + 1)).vectors(model).tobytes() != expected:
        raise SystemExit("the vectors differ")


def seconds(work: Callable[[], Any]) -> float:
    """Return how long it took, in time of this process."""
    clock = time.process_time()
    work()
    return time.process_time() - clock


if __name__ == "__main__":
    main()
