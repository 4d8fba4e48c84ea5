"""What is judged: anything that learns from a market's past and then says, day by day, whether it is in trouble."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Float64Vector, Int64Vector
from prometheus.errors import WindowShapeError
from prometheus.evaluation.history import MarketHistory
from prometheus.market.outcomes import HORIZON_SESSIONS, forward_log_volatility
from prometheus.regime.calibration import SPAN_SESSIONS
from prometheus.regime.forecasts import fit_logistic, sigmoid

DEFAULT_SPAN = SPAN_SESSIONS
"""Sessions a labeller is fitted on (EVALUATION protocol)."""
BASE_RATE = 0.2
"""High volatility is the top fifth."""
N_PRIOR_SESSIONS = 10.0
"""The base rate and a weight of zero count as much as ten sessions; they decide only where nothing was observed."""

BoolVector = NDArray[np.bool_]
"""Shape (n,)."""
Score = Callable[[MarketHistory, int], Float64Vector]
"""Scores of the last `n_last` sessions, shape (n_last,), each from the sessions up to it only; NaN if too few."""


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What a labeller says of some sessions, oldest first, shape (n,) each; `WindowShapeError` if lengths differ.

    Scores are higher where it is more crisis-like; `probabilities`, in [0, 1], are that the volatility of the sessions
    to come is high. `labels` are None where a labeller knows risk-off and risk-on only, `bear_probabilities`, that the
    session lies in a bear market, where it states none.
    """

    is_risk_off: BoolVector
    scores: Float64Vector
    probabilities: Float64Vector
    labels: tuple[str, ...] | None = None
    bear_probabilities: Float64Vector | None = None

    def __post_init__(self) -> None:
        wanted = self.is_risk_off.shape
        for column in (self.scores, self.probabilities, self.bear_probabilities):
            if column is not None and column.shape != wanted:
                raise WindowShapeError("predictions", column.shape, wanted)
        if self.labels is not None and (len(self.labels),) != wanted:
            raise WindowShapeError("labels", (len(self.labels),), wanted)

    def __len__(self) -> int:
        return len(self.is_risk_off)

    @property
    def bear_scores(self) -> Float64Vector:
        """What ranks sessions by how likely they lie in a bear market: the probability, or the score without one."""
        return self.scores if self.bear_probabilities is None else self.bear_probabilities

    def take(self, rows: Int64Vector) -> Predictions:
        """Return the predictions of some rows, which may repeat."""
        labels = None if self.labels is None else tuple(self.labels[row] for row in rows.tolist())
        bear = None if self.bear_probabilities is None else self.bear_probabilities[rows]
        return Predictions(self.is_risk_off[rows], self.scores[rows], self.probabilities[rows], labels, bear)

    def says(self, row: int) -> str:
        """Return the label of one session as a name: the regime's, or risk-off and risk-on."""
        if self.labels is not None:
            return self.labels[row]
        return "risk-off" if self.is_risk_off[row] else "risk-on"

    def chances(self, row: int) -> tuple[float, ...]:
        """Return the probabilities stated of one session: of high volatility and, where stated, of a bear market."""
        stated = (self.probabilities, self.bear_probabilities)
        return tuple(float(each[row]) for each in stated if each is not None)


def join_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Return predictions one after the other; labels and P(bear) only if every part has them."""
    named = [part.labels for part in parts if part.labels is not None]
    bears = [part.bear_probabilities for part in parts if part.bear_probabilities is not None]
    is_risk_off = np.concatenate([part.is_risk_off for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    probabilities = np.concatenate([part.probabilities for part in parts])
    labels = sum(named, ()) if len(named) == len(parts) else None
    bear = np.concatenate(bears) if len(bears) == len(parts) else None
    return Predictions(is_risk_off, scores, probabilities, labels, bear)


class FittedLabeller(Protocol):
    """A labeller whose parameters are frozen."""

    def predictions(self, history: MarketHistory, n_last: int) -> Predictions:
        """Return predictions about the last `n_last` sessions, each from the rows up to it only.

        `history` begins where the one it was fitted on began; what it says of a session must not depend on how many
        sessions follow. `bear_probabilities` are of the fall and rise that an attribute `bear_fall` names, else of the
        one `prometheus.regime.bear.known_fall` finds in the fit span.
        """


def said_by(fitted: FittedLabeller, history: MarketHistory, n_last: int) -> Predictions:
    """Return what was said on each of the last `n_last` sessions: on one that is held, that of the session before."""
    rows = history.speaking_rows(n_last)
    return fitted.predictions(history, len(history) - int(rows[0])).take(rows - rows[0])


class Labeller(Protocol):
    """A way of labelling, not yet fitted."""

    @property
    def name(self) -> str:
        """What tables and pictures call it."""

    def fit(self, history: MarketHistory, threshold: float) -> FittedLabeller:
        """Learn from what precedes the first session to be labelled; volatility above `threshold` counts as high."""


@dataclass(frozen=True, slots=True)
class Recalibration:
    """The logistic curve from a score, less `centre` and in units of `spread`, to a probability."""

    centre: float
    spread: float
    intercept: float
    weight: float

    def probabilities(self, scores: Float64Vector) -> Float64Vector:
        """Return the probability of high volatility at each score, shape (n,)."""
        return sigmoid(self.intercept + self.weight * ((scores - self.centre) / self.spread))


@dataclass(frozen=True, slots=True)
class FittedScore:
    """A score, the limit above which it says risk-off, and its probabilities, all frozen."""

    score: Score
    limit: float
    recalibration: Recalibration

    def predictions(self, history: MarketHistory, n_last: int) -> Predictions:
        """Return predictions about the last `n_last` sessions."""
        scores = self.score(history, n_last)
        return Predictions(scores > self.limit, scores, self.recalibration.probabilities(scores))


def high_outcomes(history: MarketHistory, threshold: float, horizon: int = HORIZON_SESSIONS) -> Float64Vector:
    """Return 1 where the next `horizon` sessions were volatile, else 0, shape (n,); NaN where they are not over."""
    logs = forward_log_volatility(history.closes, horizon)
    return np.where(np.isfinite(logs), (logs > math.log(threshold)).astype(np.float64), np.nan)


def recalibrated(scores: Float64Vector, outcomes: Float64Vector) -> Recalibration:
    """Fit the curve to past scores and what followed them, 1 for high volatility and 0 for not, shape (n,) each.

    Scores should be on a scale on which steps are comparable, such as a logarithm; what is not finite is left out.
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
