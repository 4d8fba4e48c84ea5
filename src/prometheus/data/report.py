"""What is stored, seen by someone who has to trust it: gaps, ends, dead volume, frozen bars, jumps."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import dict_row, scalar_row

from prometheus.data.instruments import require_market
from prometheus.data.postgres.connections import Databases
from prometheus.errors import CalendarRangeError, unknown_instrument
from prometheus.market.calendar import TradingCalendar, TradingCalendarConfig

JUMP = 0.5
"""An adjusted close more than 50 % away from the one before is worth a look: a split left in, a unit error, a crash."""

ENDED_AFTER_SESSIONS = 5
"""A history that stops more than this many sessions before the newest bar of its market has ended."""

N_DATES_SHOWN = 5

_MARKETS = """
    SELECT m.market_id, m.calendar, array_agg(i.instrument_id) AS members,
           array_agg(i.instrument_id) FILTER (WHERE %(ids)s::text[] IS NULL OR i.instrument_id = ANY(%(ids)s)) AS wanted
    FROM markets m JOIN instruments i USING (market_id)
    WHERE %(market_id)s::text IS NULL OR m.market_id = %(market_id)s
    GROUP BY m.market_id
"""
_NEWEST_BAR = """
    SELECT max(bar.newest)
    FROM unnest(%s::text[]) AS member(id)
    CROSS JOIN LATERAL (SELECT max(trade_date) AS newest FROM prices_daily WHERE instrument_id = member.id) AS bar
"""
_SPAN = """
    SELECT instrument_id, min(trade_date) AS first, max(trade_date) AS last FROM prices_daily
    WHERE %(ids)s::text[] IS NULL OR instrument_id = ANY(%(ids)s)
    GROUP BY instrument_id ORDER BY instrument_id
