"""Trading calendars: which dates are sessions of a market, and which of those are over.

`exchange_calendars` (and pandas under it) is imported only when a calendar is really asked.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector
from prometheus.errors import CalendarRangeError, unknown_market

US_EQ = "US_EQ"

MARKET_CALENDARS = {
    US_EQ: "XNYS",
    "UK_EQ": "XLON",
    "DE_EQ": "XETR",
    "JP_EQ": "XTKS",
    "HK_EQ": "XHKG",
    "CRYPTO": "24/7",
}
"""Our market ids and the exchange calendar behind each; a calendar's own name is a market id too."""

MARKET_ZONES = {
    US_EQ: "America/New_York",
    "UK_EQ": "Europe/London",
    "DE_EQ": "Europe/Berlin",
    "JP_EQ": "Asia/Tokyo",
    "HK_EQ": "Asia/Hong_Kong",
    "CRYPTO": "UTC",
}
"""By whose clock the sessions of a market are dated."""

FIRST_DATE = date(1927, 1, 1)
LAST_DATE = date(2035, 12, 31)
"""Fixed bounds: the library's own defaults move every day, and with them what a calendar answers."""

LATER_FIRST_DATES = (date(1960, 1, 1), date(1990, 1, 1), date(1997, 1, 1), date(2000, 1, 1), date(2010, 1, 1))
"""Where to begin instead when an exchange's holidays are not recorded back to `FIRST_DATE`."""


LONGEST_BREAK = timedelta(days=31)
"""Longer than any run of holidays."""


@dataclass(frozen=True, slots=True)
class TradingCalendarConfig:
    """Which market, and the span its calendar covers."""

    market: str = US_EQ
    first_date: date = FIRST_DATE
    last_date: date = LAST_DATE


class TradingCalendar:
    """The sessions of one market.

    On first use, `NotFoundError` if no calendar stands behind the market id; `CalendarRangeError` when a date outside
    the configured span is asked for.
    """

    def __init__(self, config: TradingCalendarConfig | None = None) -> None:
        self.config = config or TradingCalendarConfig()

    @property
    def market(self) -> str:
        """The market id."""
        return self.config.market

    def is_trading_day(self, day: date) -> bool:
        """Return whether `day` is a session."""
        return bool(self.trading_days_between(day, day))

    def trading_days_between(self, start: date, end: date) -> list[date]:
        """Return the sessions from `start` to `end`, both included, oldest first."""
        first = bisect_left(self._sessions, self._within(start))
        return list(self._sessions[first : bisect_right(self._sessions, self._within(end))])

    def get_prev_trading_day(self, day: date) -> date:
        """Return the last session strictly before `day`."""
        position = bisect_left(self._sessions, self._within(day))
        if position == 0:
            raise self._range_error(day)
        return self._sessions[position - 1]

    def get_next_trading_day(self, day: date) -> date:
        """Return the first session strictly after `day`."""
        position = bisect_right(self._sessions, self._within(day))
        if position == len(self._sessions):
            raise self._range_error(day)
        return self._sessions[position]

    def last_session(self, day: date) -> date:
        """Return `day` if it is a session, else the last one before it."""
        return day if self.is_trading_day(day) else self.get_prev_trading_day(day)

    def are_sessions(self, days: DateVector) -> NDArray[np.bool_]:
        """Return which of the days are sessions, shape (n,); days outside the calendar's span are not."""
        return np.isin(days, np.array(self._sessions, dtype="M8[D]"))

    def n_sessions_after(self, start: date, end: date) -> int:
        """Return how many sessions lie in (`start`, `end`]: the age, on `end`, of a bar dated `start`."""
        return len(self.trading_days_between(start + timedelta(days=1), end)) if end > start else 0

    @property
    def _sessions(self) -> tuple[date, ...]:
        return _load_sessions(self.config).days

    def _within(self, day: date) -> date:
        if not _load_sessions(self.config).first <= day <= self.config.last_date:
            raise self._range_error(day)
        return day

    def _range_error(self, day: date) -> CalendarRangeError:
        return CalendarRangeError(self.market, day, _load_sessions(self.config).first, self.config.last_date)


def calendar_code(market: str) -> str:
    """Return the exchange calendar behind a market id of ours, or a calendar's own name; else `NotFoundError`."""
    code = MARKET_CALENDARS.get(market)
    if code is not None:
        return code
    import exchange_calendars  # noqa: PLC0415 -- slow, and our own ids need no look-up

    if market not in exchange_calendars.get_calendar_names():
        raise unknown_market(market, sorted(MARKET_CALENDARS))
    return market


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


def session_closes(market: str, first: date, last: date) -> tuple[DateVector, NDArray[np.datetime64]]:
    """Return the sessions from `first` to the one after `last`, and when each closes, datetime64[us] in UTC.

    `NotFoundError` and `CalendarRangeError` as in `TradingCalendar`.
    """
    code = calendar_code(market)
    import exchange_calendars  # noqa: PLC0415 -- slow to import

    end = min(last, LAST_DATE) + LONGEST_BREAK
    try:
        closes = exchange_calendars.get_calendar(code, start=first.isoformat(), end=end.isoformat()).closes
    except ValueError as error:
        raise CalendarRangeError(market, first, FIRST_DATE, LAST_DATE) from error
    return closes.index.to_numpy().astype("M8[D]"), closes.dt.tz_localize(None).to_numpy().astype("M8[us]")


def market_zone(market: str) -> ZoneInfo | None:
    """Return the zone by whose clock the sessions of a market are dated, None if its calendar cannot be loaded."""
    try:
        return ZoneInfo(MARKET_ZONES.get(market) or _load_sessions(TradingCalendarConfig(market=market)).zone)
    except CalendarRangeError:
        return None


def is_trading_day(market: str, day: date) -> bool:
    """Return whether `day` is a session of `market`."""
    return _calendar(market).is_trading_day(day)


def trading_days_between(market: str, start: date, end: date) -> list[date]:
    """Return the sessions of `market` from `start` to `end`, both included."""
    return _calendar(market).trading_days_between(start, end)


def get_prev_trading_day(market: str, day: date) -> date:
    """Return the last session of `market` strictly before `day`."""
    return _calendar(market).get_prev_trading_day(day)


def get_next_trading_day(market: str, day: date) -> date:
    """Return the first session of `market` strictly after `day`."""
    return _calendar(market).get_next_trading_day(day)


@cache
def _calendar(market: str) -> TradingCalendar:
    return TradingCalendar(TradingCalendarConfig(market=market))


class _Sessions(NamedTuple):
    """The first date that can be asked for, the sessions from then on, and the zone whose clock dates them."""

    first: date
    days: tuple[date, ...]
    zone: str


@cache
def _load_sessions(config: TradingCalendarConfig) -> _Sessions:
    code = calendar_code(config.market)
    import exchange_calendars  # noqa: PLC0415 -- slow to import

    for first in (config.first_date, *(later for later in LATER_FIRST_DATES if later > config.first_date)):
        try:
            calendar = exchange_calendars.get_calendar(code, start=first.isoformat(), end=config.last_date.isoformat())
        except ValueError:  # the library knows this exchange's holidays only from a later year on
            continue
        return _Sessions(first, tuple(calendar.sessions.date), str(calendar.tz))
    raise CalendarRangeError(config.market, config.first_date, LATER_FIRST_DATES[-1], config.last_date)
