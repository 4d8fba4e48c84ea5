"""What a score says beside its event: how volatile it will be, and whether this is a bear market, learned on the past.

One line and one curve for every labeller alike, so that rules, peers and models are compared by the same figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from prometheus.arrays import Float64Vector
from prometheus.evaluation.bears import BEAR_FALL, known_bear_days
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import FittedLabeller, Predictions, recalibrated, said_by
from prometheus.market.outcomes import forward_log_volatility

_LONGEST_WARM_UP = 700
"""Sessions before the first score read: num-regime-core-v2 looks back on 637, and further where bars are held."""
_FEWEST_READ = 252


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Forecasts for some sessions, shape (n,) each.

    The log of forward volatility, annualised; its square, the variance, in expectation; and the probability of a bear
    market, of the year's own fall and of one of `BEAR_FALL`.
    """

    log_volatility: Float64Vector
    variance: Float64Vector
    own_bear: Float64Vector
    bear: Float64Vector

    @classmethod
    def join(cls, parts: Sequence[Readings]) -> Readings:
        """Return readings one after the other."""
        return cls(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)))


class Reader:
    """Reads one labeller's scores, year after year: the line of each year's fit span, the curve of all that is past.

    Bear markets are too few for a span of some years, so P(bear) is learned from the first fit span and from what the
    labeller has said since.
    """

    def __init__(self, span: int, horizon: int) -> None:
        self._span, self._horizon = span, horizon
        self._scores: list[Float64Vector] = []

    def read(self, fitted: FittedLabeller, past: MarketHistory, said: Predictions, fall: float) -> Readings:
        """Return what a year's predictions say by what is known at its beginning, the end of `past`.

        `fall` makes the year's own bear market. A labeller that states a probability of it is believed.
        """
        n_warm = len(past) - _LONGEST_WARM_UP
        n_last = min(self._span, n_warm) if n_warm >= _FEWEST_READ else len(past) // 2
        scores = said_by(fitted, past, n_last).scores
        followed = forward_log_volatility(past.closes, self._horizon)[-n_last:]
        is_known = np.isfinite(scores) & np.isfinite(followed)
        intercept, slope, scatter = _least_squares(scores[is_known], followed[is_known])
        logs = intercept + slope * said.scores
        stated = said.bear_probabilities
        bears = [stated, stated] if stated is not None else self._bears(scores, past, said, (fall, BEAR_FALL))
        return Readings(logs, np.exp(2.0 * (logs + scatter**2)), *bears)

    def _bears(
        self, scores: Float64Vector, past: MarketHistory, said: Predictions, falls: Sequence[float]
    ) -> list[Float64Vector]:
        """Return the probability of a bear market of each fall, by all scores so far."""
        before = np.concatenate(self._scores or [scores])
        self._scores = [before, said.scores]
        known = (known_bear_days(past.closes, fall)[-len(before) :] for fall in falls)
        return [recalibrated(before, each).probabilities(said.scores) for each in known]


def _least_squares(scores: Float64Vector, followed: Float64Vector) -> tuple[float, float, float]:
    """Return intercept, slope and the deviation of what is left; a flat line for scores that do not vary."""
    if len(followed) < 2:
        return float("nan"), 0.0, 0.0
    deviations = scores - scores.mean()
    total = float((deviations**2).sum())
    slope = float((deviations * followed).sum()) / total if total > 0.0 else 0.0
    intercept = float(followed.mean() - slope * scores.mean())
    return intercept, slope, float((followed - intercept - slope * scores).std())
