"""Slow, obvious twins of classification, transitions and plans."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date


def slow_distance(vector: Sequence[float], center: Sequence[float]) -> float:
    """Euclidean, with an exact sum."""
    return math.sqrt(math.fsum((x - c) ** 2 for x, c in zip(vector, center, strict=True)))


def slow_softmax_of_nearest(distances: Sequence[float], temperature: float) -> float:
    """Share of the nearest in softmax(-distance / temperature)."""
    nearest = min(distances)
    return 1.0 / math.fsum(math.exp(-((distance - nearest) / temperature)) for distance in distances)


def slow_transitions(labels: Mapping[date, str]) -> set[tuple[date, date, str, str]]:
    """(date, date before it, label before, label) of every change in a history."""
    changes = set()
    before: date | None = None
    for day in sorted(labels):
        if before is not None and labels[before] != labels[day]:
            changes.add((day, before, labels[before], labels[day]))
        before = day
    return changes


def slow_matrix(labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """Share of each successor among the successors of each label that has one, zeros included."""
    matrix: dict[str, dict[str, float]] = {}
    for before in set(labels[:-1]):
        successors = [labels[at + 1] for at in range(len(labels) - 1) if labels[at] == before]
        matrix[before] = {after: successors.count(after) / len(successors) for after in set(labels)}
    return matrix


def slow_missing(
    wanted: Iterable[tuple[int, date, int]], stored: Iterable[tuple[int, date, int]]
) -> list[tuple[int, date, int]]:
    """Wanted (entity, date, input hash) without an equal stored one, in the order wanted."""
    known = set(stored)
    return [key for key in wanted if key not in known]
