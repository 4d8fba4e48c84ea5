"""What is judged: anything that learns from a market's past and then says, day by day, whether it is in trouble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Float64Vector
from prometheus.errors import WindowShapeError
from prometheus.evaluation.history import MarketHistory
from prometheus.regime.calibration import SPAN_SESSIONS

DEFAULT_SPAN = SPAN_SESSIONS
"""Sessions a labeller is fitted on (EVALUATION protocol)."""

BoolVector = NDArray[np.bool_]
"""Shape (n,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What a labeller says of some sessions, oldest first.

    Attributes
    ----------
    is_risk_off
        Shape (n,).
    scores
        Shape (n,), higher is more crisis-like.
    probabilities
        Shape (n,), in [0, 1]: that the volatility of the sessions to come is high.
    labels
        Names of regime labels, n of them; None where a labeller knows risk-off and risk-on only.

    Raises
    ------
    WindowShapeError
        The columns differ in length.
    """

    is_risk_off: BoolVector
    scores: Float64Vector
    probabilities: Float64Vector
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        wanted = self.is_risk_off.shape
        n_labels = len(self.is_risk_off) if self.labels is None else len(self.labels)
        for column in (self.scores, self.probabilities):
            if column.shape != wanted:
                raise WindowShapeError("predictions", column.shape, wanted)
        if (n_labels,) != wanted:
            raise WindowShapeError("labels", (n_labels,), wanted)

    def __len__(self) -> int:
        return len(self.is_risk_off)

    def says(self, row: int) -> str:
        """Return the label of one session as a name: the regime's, or risk-off and risk-on."""
        if self.labels is not None:
            return self.labels[row]
        return "risk-off" if self.is_risk_off[row] else "risk-on"


def join_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Return predictions one after the other; labels only if every part has them."""
    labels: tuple[str, ...] | None = ()
    for part in parts:
        labels = None if labels is None or part.labels is None else labels + part.labels
    return Predictions(
        is_risk_off=np.concatenate([part.is_risk_off for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
        labels=labels,
    )


class FittedLabeller(Protocol):
    """A labeller whose parameters are frozen."""

    def predictions(self, history: MarketHistory, n_last: int) -> Predictions:
        """Return predictions about the last `n_last` sessions, each from the rows up to it only.

        `history` begins where the one it was fitted on began; what it says of a session must not depend on how many
        sessions follow.
        """


class Labeller(Protocol):
    """A way of labelling, not yet fitted."""

    @property
    def name(self) -> str:
        """What tables and pictures call it."""

    def fit(self, history: MarketHistory, threshold: float) -> FittedLabeller:
        """Learn from `history`, which ends the session before the first one to be labelled.

        Parameters
        ----------
        threshold
            The annualised volatility of the next 21 sessions above which it counts as high.
        """
