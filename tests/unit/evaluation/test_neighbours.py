"""The no-harm check: what it forecasts, that it never looks ahead, and that it can say both yes and no."""

from __future__ import annotations

import math

import numpy as np
import pytest

from prometheus.errors import InputRefusedError
from prometheus.evaluation.figures import check_harm, neighbour_forecasts
from prometheus.market.outcomes import forward_log_volatility

N = 500
SESSIONS = np.arange(N, dtype=np.int64)


def world(seed: int = 11) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors whose first value is what follows each date, and what follows."""
    generator = np.random.default_rng(seed)
    level = np.sin(np.arange(N) / 9.0)
    vectors = np.column_stack([level, 0.05 * generator.normal(size=(N, 3))])
    return vectors, level + 0.05 * generator.normal(size=N)


def test_forward_volatility_is_that_of_the_next_sessions_only() -> None:
    closes = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, 60)))

    logs = forward_log_volatility(closes, horizon=5)

    returns = [math.log(closes[day + 1] / closes[day]) for day in range(20, 25)]
    assert logs[20] == pytest.approx(math.log(math.sqrt(sum(r * r for r in returns) / 5 * 252)))
    assert np.isnan(logs[-5:]).all()
    assert np.isfinite(logs[:-5]).all()


def test_frozen_prices_have_no_volatility_to_forecast() -> None:
    assert np.isnan(forward_log_volatility(np.full(40, 7.0))).all()


def test_a_forecast_uses_no_date_whose_future_was_not_over() -> None:
    vectors, targets = world()
    row = 300
    before = neighbour_forecasts(vectors, targets, SESSIONS)

    poisoned_targets, poisoned_vectors = targets.copy(), vectors.copy()
    poisoned_targets[row - 20 :] = 1e6
    poisoned_vectors[row + 1 :] = 1e6
    after = neighbour_forecasts(poisoned_vectors, poisoned_targets, SESSIONS)

    assert after[: row + 1].tobytes() == before[: row + 1].tobytes()
    assert np.isnan(before[:120]).all()


def test_sessions_and_not_rows_say_how_far_back_a_date_lies() -> None:
    vectors, targets = world()
    weekly = neighbour_forecasts(vectors, targets, SESSIONS * 5)

    assert np.isfinite(weekly[105:]).all()
    assert np.isnan(weekly[:100]).all()


def test_the_same_space_twice_is_harmless_to_the_digit() -> None:
    vectors, targets = world()

    check = check_harm(vectors, vectors, targets, SESSIONS)

    assert check.difference == check.low == check.high == 0
    assert check.is_harmless
    assert check.r2_numeric > 0.8


def test_a_joint_space_of_noise_is_found_out() -> None:
    vectors, targets = world()
    noise = np.random.default_rng(2).normal(size=(N, 4))

    check = check_harm(vectors, noise, targets, SESSIONS)

    assert check.difference < -0.5
    assert not check.is_harmless


def test_too_few_dates_are_refused() -> None:
    vectors, targets = world()

    with pytest.raises(InputRefusedError, match="only 10 dates can be judged"):
        check_harm(vectors[:130], vectors[:130], targets[:130], SESSIONS[:130])
