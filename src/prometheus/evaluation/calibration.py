"""How every labeller's score becomes a probability, so that only the scores are compared."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from prometheus.arrays import Float64Vector
from prometheus.evaluation.history import MarketHistory
from prometheus.market.forward_volatility import HORIZON_SESSIONS, forward_log_volatility
from prometheus.regime.forecasts import fit_logistic, sigmoid

BASE_RATE = 0.2
"""High volatility is the top fifth."""
N_PRIOR_SESSIONS = 10.0
"""The base rate and a weight of zero count as much as ten sessions; they decide only where nothing was observed."""


@dataclass(frozen=True, slots=True)
class Recalibration:
    """A logistic curve over the score.

    Attributes
    ----------
    centre, spread
        What the score is measured from, and in units of what.
    """

    centre: float
    spread: float
    intercept: float
    weight: float

    def probabilities(self, scores: Float64Vector) -> Float64Vector:
        """Return the probability of high volatility at each score, shape (n,)."""
        return sigmoid(self.intercept + self.weight * ((scores - self.centre) / self.spread))


def high_outcomes(history: MarketHistory, threshold: float, horizon: int = HORIZON_SESSIONS) -> Float64Vector:
    """Return 1 where the volatility of the next `horizon` sessions was above `threshold`, else 0, shape (n,).

    NaN where the horizon is not over by the last session of `history`.
    """
    logs = forward_log_volatility(history.closes, horizon)
    return np.where(np.isfinite(logs), (logs > math.log(threshold)).astype(np.float64), np.nan)


def recalibrated(scores: Float64Vector, outcomes: Float64Vector) -> Recalibration:
    """Fit the curve to past scores and what followed them.

    Parameters
    ----------
    scores
        Shape (n,), on a scale on which steps are comparable, such as a logarithm; sessions that are not finite are
        left out.
    outcomes
        Shape (n,), 1 for high volatility, 0 for not, NaN where not known yet; those sessions are left out.
    """
    is_known = np.isfinite(scores) & np.isfinite(outcomes)
    known, followed = scores[is_known], outcomes[is_known]
    prior_intercept = math.log(BASE_RATE / (1.0 - BASE_RATE))
    if not len(known):
        return Recalibration(0.0, 1.0, prior_intercept, 0.0)
    centre, spread = float(known.mean()), float(known.std())
    if spread <= 1e-12 * max(1.0, abs(centre)):
        spread = 1.0
    precision = np.full(2, N_PRIOR_SESSIONS * BASE_RATE * (1.0 - BASE_RATE) / len(known))
    intercept, weight = fit_logistic(
        ((known - centre) / spread)[:, np.newaxis], followed, np.array([prior_intercept, 0.0]), precision
    )
    return Recalibration(centre, spread, float(intercept), float(weight))
