"""Trading calendars against facts anyone can look up, and against themselves."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded

from prometheus.errors import CalendarRangeError, NotFoundError
from prometheus.market import calendar as time
from prometheus.market.calendar import US_EQ, TradingCalendar, TradingCalendarConfig

NYSE = TradingCalendar(TradingCalendarConfig(market=US_EQ))
days = st.dates(min_value=date(1990, 1, 1), max_value=date(2030, 12, 31))


@pytest.mark.parametrize(
    "closed",
    [
        date(2001, 9, 11), date(2001, 9, 12), date(2001, 9, 13), date(2001, 9, 14),  # the attacks
        date(2012, 10, 29), date(2012, 10, 30),  # hurricane Sandy
        date(2018, 12, 5), date(2025, 1, 9),  # mourning for presidents Bush and Carter
        date(2023, 7, 4), date(2024, 7, 4), date(2021, 7, 5),  # Independence Day; observed on Monday
        date(2022, 6, 20),  # Juneteenth, observed
        date(2024, 3, 29), date(2024, 11, 28), date(2024, 12, 25),
        date(2025, 2, 1), date(2025, 2, 2),
    ],
)  # fmt: skip
def test_new_york_was_closed(closed: date) -> None:
    assert not NYSE.is_trading_day(closed)


@pytest.mark.parametrize(
    "opened",
    [date(2001, 9, 10), date(2001, 9, 17), date(2012, 10, 31), date(2025, 1, 8), date(2025, 1, 10), date(1987, 10, 19),
     date(2008, 10, 10), date(2024, 7, 5), date(2021, 6, 18)],
)  # fmt: skip
def test_new_york_was_open(opened: date) -> None:
    assert NYSE.is_trading_day(opened)


def test_a_range_includes_both_ends() -> None:
    assert NYSE.trading_days_between(date(2025, 1, 8), date(2025, 1, 10)) == [date(2025, 1, 8), date(2025, 1, 10)]


def test_a_range_of_one_session_is_that_session() -> None:
    assert NYSE.trading_days_between(date(2025, 1, 8), date(2025, 1, 8)) == [date(2025, 1, 8)]


def test_a_range_without_sessions_is_empty() -> None:
    assert NYSE.trading_days_between(date(2001, 9, 11), date(2001, 9, 16)) == []


def test_a_range_that_ends_before_it_starts_is_empty() -> None:
    assert NYSE.trading_days_between(date(2025, 1, 10), date(2025, 1, 8)) == []


def test_a_year_has_the_sessions_the_exchange_published() -> None:
    counts = {year: len(NYSE.trading_days_between(date(year, 1, 1), date(year, 12, 31))) for year in range(2018, 2025)}
    assert counts == {2018: 251, 2019: 252, 2020: 253, 2021: 252, 2022: 251, 2023: 250, 2024: 252}


@bounded(60)
@given(start=days, length=st.integers(0, 500))
def test_a_range_is_exactly_its_sessions_in_order(start: date, length: int) -> None:
    every_day = [start + timedelta(days=n) for n in range(length + 1)]
    found = NYSE.trading_days_between(start, every_day[-1])
    assert found == [day for day in every_day if NYSE.is_trading_day(day)]


@bounded(60)
@given(day=days)
def test_the_sessions_around_a_day_are_the_nearest_ones_strictly_beyond_it(day: date) -> None:
    before, after = NYSE.get_prev_trading_day(day), NYSE.get_next_trading_day(day)
    assert before < day < after
    around = NYSE.trading_days_between(before, after)
    assert around == [before, *([day] if NYSE.is_trading_day(day) else []), after]


@bounded(60)
@given(start=days, length=st.integers(-10, 60))
def test_a_bar_is_never_older_in_sessions_than_in_days(start: date, length: int) -> None:
    # windows rely on it: a bar at most five days old is fresh, whatever the calendar says
    end = start + timedelta(days=length)
    age = NYSE.n_sessions_after(start, end)
    assert age == len([day for day in NYSE.trading_days_between(start, end) if day > start])
    assert age <= max(length, 0)


def test_the_last_session_of_a_session_is_itself() -> None:
    assert NYSE.last_session(date(2025, 1, 31)) == date(2025, 1, 31)
    assert NYSE.last_session(date(2025, 2, 2)) == date(2025, 1, 31)
    assert NYSE.last_session(date(2001, 9, 16)) == date(2001, 9, 10)


def test_ages_skip_holidays() -> None:
    assert NYSE.n_sessions_after(date(2001, 9, 10), date(2001, 9, 16)) == 0
    assert NYSE.n_sessions_after(date(2001, 9, 10), date(2001, 9, 17)) == 1
    assert NYSE.n_sessions_after(date(2025, 1, 8), date(2025, 1, 8)) == 0
    assert NYSE.n_sessions_after(date(2025, 1, 10), date(2025, 1, 8)) == 0


def test_module_functions_answer_as_the_methods_do() -> None:
    for day in (date(2001, 9, 13), date(2025, 1, 9), date(2025, 1, 10)):
        assert time.is_trading_day(US_EQ, day) is NYSE.is_trading_day(day)
        assert time.get_prev_trading_day(US_EQ, day) == NYSE.get_prev_trading_day(day)
        assert time.get_next_trading_day(US_EQ, day) == NYSE.get_next_trading_day(day)
    span = date(2024, 12, 20), date(2025, 1, 10)
    assert time.trading_days_between(US_EQ, *span) == NYSE.trading_days_between(*span)


def test_the_default_market_is_new_york() -> None:
    assert TradingCalendar().market == US_EQ
    assert not TradingCalendar().is_trading_day(date(2025, 1, 9))


def test_markets_have_holidays_of_their_own() -> None:
    day_of_mourning = date(2025, 1, 9)
    assert time.is_trading_day("UK_EQ", day_of_mourning)
    assert time.is_trading_day("CRYPTO", date(2025, 2, 1))
    assert not time.is_trading_day("DE_EQ", date(2024, 5, 1))
    assert time.is_trading_day(US_EQ, date(2024, 5, 1))


def test_a_calendar_of_the_library_is_a_market_under_its_own_name() -> None:
    assert not time.is_trading_day("XNYS", date(2025, 1, 9))
    assert time.is_trading_day("XLON", date(2025, 1, 9))


@pytest.mark.filterwarnings("ignore:DatetimeIndex.weekday is deprecated")  # exchange_calendars, Hong Kong, pandas 3
@pytest.mark.parametrize("market", sorted(time.MARKET_CALENDARS))
def test_every_market_of_ours_has_a_calendar_with_recent_sessions(market: str) -> None:
    assert 240 <= len(time.trading_days_between(market, date(2023, 1, 1), date(2023, 12, 31))) <= 365


def test_an_unknown_market_is_refused_with_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match=r"'MOON_EQ'.*US_EQ"):
        time.is_trading_day("MOON_EQ", date(2025, 1, 9))


CHRISTMAS_WEEK = TradingCalendar(
    TradingCalendarConfig(market=US_EQ, first_date=date(2024, 12, 25), last_date=date(2024, 12, 29))
)


def test_the_whole_configured_span_may_be_asked_even_where_it_begins_with_a_holiday() -> None:
    assert not CHRISTMAS_WEEK.is_trading_day(date(2024, 12, 25))
    assert CHRISTMAS_WEEK.trading_days_between(date(2024, 12, 25), date(2024, 12, 29)) == [
        date(2024, 12, 26),
        date(2024, 12, 27),
    ]


@pytest.mark.parametrize("day", [date(2024, 12, 24), date(2024, 12, 30)])
def test_a_date_outside_the_configured_span_is_refused_with_the_span(day: date) -> None:
    with pytest.raises(CalendarRangeError, match=f"covers 2024-12-25 to 2024-12-29, not {day}"):
        CHRISTMAS_WEEK.is_trading_day(day)


def test_there_is_nothing_before_the_first_session_and_after_the_last() -> None:
    with pytest.raises(CalendarRangeError):
        CHRISTMAS_WEEK.get_prev_trading_day(date(2024, 12, 26))
    with pytest.raises(CalendarRangeError):
        CHRISTMAS_WEEK.get_next_trading_day(date(2024, 12, 27))


def test_ranges_that_stick_out_are_refused_and_not_cut() -> None:
    with pytest.raises(CalendarRangeError):
        CHRISTMAS_WEEK.trading_days_between(date(2024, 12, 20), date(2024, 12, 27))
    with pytest.raises(CalendarRangeError):
        CHRISTMAS_WEEK.trading_days_between(date(2024, 12, 26), date(2025, 1, 3))


@pytest.mark.filterwarnings("ignore:DatetimeIndex.weekday is deprecated")
def test_dates_before_the_recorded_holidays_of_an_exchange_are_refused() -> None:
    with pytest.raises(CalendarRangeError, match="HK_EQ"):
        time.is_trading_day("HK_EQ", date(1930, 1, 2))
