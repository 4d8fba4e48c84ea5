"""One order out of scores of several kinds: each in standard deviations from the mean of the texts compared, added."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float32Matrix, Float32Vector, Float64Vector, Int64Vector

ROWS_IN_CACHE, PAGES_SORTED_FIRST = 256, 20

NUDGE = 2.5
"""How far a second cue moves a text, in standard deviations of the scores."""


def standardised(scores: Float64Vector) -> Float64Vector:
    """Return scores in standard deviations from their mean, shape (n,); 0 for NaN, and where all are equal.

    NaN stands for a text that has no score of that kind: it takes no part in mean and deviation, and counts as the
    mean.

    Examples
    --------
    >>> standardised(np.array([1.0, 3.0, np.nan])).tolist()
    [-1.0, 1.0, 0.0]
    """
    is_there = ~np.isnan(scores)
    if is_there.all():
        return _in_deviations(scores)
    found = np.zeros(len(scores))
    found[is_there] = _in_deviations(scores[is_there])
    return found


def _in_deviations(values: Float64Vector) -> Float64Vector:
    if not len(values) or np.ptp(values) == 0:
        return np.zeros(len(values))
    found: Float64Vector = (values - values.mean()) / values.std()
    return found


def standardised_by(groups: NDArray[np.integer], scores: Float64Vector) -> Float64Vector:
    """Return scores standardised within each group of texts, shape (n,): those of two models have no common measure."""
    found = np.zeros(len(scores))
    for group in np.unique(groups):
        members = groups == group
        found[members] = standardised(scores[members])
    return found


def nudged(scores: Float64Vector, agreements: NDArray[np.integer], deviation: float) -> Float64Vector:
    """Return scores, shape (n,), moved by what a second cue says: above 0 for a text, below against it, 0 nothing.

    A cue of 1 moves a text by two and a half standard deviations of all scores: it sorts hits that are nearly equal.

    Examples
    --------
    >>> nudged(np.array([6.0, 5.0, 1.0]), np.array([-1, 0, 1]), 1.0).tolist()
    [3.5, 5.0, 3.5]
    """
    return scores + NUDGE * deviation * agreements


def best_first(scores: Float64Vector, days: DateVector, text_ids: Int64Vector, n_rows: int) -> Iterator[Int64Vector]:
    """Yield positions by falling score, `n_rows` at a time; of equal ones the earliest first, then the lowest id.

    Most askers stop early, so the rest is not sorted before they ask for it.

    Examples
    --------
    >>> days, ids = np.array(["2024-01-03", "2024-01-02", "2024-01-01"], "M8[D]"), np.array([1, 2, 3])
    >>> [each.tolist() for each in best_first(np.array([1.0, 1.0, 0.5]), days, ids, 2)]
    [[1, 0], [2]]
    """
    falling, n_best = -np.ascontiguousarray(scores), PAGES_SORTED_FIRST * n_rows
    most = np.partition(falling, n_best)[n_best] if len(falling) > n_best else np.inf
    for part in (np.flatnonzero(falling <= most), np.flatnonzero(falling > most)):
        order = part[np.lexsort((text_ids[part], days[part], falling[part]))]
        yield from (order[first : first + n_rows] for first in range(0, len(order), n_rows))


def directions(vectors: Float32Matrix) -> Float32Matrix:
    """Return each row at unit length, shape (n, dim); zeros stay zeros. No row depends on others."""
    found = np.zeros_like(vectors)
    for first in range(0, len(vectors), ROWS_IN_CACHE):
        rows = slice(first, first + ROWS_IN_CACHE)
        wide = vectors[rows].astype(np.float64)
        lengths = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
        np.divide(wide, lengths, out=found[rows], where=lengths > 0, casting="same_kind")
    return found


def cosines(rows: Float32Matrix, vector: Float32Vector) -> Float64Vector:
    """Return the cosine of each row, of unit length, with a vector, shape (n,).

    Each sum is made alone, where a product by BLAS would add in an order that depends on how many rows there are.
    """
    (direction,) = directions(vector[np.newaxis])
    found: Float64Vector = np.einsum("ij,j->i", rows, direction).astype(np.float64)
    return found
