"""Intervals by a stationary bootstrap: whole blocks of sessions are drawn, what is compared is drawn together.

A resample is kept as how often each session was drawn: every statistic here is a function of sums over sessions.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Float64Matrix, Float64Vector
from prometheus.evaluation.figures import SESSIONS_PER_YEAR, Trading
from prometheus.evaluation.labeller import BoolVector
from prometheus.market.resampling import stationary_rows

MEAN_BLOCK = 63
N_RESAMPLES = 1_000
SEED = 19_871_019
_BOUNDS = (0.025, 0.975)
_AT_ONCE = 100

Counts = NDArray[np.uint16]
"""How often each session was drawn, shape (n_resamples, n)."""
Interval = tuple[float, float]
"""Bounds of 95 %; NaN where no resample has the statistic."""


@lru_cache(maxsize=2)
def draw_counts(
    n_sessions: int, mean_block: int = MEAN_BLOCK, n_resamples: int = N_RESAMPLES, seed: int = SEED
) -> Counts:
    """Return resamples of a series; the same arguments give the same ones."""
    generator = np.random.default_rng(seed)
    counts = np.empty((n_resamples, n_sessions), dtype=np.uint16)
    for resample in counts:
        resample[:] = np.bincount(stationary_rows(generator, n_sessions, mean_block), minlength=n_sessions)
    counts.setflags(write=False)
    return counts


def sharpe_difference_interval(
    trading: Trading, mean_block: int = MEAN_BLOCK, n_resamples: int = N_RESAMPLES, seed: int = SEED
) -> Interval:
    """Return the interval of the strategy's Sharpe ratio less that of holding."""
    counts = draw_counts(len(trading.returns), mean_block, n_resamples, seed)
    return interval_of(_sharpe_ratios(counts, trading.returns) - _sharpe_ratios(counts, trading.holding_returns))


def mean_difference_interval(ours: Float64Vector, theirs: Float64Vector) -> Interval:
    """Return the interval of the mean of one series less that of another, such as of squared errors."""
    counts = draw_counts(len(ours))
    return interval_of(_sums(counts, (ours - theirs)[:, np.newaxis])[:, 0] / len(ours))


def ratio_interval(numerators: Float64Vector, denominators: Float64Vector) -> Interval:
    """Return the interval of the sum of one series over that of another, drawn together."""
    above, below = _sums(draw_counts(len(numerators)), np.column_stack([numerators, denominators])).T
    with np.errstate(divide="ignore", invalid="ignore"):
        return interval_of(above / below)


def interval_of(statistics: Float64Vector) -> Interval:
    """Return the bounds of the middle 95 % of what is finite."""
    known = statistics[np.isfinite(statistics)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, _BOUNDS)
    return float(low), float(high)


def _sums(counts: Counts, columns: Float64Matrix) -> Float64Matrix:
    """Return the sum of each column over each resample, shape (n_resamples, n_columns)."""
    parts = [counts[at : at + _AT_ONCE].astype(np.float64) @ columns for at in range(0, len(counts), _AT_ONCE)]
    return np.concatenate(parts)


def _sharpe_ratios(counts: Counts, returns: Float64Vector) -> Float64Vector:
    n = len(returns)
    if n < 2 or returns.min() == returns.max():
        return np.full(len(counts), np.nan)
    total, squares = _sums(counts, np.column_stack([returns, returns**2])).T
    variances = (squares - total**2 / n) / (n - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios: Float64Vector = total / n / np.sqrt(variances) * math.sqrt(SESSIONS_PER_YEAR)
    return np.where(variances > 0.0, ratios, np.nan)


def resampled_areas(scores: Float64Vector, is_high: BoolVector) -> Float64Vector:
    """Return the area under the curve on each resample, shape (n_resamples,): of all pairs, the share in order.

    Areas of two scores for the same event are paired: their differences give the interval of the difference.
    """
    counts = draw_counts(len(is_high))
    order = np.argsort(scores, kind="stable")
    ordered, high = scores[order], is_high[order]
    below, through = (np.searchsorted(ordered, ordered[high], side=side) for side in ("left", "right"))
    areas = np.empty(len(counts))
    for at in range(0, len(counts), _AT_ONCE):
        drawn = counts[at : at + _AT_ONCE, order].astype(np.float64)
        lower = np.zeros((len(drawn), len(order) + 1))
        np.cumsum(np.where(high, 0.0, drawn), axis=1, out=lower[:, 1:])
        drawn_high = drawn[:, high]
        won = (drawn_high * (lower[:, below] + lower[:, through])).sum(axis=1) / 2.0
        with np.errstate(divide="ignore", invalid="ignore"):
            areas[at : at + _AT_ONCE] = won / (drawn_high.sum(axis=1) * lower[:, -1])
    return areas
