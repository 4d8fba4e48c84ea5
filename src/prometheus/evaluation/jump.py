"""The jump model of the library ``jumpmodels``, decoded online."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from prometheus.arrays import Float64Matrix, Float64Vector
from prometheus.errors import MissingExtraError
from prometheus.evaluation.calibration import Recalibration, high_outcomes, recalibrated
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import DEFAULT_SPAN, BoolVector, Predictions

HALF_LIVES = (5, 20, 60)
WARM_UP = 600
"""Sessions before the fit span from which the averages start: ten times the longest half-life."""
CLIP_AT = 3.0
DEFAULT_PENALTY = 50.0
SEED = 0
_SMALLEST_DEVIATION = 1e-8
_FAR = 1e6


@dataclass(frozen=True, slots=True)
class StatisticalJump:
    """`JumpModel`, two states, on features of the kind of the library's own Nasdaq example.

    Exponentially weighted return, log downside deviation and Sortino ratio at half-lives 5, 20 and 60, clipped at
    three deviations and standardised on the fit span. Risk-off is the state of the smaller cumulative return.
    """

    name: str = "jumpmodels"
    span: int = DEFAULT_SPAN
    penalty: float = DEFAULT_PENALTY
    seed: int = SEED

    def fit(self, history: MarketHistory, threshold: float) -> FittedJump:
        """Estimate by coordinate descent on the last `span` sessions.

        Raises
        ------
        MissingExtraError
            jumpmodels is not installed.
        """
        try:
            with np.errstate():  # the library changes numpy's settings for the whole process when it is imported
                from jumpmodels.jump import JumpModel  # noqa: PLC0415 -- optional
        except ModuleNotFoundError as error:
            raise MissingExtraError("the labeller jumpmodels", "evaluation") from error
        seen = history.last(self.span + WARM_UP)
        fit_span = seen.last(self.span)
        raw = jump_features(seen)[-len(fit_span) :]
        decoder = OnlineDecoder(
            model=JumpModel(n_components=2, jump_penalty=self.penalty, random_state=self.seed),
            scaling=FeatureScaling.of(raw),
            penalty=self.penalty,
            anchor=seen.dates[0],
            first=fit_span.dates[0],
        )
        with np.errstate(divide="ignore", invalid="ignore"):  # what the library relies on
            decoder.model.fit(decoder.scaling.scaled(raw), ret_ser=fit_span.log_returns, sort_by="cumret")
        _, scores = decoder.decode(seen)
        return FittedJump(decoder, recalibrated(scores, high_outcomes(fit_span, threshold)))


@dataclass(frozen=True, slots=True)
class FittedJump:
    """A frozen jump model and its probabilities."""

    decoder: OnlineDecoder
    recalibration: Recalibration

    def predictions(self, history: MarketHistory, n_last: int) -> Predictions:
        """Return predictions about the last `n_last` sessions."""
        is_risk_off, scores = self.decoder.decode(history)
        last = scores[-n_last:]
        return Predictions(is_risk_off[-n_last:], last, self.recalibration.probabilities(last))


@dataclass(frozen=True, slots=True)
class FeatureScaling:
    """Clipping bounds, centre and spread of each feature, each of shape (n_features,)."""

    low: Float64Vector
    high: Float64Vector
    centre: Float64Vector
    spread: Float64Vector

    @classmethod
    def of(cls, features: Float64Matrix) -> FeatureScaling:
        """Return the scaling of features of shape (n, n_features)."""
        reach = CLIP_AT * features.std(axis=0)
        low, high = features.mean(axis=0) - reach, features.mean(axis=0) + reach
        clipped = np.clip(features, low, high)
        spread = clipped.std(axis=0)
        return cls(low, high, clipped.mean(axis=0), np.where(spread > 0.0, spread, 1.0))

    def scaled(self, features: Float64Matrix) -> Float64Matrix:
        """Return features clipped and standardised."""
        scaled: Float64Matrix = (np.clip(features, self.low, self.high) - self.centre) / self.spread
        return scaled


@dataclass(frozen=True, slots=True, eq=False)
class OnlineDecoder:
    """The library's `predict_online` from a fixed session on.

    Attributes
    ----------
    anchor, first
        Where the averages start, and where the decoding does.
    """

    model: Any
    scaling: FeatureScaling
    penalty: float
    anchor: np.datetime64
    first: np.datetime64

    def decode(self, history: MarketHistory) -> tuple[BoolVector, Float64Vector]:
        """Return whether each session from `first` on is risk-off, and by how much.

        The score is the difference of the two values that the online decoding compares: how much more a path costs
        that ends in the calm state than one that ends in the other.
        """
        seen = history.since(self.anchor)
        features = self.scaling.scaled(jump_features(seen)[seen.position_of(self.first) :])
        with np.errstate(divide="ignore", invalid="ignore"):
            states = np.asarray(self.model.predict_online(features))
        losses = [0.5 * ((features - center) ** 2).sum(axis=1) for center in np.asarray(self.model.centers_)]
        calm, wild = (np.minimum(np.nan_to_num(loss, nan=_FAR), _FAR) for loss in losses)  # NaN: a state without days
        scores, excess = np.empty(len(features)), 0.0
        for session, step in enumerate((calm - wild).tolist()):
            excess = step + max(-self.penalty, min(self.penalty, excess))
            scores[session] = excess
        return states == 1, scores


def jump_features(history: MarketHistory) -> Float64Matrix:
    """Return the nine features of each session, shape (n, 9): return, log downside deviation, Sortino ratio."""
    import pandas as pd  # noqa: PLC0415 -- slow to import

    returns = pd.Series(history.log_returns)
    columns = []
    for half_life in HALF_LIVES:
        mean = returns.ewm(halflife=half_life).mean().to_numpy()
        squares = returns.clip(upper=0.0) ** 2
        deviation = np.sqrt(squares.ewm(halflife=half_life).mean().to_numpy())
        deviation = np.maximum(deviation, _SMALLEST_DEVIATION)
        columns += [mean, np.log(deviation), mean / deviation]
    features: Float64Matrix = np.column_stack(columns)
    return features
