"""Distances to prototypes, and labels with a price on changing them, given online: none is taken back later.

The cost of a sequence of labels is the sum of each session's distance to the prototype of its label, plus a penalty for
every change. The recursion is Viterbi's (1967) without the backward pass; the penalised cost is that of statistical
jump models (Bemporad, Breschi, Piga and Boyd, 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Float32Matrix, Float64Matrix, Int64Vector
from prometheus.errors import PrototypeError, WindowShapeError
from prometheus.regime.types import RegimePrototype

_FEW_SESSIONS = 3
"""At most this number of sessions is decoded in plain floats."""
_ROWS_AT_ONCE = 128
"""As many as a core's cache holds."""


def euclidean_distances(
    vectors: Float32Matrix | Float64Matrix, centers: Float32Matrix | Float64Matrix
) -> Float64Matrix:
    """Return the distance of each vector to each centre, shape (n_vectors, n_centers), float64.

    Squares are added row by row, so no distance depends on how many vectors there are, as it may with a matrix product.
    """
    distances = np.empty((len(vectors), len(centers)))
    wide_centers = centers.astype(np.float64)
    wide = np.empty((min(_ROWS_AT_ONCE, len(vectors)), centers.shape[1]))  # a sum's order follows the layout in memory
    apart = np.empty_like(wide)
    for first in range(0, len(vectors), _ROWS_AT_ONCE):
        rows = slice(first, min(first + _ROWS_AT_ONCE, len(vectors)))
        some, differences = wide[: rows.stop - first], apart[: rows.stop - first]
        some[:] = vectors[rows]
        for column, center in enumerate(wide_centers):
            np.subtract(some, center, out=differences)
            differences *= differences
            np.add.reduce(differences, axis=1, out=distances[rows, column])
    return np.sqrt(distances, out=distances)


def prototype_distances(vectors: Float32Matrix, prototypes: Sequence[RegimePrototype]) -> Float64Matrix:
    """Return the distances of vectors to prototypes, or raise `PrototypeError` if they differ in dimension."""
    centers = np.stack([prototype.center for prototype in prototypes])
    if vectors.shape[1] != centers.shape[1]:
        raise PrototypeError(
            "prototypes", f"of {centers.shape[1]} values against embeddings of {vectors.shape[1]} values"
        )
    return euclidean_distances(vectors, centers)


def forward_costs(costs: Float64Matrix, penalty: float, n_sessions: int) -> Float64Matrix:
    """Return what the cheapest sequence that ends in each label costs above the cheapest of all, at every session.

    `costs`, shape (n, n_labels), are finite and ascend in time; each row looks back on `n_sessions` up to its own. The
    first row of the result, shape (n - n_sessions + 1, n_labels), belongs to session ``n_sessions - 1``.
    """
    return forward_costs_and_ages(costs, penalty, n_sessions, 1)[0]


def forward_costs_and_ages(
    costs: Float64Matrix, penalty: float, n_sessions: int, oldest: int
) -> tuple[Float64Matrix, Int64Vector]:
    """Return the costs of `forward_costs`, and how many sessions each row's label has been the cheapest in a row.

    Ages, shape (n - n_sessions + 1,), are 1 on the first session and counted up to `oldest` and `n_sessions`. Those of
    a row come from its own `n_sessions` alone, each label among them from the sessions before it there.
    """
    n_out = len(costs) - n_sessions + 1
    if n_out < 1:
        raise WindowShapeError("costs to decode", costs.shape, (f"at least {n_sessions}", "n_labels"))
    if n_out <= _FEW_SESSIONS:
        looked_back = [costs[first : first + n_sessions].tolist() for first in range(n_out)]
        decoded = [_decode_last(rows, penalty, oldest) for rows in looked_back]
        return np.array([values for values, _ in decoded]), np.array([age for _, age in decoded], dtype=np.int64)
    by_label = np.ascontiguousarray(costs.T)
    values = np.zeros((by_label.shape[0], n_out))
    ages, nearest = np.zeros(n_out, dtype=np.int64), np.full(n_out, -1)
    for first in range(n_sessions):  # the least value is 0 before and after each session
        np.minimum(values, penalty, out=values)
        values += by_label[:, first : first + n_out]
        values -= values.min(axis=0)
        if first >= n_sessions - oldest:
            before, nearest = nearest, values.argmin(axis=0)
            ages = np.where(nearest == before, ages + 1, 1)
    return np.ascontiguousarray(values.T), ages


