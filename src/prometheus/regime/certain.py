"""Decisions of a calibration in fewer steps, for those that no rounding can change; about the others it says nothing.

A label is the least of a few costs. Costs that are added in another order differ in their last digits, so a label whose
cost is less than all others by far more than that is the same in every order. The steps that `regime.decoding` takes
one after another are taken here for all blocks of a span at once: what the labels before a block cost is forgotten
within it, where every label before it leads to the same costs behind it, up to a constant. Blocks for which that does
not hold, and labels that are nearly as cheap as others, make the answer None, and the caller takes the long way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prometheus.arrays import Float32Matrix, Float64Matrix, Float64Vector, Int64Vector
from prometheus.regime.decoding import SpanDecoding
from prometheus.regime.types import RegimePrototype

MARGIN = 1e-7
"""A cost that is less than another by this is less whatever the order of adding."""
_AGREE = 1e-9
_WIDEST_ERROR = 1e-11
"""Of a distance; those of a whole span add to less than a tenth of the margin."""
_ROUNDING = 2.0**-53
_FEWEST_STEPS = 8
_MOST_PRODUCTS = 200_000
"""A matrix product of more multiplications may wake the threads of its library, which costs more than it saves."""


def certain_distances(vectors: Float32Matrix, prototypes: Sequence[RegimePrototype]) -> Float64Matrix | None:
    """Return the distances of vectors to prototypes, shape (n, n_prototypes), each less than 1e-11 off.

    None where that is not certain: of vectors that are far out, or very near to a prototype.
    """
    centers = np.stack([prototype.center for prototype in prototypes]).astype(np.float64)
    n_rows, dim = vectors.shape
    if not n_rows or centers.shape[1] != dim:
        return None
    lengths, squares = np.empty(n_rows), np.empty((n_rows, len(centers)))
    turned = np.ascontiguousarray(-2.0 * centers.T)
    n_at_once = max(1, _MOST_PRODUCTS // turned.size)
    wide = np.empty((n_at_once, dim))
    for first in range(0, n_rows, n_at_once):
        rows = slice(first, first + n_at_once)
        some = wide[: len(vectors[rows])]
        some[:] = vectors[rows]
        np.einsum("ij,ij->i", some, some, out=lengths[rows])
        np.matmul(some, turned, out=squares[rows])
    sizes = np.einsum("ij,ij->i", centers, centers)
    squares += lengths[:, np.newaxis]
    squares += sizes
    least = squares.min(axis=1)
    reach = np.sqrt(lengths) + np.sqrt(sizes.max())
    if not (dim * _ROUNDING * reach * reach < _WIDEST_ERROR * np.sqrt(np.maximum(least, 0.0))).all():
        return None
    return np.sqrt(squares, out=squares)


def certain_decoding(
    costs: Sequence[Float64Matrix], penalty: float, n_sessions: int, oldest: int
) -> SpanDecoding | None:
    """Return the decoding of a span by the costs of one or more sets of labels, shape (n, n_labels) each.

    `values`, `nearest` and `ages` are those of the first set: each session looks back on `n_sessions`, and ages are
    counted up to `oldest`. None where rounding may decide.
    """
    length = (n_sessions - oldest + 2) // 2  # a label's own sessions then hold a whole block, at each age
    n_rows = len(costs[0])
    if length < _FEWEST_STEPS or n_rows < 2 * length:
        return None
    scan = _scan(costs, penalty, length)
    if scan is None:
        return None
    paths = []
    for table, ahead, behind in zip(costs, scan.ahead, scan.behind, strict=True):
        path = _certain_least(ahead + behind - table.T)
        if path is None:
            return None
        paths.append(path[n_sessions - 1 :])
    told = _certain_least(scan.ahead[0][:, n_sessions - oldest :])
    if told is None:
        return None
    values = scan.ahead[0][:, n_sessions - 1 :]
    return SpanDecoding(values - values.min(axis=0), told[oldest - 1 :], _ages(told, oldest), paths)


@dataclass(frozen=True, slots=True, eq=False)
class _Scan:
    """By set of labels, shape (n_labels, n): the least cost of the sessions up to each one, and from each one on.

    Both count the session itself, and are up to a constant of it.
    """

    ahead: Sequence[Float64Matrix]
    behind: Sequence[Float64Matrix]


def _scan(costs: Sequence[Float64Matrix], penalty: float, length: int) -> _Scan | None:
    n_rows, n_labels = costs[0].shape
    n_blocks = -(-n_rows // length)
    padded = np.zeros((2 * len(costs), n_blocks * length, n_labels))
    for at, table in enumerate(costs):
        padded[2 * at, :n_rows] = table
        padded[2 * at + 1] = padded[2 * at, ::-1]
    blocks = np.ascontiguousarray(padded.reshape(2 * len(costs), n_blocks, length, n_labels).transpose(2, 3, 0, 1))
    reached = _reached(blocks.reshape(length, n_labels, -1), penalty)
    ends = reached[-1].reshape(n_labels, n_labels, 2 * len(costs), n_blocks)
    if not _is_forgotten(ends[..., 0::2, : n_rows // length]) or not _is_forgotten(ends[..., 1::2, 1:]):
        return None
    before = np.zeros((n_labels, 2 * len(costs), n_blocks))
    free = ends.min(axis=1)
    before[..., 1:] = (free - free.min(axis=0))[..., :-1]
    reached += before.reshape(n_labels, -1)
    least = np.minimum.reduce(reached, axis=2)
    rows = (
        least.reshape(length, n_labels, 2 * len(costs), -1).transpose(2, 1, 3, 0).reshape(2 * len(costs), n_labels, -1)
    )
    return _Scan(rows[0::2, :, :n_rows], rows[1::2, :, ::-1][..., :n_rows])


def _reached(costs: Float64Matrix, penalty: float) -> Float64Matrix:
    """Return what the labels cost in blocks, shape (length, n_labels, n_labels, n_blocks): each from each before."""
    length, n_labels, n_blocks = costs.shape
    found = np.empty((length, n_labels, n_labels, n_blocks))
    values = np.empty((n_labels, n_labels, n_blocks))
    values[:] = np.where(np.eye(n_labels, dtype=bool), 0.0, penalty)[..., np.newaxis]
    ceiling, kept = np.empty((n_labels, n_blocks)), np.empty_like(values)
    for step in range(length):
        np.minimum.reduce(values, axis=0, out=ceiling)
        ceiling += penalty
        np.minimum(values, ceiling, out=kept)
        values = np.add(kept, costs[step][:, np.newaxis], out=found[step])
    return found


def _is_forgotten(ends: Float64Matrix) -> bool:
    """Return whether the labels behind blocks cost the same, up to a constant, from every label before (axis 1)."""
    apart = ends - ends[:, :1]
    return bool((apart.max(axis=0) - apart.min(axis=0)).max(initial=0.0) < _AGREE)


def _certain_least(values: Float64Matrix) -> Int64Vector | None:
    """Return which of the labels costs least on each session, None if another costs nearly as little on one."""
    is_least = values < values.min(axis=0) + MARGIN
    if int(np.count_nonzero(is_least)) != values.shape[1]:
        return None
    told: Int64Vector = is_least.T.nonzero()[1]
    return told


def _ages(told: Int64Vector, oldest: int) -> Int64Vector:
    """Return how many sessions in a row each label has been told, shape (n - oldest + 1,)."""
    rows = np.arange(len(told))
    begins = np.zeros(len(told), dtype=np.int64)
    begins[1:] = np.where(told[1:] != told[:-1], rows[1:], 0)
    ages: Int64Vector = np.minimum(rows - np.maximum.accumulate(begins) + 1, oldest)
    return ages[oldest - 1 :]


def certain_place(
    decoding: SpanDecoding, weights: Sequence[float], temperatures: Float64Vector, *, floor: float
) -> int | None:
    """Return the place of the temperature at which the labels of hindsight are likeliest, each series by its weight.

    None where two of them are nearly as likely. `floor` is added to every probability.
    """
    rows = np.arange(decoding.values.shape[1])
    known: dict[int, float] = {}

    def loss(place: int) -> float:
        if place not in known:
            shares = decoding.values * (-1.0 / temperatures[place])
            np.exp(shares, out=shares)
            total = shares.sum(axis=0)
            logs = (np.log(shares[path, rows] / total + floor) for path in decoding.paths)
            known[place] = sum(-weight * float(each.mean()) for weight, each in zip(weights, logs, strict=True))
        return known[place]

    low, high = 0, len(temperatures) - 1
    while low < high:
        middle = (low + high) // 2
        gain = loss(middle + 1) - loss(middle)
        if not abs(gain) > 10.0 * MARGIN:
            return None
        low, high = (low, middle) if gain > 0 else (middle + 1, high)
    return low
