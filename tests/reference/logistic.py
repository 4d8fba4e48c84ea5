"""The slow twin of logistic regression: plain gradient descent on lists, in small steps, until nothing moves."""

from __future__ import annotations

import math
from collections.abc import Sequence


def slow_gradient(
    features: Sequence[Sequence[float]],
    outcomes: Sequence[float],
    prior: Sequence[float],
    precision: Sequence[float],
    weights: Sequence[float],
) -> list[float]:
    """Of the mean log loss plus precision / 2 * (weight - prior) ** 2; the intercept comes first."""
    rows = [(1.0, *row) for row in features]
    misses = [
        1 / (1 + math.exp(-math.fsum(w * x for w, x in zip(weights, row, strict=True)))) - outcome
        for row, outcome in zip(rows, outcomes, strict=True)
    ]
    return [
        math.fsum(miss * row[at] for miss, row in zip(misses, rows, strict=True)) / len(rows)
        + precision[at] * (weights[at] - prior[at])
        for at in range(len(prior))
    ]


def slow_logistic(
    features: Sequence[Sequence[float]],
    outcomes: Sequence[float],
    prior: Sequence[float],
    precision: Sequence[float],
    step: float = 0.5,
) -> list[float]:
    """The weights at which the gradient vanishes; for features of about unit spread and some precision."""
    weights = [float(value) for value in prior]
    for _ in range(20_000):
        gradient = slow_gradient(features, outcomes, prior, precision, weights)
        weights = [weight - step * slope for weight, slope in zip(weights, gradient, strict=True)]
        if max(map(abs, gradient)) < 1e-9:
            return weights
    raise AssertionError("the slow twin did not arrive")
