"""Splits at random places and of random sizes, adjusted or left in: closes come out as they would be without them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded

from prometheus.market.splits import SplitFound, check_splits, split_factors

RATIOS = st.sampled_from([1.5, 2.0, 3.0, 7.0, 20.0, 1 / 2, 1 / 3, 1 / 10, 1 / 25])
splits = st.dictionaries(st.integers(1, 599), RATIOS, max_size=5)


def walk(seed: int, volatility: float) -> np.ndarray:
    """Return 600 closes whose days move by at most three times the volatility."""
    moves = np.random.default_rng(seed).normal(0, 1, 600)
    return 50 * np.exp(np.cumsum(volatility * np.clip(moves, -3, 3)))


@bounded(200)
@given(splits=splits, seed=st.integers(0, 10**6), volatility=st.floats(0.002, 0.025), is_left_in=st.booleans())
def test_closes_come_out_without_the_splits(
    splits: dict[int, float], seed: int, volatility: float, is_left_in: bool
) -> None:
    adjusted = walk(seed, volatility)
    rows, ratios = np.array(sorted(splits), np.int64), np.array([splits[row] for row in sorted(splits)])
    factors = split_factors(len(adjusted), rows, ratios)
    closes = adjusted * factors if is_left_in else adjusted
    check = check_splits(closes, rows, ratios)
    assert (check.found == (SplitFound.LEFT_IN if is_left_in else SplitFound.ADJUSTED)).all()
    left_in = check.of(SplitFound.LEFT_IN)
    np.testing.assert_allclose(
        closes / split_factors(len(closes), check.rows[left_in], check.ratios[left_in]), adjusted, rtol=1e-12
    )


@bounded(100)
@given(row=st.integers(1, 599), ratio=RATIOS, other=RATIOS, seed=st.integers(0, 10**6))
def test_a_move_of_another_size_is_neither(row: int, ratio: float, other: float, seed: int) -> None:
    closes = walk(seed, 0.01) * split_factors(600, np.array([row]), np.array([other]))
    check = check_splits(closes, np.array([row]), np.array([ratio]))
    is_same = abs(np.log(other / ratio)) < 1e-9
    if is_same or abs(np.log(other / ratio)) > 0.6:
        assert check.found.tolist() == [SplitFound.LEFT_IN if is_same else SplitFound.OTHER] or abs(np.log(other)) < 0.6
    assert abs(np.log(check.seen[0] / other)) < 0.04


def test_a_split_on_the_first_bar_says_nothing() -> None:
    check = check_splits(np.array([10.0, 10.1]), np.array([0]), np.array([2.0]))
    assert (len(check.rows), len(check.found)) == (0, 0)
