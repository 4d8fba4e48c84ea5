"""Other libraries' regime models, called in the way that does not look ahead.

Each is fitted on the past, its parameters are frozen, and it is then filtered from the first session of the fit span up
to the session in question: the smoothed and globally decoded states, which are their defaults, change when later
sessions arrive. The libraries come with the extra ``evaluation`` and are imported when one is fitted.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from prometheus.arrays import Float64Matrix, Float64Vector
from prometheus.errors import InputRefusedError, MissingExtraError
from prometheus.evaluation.calibration import Recalibration, high_outcomes, recalibrated
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import DEFAULT_SPAN, Predictions

EXTRA = "evaluation"
SEED = 7
_PER_CENT = 100.0
"""Returns in per cent: of daily fractions the libraries' variance floors would be part of the answer."""
_FARTHEST_LOGIT = 30.0


class _Scorer(Protocol):
    """A frozen model as a score per session, positive for risk-off."""

    def scores(self, history: MarketHistory) -> Float64Vector:
        """Return scores of the last sessions of a history, by filtering it from its first one."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedPeer:
    """A frozen peer, the first session it is filtered from, and its probabilities."""

    scorer: _Scorer
    anchor: np.datetime64
    recalibration: Recalibration

    def predictions(self, history: MarketHistory, n_last: int) -> Predictions:
        """Return predictions about the last `n_last` sessions."""
        scores = self.scorer.scores(history.since(self.anchor))[-n_last:]
        return Predictions(scores > 0.0, scores, self.recalibration.probabilities(scores))


def _freeze(scorer: _Scorer, seen: MarketHistory, threshold: float) -> FittedPeer:
    scores = scorer.scores(seen)
    outcomes = high_outcomes(seen, threshold)[-len(scores) :]
    return FittedPeer(scorer, seen.dates[0], recalibrated(scores, outcomes))


@dataclass(frozen=True, slots=True)
class GaussianHmm:
    """hmmlearn's `GaussianHMM` on log returns, two states; risk-off is the one of the larger variance."""

    name: str = "hmmlearn"
    span: int = DEFAULT_SPAN
    seed: int = SEED
    n_iter: int = 100

    def fit(self, history: MarketHistory, threshold: float) -> FittedPeer:
        """Estimate by expectation maximisation on the last `span` sessions.

        Raises
        ------
        MissingExtraError
            hmmlearn is not installed.
        """
        try:
            from hmmlearn.hmm import GaussianHMM  # noqa: PLC0415 -- optional
        except ModuleNotFoundError as error:
            raise MissingExtraError("the labeller hmmlearn", EXTRA) from error
        seen = history.last(self.span)
        returns = (seen.log_returns * _PER_CENT)[:, np.newaxis]
        model = GaussianHMM(n_components=2, covariance_type="diag", n_iter=self.n_iter, random_state=self.seed)
        with _silenced("hmmlearn.base"):  # it logs when it has not converged
            model.fit(returns)
        variances = np.asarray(model.covars_, dtype=np.float64).reshape(2)
        order = np.argsort(variances)
        scorer = _TwoStateFilter(
            means=model.means_.reshape(2)[order],
            variances=variances[order],
            start=model.startprob_[order],
            transitions=model.transmat_[np.ix_(order, order)],
        )
        return _freeze(scorer, seen, threshold)


@dataclass(frozen=True, slots=True, eq=False)
class _TwoStateFilter:
    """The forward algorithm of a hidden Markov model of two Gaussians, calm first; the score is the log odds."""

    means: Float64Vector
    variances: Float64Vector
    start: Float64Vector
    transitions: Float64Matrix

    def scores(self, history: MarketHistory) -> Float64Vector:
        returns = history.log_returns * _PER_CENT
        calm, wild = (
            -0.5 * (np.log(variance) + (returns - mean) ** 2 / variance)
            for mean, variance in zip(self.means, self.variances, strict=True)
        )
        to_wild = (float(self.transitions[0, 1]), float(self.transitions[1, 1]))
        wild_before = float(self.start[1])
        logits = np.empty(len(returns))
        for session, evidence in enumerate((wild - calm).tolist()):
            logit = _logit(wild_before) + evidence
            logits[session] = logit = max(-_FARTHEST_LOGIT, min(_FARTHEST_LOGIT, logit))
            is_wild = 1.0 / (1.0 + math.exp(-logit))
            wild_before = (1.0 - is_wild) * to_wild[0] + is_wild * to_wild[1]
        return logits


def _logit(probability: float) -> float:
    inside = min(max(probability, 1e-12), 1.0 - 1e-12)
    return math.log(inside / (1.0 - inside))


@dataclass(frozen=True, slots=True)
class MarkovSwitching:
    """statsmodels' Markov switching model of log returns, two variances; risk-off is the larger.

    Attributes
    ----------
    order
        0 for `MarkovRegression` with a constant; above, `MarkovAutoregression` of that order.
    """

    name: str = "statsmodels"
    span: int = DEFAULT_SPAN
    order: int = 0
    max_iter: int = 100

    def fit(self, history: MarketHistory, threshold: float) -> FittedPeer:
        """Estimate by maximum likelihood on the last `span` sessions.

        Raises
        ------
        MissingExtraError
            statsmodels is not installed.
        InputRefusedError
            The library finds no finite estimate.
        """
        seen = history.last(self.span)
        model = _switching_model(seen, self.order)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns on the way to the maximum, and when it stops short of it
            parameters = np.asarray(model.fit(disp=False, maxiter=self.max_iter, return_params=True), dtype=np.float64)
        if not np.isfinite(parameters).all():
            raise InputRefusedError(f"statsmodels finds no finite estimate on {seen.dates[0]} to {seen.dates[-1]}")
        names = list(model.param_names)
        first, second = (parameters[names.index(f"sigma2[{state}]")] for state in range(2))
        return _freeze(_HamiltonFilter(parameters, self.order, int(second > first)), seen, threshold)


@dataclass(frozen=True, slots=True, eq=False)
class _HamiltonFilter:
    """statsmodels' filter at frozen parameters; the score is the log odds of the state `wild`."""

    parameters: Float64Vector
    order: int
    wild: int

    def scores(self, history: MarketHistory) -> Float64Vector:
        filtered = _switching_model(history, self.order).filter(self.parameters, return_raw=True)
        chance = np.asarray(filtered.filtered_marginal_probabilities, dtype=np.float64)
        wild = np.clip(chance[self.wild], 1e-12, 1.0 - 1e-12)
        scores: Float64Vector = np.log(wild / (1.0 - wild))
        return scores


def _switching_model(history: MarketHistory, order: int) -> Any:
    try:
        from statsmodels.tsa.regime_switching.markov_autoregression import MarkovAutoregression  # noqa: PLC0415
        from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression  # noqa: PLC0415 -- optional
    except ModuleNotFoundError as error:
        raise MissingExtraError("the labeller statsmodels", EXTRA) from error
    returns = history.log_returns * _PER_CENT
    if order == 0:
        return MarkovRegression(returns, k_regimes=2, trend="c", switching_trend=False, switching_variance=True)
    return MarkovAutoregression(
        returns, k_regimes=2, order=order, trend="c", switching_trend=False, switching_ar=False, switching_variance=True
    )


@contextmanager
def _silenced(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
