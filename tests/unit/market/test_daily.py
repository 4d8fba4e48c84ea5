"""Whether bars are daily and on sessions: what the calendar is asked, and what it is not."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from prometheus.arrays import DateVector
from prometheus.market.calendar import TradingCalendar, TradingCalendarConfig, market_zone
from prometheus.market.daily import frequency_fault, is_filled_up, off_sessions

NEW_YORK = TradingCalendar()
ALWAYS = TradingCalendar(TradingCalendarConfig(market="CRYPTO"))
YEAR = np.arange(np.datetime64("2016-01-04"), np.datetime64("2017-01-01"))
WEEKDAYS = YEAR[np.is_busday(YEAR)]


@cache
def sessions() -> DateVector:
    """Return the sessions of the year, which the calendar is asked for when a test runs."""
    return YEAR[NEW_YORK.are_sessions(YEAR)]


def closes(days: DateVector) -> np.ndarray:
    """Closes that repeat on days without a session."""
    return 100 + np.cumsum(NEW_YORK.are_sessions(days)).astype(float)


def test_sessions_are_sessions() -> None:
    assert off_sessions(sessions(), closes(sessions()), NEW_YORK).tolist() == []
    assert frequency_fault(sessions()) is None


@pytest.mark.parametrize("days", [YEAR, WEEKDAYS], ids=["every day", "every weekday"])
def test_days_filled_forward_are_found(days: DateVector) -> None:
    off = off_sessions(days, closes(days), NEW_YORK)
    assert off.tolist() == days[~NEW_YORK.are_sessions(days)].tolist()
    assert is_filled_up(off, len(days))
    assert off_sessions(days, closes(days), ALWAYS).tolist() == []


def test_other_markets_have_bars_of_their_own_on_holidays() -> None:
    moving = 100 + np.arange(len(WEEKDAYS), dtype=float)
    assert off_sessions(WEEKDAYS, moving, NEW_YORK).tolist() == []


def test_a_single_saturday_is_named_but_no_fault() -> None:
    days = np.sort(np.append(sessions(), np.datetime64("2016-05-07")))
    off = off_sessions(days, closes(days), NEW_YORK)
    assert off.astype(str).tolist() == ["2016-05-07"]
    assert not is_filled_up(off, len(days))


def test_few_bars_do_not_show_how_often_they_come() -> None:
    assert frequency_fault(sessions()[::5][:9]) is None
    assert "5 sessions" in str(frequency_fault(sessions()[::5]))


@pytest.mark.parametrize(
    ("market", "zone"),
    [("US_EQ", "America/New_York"), ("JP_EQ", "Asia/Tokyo"), ("XPAR", "Europe/Paris"), ("24/7", "UTC")],
)
def test_sessions_are_dated_by_the_clock_of_their_market(market: str, zone: str) -> None:
    found = market_zone(market)
    assert found is not None
    assert found.key == zone