"""
# n numbers the sessions of the calendar, so a gap is a step of more than one; a bar outside every session has none
_SUMMARY = """
    WITH bars AS (
        SELECT p.instrument_id, p.trade_date, p.open, p.high, p.low, p.close, p.adjusted_close, p.volume, s.n,
               lag(p.adjusted_close) OVER in_order AS previous_adjusted,
               max(s.n) OVER (in_order ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS previous_n
        FROM prices_daily p
        LEFT JOIN unnest(%(sessions)s::date[]) WITH ORDINALITY AS s(session, n) ON s.session = p.trade_date
        WHERE p.instrument_id = ANY(%(ids)s)
        WINDOW in_order AS (PARTITION BY p.instrument_id ORDER BY p.trade_date)
    ), judged AS (
        SELECT *, n - previous_n > 1 AS is_after_gap,
               abs(adjusted_close / previous_adjusted - 1) > %(jump)s AS is_jump
        FROM bars
    )
    SELECT instrument_id, min(trade_date) AS first_date, max(trade_date) AS last_date, count(*) AS n_rows,
           coalesce(sum(n - previous_n - 1) FILTER (WHERE is_after_gap), 0)::bigint AS n_missing_sessions,
           count(*) FILTER (WHERE n IS NULL AND trade_date >= %(begin)s) AS n_off_session,
           count(*) FILTER (WHERE volume = 0) AS n_zero_volume,
           count(*) FILTER (WHERE open = high AND high = low AND low = close) AS n_flat_bars,
           coalesce((array_agg(previous_n ORDER BY n) FILTER (WHERE is_after_gap))[:%(n_shown)s], '{}') AS before_gaps,
           coalesce((array_agg(n ORDER BY n) FILTER (WHERE is_after_gap))[:%(n_shown)s], '{}') AS after_gaps,
           coalesce(array_agg(trade_date ORDER BY trade_date) FILTER (WHERE is_jump), '{}') AS jump_dates
    FROM judged GROUP BY instrument_id
"""


@dataclass(frozen=True, slots=True)
class InstrumentReport:
    """What is stored of one instrument.

    Sessions are those of its market's calendar between its first and its last bar. `n_missing_sessions`,
    `first_missing` and `n_off_session` (bars on a date that is no session) are None and empty where no calendar is
    known; `checked_from` says where the calendar begins when that is later than the first bar. `ended_on` is the last
    bar of a history that has ended: more than five sessions before the newest bar of its market; None while it goes on,
    and without a calendar. `jump_dates` names each adjusted close more than 50 % away from the one
    before.
    """

    instrument_id: str
    market_id: str | None
    first_date: date
    last_date: date
    ended_on: date | None
    n_rows: int
    n_missing_sessions: int | None
    first_missing: tuple[date, ...]
    n_off_session: int | None
    checked_from: date | None
    n_zero_volume: int
    n_flat_bars: int
    jump_dates: tuple[date, ...]

    @property
    def n_jumps(self) -> int:
        """How many adjusted closes are more than 50 % away from the one before."""
        return len(self.jump_dates)


class _Market(NamedTuple):
    """A market, its calendar, all its instruments and those wanted; none of them for bars without a reference row."""

    market_id: str | None = None
    calendar: str | None = None
    members: Sequence[str] = ()
    wanted: Sequence[str] | None = ()


class _Span(NamedTuple):
    instrument_id: str
    first: date
    last: date


def build_data_report(
    db_manager: Databases, *, instrument_ids: Sequence[str] | None = None, market_id: str | None = None
) -> list[InstrumentReport]:
    """Return one report per instrument with prices, in order of id; only these, or of this market, where given.

    `NotFoundError` where there is no such market, or one of `instrument_ids` has no prices.
    """
    asked = {"ids": None if instrument_ids is None else list(instrument_ids), "market_id": market_id}
    with db_manager.get_runtime_connection() as connection:
        if market_id is not None:
            require_market(connection, market_id)
        markets = [_Market(*row) for row in connection.execute(_MARKETS, asked)]
    unlisted = _Market()
    market_of = {instrument_id: market for market in markets for instrument_id in market.wanted or ()}
    wanted = asked["ids"] if market_id is None else list(market_of)
    reports: list[InstrumentReport] = []
    with db_manager.get_historical_connection() as connection:
        spans = [_Span(*row) for row in connection.execute(_SPAN, {"ids": wanted})]
        stored = {span.instrument_id for span in spans}
        for instrument_id in instrument_ids or ():
            if instrument_id not in stored and (market_id is None or instrument_id in market_of):
                raise unknown_instrument(instrument_id)
        for market in (*markets, unlisted):
            group = [span for span in spans if market_of.get(span.instrument_id, unlisted) is market]
            if group:
                reports += _summarize(connection, market, group)
    return sorted(reports, key=lambda report: report.instrument_id)


def _load_sessions(market: _Market, first: date, last: date) -> tuple[list[date], date]:
    """Return the sessions, none where no calendar is known, and where the calendar begins."""
    if market.calendar is None:
        return [], first
    calendar = TradingCalendar(TradingCalendarConfig(market=market.calendar))
    try:
        return list(calendar.trading_days_between(first, last)), first
    except CalendarRangeError as error:
        begin, end = max(first, error.first), min(last, error.last)
        return list(calendar.trading_days_between(begin, end)) if begin <= end else [], begin


def _summarize(
    connection: psycopg.Connection[Any], market: _Market, group: Sequence[_Span]
) -> Iterator[InstrumentReport]:
    with connection.cursor(row_factory=scalar_row) as cursor:
        found: date | None = cursor.execute(_NEWEST_BAR, (list(market.members),)).fetchone()
    newest = found or max(span.last for span in group)
    sessions, begin = _load_sessions(market, min(span.first for span in group), newest)
    connection.execute("SET LOCAL work_mem = '128MB'")
    ids = [span.instrument_id for span in group]
    parameters = {"sessions": sessions, "begin": begin, "ids": ids, "jump": JUMP, "n_shown": N_DATES_SHOWN}
    with connection.cursor(row_factory=dict_row) as rows:
        for row in rows.execute(_SUMMARY, parameters):
            yield _report(market, sessions, begin, row)


def _report(market: _Market, sessions: Sequence[date], begin: date, row: dict[str, Any]) -> InstrumentReport:
    missing = dates_in_gaps(sessions, row.pop("before_gaps"), row.pop("after_gaps"))
    has_calendar, first, last = bool(sessions), row["first_date"], row["last_date"]
    if not has_calendar:
        row |= {"n_missing_sessions": None, "n_off_session": None}
    n_after = len(sessions) - bisect_right(sessions, last)
    return InstrumentReport(**{
        **row,
        "market_id": market.market_id,
        "ended_on": last if n_after > ENDED_AFTER_SESSIONS else None,
        "first_missing": missing[:N_DATES_SHOWN],
        "checked_from": begin if has_calendar and begin > first else None,
        "jump_dates": tuple(row["jump_dates"]),
    })  # fmt: skip


def dates_in_gaps(sessions: Sequence[date], before: Sequence[int], after: Sequence[int]) -> tuple[date, ...]:
    """Return the sessions between each pair of bars, given by their numbers counted from 1.

    Examples
    --------
    >>> dates_in_gaps([date(2024, 1, day) for day in (2, 3, 4, 5)], [1], [4])
    (datetime.date(2024, 1, 3), datetime.date(2024, 1, 4))
    """
    return tuple(session for start, end in zip(before, after, strict=True) for session in sessions[start : end - 1])
