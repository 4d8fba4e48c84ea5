"""How scores become probabilities, and the one that the next 21 sessions will be volatile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from prometheus.arrays import Float32Matrix, Float64Matrix, Float64Vector
from prometheus.encoders.numeric.descriptors import NAMES
from prometheus.encoders.numeric.scale_free import standard_scores
from prometheus.errors import InputRefusedError, UsageError
from prometheus.market.outcomes import HORIZON_SESSIONS
from prometheus.regime.boosted import boosted_log_odds, boosted_log_odds_of

TOP_SHARE = 0.2
"""Forward volatility is high when it lies in the top fifth of what the calibration span saw."""
SCORE_WEIGHTS: Mapping[str, float] = {
    "range_2": 0.2383,
    "range_4": 0.6095,
    "range_16": 0.7279,
    "down_range_4": 0.2759,
    "down_range_16": -0.2779,
    "sortino_32": -0.2672,
}
"""Log odds per standard deviation, by logistic regression on ^GSPC 1964-1989 (`fit_score_weights`, ADR-0010)."""
_WEAK = 0.003
_DECIMALS = 9
"""What is learned is rounded, so that the last bit of a library's matrix product does not make another model."""
_AS_STRONG_AS_THE_DATA = 1.0
_MAX_STEPS = 60
_TOLERANCE = 1e-10
_WIDEST_STEP = 4.0
_LEAST_GAIN = 1e-4
_ROUNDING = 1e-12


_WEIGHTS = tuple(SCORE_WEIGHTS.values())
_WEIGHED = np.array([NAMES.index(name) for name in SCORE_WEIGHTS])

FIRST_FORECAST, BOOSTED_FORECAST = 1, 2
"""The logistic curve alone, and its log odds averaged with those of the frozen trees (ADR-0025)."""


@dataclass(frozen=True, slots=True)
class HighVolatilityForecast:
    """A score's way to a probability, learned from the past of one market.

    Above `threshold`, annualised (0.25 means 25 %), the next 21 sessions count as volatile; `intercept` and `slope` are
    log odds at score 0 and per unit of score. The second `version` averages these log odds with those of `boosted`.
    """

    threshold: float
    intercept: float
    slope: float
    version: int = FIRST_FORECAST

    def __post_init__(self) -> None:
        if self.version not in (FIRST_FORECAST, BOOSTED_FORECAST):
            raise UsageError(f"there is no version {self.version} of the forecast of high volatility, only 1 and 2")

    def curve(self, scores: Float64Vector) -> Float64Vector:
        """Return the log odds of each score, shape (n,), that this market's past alone gives."""
        return self.intercept + self.slope * scores

    def probabilities(
        self, scores: Float64Vector, vectors: Float32Matrix, added: Float64Vector | None = None
    ) -> Float64Vector:
        """Return the probability of high volatility for each score and vector, shape (n,) and (n, 384).

        Log odds from elsewhere are `added`, shape (n,).
        """
        log_odds = self.curve(scores)
        if self.version == BOOSTED_FORECAST:
            log_odds = (log_odds + boosted_log_odds(vectors, self.threshold)) / 2.0
        return sigmoid(log_odds if added is None else log_odds + added)

    def probability_of(self, scores: Float64Vector, raw: Float64Vector, added: float = 0.0) -> float:
        """Return the probability that `probabilities` gives of one vector, by all its scores, and in its own units."""
        log_odds = self.intercept + self.slope * volatility_score_of(scores)
        if self.version == BOOSTED_FORECAST:
            log_odds = (log_odds + boosted_log_odds_of(raw, np.log(self.threshold))) / 2.0
        return sigmoid_of(log_odds + added)

    @classmethod
    def fit(
        cls,
        scores: Float64Vector,
        forward_log_volatility: Float64Vector,
        threshold: float | None = None,
        version: int = FIRST_FORECAST,
    ) -> HighVolatilityForecast:
        """Learn from scores and what followed, both shape (n,), NaN where that is not yet known.

        The slope is drawn towards that of the frozen weights as strongly as the data pull it away; the intercept is
        free, as markets differ in level. Without a `threshold`, the top fifth of the known volatilities is high.
        `InputRefusedError` if nothing is known yet.
        """
        is_known = np.isfinite(forward_log_volatility)
        known = forward_log_volatility[is_known]
        if not len(known):
            raise InputRefusedError(f"no session of the span is followed by {HORIZON_SESSIONS} others yet")
        limit = float(np.exp(np.quantile(known, 1.0 - TOP_SHARE))) if threshold is None else threshold
        outcomes = (known > np.log(limit)).astype(np.float64)
        intercept, slope = fit_logistic(
            scores[is_known][:, np.newaxis],
            outcomes,
            prior=np.array([0.0, 1.0]),
            precision=np.array([1e-4, _AS_STRONG_AS_THE_DATA]),
        )
        threshold, intercept, slope = (round(float(value), _DECIMALS) for value in (limit, intercept, slope))
        return cls(threshold, intercept, slope, version)

    def to_dict(self) -> dict[str, float]:
        """Return JSON values; the first version does not name itself, as it was written before there was another."""
        values = asdict(self)
        if self.version == FIRST_FORECAST:
            del values["version"]
        return values

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> HighVolatilityForecast:
        """Return the forecast of a JSON object."""
        threshold, intercept, slope = (float(document[name]) for name in ("threshold", "intercept", "slope"))
        return cls(threshold, intercept, slope, int(document.get("version", FIRST_FORECAST)))


