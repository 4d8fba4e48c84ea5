"""``num-regime-core-v2`` on one core against two slower ways to the same vectors, measured side by side.

Run ``python -m benchmarks.numeric_encoding``. One rival is the slow twin of the tests, on a sample of the windows; the
other is what one writes first in numpy: every window is copied out of the table and each mean is a dot product with its
weights. All three get the bars of the packaged sample. Times are of the process, so that others on the machine count
for little; what counts are the ratios of neighbouring runs, and their median.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tests.reference.descriptors import LAGS, LAYOUT, slow_scale_free_vector

from benchmarks.recording import write_result
from prometheus.arrays import FeatureTable, Float64Matrix, Float64Vector, Int64Vector
from prometheus.encoders.numeric.features import LOG_PRICES
from prometheus.encoders.numeric.scale_free import ScaleFreeNumericEmbeddingModel, packaged_constants
from prometheus.ingest.sample import PRICES
from prometheus.market.bars import PriceBars

Encode = Callable[[FeatureTable, Int64Vector], Float64Matrix]

N_PAIRS = 5
ONE_CORE = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "VECLIB_MAXIMUM_THREADS": "1"}
WINDOW_DAYS = 513
HALF_LIVES = (2, 4, 8, 16, 32, 64, 128)
LENGTHS = (16, 32, 64, 128, 256, 512)


def weights_of(half_life: float, n_rows: int) -> Float64Vector:
    weights: Float64Vector = 0.5 ** (np.arange(n_rows)[::-1] / half_life)
    weights /= weights.sum()
    return weights


MEAN_WEIGHTS = {h: weights_of(h, 512) for h in (*HALF_LIVES, 256)}
PATH_WEIGHTS = {h: weights_of(h, 256) for h in (16, 32)}
ROWS = np.array([0, *LAGS])[:, np.newaxis] * -1 - 256 + np.arange(256)
"""The 256 returns before each lag, counted from the end of the window."""


def window_by_window(table: FeatureTable, ends: Int64Vector) -> Float64Matrix:
    """Copy each window, then take a dot product for each mean."""
    constants = packaged_constants()
    factors = np.sqrt(np.concatenate([np.full(len(names), share / len(names)) for names, share in LAYOUT]))
    order = [name for names, _ in LAYOUT for name in names]
    vectors = np.empty((len(ends), len(order)))
    for row, end in enumerate(ends.tolist()):
        found = numpy_descriptors(table[end - WINDOW_DAYS : end].copy())
        values = np.array([found[name] for name in order])
        vectors[row] = (values - constants.means) / constants.deviations * factors
    return vectors


def numpy_descriptors(window: FeatureTable) -> dict[str, Any]:
    price, returns = window[:, 0], np.diff(window[:, 0])
    falls = np.minimum(returns, 0)
    down = np.maximum(window[1:, 2] - returns, 0)
    ranges = down + np.maximum(window[1:, 1] + returns, 0)
    squares, falls_squared = returns**2, falls**2
    long = MEAN_WEIGHTS[256]
    ratio = np.log(ranges @ long + 1e-4) - np.log(np.abs(returns) @ long + 1e-4)
    found = {"range_ratio": ratio}
    for h in HALF_LIVES:
        weights = MEAN_WEIGHTS[h]
        downside = np.sqrt(falls_squared @ weights + 1e-8)
        found[f"range_{h}"] = np.log(ranges @ weights + 1e-4) - ratio
        found[f"down_range_{h}"] = np.log(down @ weights + 1e-4) - ratio
        found[f"volatility_{h}"] = np.log(squares @ weights + 1e-8) / 2
        found[f"downside_{h}"] = np.log(downside)
        found[f"sortino_{h}"] = returns @ weights / downside
    unit = np.exp(found["volatility_64"])
    for n in LENGTHS:
        last = price[-n:]
        found[f"drawdown_{n}"], found[f"rise_{n}"] = price[-1] - last.max(), price[-1] - last.min()
        found[f"average_{n}"] = (price[-1] - last.mean()) / (unit * np.sqrt(n))
        found[f"momentum_{n}"] = (price[-1] - price[-1 - n]) / (unit * np.sqrt(n))
    lags = np.array(LAGS)
    risk = np.log(down[ROWS] @ PATH_WEIGHTS[16] + 1e-4)
    trend = returns[ROWS] @ PATH_WEIGHTS[32] / np.sqrt(falls_squared[ROWS] @ PATH_WEIGHTS[32] + 1e-8)
    for kind, path in (
        ("price", (price[-1] - price[-1 - lags]) / (unit * np.sqrt(lags))),
        ("risk", risk[0] - risk[1:]),
        ("trend", trend[1:]),
    ):
        found |= {f"{kind}_path_{lag}": value for lag, value in zip(LAGS, path, strict=True)}
    return found


def with_the_slow_twin(table: FeatureTable, ends: Int64Vector) -> Float64Matrix:
    document = json.loads(packaged_constants().to_json())
    rows = [(row[0], row[1], row[2]) for row in table.tolist()]
    return np.array([slow_scale_free_vector(rows[:end], document["mean_and_deviation"]) for end in ends.tolist()])


def sample_table() -> tuple[FeatureTable, Int64Vector]:
    """The bars of both instruments in one table, and the ends of all their windows."""
    bars = pq.read_table(PRICES)
    names, first = np.unique(bars["instrument_id"].to_numpy(zero_copy_only=False).astype(str), return_index=True)
    offsets = np.append(first, len(bars)).astype(np.int64)
    fields = LOG_PRICES.bar_fields
    prices = PriceBars(
        instrument_ids=tuple(names.tolist()),
        offsets=offsets,
        dates=bars["trade_date"].to_numpy().astype("M8[D]"),
        fields=fields,
        values=np.stack([bars[field].to_numpy() for field in fields]),
    )
    ends = [np.arange(a + WINDOW_DAYS, b + 1) for a, b in pairwise(offsets.tolist())]
    return LOG_PRICES.tabulate(prices), np.concatenate(ends)


def seconds(encode: Callable[[], object]) -> float:
    begin = time.process_time()
    encode()
    return time.process_time() - begin


def compare(
    title: str, table: FeatureTable, ends: Int64Vector, every: int, rival: Callable[..., Float64Matrix]
) -> dict[str, float]:
    """Encode all windows our way and every so-many-th the other, in alternation; print and return rates and ratio."""
    model = ScaleFreeNumericEmbeddingModel()
    chosen = ends[::every]
    difference = np.abs(model.encode_table(table, chosen, WINDOW_DAYS) - rival(table, chosen)).max()
    ours, theirs = [], []
    for _ in range(N_PAIRS):
        ours.append(len(ends) / seconds(lambda: model.encode_table(table, ends, WINDOW_DAYS)))
        theirs.append(len(chosen) / seconds(lambda: rival(table, chosen)))
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    print(
        f"{title}: {statistics.median(theirs):,.0f} windows/s against our {statistics.median(ours):,.0f}, "
        f"{statistics.median(ratios):,.0f} times as many (of {N_PAIRS}: {min(ratios):,.0f} to {max(ratios):,.0f}); "
        f"largest difference {difference:.1e}",
        flush=True,
    )
    return {"windows a second": statistics.median(ours), f"times as fast as {title}": statistics.median(ratios)}


def one_alone(table: FeatureTable, ends: Int64Vector) -> None:
    model = ScaleFreeNumericEmbeddingModel()
    windows: Sequence[FeatureTable] = [table[end - WINDOW_DAYS : end] for end in ends[::100]]
    times = [seconds(lambda: [model.encode(window) for window in windows]) / len(windows) for _ in range(N_PAIRS)]
    print(f"one window alone: {statistics.median(times) * 1e6:,.0f} us (of {N_PAIRS}: {min(times) * 1e6:,.0f} us)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=20, help="one window in so many goes through numpy's dot products")
    parser.add_argument("--every-slow", type=int, default=1000, help="and one in so many through the slow twin")
    arguments = parser.parse_args()
    if not ONE_CORE.items() <= os.environ.items():
        command = [sys.executable, "-m", "benchmarks.numeric_encoding", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | ONE_CORE)  # numpy reads them when it is imported
    table, ends = sample_table()
    one_alone(table, ends)
    figures = compare("copies and dot products", table, ends, arguments.every, window_by_window)
    slow = compare("slow twin", table, ends, arguments.every_slow, with_the_slow_twin)
    write_result("numeric_encoding", {"windows": len(ends)}, slow | figures)


if __name__ == "__main__":
    main()
