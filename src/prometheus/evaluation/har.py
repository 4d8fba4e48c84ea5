"""HAR: log forward volatility as a line in the log volatility of the last day, week and month.

Refitted each year by least squares on the fit span before it, so nothing of the test span enters. The daily variance is
that of the range or of the return (Corsi, A simple approximate long-memory model of realized volatility, Journal of
Financial Econometrics 7, 2009; Parkinson, The extreme value method for estimating the variance of the rate of return,
Journal of Business 53, 1980).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from prometheus.arrays import Float64Matrix, Float64Vector
from prometheus.evaluation.history import MarketHistory, trailing_windows
from prometheus.evaluation.labeller import DEFAULT_SPAN, FittedScore, high_outcomes, recalibrated
from prometheus.market.outcomes import HORIZON_SESSIONS, forward_log_volatility

HAR_ON_RANGE = "HAR on the range"
SPANS = (1, 5, 22)
RISK_OFF_QUANTILE = 0.8
_FLOOR = 0.1
"""A session without a move counts as this share of its month's variance: a logarithm needs more than nothing."""
_SMALLEST_VARIANCE = 1e-12

DailyVariances = Callable[[MarketHistory], Float64Vector]
"""Of each session, shape (n,), from its own bar and the close before; not negative."""


def squared_returns(history: MarketHistory) -> Float64Vector:
    """Return the squared log return of each session, shape (n,)."""
    return history.log_returns**2


def range_variances(history: MarketHistory) -> Float64Vector:
    """Return Parkinson's variance of each session's range, the close before included; of its return without a range."""
    returns = history.log_returns
    if history.high_over_close is None or history.low_over_close is None:
        return returns**2
    with np.errstate(divide="ignore", invalid="ignore"):
        high, low = np.log(history.high_over_close), np.log(history.low_over_close)
    ranges = np.maximum(high, -returns) - np.minimum(low, -returns)
    is_known = np.isfinite(ranges) & (ranges > 0.0)
    return np.where(is_known, np.where(is_known, ranges, 0.0) ** 2 / (4.0 * math.log(2.0)), returns**2)


@dataclass(frozen=True, slots=True)
class Har:
    """Risk-off where the forecast lies above the top fifth of those on the fit span; the score is log volatility.

    That is of the next `horizon` sessions.
    """

    name: str
    variances: DailyVariances
    span: int = DEFAULT_SPAN
    horizon: int = HORIZON_SESSIONS

    def fit(self, history: MarketHistory, threshold: float) -> FittedScore:
        """Learn line, limit and probabilities from the last `span` sessions."""
        n_last = min(self.span, len(history) - SPANS[-1])
        seen = history.last(n_last)
        regressors, followed = self._regressors(history, n_last), forward_log_volatility(seen.closes, self.horizon)
        is_known = np.isfinite(followed)
        weights = np.linalg.lstsq(regressors[is_known], followed[is_known], rcond=None)[0]
        score = partial(self._forecasts, np.asarray(weights, dtype=np.float64))
        scores = score(history, n_last)
        limit = float(np.quantile(scores, RISK_OFF_QUANTILE))
        return FittedScore(score, limit, recalibrated(scores, high_outcomes(seen, threshold, self.horizon)))

    def _forecasts(self, weights: Float64Vector, history: MarketHistory, n_last: int) -> Float64Vector:
        forecasts: Float64Vector = (self._regressors(history, n_last) * weights).sum(axis=1)
        return forecasts

    def _regressors(self, history: MarketHistory, n_last: int) -> Float64Matrix:
        """Return 1 and the half logs of the mean variances over each span, shape (n_last, 4)."""
        return har_regressors(self.variances(history.last(n_last + SPANS[-1])), n_last)


def har_regressors(variances: Float64Vector, n_last: int) -> Float64Matrix:
    """Return 1 and the half logs of the mean variances over each span up to the last sessions, shape (n_last, 4).

    NaN where a span reaches before the first variance.
    """
    windows = trailing_windows(variances, n_last, SPANS[-1])
    month = windows.mean(axis=1)
    means = [windows[:, -span:].mean(axis=1) + _FLOOR * month for span in SPANS]
    logs = (0.5 * np.log(np.maximum(mean, _SMALLEST_VARIANCE)) for mean in means)
    return np.column_stack([np.ones(n_last), *logs])


def har_labellers(span: int = DEFAULT_SPAN) -> list[Har]:
    """Return HAR on the range and on closes."""
    return [Har(HAR_ON_RANGE, range_variances, span), Har("HAR on closes", squared_returns, span)]
