"""The score of high volatility and its way to a probability."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.unit.regime.sample_sessions import BEFORE_THE_CRISIS, calibrated_until, followed, sample_sessions

from prometheus.encoders.numeric.scale_free import standard_scores
from prometheus.errors import InputRefusedError
from prometheus.evaluation.figures import area_under_curve
from prometheus.regime.forecasts import (
    SCORE_WEIGHTS,
    HighVolatilityForecast,
    fit_score_weights,
    sigmoid,
    volatility_scores,
)


def simulated(slope: float, n: int = 4_000, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and what followed: above the median of 20 % with log odds of slope * score."""
    generator = np.random.default_rng(seed)
    scores = generator.normal(0, 2, n)
    is_high = generator.random(n) < 1 / (1 + np.exp(-slope * scores))
    return scores, np.log(np.where(is_high, 0.3, 0.1))


def test_a_score_is_the_weighted_sum_of_standard_scores_and_the_same_alone() -> None:
    vectors = sample_sessions().vectors[::97]
    scores = volatility_scores(vectors)
    columns = {name: standard_scores(vectors, [name])[:, 0] for name in SCORE_WEIGHTS}
    np.testing.assert_allclose(scores, sum(SCORE_WEIGHTS[name] * columns[name] for name in SCORE_WEIGHTS), rtol=1e-12)
    for row in range(len(vectors)):
        assert volatility_scores(vectors[row : row + 1]).tobytes() == scores[row : row + 1].tobytes()


def test_the_score_ranks_what_followed_in_years_it_never_saw() -> None:
    known = np.isfinite(followed())
    is_high = followed()[known] > np.log(0.2)
    assert 0.1 < is_high.mean() < 0.4
    assert area_under_curve(sample_sessions().scores[known], is_high) > 0.87


def test_a_probability_learned_before_the_crisis_is_near_one_in_it_and_low_in_a_calm_year() -> None:
    sessions, (_, calibration) = sample_sessions(), calibrated_until(BEFORE_THE_CRISIS)
    stated = calibration.high_volatility.probabilities(sessions.scores, sessions.vectors)
    months = sessions.dates.astype("M8[M]")
    assert stated[months == np.datetime64("2008-10")].min() > 0.9
    assert stated[sessions.dates.astype("M8[Y]") == np.datetime64("2017")].max() < 0.1


def test_stated_probabilities_average_what_was_observed() -> None:
    scores, logs = simulated(1.0)
    forecast = HighVolatilityForecast.fit(scores, logs, threshold=0.2)
    assert sigmoid(forecast.curve(scores)).mean() == pytest.approx((logs > np.log(0.2)).mean(), abs=1e-3)
    assert forecast.slope == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("true_slope", "low", "high"), [(0.0, 0.05, 0.95), (0.4, 0.42, 0.95), (3.0, 1.05, 2.9)])
def test_a_slope_lies_between_the_frozen_one_and_that_of_the_data(true_slope: float, low: float, high: float) -> None:
    scores, logs = simulated(true_slope)
    assert low < HighVolatilityForecast.fit(scores, logs, threshold=0.2).slope < high


def test_what_is_not_yet_known_does_not_count() -> None:
    scores, logs = simulated(1.0, n=500)
    open_end = logs.copy()
    open_end[-21:] = np.nan
    poisoned = scores.copy()
    poisoned[-21:] = 1e9
    expected = HighVolatilityForecast.fit(scores[:-21], logs[:-21])
    assert HighVolatilityForecast.fit(scores, open_end) == HighVolatilityForecast.fit(poisoned, open_end) == expected
    with pytest.raises(InputRefusedError, match="no session of the span is followed by 21 others yet"):
        HighVolatilityForecast.fit(scores, np.full(500, np.nan))


def test_the_top_fifth_is_high_unless_a_threshold_is_given() -> None:
    logs = np.log(np.linspace(0.1, 0.3, 1_001))
    scores = np.linspace(-2, 2, 1_001)
    assert HighVolatilityForecast.fit(scores, logs).threshold == pytest.approx(0.26)
    assert HighVolatilityForecast.fit(scores, logs, 0.15).threshold == 0.15


@pytest.mark.parametrize("threshold", [0.01, 5.0])
def test_outcomes_that_never_differ_make_a_finite_forecast(threshold: float) -> None:
    scores, logs = simulated(1.0, n=200)
    stated = sigmoid(HighVolatilityForecast.fit(scores, logs, threshold).curve(np.array([0.0])))[0]
    assert stated > 0.9 if threshold < 0.1 else stated < 0.1


def test_a_forecast_comes_back_from_json_exactly() -> None:
    forecast = HighVolatilityForecast.fit(*simulated(0.7))
    assert HighVolatilityForecast.from_dict(json.loads(json.dumps(forecast.to_dict()))) == forecast


def test_fitted_weights_find_the_descriptor_that_decides() -> None:
    generator = np.random.default_rng(3)
    vectors = generator.normal(size=(3_000, 384)).astype(np.float32)
    decisive = standard_scores(vectors, ["range_16"])[:, 0]
    logs = decisive / decisive.std()
    logs[::50] = np.nan
    weights = fit_score_weights(vectors, logs)
    assert list(weights) == list(SCORE_WEIGHTS)
    assert max(weights, key=lambda name: abs(weights[name])) == "range_16"
    assert weights["range_16"] > 10 * max(abs(weights[name]) for name in weights if name != "range_16")
    assert all(weight == round(weight, 4) for weight in weights.values())
