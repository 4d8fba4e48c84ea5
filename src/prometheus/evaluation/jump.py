"""Statistical jump models: the library's, with a fixed penalty, and one whose penalty is chosen on the past alone.

Two states of standardised features of returns; a path costs the squared distances to its states' centres, and a penalty
for every change of state (Bemporad, Breschi, Piga and Boyd, Fitting jump models, Automatica 96, 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from prometheus.arrays import Float64Matrix, Float64Vector
from prometheus.errors import MissingExtraError
from prometheus.evaluation import labeller
from prometheus.evaluation.figures import sharpe_ratio, trade
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import DEFAULT_SPAN, BoolVector, Predictions

EXTRA = "evaluation"
JUMP_SEED = 0
JUMP_PENALTY = 50.0
PENALTIES = (5.0, 10.0, 20.0, 35.0, 50.0, 75.0, 110.0, 160.0)
"""What the causal model chooses from."""
HALF_LIVES = (5, 20, 60)
WARM_UP = 600
"""Sessions before the fit span from which the averages start: ten times the longest half-life."""
CLIP_AT = 3.0
_SMALLEST_DEVIATION = 1e-8
_FAR = 1e6
_MOST_ROUNDS = 30
_SHARE_TRIED = 1 / 3
"""The last part of the fit span, on which models fitted on the rest are traded."""


def extra_library(module: str) -> Any:
    """Return a module of the extra ``evaluation``, or raise `MissingExtraError`."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"the labeller {module.partition('.')[0]}", EXTRA) from error


@dataclass(frozen=True, slots=True)
class StatisticalJump:
    """jumpmodels' `JumpModel`, two states, on features of the kind of the library's own Nasdaq example.

    They are standardised on the fit span. Risk-off is the state of the smaller cumulative return.
    """

    name: str = "jumpmodels"
    span: int = DEFAULT_SPAN
    penalty: float = JUMP_PENALTY
    seed: int = JUMP_SEED

    def fit(self, history: MarketHistory, threshold: float) -> _FittedJump:
        """Estimate by coordinate descent on the last `span` sessions; needs the extra."""
        with np.errstate():  # the library changes numpy's settings for the whole process when it is imported
            library = extra_library("jumpmodels.jump")
        seen = history.last(self.span + WARM_UP)
        fit_span = seen.last(self.span)
        raw = jump_features(seen)[-len(fit_span) :]
        model = library.JumpModel(n_components=2, jump_penalty=self.penalty, random_state=self.seed)
        scaling = FeatureScaling.of(raw)
        decoder = _OnlineDecoder(model, scaling, self.penalty, anchor=seen.dates[0], first=fit_span.dates[0])
        with np.errstate(divide="ignore", invalid="ignore"):  # what the library relies on
            model.fit(scaling.scaled(raw), ret_ser=fit_span.log_returns, sort_by="cumret")
        _, scores = decoder.decode(seen)
        return _FittedJump(decoder, labeller.recalibrated(scores, labeller.high_outcomes(fit_span, threshold)))


@dataclass(frozen=True, slots=True)
class _FittedJump:
    decoder: _OnlineDecoder
    recalibration: labeller.Recalibration

    def predictions(self, history: MarketHistory, n_last: int) -> Predictions:
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
        """Return the scaling of raw features, shape (n, n_features)."""
        centre, reach = features.mean(axis=0), CLIP_AT * features.std(axis=0)
        low, high = centre - reach, centre + reach
        clipped = np.clip(features, low, high)
        spread = clipped.std(axis=0)
        return cls(low, high, clipped.mean(axis=0), np.where(spread > 0.0, spread, 1.0))

    def scaled(self, features: Float64Matrix) -> Float64Matrix:
        """Return raw features, clipped, in units of their spread."""
        scaled: Float64Matrix = (np.clip(features, self.low, self.high) - self.centre) / self.spread
        return scaled


@dataclass(frozen=True, slots=True, eq=False)
class _OnlineDecoder:
    """The library's `predict_online` from the session `first` on; the averages start at `anchor`."""

    model: Any
    scaling: FeatureScaling
    penalty: float
    anchor: np.datetime64
    first: np.datetime64

    def decode(self, history: MarketHistory) -> tuple[BoolVector, Float64Vector]:
        """Return whether each session from `first` on is risk-off, and by how much.

        The score is the difference of the two values that the online decoding compares: how much more a path costs that
        ends in the calm state than one that ends in the other.
        """
        seen = history.since(self.anchor)
        features = self.scaling.scaled(jump_features(seen)[seen.position_of(self.first) :])
        with np.errstate(divide="ignore", invalid="ignore"):
            states = np.asarray(self.model.predict_online(features))
        losses = [0.5 * ((features - center) ** 2).sum(axis=1) for center in np.asarray(self.model.centers_)]
        calm, wild = (np.minimum(np.nan_to_num(loss, nan=_FAR), _FAR) for loss in losses)  # NaN: a state without days
        return states == 1, _online_excess(calm - wild, self.penalty)


