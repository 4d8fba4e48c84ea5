"""Logistic regression against gradient descent, by hand, and where others break down."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.reference.logistic import slow_gradient, slow_logistic

from prometheus.errors import InputRefusedError
from prometheus.regime.forecasts import fit_logistic, sigmoid


def drawn(seed: int, n: int = 40, n_features: int = 2) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(n, n_features))
    outcomes = (generator.random(n) < 1 / (1 + np.exp(-features.sum(axis=1)))).astype(np.float64)
    return features, outcomes


@bounded(100)
@given(logit=st.floats(-700, 700))
def test_the_sigmoid_is_the_formula(logit: float) -> None:
    (found,) = sigmoid(np.array([logit])).tolist()
    assert math.isclose(found, 1 / (1 + math.exp(-logit)), rel_tol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_weights_are_those_of_gradient_descent(seed: int) -> None:
    features, outcomes = drawn(seed)
    prior, precision = [0.3, -1.0, 2.0], [0.05, 0.3, 1.0]
    found = fit_logistic(features, outcomes, np.array(prior), np.array(precision))
    expected = slow_logistic(features.tolist(), outcomes.tolist(), prior, precision)
    np.testing.assert_allclose(found, expected, atol=1e-7)


@bounded(100)
@given(
    seed=st.integers(0, 999),
    prior=st.lists(st.floats(-20, 20), min_size=3, max_size=3),
    precision=st.lists(st.floats(0.01, 5), min_size=3, max_size=3),
)
def test_nothing_pulls_at_the_weights_wherever_the_search_began(
    seed: int, prior: list[float], precision: list[float]
) -> None:
    features, outcomes = drawn(seed)
    found = fit_logistic(features, outcomes, np.array(prior), np.array(precision))
    gradient = slow_gradient(features.tolist(), outcomes.tolist(), prior, precision, found.tolist())
    assert max(map(abs, gradient)) < 1e-7


@pytest.mark.parametrize(
    ("seed", "prior", "precision"),
    [(17, [10, 5, -5], [0.01, 0.01, 0.05]), (10, [5, -1, -10], [0.02, 0.01, 0.01]), (29, [-15, -10, 8], [2, 0.01, 3])],
)
def test_full_steps_that_would_go_round_in_circles_are_shortened(
    seed: int, prior: list[float], precision: list[float]
) -> None:
    features, outcomes = drawn(seed)
    found = fit_logistic(features, outcomes, np.array(prior, dtype=np.float64), np.array(precision))
    gradient = slow_gradient(features.tolist(), outcomes.tolist(), prior, precision, found.tolist())
    assert max(map(abs, gradient)) < 1e-9


def test_rates_that_anyone_can_count_make_the_weights() -> None:
    # one in four without the feature, three in four with it: logits -ln 3 and +ln 3
    features = np.repeat([[0.0], [1.0]], 4, axis=0)
    outcomes = np.array([1.0, 0, 0, 0, 1, 1, 1, 0])
    found = fit_logistic(features, outcomes, np.zeros(2), np.zeros(2))
    np.testing.assert_allclose(found, [-math.log(3), 2 * math.log(3)], rtol=1e-6)


def test_a_strong_prior_is_kept_and_none_is_forgotten() -> None:
    features, outcomes = drawn(7, n=400)
    prior = np.array([1.0, -3.0, 0.5])
    np.testing.assert_allclose(fit_logistic(features, outcomes, prior, np.full(3, 1e9)), prior, atol=1e-6)
    free = fit_logistic(features, outcomes, prior, np.zeros(3))
    np.testing.assert_allclose(free, fit_logistic(features, outcomes, -prior, np.zeros(3)), atol=1e-7)
    np.testing.assert_allclose(free, [0, 1, 1], atol=0.5)


def test_precision_is_per_observation() -> None:
    features, outcomes = drawn(8)
    prior, precision = np.array([0.0, 1.0, 1.0]), np.ones(3)
    twice = fit_logistic(np.tile(features, (2, 1)), np.tile(outcomes, 2), prior, precision)
    np.testing.assert_allclose(twice, fit_logistic(features, outcomes, prior, precision), atol=1e-9)


@pytest.mark.parametrize("precision", [0.0, 1e-4])
def test_data_that_a_line_parts_have_finite_weights_on_the_right_side(precision: float) -> None:
    features = np.linspace(-2, 2, 30)[:, np.newaxis]
    outcomes = (features[:, 0] > 0.1).astype(np.float64)
    found = fit_logistic(features, outcomes, np.zeros(2), np.full(2, precision))
    assert np.isfinite(found).all()
    assert ((sigmoid(found[0] + found[1] * features[:, 0]) > 0.5) == (outcomes == 1)).all()


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_outcomes_that_never_differ_have_finite_weights(outcome: float) -> None:
    features, _ = drawn(9)
    found = fit_logistic(features, np.full(40, outcome), np.zeros(3), np.array([1e-4, 1.0, 1.0]))
    assert np.isfinite(found).all()
    assert (found[0] > 3) if outcome else (found[0] < -3)


def test_nothing_to_learn_from_is_refused() -> None:
    features, outcomes = drawn(10)
    zeros = np.zeros(3)
    with pytest.raises(InputRefusedError, match=r"^0 observations"):
        fit_logistic(features[:0], outcomes[:0], zeros, zeros)
    for poisoned in (features, outcomes):
        broken = poisoned.copy()
        broken[3] = np.nan
        pair = (broken, outcomes) if poisoned is features else (features, broken)
        with pytest.raises(InputRefusedError, match="not finite"):
            fit_logistic(*pair, zeros, zeros)
