"""Multinomial logistic regression by L-BFGS, and the temperature that makes its probabilities honest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from prometheus.arrays import Float64Matrix, Float64Vector, Int64Vector

MOST_STEPS, TOLERANCE, MEMORY = 500, 1e-5, 10
_LEAST_GAIN = 1e-4
_TEMPERATURES = np.exp(np.linspace(-1.5, 1.5, 301))


class Design(Protocol):
    """Rows of features; only products with them are needed."""

    def __len__(self) -> int: ...
    @property
    def n_columns(self) -> int:
        """Features."""

    def times(self, weights: Float64Matrix, /) -> Float64Matrix:
        """Return the product with weights, shape (n_columns, k)."""

    def transposed_times(self, values: Float64Matrix, /) -> Float64Matrix:
        """Return the product of the transposed matrix with values, shape (n, k)."""


@dataclass(frozen=True, slots=True, eq=False)
class DenseRows:
    """Features of sentences, shape (n, n_columns)."""

    features: Float64Matrix

    def __len__(self) -> int:
        return len(self.features)

    @property
    def n_columns(self) -> int:
        """Features."""
        return int(self.features.shape[1])

    def times(self, weights: Float64Matrix) -> Float64Matrix:
        """Return the product with weights, shape (n_columns, k)."""
        return np.asarray(self.features @ weights)

    def transposed_times(self, values: Float64Matrix) -> Float64Matrix:
        """Return the product of the transposed matrix with values, shape (n, k)."""
        return np.asarray(self.features.T @ values)


@dataclass(frozen=True, slots=True, eq=False)
class SoftmaxWeights:
    """Weights, shape (n_columns, k), and intercepts, shape (k,), in float64."""

    weights: Float64Matrix
    intercepts: Float64Vector

    def log_odds(self, design: Design) -> Float64Matrix:
        """Return what `softmax` makes probabilities of, shape (n, k)."""
        return design.times(self.weights) + self.intercepts


def softmax(log_odds: Float64Matrix) -> Float64Matrix:
    """Return probabilities of the same shape, rows summing to 1.

    Examples
    --------
    >>> softmax(np.array([[0.0, 0.0], [1000.0, 0.0]])).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    shifted = np.exp(log_odds - log_odds.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def fit_softmax(design: Design, classes: Int64Vector, n_classes: int, looseness: float) -> SoftmaxWeights:
    """Return the weights that minimise the summed log loss plus ``|weights|² / (2 * looseness)``.

    `classes`, shape (n,), are below `n_classes`. L-BFGS (Nocedal and Wright, Numerical Optimization, 2006, chapter 7)
    with a step that is halved until it is an improvement; the intercepts are free.
    """
    shape = (design.n_columns + 1, n_classes)
    hits = np.eye(n_classes)[classes]

    def loss(point: Float64Vector) -> tuple[float, Float64Vector]:
        both = point.reshape(shape)
        weights, intercepts = both[:-1], both[-1]
        log_odds = design.times(weights) + intercepts
        highest = log_odds.max(axis=1, keepdims=True)
        normal = np.log(np.exp(log_odds - highest).sum(axis=1, keepdims=True)) + highest
        value = float((normal[:, 0] - (log_odds * hits).sum(axis=1)).sum() + (weights**2).sum() / (2.0 * looseness))
        misses = np.exp(log_odds - normal) - hits
        slope = np.vstack([design.transposed_times(misses) + weights / looseness, misses.sum(axis=0)])
        return value, slope.ravel()

    both = _minimised(loss, np.zeros(shape[0] * shape[1]), TOLERANCE * max(1, len(design))).reshape(shape)
    return SoftmaxWeights(both[:-1], both[-1])


def _minimised(
    loss: Callable[[Float64Vector], tuple[float, Float64Vector]], point: Float64Vector, tolerance: float
) -> Float64Vector:
    pairs: deque[tuple[Float64Vector, Float64Vector]] = deque(maxlen=MEMORY)
    value, slope = loss(point)
    for _ in range(MOST_STEPS):
        if float(np.abs(slope).max()) < tolerance:
            break
        direction = _direction(slope, pairs)
        length, gain = (1.0 if pairs else 1.0 / max(1.0, float(np.abs(slope).sum()))), float(slope @ direction)
        new_value, new_slope = loss(point + length * direction)
        while new_value > value + _LEAST_GAIN * length * gain and length > 1e-12:
            length /= 2.0
            new_value, new_slope = loss(point + length * direction)
        step, bend = length * direction, new_slope - slope
        if float(step @ bend) > 1e-12:
            pairs.append((step, bend))
        point, value, slope = point + step, new_value, new_slope
    return point


def _direction(slope: Float64Vector, pairs: deque[tuple[Float64Vector, Float64Vector]]) -> Float64Vector:
    """Return the two-loop recursion's direction of descent."""
    rest, shares = slope.copy(), []
    for step, bend in reversed(pairs):
        share = float(step @ rest) / float(step @ bend)
        shares.append(share)
        rest -= share * bend
    if pairs:
        step, bend = pairs[-1]
        rest *= float(step @ bend) / float(bend @ bend)
    for (step, bend), share in zip(pairs, reversed(shares), strict=True):
        rest += (share - float(bend @ rest) / float(step @ bend)) * step
    return -rest


def tempered(probabilities: Float64Matrix, temperature: float) -> Float64Matrix:
    """Return probabilities raised to ``1 / temperature``, rows summing to 1 again; above 1 they are less sure."""
    return softmax(np.log(np.clip(probabilities, 1e-12, 1.0)) / temperature)


def fit_temperature(probabilities: Float64Matrix, classes: Int64Vector) -> float:
    """Return the temperature of the least log loss on a grid (Guo, Pleiss, Sun and Weinberger, 2017)."""
    rows = np.arange(len(classes))
    losses = [
        -np.log(np.clip(tempered(probabilities, each)[rows, classes], 1e-12, 1.0)).mean() for each in _TEMPERATURES
    ]
    return float(_TEMPERATURES[int(np.argmin(losses))])