@dataclass(frozen=True, slots=True)
class CausalJump:
    """A jump model of our own in numpy, its penalty chosen on the past; it needs no extra.

    Models of every penalty are fitted on the first two thirds of the fit span. The penalty whose online states earn the
    best Sharpe ratio on the last third, after costs, is fitted again on the whole span. Risk-off is the state of the
    smaller mean return.
    """

    name: str = "jump model"
    span: int = DEFAULT_SPAN
    penalties: tuple[float, ...] = PENALTIES

    def fit(self, history: MarketHistory, threshold: float) -> _FittedCausalJump:
        """Choose the penalty and find both states on the last `span` sessions."""
        seen = history.last(self.span + WARM_UP)
        fit_span = seen.last(self.span)
        features, returns = jump_features(seen)[-len(fit_span) :], fit_span.log_returns
        states = _States.fit(features, returns, self._chosen_penalty(features, returns))
        scores = states.scores(features)
        recalibration = labeller.recalibrated(scores, labeller.high_outcomes(fit_span, threshold))
        return _FittedCausalJump(states, seen.dates[0], fit_span.dates[0], recalibration)

    def _chosen_penalty(self, features: Float64Matrix, returns: Float64Vector) -> float:
        n_learned = round(len(returns) * (1.0 - _SHARE_TRIED))
        followed = np.expm1(returns[n_learned:])

        def worth(penalty: float) -> float:
            states = _States.fit(features[:n_learned], returns[:n_learned], penalty)
            sharpe = sharpe_ratio(trade(states.scores(features)[n_learned:] > 0.0, followed).returns)
            return sharpe if np.isfinite(sharpe) else -np.inf

        return max(self.penalties, key=worth)


@dataclass(frozen=True, slots=True, eq=False)
class _States:
    """The centres of the calm and of the wild state, shape (2, n_features), in scaled features."""

    scaling: FeatureScaling
    centers: Float64Matrix
    penalty: float

    @classmethod
    def fit(cls, raw: Float64Matrix, returns: Float64Vector, penalty: float) -> _States:
        """Alternate between the cheapest path and the means of its states, from the sessions of least and most risk."""
        scaling = FeatureScaling.of(raw)
        features = scaling.scaled(raw)
        risk = features[:, 1::3].sum(axis=1)
        is_wild = risk > np.quantile(risk, 0.8)
        centers = np.stack([features.mean(axis=0)] * 2)
        for _ in range(_MOST_ROUNDS):
            if is_wild.all() or not is_wild.any():
                break
            centers = np.stack([features[~is_wild].mean(axis=0), features[is_wild].mean(axis=0)])
            path = _cheapest_path(_steps(features, centers), penalty)
            if (path == is_wild).all():
                break
            is_wild = path
        if is_wild.any() and not is_wild.all() and returns[is_wild].mean() > returns[~is_wild].mean():
            centers = centers[::-1]
        return cls(scaling, centers, penalty)

    def scores(self, raw: Float64Matrix) -> Float64Vector:
        """Return how much more a path costs that ends calm than one that ends wild, online, shape (n,)."""
        return _online_excess(_steps(self.scaling.scaled(raw), self.centers), self.penalty)


@dataclass(frozen=True, slots=True, eq=False)
class _FittedCausalJump:
    states: _States
    anchor: np.datetime64
    first: np.datetime64
    recalibration: labeller.Recalibration

    def predictions(self, history: MarketHistory, n_last: int) -> Predictions:
        seen = history.since(self.anchor)
        scores = self.states.scores(jump_features(seen)[seen.position_of(self.first) :])[-n_last:]
        return Predictions(scores > 0.0, scores, self.recalibration.probabilities(scores))


def _steps(features: Float64Matrix, centers: Float64Matrix) -> Float64Vector:
    calm, wild = (0.5 * ((features - center) ** 2).sum(axis=1) for center in centers)
    steps: Float64Vector = calm - wild
    return steps


def _online_excess(steps: Float64Vector, penalty: float) -> Float64Vector:
    """Return what the cheapest path that ends calm costs above the one that ends wild, at every session."""
    values, excess = [], 0.0
    for step in steps.tolist():
        if excess > penalty:
            excess = penalty
        elif excess < -penalty:
            excess = -penalty
        excess += step
        values.append(excess)
    return np.array(values)


def _cheapest_path(steps: Float64Vector, penalty: float) -> BoolVector:
    """Return which sessions are wild on the cheapest path, shape (n,), in hindsight: for fits on the past only."""
    excess = _online_excess(steps, penalty)
    decided = np.where(np.abs(excess) > penalty, np.sign(excess), 0.0)
    decided[-1] = 1.0 if excess[-1] > 0.0 else -1.0
    rows = np.arange(len(steps))
    deciding = np.minimum.accumulate(np.where(decided != 0.0, rows, len(steps))[::-1])[::-1]
    path: BoolVector = decided[deciding] > 0.0
    return path


def jump_features(history: MarketHistory) -> Float64Matrix:
    """Return the nine features of each session, shape (n, 9): return, log downside deviation, Sortino ratio."""
    import pandas as pd  # noqa: PLC0415 -- slow to import

    returns = pd.Series(history.log_returns)
    columns = []
    for half_life in HALF_LIVES:
        mean = returns.ewm(halflife=half_life).mean().to_numpy()
        squares = (returns.clip(upper=0.0) ** 2).ewm(halflife=half_life).mean().to_numpy()
        deviation = np.maximum(np.sqrt(squares), _SMALLEST_DEVIATION)
        columns += [mean, np.log(deviation), mean / deviation]
    features: Float64Matrix = np.column_stack(columns)
    return features
