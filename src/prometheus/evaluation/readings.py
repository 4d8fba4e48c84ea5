"""What a score says beside its event: how volatile it will be, and whether this is a bear market, learned on the past.

One line and one curve for every labeller alike, so that rules, peers and models are compared by the same figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prometheus.arrays import Float64Vector
from prometheus.evaluation.bears import known_bear_days
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import FittedLabeller, Predictions, Recalibration, recalibrated, said_by
from prometheus.market.outcomes import forward_log_volatility

_LONGEST_WARM_UP = 638
"""Sessions before the first label of the labeller that looks back furthest, num-regime-core-v2."""


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Forecasts for some sessions, shape (n,) each.

    The log of forward volatility, annualised; its square, the variance, in expectation; and the probability of a bear
    market.
    """

    log_volatility: Float64Vector
    variance: Float64Vector
    bear: Float64Vector

    @classmethod
    def join(cls, parts: Sequence[Readings]) -> Readings:
        """Return readings one after the other."""
        names = ("log_volatility", "variance", "bear")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True, slots=True)
class FittedReader:
    """The line from a score to log volatility, how far volatility scattered around it, and the curve to P(bear)."""

    intercept: float
    slope: float
    scatter: float
    bear: Recalibration

    @classmethod
    def fit(cls, fitted: FittedLabeller, past: MarketHistory, span: int, horizon: int) -> FittedReader:
        """Learn from what a fitted labeller says of the last `span` sessions of its past, as far as that is known."""
        n_last = min(span, max(len(past) - _LONGEST_WARM_UP, len(past) // 2))
        scores = said_by(fitted, past, n_last).scores
        followed = forward_log_volatility(past.closes, horizon)[-n_last:]
        is_known = np.isfinite(scores) & np.isfinite(followed)
        line = _least_squares(scores[is_known], followed[is_known])
        return cls(*line, recalibrated(scores, known_bear_days(past.closes)[-n_last:]))

    def readings(self, said: Predictions) -> Readings:
        """Return what the scores say; a labeller that states the probability of a bear market is believed."""
        logs = self.intercept + self.slope * said.scores
        bear = said.bear_probabilities
        return Readings(
            logs, np.exp(2.0 * (logs + self.scatter**2)), self.bear.probabilities(said.scores) if bear is None else bear
        )


def _least_squares(scores: Float64Vector, followed: Float64Vector) -> tuple[float, float, float]:
    """Return intercept, slope and the deviation of what is left; a flat line for scores that do not vary."""
    if len(followed) < 2:
        return float("nan"), 0.0, 0.0
    deviations = scores - scores.mean()
    total = float((deviations**2).sum())
    slope = float((deviations * followed).sum()) / total if total > 0.0 else 0.0
    intercept = float(followed.mean() - slope * scores.mean())
    return intercept, slope, float((followed - intercept - slope * scores).std())
