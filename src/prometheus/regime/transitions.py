"""What a history of labels says about change, and how likely a regime is to be left soon."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from statistics import fmean

import numpy as np

from prometheus.arrays import Int64Vector
from prometheus.regime.types import RegimeLabel

HORIZONS = (5, 21, 63)
"""Sessions ahead."""
SPELL_AGES = (1, 5, 21)
"""The session of a spell at which each of its ages begins (`benchmarks.exit_ages` judges them)."""
_BORROWED_SESSIONS = 200
"""Sessions of the whole label that are added to those of each age, so that few of them say little."""
_NORMAL_QUANTILE = 1.959963984540054
"""Of 97.5 %: intervals are of 95 %."""

TransitionCounts = Mapping[RegimeLabel, Mapping[RegimeLabel, int]]
TransitionMatrix = dict[RegimeLabel, dict[RegimeLabel, float]]


def transition_counts(labels: Sequence[RegimeLabel]) -> TransitionCounts:
    """Return how often each label seen followed each other one, stays included."""
    seen = [label for label in RegimeLabel if label in set(labels)]
    pairs = Counter(pairwise(labels))
    return {before: {after: pairs[before, after] for after in seen} for before in seen}


def transition_matrix(counts: TransitionCounts) -> TransitionMatrix:
    """Return the share of each successor; a label that was never followed by another date has no row.

    >>> calm, crisis = RegimeLabel.NEUTRAL, RegimeLabel.CRISIS
    >>> matrix = transition_matrix(transition_counts([calm, calm, calm, crisis]))
    >>> {str(label): round(share, 3) for label, share in matrix[calm].items()}
    {'NEUTRAL': 0.667, 'CRISIS': 0.333}
    """
    totals = {before: sum(row.values()) for before, row in counts.items()}
    return {
        before: {after: n_pairs / totals[before] for after, n_pairs in row.items()}
        for before, row in counts.items()
        if totals[before]
    }


def mean_durations(labels: Sequence[RegimeLabel]) -> dict[RegimeLabel, float]:
    """Return the mean length of unbroken spells of each label, in dates; the last, unfinished spell counts too."""
    spells: dict[RegimeLabel, list[int]] = {}
    for label, run in groupby(labels):
        spells.setdefault(label, []).append(sum(1 for _ in run))
    return {label: fmean(spells[label]) for label in RegimeLabel if label in spells}


def outlook(matrix: TransitionMatrix, label: RegimeLabel) -> dict[int, dict[RegimeLabel, float]]:
    """Return the chance of being in each regime after 5, 21 and 63 sessions, from a label; they add to 1.

    The matrix counts once a session (a Markov chain of first order): neither how long the regime has lasted nor the
    prices of the day move it. Empty for a label that was never followed by another date.

    >>> calm, crisis = RegimeLabel.NEUTRAL, RegimeLabel.CRISIS
    >>> matrix = {calm: {calm: 0.9, crisis: 0.1}, crisis: {crisis: 1.0}}
    >>> [round(chances[crisis], 3) for chances in outlook(matrix, calm).values()]
    [0.41, 0.891, 0.999]
    """
    if label not in matrix:
        return {}
    chances = {each: float(each == label) for each in matrix}
    found = {}
    for session in range(1, max(HORIZONS) + 1):
        chances = {to: sum(share * matrix[each].get(to, 0.0) for each, share in chances.items()) for to in matrix}
        if session in HORIZONS:
            found[session] = chances
    return found


@dataclass(frozen=True, slots=True)
class StayCounts:
    """How many sessions a label was followed by another session, and how many of those by another label."""

    n_sessions: int
    n_exits: int

    def plus(self, n_sessions: int, n_exits: int) -> StayCounts:
        """Return the counts with further ones."""
        return StayCounts(self.n_sessions + n_sessions, self.n_exits + n_exits)


StaysByAge = Mapping[int, StayCounts]
"""Counts of one label by the first session of each of `SPELL_AGES`."""


@dataclass(frozen=True, slots=True)
class ExitHazard:
    """The probability of leaving a regime within a number of sessions, and its 95 % interval."""

    horizon: int
    probability: float
    low: float
    high: float


def count_stays(labels: Sequence[RegimeLabel]) -> dict[RegimeLabel, StayCounts]:
    """Return the counts of each label that was followed by another session."""
    pairs = Counter(pairwise(labels))
    sessions = Counter(labels[:-1])
    return {
        label: StayCounts(sessions[label], sessions[label] - pairs[label, label])
        for label in RegimeLabel
        if label in sessions
    }


def count_stays_by_age(
    told: Int64Vector, ages: Int64Vector, labels: Sequence[RegimeLabel]
) -> dict[RegimeLabel, StaysByAge]:
    """Return the counts of `count_stays`, parted by the age of the spell (1 on its first session) on each session.

    `told` and `ages`, shape (n,), are places among the `labels`, all different, and ages of at least 1.
    """
    n_ages = len(SPELL_AGES)
    cells = (told * n_ages + np.searchsorted(SPELL_AGES, ages, side="right") - 1)[:-1]
    sessions, exits = (
        np.bincount(some, minlength=n_ages * len(labels)).reshape(-1, n_ages).tolist()
        for some in (cells, cells[told[1:] != told[:-1]])
    )
    by_label = {
        label: dict(zip(SPELL_AGES, map(StayCounts, *counts), strict=True))
        for label, *counts in zip(labels, sessions, exits, strict=True)
        if any(counts[0])
    }
    return {label: by_label[label] for label in RegimeLabel if label in by_label}


def exit_hazards(counts: StayCounts | None, by_age: StaysByAge | None = None, age: int = 1) -> tuple[ExitHazard, ...]:
    """Return the hazard within 5, 21 and 63 sessions, each session taken to be left with the same probability.

    That is exits over sessions, with Wilson's interval (1927), which stays honest when there were few exits. A label
    never seen before has the widest interval and no better guess than one half.

    With counts `by_age`, a spell that is `age` sessions old grows older on its way: each session ahead has the
    probability of the age it will find, drawn towards that of the whole label where that age was seen on few.

    >>> [round(hazard.probability, 3) for hazard in exit_hazards(StayCounts(200, 2))]
    [0.049, 0.19, 0.469]
    >>> by_age = {1: StayCounts(8, 1), 5: StayCounts(32, 1), 21: StayCounts(160, 0)}
    >>> [round(hazard.probability, 2) for hazard in exit_hazards(StayCounts(200, 2), by_age, age=21)]
    [0.03, 0.11, 0.3]
    """
    if counts is None or counts.n_sessions == 0:
        return tuple(ExitHazard(horizon, 0.5, 0.0, 1.0) for horizon in HORIZONS)
    rates = {1: _rates(counts)} if by_age is None else {b: _rates(counts, own) for b, own in by_age.items()}
    begins = list(rates)
    found = []
    for horizon in HORIZONS:
        spent = [
            max(0, min(end, age + horizon) - max(begin, age))
            for begin, end in zip(begins, [*begins[1:], age + horizon], strict=True)
        ]
        stays = [
            math.prod((1.0 - rate) ** n for rate, n in zip(kind, spent, strict=True))
            for kind in zip(*rates.values(), strict=True)
        ]
        found.append(ExitHazard(horizon, *(1.0 - stay for stay in stays)))
    return tuple(found)


def hazards_to_dict(hazards: Sequence[ExitHazard]) -> dict[str, Mapping[str, float]]:
    """Return JSON values by horizon."""
    return {
        str(each.horizon): {"probability": each.probability, "low": each.low, "high": each.high} for each in hazards
    }


def _rates(counts: StayCounts, own: StayCounts | None = None) -> tuple[float, float, float]:
    """Return the share of sessions that were left, with its interval: of the label, or of one age of its spells."""
    share, n = counts.n_exits / counts.n_sessions, counts.n_sessions
    if own is not None:
        borrowed = min(_BORROWED_SESSIONS, counts.n_sessions)
        share = (own.n_exits + borrowed * share) / (own.n_sessions + borrowed)
        n = min(own.n_sessions + borrowed, counts.n_sessions)
    return share, *_wilson(share, n)


def _wilson(share: float, n: int) -> tuple[float, float]:
    square = _NORMAL_QUANTILE**2
    centre = (share + square / (2 * n)) / (1 + square / n)
    reach = _NORMAL_QUANTILE / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, centre - reach), min(1.0, centre + reach)
