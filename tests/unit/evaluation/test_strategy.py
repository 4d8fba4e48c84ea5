"""The strategy trades when it says it does, and its interval is one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.unit.evaluation.sample_market import sample_history

from prometheus.evaluation.bootstrap import sharpe_difference_interval
from prometheus.evaluation.figures import max_drawdown, sharpe_ratio, trade


def test_a_label_earns_from_the_close_after_it_is_traded() -> None:
    is_risk_off = np.array([False, True, False, False, False, False])
    returns = np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06])

    trading = trade(is_risk_off, returns, cost=0.001)

    assert trading.positions.tolist() == [1, 1, 1, 0, 1, 1], "known at close 1, traded at close 2, out over return 3"
    assert trading.returns.tolist() == pytest.approx([0.01, 0.02, 0.03, -0.001, 0.05 - 0.001, 0.06])
    assert trading.turnover == pytest.approx(252 / 6)


@bounded(100)
@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(0, 10))
def test_a_delay_moves_positions_and_nothing_else(labels: list[bool], delay: int) -> None:
    is_risk_off, returns = np.array(labels), np.linspace(-0.02, 0.02, len(labels))
    at_once, later = trade(is_risk_off, returns), trade(is_risk_off, returns, delay=delay)

    assert later.positions[:delay].tolist() == [1.0] * min(delay, len(labels))
    assert later.positions[delay:].tolist() == at_once.positions[: max(len(labels) - delay, 0)].tolist()


@bounded(50)
@given(st.integers(0, 2**32 - 1), st.integers(0, 28))
def test_what_a_label_says_later_changes_no_earlier_return(seed: int, cut: int) -> None:
    generator = np.random.default_rng(seed)
    labels, returns = generator.random(30) < 0.5, generator.normal(0, 0.01, 30)
    other = labels.copy()
    other[cut:] = ~other[cut:]

    assert trade(labels, returns).returns[: cut + 2].tolist() == trade(other, returns).returns[: cut + 2].tolist()


def test_never_switching_is_holding() -> None:
    returns = np.expm1(sample_history().log_returns)
    trading = trade(np.zeros(len(returns), dtype=np.bool_), returns)

    assert trading.returns.tobytes() == returns.tobytes()
    assert sharpe_difference_interval(trading, n_resamples=20) == (0.0, 0.0)
    assert sharpe_ratio(returns) == pytest.approx(0.469, abs=5e-4), "with the return of 1990-01-02 it would be 0.473"
    assert max_drawdown(returns) == pytest.approx(-0.568, abs=5e-4)


def test_the_interval_is_seeded_and_holds_the_difference() -> None:
    history = sample_history()
    returns = np.expm1(history.log_returns)
    trading = trade(np.abs(returns) > 0.015, returns)
    low, high = sharpe_difference_interval(trading, n_resamples=200)

    assert (low, high) == sharpe_difference_interval(trading, n_resamples=200)
    assert low < sharpe_ratio(trading.returns) - sharpe_ratio(returns) < high
    assert sharpe_difference_interval(trading, n_resamples=200, seed=1) != (low, high)


def test_returns_that_do_not_vary_have_no_ratio() -> None:
    assert math.isnan(sharpe_ratio(np.zeros(10)))
    assert max_drawdown(np.zeros(10)) == 0.0
    assert all(map(math.isnan, sharpe_difference_interval(trade(np.ones(5, dtype=np.bool_), np.zeros(5)))))
