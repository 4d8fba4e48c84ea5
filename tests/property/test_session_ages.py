"""The age of a day in sessions, by closes that another process loaded, equals counting them one by one."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from prometheus.market.calendar import last_closed_session, trading_days_between
from prometheus.web.session_closes import Closes, Span, load_closes

MARKETS = ("US_EQ", "JP_EQ", "CRYPTO")
SPANS: list[Span] = [(market, date(2024, 1, 1), date(2024, 12, 1)) for market in (*MARKETS, "NO_SUCH")]


@cache
def loaded() -> dict[Span, Closes | None]:
    return load_closes(SPANS)


def test_a_market_without_a_calendar_has_no_closes() -> None:
    assert loaded()[SPANS[-1]] is None


@given(
    market=st.sampled_from(MARKETS),
    day=st.dates(date(2024, 1, 1), date(2024, 12, 20)),
    minutes=st.integers(0, 480_000),
)
def test_ages_are_those_of_counting_one_by_one(market: str, day: date, minutes: int) -> None:
    now = datetime(2024, 2, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    closes = loaded()[market, date(2024, 1, 1), date(2024, 12, 1)]
    assert closes is not None
    last = last_closed_session(market, now)
    expected = len(trading_days_between(market, day + timedelta(days=1), last)) if last > day else 0
    assert closes.n_closed_since(day, now) == expected
