"""The slow twin of multinomial logistic regression: gradient descent on lists, in small steps, until nothing moves."""

from __future__ import annotations

import math
from collections.abc import Sequence


def slow_softmax(
    features: Sequence[Sequence[float]], classes: Sequence[int], n_classes: int, looseness: float, step: float = 0.02
) -> list[list[float]]:
    """Weights by feature, the intercepts last, of the summed log loss plus the squared weights / (2 * looseness)."""
    n_features = len(features[0])
    rows = [[*row, 1.0] for row in features]
    weights = [[0.0] * n_classes for _ in range(n_features + 1)]
    for _ in range(50_000):
        gradient = [[value / looseness if at < n_features else 0.0 for value in row] for at, row in enumerate(weights)]
        for row, wanted in zip(rows, classes, strict=True):
            odds = [math.exp(sum(x * w[k] for x, w in zip(row, weights, strict=True))) for k in range(n_classes)]
            for k in range(n_classes):
                miss = odds[k] / sum(odds) - (k == wanted)
                for at, x in enumerate(row):
                    gradient[at][k] += miss * x
        for at, slopes in enumerate(gradient):
            for k, slope in enumerate(slopes):
                weights[at][k] -= step * slope
        if max(abs(slope) for slopes in gradient for slope in slopes) < 1e-8:
            return weights
    raise AssertionError("the slow twin did not arrive")