def volatility_scores(vectors: Float32Matrix) -> Float64Vector:
    """Return the frozen log odds of vectors of the scale-free encoder, up to a constant, shape (n,)."""
    scores = np.zeros(len(vectors))
    columns = standard_scores(vectors, tuple(SCORE_WEIGHTS))
    for column, weight in enumerate(SCORE_WEIGHTS.values()):
        scores += weight * columns[:, column]  # one after another: a matrix product may add in another order
    return scores


def volatility_score_of(scores: Float64Vector) -> float:
    """Return the score that `volatility_scores` gives of one vector, by its standard scores, shape (384,)."""
    total = 0.0
    for weight, score in zip(_WEIGHTS, scores[_WEIGHED].tolist(), strict=True):
        total += weight * score
    return total


def fit_score_weights(
    vectors: Float32Matrix, forward_log_volatility: Float64Vector, names: tuple[str, ...] = tuple(SCORE_WEIGHTS)
) -> dict[str, float]:
    """Return weights by descriptor that best tell the top fifth of forward volatility, rounded to 4 decimals."""
    is_known = np.isfinite(forward_log_volatility)
    outcomes = forward_log_volatility[is_known] > np.quantile(forward_log_volatility[is_known], 1.0 - TOP_SHARE)
    weights = fit_logistic(
        standard_scores(vectors[is_known], names),
        outcomes.astype(np.float64),
        prior=np.zeros(len(names) + 1),
        precision=np.full(len(names) + 1, _WEAK) * (np.arange(len(names) + 1) > 0),
    )
    return {name: round(float(weight), 4) for name, weight in zip(names, weights[1:], strict=True)}


def sigmoid(logits: Float64Vector) -> Float64Vector:
    """Return 1 / (1 + exp(-logits)), without overflow.

    Examples
    --------
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    weights = np.exp(-np.abs(logits))
    probabilities: Float64Vector = np.where(logits >= 0, 1.0, weights) / (1.0 + weights)
    return probabilities


def sigmoid_of(logit: float) -> float:
    """Return the `sigmoid` of one number."""
    weight = float(np.exp(-abs(logit)))
    return (1.0 if logit >= 0 else weight) / (1.0 + weight)


def logit(probabilities: Float64Vector) -> Float64Vector:
    """Return the log odds of probabilities, shape (n,); those of 0 and 1 are far, and finite."""
    inside = np.clip(probabilities, 1e-12, 1.0 - 1e-12)
    return np.log(inside) - np.log1p(-inside)


def fit_logistic(
    features: Float64Matrix, outcomes: Float64Vector, prior: Float64Vector, precision: Float64Vector
) -> Float64Vector:
    """Return intercept and weights, shape (n_features + 1,), of a logistic regression with a Gaussian prior.

    Newton's method on the mean log loss plus ``precision / 2 * (weights - prior) ** 2`` (Bishop, Pattern Recognition
    and Machine Learning, 2006, section 4.3.3), a step being halved until it is an improvement: far from the answer full
    steps can go round in circles.

    `features`, shape (n, n_features), are finite and of about unit spread, `outcomes` 0 or 1. `prior` and `precision`,
    shape (n_features + 1,), say where the weights are drawn to and how strongly; 1 weighs as much as all observations.
    """
    if not len(outcomes) or not (np.isfinite(features).all() and np.isfinite(outcomes).all()):
        raise InputRefusedError(f"{len(outcomes)} observations, or some that are not finite, make no regression")
    design = np.column_stack([np.ones(len(outcomes)), features])
    weights = np.array(prior, dtype=np.float64)
    loss = partial(_loss, design, outcomes, prior, precision)
    now = loss(weights)
    for _ in range(_MAX_STEPS):
        probabilities = sigmoid(design @ weights)
        gradient = design.T @ (probabilities - outcomes) / len(outcomes) + precision * (weights - prior)
        curvature = design.T @ (design * (probabilities * (1.0 - probabilities))[:, np.newaxis]) / len(outcomes)
        step = np.asarray(np.linalg.solve(curvature + np.diag(precision + 1e-9), gradient), dtype=np.float64)
        step *= min(1.0, _WIDEST_STEP / max(float(np.abs(step).max()), _TOLERANCE))
        step, now = _shortened(step, gradient, weights, now, loss)
        weights -= step
        if float(np.abs(step).max()) < _TOLERANCE:
            break
    return weights


def _shortened(
    step: Float64Vector,
    gradient: Float64Vector,
    weights: Float64Vector,
    now: float,
    loss: Callable[[Float64Vector], float],
) -> tuple[Float64Vector, float]:
    """Return a step that is an improvement on the loss `now`, and the loss behind it."""
    slack = _ROUNDING * max(1.0, now)
    while (then := loss(weights - step)) > now - _LEAST_GAIN * float((step * gradient).sum()) + slack:
        step = step / 2.0
    return step, then


def _loss(
    design: Float64Matrix,
    outcomes: Float64Vector,
    prior: Float64Vector,
    precision: Float64Vector,
    weights: Float64Vector,
) -> float:
    logits = design @ weights
    misses = np.log(1.0 + np.exp(-np.abs(logits))) + np.maximum(logits, 0.0) - outcomes * logits
    return float(misses.mean() + 0.5 * (precision * (weights - prior) ** 2).sum())
