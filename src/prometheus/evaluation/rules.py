"""Rules anyone can write down: the yardsticks that a model has to beat."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from prometheus.arrays import Float64Matrix, Float64Vector
from prometheus.evaluation.calibration import Recalibration, high_outcomes, recalibrated
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import DEFAULT_SPAN, Predictions

Score = Callable[[MarketHistory, int], Float64Vector]
"""Scores of the last so many sessions, shape (n_last,), each from a fixed number of sessions up to it; NaN before."""

VOLATILITY_SESSIONS = 21
HALF_LIFE = 10
AVERAGE_SESSIONS = 200
_KERNEL_HALF_LIVES = 25
_SMALLEST_VARIANCE = 1e-16
_SESSIONS_PER_YEAR = 252


def log_realized_volatility(history: MarketHistory, n_last: int) -> Float64Vector:
    """Return the log of the annualised root mean square of the last 21 log returns, shape (n_last,)."""
    windows = trailing_windows(history.log_returns, n_last, VOLATILITY_SESSIONS)
    return _log_volatility((windows * windows).sum(axis=1) / VOLATILITY_SESSIONS)


def log_ewma_volatility(history: MarketHistory, n_last: int) -> Float64Vector:
    """Return the log of the annualised exponentially weighted volatility of half-life 10, shape (n_last,).

    The kernel is cut after 25 half-lives, where 3e-8 of its weight is left, so that no session depends on where the
    history begins.
    """
    width = HALF_LIFE * _KERNEL_HALF_LIVES
    weights = 0.5 ** (np.arange(width - 1, -1, -1) / HALF_LIFE)
    windows = trailing_windows(history.log_returns, n_last, width)
    return _log_volatility((windows * windows * (weights / weights.sum())).sum(axis=1))


def fall_below_average(history: MarketHistory, n_last: int) -> Float64Vector:
    """Return the log of the 200-session average over the close, shape (n_last,): positive below the average."""
    windows = trailing_windows(history.closes, n_last, AVERAGE_SESSIONS)
    scores: Float64Vector = np.log(windows.sum(axis=1) / AVERAGE_SESSIONS / windows[:, -1])
    return scores


def trailing_windows(values: Float64Vector, n_last: int, width: int) -> Float64Matrix:
    """Return the window that ends at each of the last `n_last` values, shape (n_last, width); NaN before the first.

    Windows are rows in memory, so a sum along them does not depend on how many there are.
    """
    reach = values[max(len(values) - n_last - width + 1, 0) :]
    padding = np.full(max(n_last + width - 1 - len(reach), 0), np.nan)
    windows: Float64Matrix = np.ascontiguousarray(sliding_window_view(np.concatenate([padding, reach]), width))
    return windows


def _log_volatility(variances: Float64Vector) -> Float64Vector:
    logs: Float64Vector = 0.5 * np.log(np.maximum(variances, _SMALLEST_VARIANCE) * _SESSIONS_PER_YEAR)
    return logs


@dataclass(frozen=True, slots=True)
class Holding:
    """Never risk-off; its probability is the rate of the past."""

    name: str = "holding"
    span: int = DEFAULT_SPAN

    def fit(self, history: MarketHistory, threshold: float) -> FittedScoreRule:
        """Learn how often volatility was high."""
        seen = history.last(self.span)
        recalibration = recalibrated(_constant(seen, len(seen)), high_outcomes(seen, threshold))
        return FittedScoreRule(_constant, math.inf, recalibration)


@dataclass(frozen=True, slots=True)
class ScoreRule:
    """Risk-off where a score lies above a limit.

    Attributes
    ----------
    quantile
        The limit is this quantile of the scores on the fit span; None for a limit of zero.
    """

    name: str
    score: Score
    quantile: float | None = None
    span: int = DEFAULT_SPAN

    def fit(self, history: MarketHistory, threshold: float) -> FittedScoreRule:
        """Learn the limit and the probabilities from the last `span` sessions."""
        n_last = min(self.span, len(history))
        scores = self.score(history, n_last)
        limit = 0.0 if self.quantile is None else float(np.nanquantile(scores, self.quantile))
        recalibration = recalibrated(scores, high_outcomes(history.last(n_last), threshold))
        return FittedScoreRule(self.score, limit, recalibration)


@dataclass(frozen=True, slots=True)
class FittedScoreRule:
    """A score, its limit and its probabilities, all frozen."""

    score: Score
    limit: float
    recalibration: Recalibration

    def predictions(self, history: MarketHistory, n_last: int) -> Predictions:
        """Return predictions about the last `n_last` sessions."""
        scores = self.score(history, n_last)
        return Predictions(scores > self.limit, scores, self.recalibration.probabilities(scores))


def realized_volatility_rule(span: int = DEFAULT_SPAN, quantile: float = 0.8) -> ScoreRule:
    """Return the rule: 21-day realised volatility above its 80th percentile on the fit span."""
    return ScoreRule("21-day volatility", log_realized_volatility, quantile, span)


def ewma_volatility_rule(span: int = DEFAULT_SPAN, quantile: float = 0.8) -> ScoreRule:
    """Return the rule: exponentially weighted volatility above its 80th percentile on the fit span."""
    return ScoreRule("EWMA volatility", log_ewma_volatility, quantile, span)


def moving_average_rule(span: int = DEFAULT_SPAN) -> ScoreRule:
    """Return the rule: close below its 200-session average."""
    return ScoreRule("200-day average", fall_below_average, None, span)


def _constant(_history: MarketHistory, n_last: int) -> Float64Vector:
    return np.zeros(n_last)
