"""Analog search written to be read: every pair by a loop, nothing shared with the fast code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from prometheus.analogs.search import Metric
from prometheus.encoders.joint.models import unit_rows
from prometheus.regime.decoding import euclidean_distances


def distance(first: Sequence[float], second: Sequence[float], metric: str) -> float:
    """Return the Euclidean distance, or 1 less the cosine."""
    if metric == "euclidean":
        return math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(first, second, strict=True)))
    lengths = math.sqrt(math.fsum(a * a for a in first)) * math.sqrt(math.fsum(b * b for b in second))
    return 1.0 - math.fsum(a * b for a, b in zip(first, second, strict=True)) / lengths


def nearest(
    vectors: np.ndarray, at: int, k: int, exclude: int, metric: str, *, least: bool = False
) -> list[tuple[int, float]]:
    """Return rows before `at` and their distances, the next one always the nearest, or most distant, that is free."""
    found: list[tuple[int, float]] = []
    rows = [(distance(vectors[row].tolist(), vectors[at].tolist(), metric), row) for row in range(at)]
    for measured, row in sorted(rows, key=lambda each: (-each[0] if least else each[0], each[1])):
        if len(found) < k and all(abs(row - taken) > exclude for taken in [at, *(each for each, _ in found)]):
            found.append((row, measured))
    return found


def nearest_by_sorting_all(
    vectors: np.ndarray, at: int, k: int, exclude: int, metric: Metric, *, least: bool = False
) -> tuple[list[int], np.ndarray]:
    """Return rows before `at` and their distances: every one is measured, and all are sorted."""
    compared = vectors
    if metric == "cosine":
        compared = unit_rows(vectors.astype(np.float64))
    distances = euclidean_distances(compared[: max(0, at - exclude)], compared[at : at + 1])[:, 0]
    if metric == "cosine":
        distances = 0.5 * distances**2
    chosen: list[int] = []
    for row in np.argsort(-distances if least else distances, kind="stable").tolist():
        if len(chosen) < k and all(abs(row - taken) > exclude for taken in chosen):
            chosen.append(row)
    return chosen, distances[chosen]


def squared_distances(vectors: np.ndarray) -> np.ndarray:
    """Return the squared distances of all pairs, shape (n, n), by the formula of the fast code on all at once."""
    wide = vectors.astype(np.float64)
    lengths = (wide * wide).sum(axis=1)
    squares: np.ndarray = lengths[:, np.newaxis] + lengths - 2.0 * (wide @ wide.T)
    squares[squares < 0.0] = 0.0
    return squares


def share_of_pairs(vectors: np.ndarray, at: int, limit: float, exclude: int, metric: str) -> float:
    """Return the share of all pairs up to `at` that are no neighbours and as near as `limit`, or nearer."""
    measured = [
        distance(vectors[first].tolist(), vectors[second].tolist(), metric)
        for second in range(at + 1)
        for first in range(second)
        if second - first > exclude
    ]
    return sum(each <= limit for each in measured) / len(measured)


def outcome(closes: Sequence[float], at: int, horizon: int) -> tuple[float, float, float]:
    """Return return, annualised volatility and worst drawdown of the sessions after `at`."""
    path = closes[at : at + horizon + 1]
    squares = [math.log(later / earlier) ** 2 for earlier, later in pairwise(path)]
    worst = max(1.0 - later / max(path[: number + 1]) for number, later in enumerate(path))
    return path[-1] / path[0] - 1.0, math.sqrt(252 * math.fsum(squares) / horizon), worst
