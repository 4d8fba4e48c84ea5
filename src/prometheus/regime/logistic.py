"""Logistic regression with a Gaussian prior: how scores become probabilities."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from prometheus.arrays import Float64Matrix, Float64Vector
from prometheus.errors import InputRefusedError

_MAX_STEPS = 60
_TOLERANCE = 1e-10
_WIDEST_STEP = 4.0
_LEAST_GAIN = 1e-4
_ROUNDING = 1e-12


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


def fit_logistic(
    features: Float64Matrix, outcomes: Float64Vector, prior: Float64Vector, precision: Float64Vector
) -> Float64Vector:
    """Return intercept and weights, shape (n_features + 1,), that make the outcomes and the prior together likeliest.

    Newton's method on the mean log loss plus ``precision / 2 * (weights - prior) ** 2`` (Bishop, Pattern Recognition
    and Machine Learning, 2006, section 4.3.3), a step being halved until it is an improvement: far from the answer full
    steps can go round in circles.

    Parameters
    ----------
    features
        Shape (n, n_features), finite, of about unit spread.
    outcomes
        Shape (n,), 0 or 1.
    prior
        Shape (n_features + 1,): where the intercept and the weights are drawn to.
    precision
        Shape (n_features + 1,), not negative: how strongly, per observation; 1 weighs as much as all observations.

    Raises
    ------
    InputRefusedError
        There is no observation, or values that are not finite.
    """
    if not len(outcomes) or not (np.isfinite(features).all() and np.isfinite(outcomes).all()):
        raise InputRefusedError(f"{len(outcomes)} observations, or some that are not finite, make no regression")
    design = np.column_stack([np.ones(len(outcomes)), features])
    weights = np.array(prior, dtype=np.float64)
    loss = partial(_loss, design, outcomes, prior, precision)
    for _ in range(_MAX_STEPS):
        probabilities = sigmoid(design @ weights)
        gradient = design.T @ (probabilities - outcomes) / len(outcomes) + precision * (weights - prior)
        curvature = design.T @ (design * (probabilities * (1.0 - probabilities))[:, np.newaxis]) / len(outcomes)
        step = np.asarray(np.linalg.solve(curvature + np.diag(precision + 1e-9), gradient), dtype=np.float64)
        step *= min(1.0, _WIDEST_STEP / max(float(np.abs(step).max()), _TOLERANCE))
        step = _shortened(step, gradient, weights, loss)
        weights -= step
        if float(np.abs(step).max()) < _TOLERANCE:
            break
    return weights


def _shortened(
    step: Float64Vector, gradient: Float64Vector, weights: Float64Vector, loss: Callable[[Float64Vector], float]
) -> Float64Vector:
    """Return the step, halved until it lowers the loss as it should; as it is where it does."""
    now = loss(weights)
    slack = _ROUNDING * max(1.0, now)
    while loss(weights - step) > now - _LEAST_GAIN * float((step * gradient).sum()) + slack:
        step = step / 2.0
    return step


def _loss(
    design: Float64Matrix,
    outcomes: Float64Vector,
    prior: Float64Vector,
    precision: Float64Vector,
    weights: Float64Vector,
) -> float:
    logits = design @ weights
    misses = np.logaddexp(0.0, logits) - outcomes * logits
    return float(misses.mean() + 0.5 * (precision * (weights - prior) ** 2).sum())
