"""Text features and one forecast of volatility, session by session: slow, and plain to read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from prometheus.arrays import DateVector, Float64Matrix, Float64Vector
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.stories import Stories


def told_on(stories: Stories, dates: DateVector) -> list[list[Float64Vector]]:
    """Return the vectors of the texts of each session: known after the session before, and by its own date."""
    told: list[list[Float64Vector]] = [[] for _ in dates]
    for day, vector in zip(stories.days, stories.vectors, strict=True):
        for at, session in enumerate(dates):
            is_after = day > dates[at - 1] if at else day == session
            if is_after and day <= session:
                told[at].append(vector.astype(np.float64))
    return told


def novelty_on(told: Sequence[Sequence[Float64Vector]], at: int) -> float:
    """Return the mean distance of the texts of a session from the nearest text of the 20 sessions before."""
    before = [vector for each in told[max(0, at - 20) : at] for vector in each]
    found = []
    for vector in told[at]:
        cosines = [
            float(vector @ other) / math.dist(vector, 0 * vector) / math.dist(other, 0 * other) for other in before
        ]
        found.append(1.0 - max(cosines, default=0.0))
    return sum(found) / len(found) if found else math.nan


def variance_of(history: MarketHistory, at: int) -> float:
    """Return Parkinson's variance of a session's range, the close before included; else its squared return."""
    move = math.log(history.closes[at] / history.closes[at - 1]) if at else 0.0
    if history.high_over_close is None or history.low_over_close is None:
        return move**2
    high, low = max(math.log(history.high_over_close[at]), -move), min(math.log(history.low_over_close[at]), -move)
    return (high - low) ** 2 / (4.0 * math.log(2.0)) if high > low else move**2


def har_row(variances: Sequence[float], at: int) -> list[float]:
    """Return 1 and the half logs of the mean variance of the last day, week and month."""
    month = sum(variances[at - 21 : at + 1]) / 22
    means = [sum(variances[at - n + 1 : at + 1]) / n + 0.1 * month for n in (1, 5, 22)]
    return [1.0, *(0.5 * math.log(max(mean, 1e-12)) for mean in means)]


def ridge_forecast(
    design: Float64Matrix, target: Float64Vector, row: Float64Vector, n_free: int, weight: float
) -> float:
    """Return the forecast for a row, by least squares on rows that say that the columns after `n_free` mean nothing."""
    n_texts = design.shape[1] - n_free
    zeros = np.hstack([np.zeros((n_texts, n_free)), math.sqrt(weight) * np.eye(n_texts)])
    weights = np.linalg.lstsq(np.vstack([design, zeros]), np.append(target, np.zeros(n_texts)), rcond=None)[0]
    return float(row @ weights)