def _decode_last(rows: list[list[float]], penalty: float, oldest: int) -> tuple[list[float], int]:
    """Do the same operations in plain floats, without numpy's cost per call."""
    values = [0.0] * len(rows[0])
    age, nearest = 0, -1
    for to_come, row in zip(range(len(rows) - 1, -1, -1), rows, strict=True):
        values = [value + cost if value < penalty else penalty + cost for value, cost in zip(values, row, strict=True)]
        least = min(values)
        values = [value - least for value in values]
        if to_come < oldest:
            before, nearest = nearest, values.index(0.0)
            age = age + 1 if nearest == before else 1
    return values, age


@dataclass(frozen=True, slots=True, eq=False)
class SpanDecoding:
    """The labels of a span as columns of its prototypes.

    `values`, shape (n_labels, n), are what each label costs above the cheapest on the sessions that have enough before
    them; `nearest` and `ages`, shape (n,), are their labels and how long those have been the cheapest; `paths` are the
    labels of the same sessions in hindsight, one series for each set of prototypes.
    """

    values: Float64Matrix
    nearest: Int64Vector
    ages: Int64Vector
    paths: Sequence[NDArray[np.intp]]


def decode_span(costs: Sequence[Float64Matrix], penalty: float, n_sessions: int, oldest: int) -> SpanDecoding:
    """Return the decoding of a span by the costs of one or more sets of labels, shape (n, n_labels) each.

    `values`, `nearest` and `ages` are those of the first set: each session looks back on `n_sessions`, and ages are
    counted up to `oldest`.
    """
    values, ages = forward_costs_and_ages(costs[0], penalty, n_sessions, oldest)
    paths = [viterbi_path(each, penalty)[n_sessions - 1 :] for each in costs]
    return SpanDecoding(values.T, values.argmin(axis=1), ages, paths)


def viterbi_path(costs: Float64Matrix, penalty: float) -> NDArray[np.intp]:
    """Return the labels of the cheapest sequence, shape (n,), in hindsight: for calibration on the past only."""
    values = [0.0] * costs.shape[1]
    before: list[tuple[list[float], float, float]] = []
    for row in costs.tolist():  # plain floats: a call of numpy costs more than four labels do
        least = min(values)
        ceiling = least + penalty
        before.append((values, least, ceiling))
        values = [value + cost if value < ceiling else ceiling + cost for value, cost in zip(values, row, strict=True)]
    path = []
    label = values.index(min(values))
    for earlier, least, ceiling in reversed(before):
        path.append(label)
        if earlier[label] > ceiling:
            label = earlier.index(least)
    return np.array(path[::-1], dtype=np.intp)


def posterior(values: Float64Matrix, temperature: float) -> Float64Matrix:
    """Return softmax(-values / temperature), shape (n, n_labels), rows adding to 1; values have 0 as their least."""
    with np.errstate(over="ignore"):  # a tiny temperature: exp(-inf) is 0, as it should be
        weights = np.exp(-values / temperature)
    shares: Float64Matrix = weights / weights.sum(axis=1, keepdims=True)
    return shares


def costs_behind(posteriors: Float64Matrix, costs: Float64Matrix, temperature: float) -> Float64Matrix:
    """Return what each label cost above the cheapest before a session's own costs were added, shape (n, n_labels).

    It undoes the last step of `forward_costs`, and `posterior`: 0 is the label that the sessions before ended in, and
    none exceeds the penalty of a change. A probability below the least normal float counts as that.
    """
    behind: Float64Matrix = -temperature * np.log(np.maximum(posteriors, np.finfo(np.float64).tiny)) - costs
    behind -= behind.min(axis=1, keepdims=True)
    return behind
