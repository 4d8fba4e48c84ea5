"""Other libraries' regime models, called in the way that does not look ahead.

Each is fitted on the past, its parameters are frozen, and it is then filtered up to the session in question: the
smoothed and globally decoded states, which are their defaults, change when later sessions arrive.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from prometheus.arrays import Float64Matrix, Float64Vector
from prometheus.errors import InputRefusedError
from prometheus.evaluation import labeller
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.jump import StatisticalJump, extra_library
from prometheus.evaluation.labeller import DEFAULT_SPAN, FittedScore, Labeller

SEED = 7
_PER_CENT = 100.0
"""Returns in per cent: of daily fractions the libraries' variance floors would be part of the answer."""
_FARTHEST_LOGIT = 30.0

Filter = Callable[[MarketHistory], Float64Vector]
"""A frozen model: log odds of risk-off for the last sessions of a history, filtered from its first one."""


def peer_labellers(span: int = DEFAULT_SPAN) -> list[Labeller]:
    """Return the models of other libraries that are installed."""
    peers: tuple[Labeller, ...] = (GaussianHmm(span=span), MarkovSwitching(span=span), StatisticalJump(span=span))
    return [peer for peer in peers if find_spec(peer.name) is not None]


def missing_peers() -> list[str]:
    """Return the libraries of the extra ``evaluation`` that are not installed; hmmlearn lacks some wheels."""
    return [name for name in ("hmmlearn", "statsmodels", "jumpmodels") if find_spec(name) is None]


def _freeze(scores_of: Filter, seen: MarketHistory, threshold: float) -> FittedScore:
    scores = scores_of(seen)
    recalibration = labeller.recalibrated(scores, labeller.high_outcomes(seen, threshold)[-len(scores) :])
    return FittedScore(partial(_filtered_since, scores_of, seen.dates[0]), 0.0, recalibration)


def _filtered_since(scores_of: Filter, anchor: np.datetime64, history: MarketHistory, n_last: int) -> Float64Vector:
    return scores_of(history.since(anchor))[-n_last:]


@dataclass(frozen=True, slots=True)
class GaussianHmm:
    """hmmlearn's `GaussianHMM` on log returns, two states; risk-off is the one of the larger variance."""

    name: str = "hmmlearn"
    span: int = DEFAULT_SPAN
    seed: int = SEED
    n_iter: int = 100

    def fit(self, history: MarketHistory, threshold: float) -> FittedScore:
        """Estimate by expectation maximisation on the last `span` sessions; needs the extra."""
        library = extra_library("hmmlearn.hmm")
        seen = history.last(self.span)
        returns = (seen.log_returns * _PER_CENT)[:, np.newaxis]
        model = library.GaussianHMM(n_components=2, covariance_type="diag", n_iter=self.n_iter, random_state=self.seed)
        with _silenced("hmmlearn.base"):  # it logs when it has not converged
            model.fit(returns)
        variances = np.asarray(model.covars_, dtype=np.float64).reshape(2)
        order = np.argsort(variances)
        means, transitions = model.means_.reshape(2)[order], model.transmat_[np.ix_(order, order)]
        hmm = _TwoStateFilter(means, variances[order], model.startprob_[order], transitions)
        return _freeze(hmm.scores, seen, threshold)


@dataclass(frozen=True, slots=True, eq=False)
class _TwoStateFilter:
    """The forward algorithm of a hidden Markov model of two Gaussians, calm first."""

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
    """statsmodels' `MarkovRegression` of log returns on a constant, two variances; risk-off is the larger."""

    name: str = "statsmodels"
    span: int = DEFAULT_SPAN
    max_iter: int = 100

    def fit(self, history: MarketHistory, threshold: float) -> FittedScore:
        """Estimate by maximum likelihood on the last `span` sessions, if that is finite; needs the extra."""
        seen = history.last(self.span)
        model = _switching_model(seen)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns on the way to the maximum, and when it stops short of it
            parameters = np.asarray(model.fit(disp=False, maxiter=self.max_iter, return_params=True), dtype=np.float64)
        if not np.isfinite(parameters).all():
            raise InputRefusedError(f"statsmodels finds no finite estimate on {seen.dates[0]} to {seen.dates[-1]}")
        names = list(model.param_names)
        first, second = (parameters[names.index(f"sigma2[{state}]")] for state in range(2))
        return _freeze(partial(_hamilton_scores, parameters, int(second > first)), seen, threshold)


def _hamilton_scores(parameters: Float64Vector, wild: int, history: MarketHistory) -> Float64Vector:
    filtered = _switching_model(history).filter(parameters, return_raw=True)
    chance = np.asarray(filtered.filtered_marginal_probabilities, dtype=np.float64)
    inside = np.clip(chance[wild], 1e-12, 1.0 - 1e-12)
    return np.asarray(np.log(inside / (1.0 - inside)))


def _switching_model(history: MarketHistory) -> Any:
    library = extra_library("statsmodels.tsa.regime_switching.markov_regression")
    returns = history.log_returns * _PER_CENT
    return library.MarkovRegression(returns, k_regimes=2, trend="c", switching_trend=False, switching_variance=True)


@contextmanager
def _silenced(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
