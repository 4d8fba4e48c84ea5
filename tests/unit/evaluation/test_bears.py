"""Bear markets as they were known on a day, and how late labels came."""

from __future__ import annotations

import numpy as np
from tests.unit.evaluation.sample_market import sample_history

from prometheus.evaluation.bears import (
    BearMarket,
    bear_market_days,
    days_in_own_bear_markets,
    find_bear_markets,
    known_bear_days,
    lags_after_peaks,
)

CLOSES = np.array([100.0, 110.0, 90.0, 85.0, 95.0, 103.0, 99.0])


def test_a_fall_of_a_fifth_is_settled_up_to_its_lowest_close_and_after_the_rise_up_to_the_peak() -> None:
    assert find_bear_markets(CLOSES[:4]) == ([BearMarket(1, 3)], 3)
    assert find_bear_markets(CLOSES) == ([BearMarket(1, 3)], 5)
    np.testing.assert_array_equal(known_bear_days(CLOSES), [0, 0, 1, 1, 0, 0, np.nan])
    np.testing.assert_array_equal(known_bear_days(CLOSES[:3]), [0, 0, np.nan])


def test_what_is_known_on_a_day_is_what_hindsight_says_of_it() -> None:
    closes = sample_history().closes
    final = bear_market_days(closes)
    for end in range(50, len(closes), 101):
        known = known_bear_days(closes[:end])
        is_settled = np.isfinite(known)
        assert (known[is_settled] == final[:end][is_settled]).all()


def test_each_session_has_a_bear_market_of_its_own_fall() -> None:
    falls = np.array([0.2, 0.3, 0.2, 0.1])
    is_bear = days_in_own_bear_markets(CLOSES, falls)
    assert is_bear.tolist() == [bear_market_days(CLOSES, fall, fall)[3 + row] for row, fall in enumerate(falls)]
    assert is_bear.tolist() == [True, False, False, False]


def test_a_lag_is_counted_from_the_peak_to_the_first_label_before_the_trough() -> None:
    markets = [BearMarket(1, 4), BearMarket(10, 14), BearMarket(20, 22)]
    is_risk_off = np.zeros(25, dtype=np.bool_)
    is_risk_off[[12, 23]] = True
    lags = lags_after_peaks(markets, is_risk_off[5:], first=5)
    assert [(lag.market.peak, lag.sessions) for lag in lags] == [(10, 2), (20, None)]
