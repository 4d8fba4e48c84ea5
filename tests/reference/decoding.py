"""Slow, obvious twins of decoding: every sequence of labels there is, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, product

Costs = Sequence[Sequence[float]]
"""Per session, what each label costs."""


def slow_cost(costs: Costs, path: Sequence[int], penalty: float) -> float:
    """What a sequence of labels costs: its labels, and every change of them."""
    n_changes = sum(before != after for before, after in pairwise(path))
    changing = penalty * n_changes if n_changes else 0.0  # no change costs nothing, however dear one would be
    return math.fsum([row[label] for row, label in zip(costs, path, strict=True)]) + changing


def slow_paths(costs: Costs) -> list[tuple[int, ...]]:
    """Every sequence of labels."""
    return list(product(range(len(costs[0])), repeat=len(costs)))


def slow_least_cost(costs: Costs, penalty: float) -> float:
    """What the cheapest sequence costs."""
    return min(slow_cost(costs, path, penalty) for path in slow_paths(costs))


def slow_forward_costs(costs: Costs, penalty: float) -> list[float]:
    """For the last session and each label, what the cheapest sequence ending in it costs above the cheapest of all."""
    ending: list[float] = [math.inf] * len(costs[0])
    for path in slow_paths(costs):
        ending[path[-1]] = min(ending[path[-1]], slow_cost(costs, path, penalty))
    return [value - min(ending) for value in ending]


def slow_softmax(values: Sequence[float], temperature: float) -> list[float]:
    """Shares of exp(-value / temperature), the least value being 0."""
    weights = [math.exp(-value / temperature) for value in values]
    return [weight / math.fsum(weights) for weight in weights]
