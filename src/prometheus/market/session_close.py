"""When sessions are over: the question that a date alone cannot answer."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from prometheus.errors import CalendarRangeError
from prometheus.market.calendar import calendar_code

LONGEST_BREAK = timedelta(days=31)
"""Longer than any run of holidays."""


def last_closed_session(market: str, now_utc: datetime) -> date:
    """Return the last session of a market whose close has passed, half days included.

    `now_utc` has a time zone; the close itself counts as passed. `NotFoundError` if no calendar stands behind the
    market id, `CalendarRangeError` if it knows no session in the month before.

    >>> last_closed_session("US_EQ", datetime(2024, 11, 29, 17, 59, tzinfo=UTC))  # the day after Thanksgiving
    datetime.date(2024, 11, 27)
    >>> last_closed_session("US_EQ", datetime(2024, 11, 29, 18, 0, tzinfo=UTC))
    datetime.date(2024, 11, 29)
    """
    code = calendar_code(market)
    import exchange_calendars  # noqa: PLC0415 -- slow to import

    today = now_utc.astimezone(UTC).date()
    first, last = today - LONGEST_BREAK, today + timedelta(days=1)
    calendar = exchange_calendars.get_calendar(code, start=first.isoformat(), end=last.isoformat())
    closed = calendar.closes[calendar.closes <= now_utc]
    if closed.empty:
        raise CalendarRangeError(market, today, first, last)
    session: date = closed.index[-1].date()
    return session
