"""What a history of labels says about change; pure functions of the labels in date order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from statistics import fmean

from prometheus.regime.types import RegimeLabel

TransitionCounts = Mapping[RegimeLabel, Mapping[RegimeLabel, int]]
TransitionMatrix = dict[RegimeLabel, dict[RegimeLabel, float]]


def transition_counts(labels: Sequence[RegimeLabel]) -> TransitionCounts:
    """Return how often each label followed each other one, stays included; every label seen has a row and a column."""
    seen = [label for label in RegimeLabel if label in set(labels)]
    pairs = Counter(pairwise(labels))
    return {before: {after: pairs[before, after] for after in seen} for before in seen}


def transition_matrix(counts: TransitionCounts) -> TransitionMatrix:
    """Return the share of each successor; a label that was never followed by another date has no row.

    Examples
    --------
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
