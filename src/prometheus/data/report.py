"""What is stored, seen by someone who has to trust it: gaps, ends, dead volume, frozen bars, jumps."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import psycopg
from psycopg.rows import args_row, dict_row, scalar_row

from prometheus.data.instruments import require_market
from prometheus.data.postgres.connections import Databases
from prometheus.errors import CalendarRangeError, unknown_instrument
from prometheus.market.calendar import TradingCalendar, TradingCalendarConfig

JUMP = 0.5
"""A close more than 50 % away from the one before is worth a look: a split, a unit error, or a real crash."""

ENDED_AFTER_SESSIONS = 5
"""A history that stops more than this many sessions before the newest bar of its market has ended."""

N_DATES_SHOWN = 5

_INSTRUMENTS_OF_MARKET = """
    SELECT i.instrument_id, i.market_id, m.calendar
    FROM instruments i JOIN markets m USING (market_id)
    WHERE (%(ids)s::text[] IS NULL OR i.instrument_id = ANY(%(ids)s))
      AND (%(market_id)s::text IS NULL OR i.market_id = %(market_id)s)
"""
_MEMBERS = """
    SELECT market_id, array_agg(instrument_id) FROM instruments WHERE market_id = ANY(%s) GROUP BY market_id
"""
_NEWEST_BAR = """
    SELECT max(bar.newest)
    FROM unnest(%s::text[]) AS member(id)
    CROSS JOIN LATERAL (SELECT max(trade_date) AS newest FROM prices_daily WHERE instrument_id = member.id) AS bar
"""
_SPAN = """
    SELECT instrument_id, min(trade_date), max(trade_date) FROM prices_daily
    WHERE %(ids)s::text[] IS NULL OR instrument_id = ANY(%(ids)s)
    GROUP BY instrument_id ORDER BY instrument_id
"""
# n numbers the sessions of the calendar, so a gap is a step of more than one; a bar outside every session has none
_SUMMARY = """
    WITH bars AS (
        SELECT p.instrument_id, p.trade_date, p.open, p.high, p.low, p.close, p.volume, s.n,
               lag(p.close) OVER in_order AS previous_close,
               max(s.n) OVER (in_order ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS previous_n
        FROM prices_daily p
        LEFT JOIN unnest(%(sessions)s::date[]) WITH ORDINALITY AS s(session, n) ON s.session = p.trade_date
        WHERE p.instrument_id = ANY(%(ids)s)
        WINDOW in_order AS (PARTITION BY p.instrument_id ORDER BY p.trade_date)
    ), judged AS (
        SELECT *, n - previous_n > 1 AS is_after_gap, abs(close / previous_close - 1) > %(jump)s AS is_jump FROM bars
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
    and without a calendar. `jump_dates` names each close more than 50 % away from the one before.
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
        """How many closes are more than 50 % away from the one before."""
        return len(self.jump_dates)


@dataclass(frozen=True, slots=True)
class _Market:
    """A market, its calendar, and all its instruments; none of them for bars without a reference row."""

    market_id: str | None = None
    calendar: str | None = None
    members: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class _Span:
    """The first and the last bar of an instrument."""

    instrument_id: str
    first: date
    last: date


@dataclass(frozen=True, slots=True)
class _Sessions:
    """The sessions of a group of instruments, none where no calendar is known, and where the calendar begins."""

    dates: tuple[date, ...]
    begin: date


def build_data_report(
    db_manager: Databases, *, instrument_ids: Sequence[str] | None = None, market_id: str | None = None
) -> list[InstrumentReport]:
    """Return one report per instrument with prices, in order of id.

    Parameters
    ----------
    instrument_ids
        Only these; None means all.
    market_id
        Only instruments of this market; None means all.

    Raises
    ------
    NotFoundError
        No prices of one of `instrument_ids` are stored.
    NotFoundError
        No market of that id is stored.
    """
    market_of = _load_markets(db_manager, instrument_ids, market_id)
    wanted = instrument_ids if market_id is None else sorted(market_of)
    reports: list[InstrumentReport] = []
    with db_manager.get_historical_connection() as connection:
        with connection.cursor(row_factory=args_row(_Span)) as cursor:
            spans = cursor.execute(_SPAN, {"ids": None if wanted is None else list(wanted)}).fetchall()
        _require_known(instrument_ids or (), {span.instrument_id for span in spans}, market_of, market_id)
        groups: dict[_Market, list[_Span]] = {}
        for span in spans:
            groups.setdefault(market_of.get(span.instrument_id, _Market()), []).append(span)
        for market, group in groups.items():
            reports += _summarize(connection, market, group)
    return sorted(reports, key=lambda report: report.instrument_id)


def _load_markets(
    db_manager: Databases, instrument_ids: Sequence[str] | None, market_id: str | None
) -> dict[str, _Market]:
    given = {"ids": None if instrument_ids is None else list(instrument_ids), "market_id": market_id}
    with db_manager.get_runtime_connection() as connection:
        if market_id is not None:
            require_market(connection, market_id)
        rows = connection.execute(_INSTRUMENTS_OF_MARKET, given).fetchall()
        calendars = {market: calendar for _, market, calendar in rows}
        members: dict[str, list[str]] = dict(connection.execute(_MEMBERS, (list(calendars),)).fetchall())
    markets = {name: _Market(name, calendar, tuple(members.get(name, ()))) for name, calendar in calendars.items()}
    return {instrument_id: markets[market] for instrument_id, market, _ in rows}


def _require_known(
    asked: Iterable[str], stored: set[str], market_of: Mapping[str, _Market], market_id: str | None
) -> None:
    for instrument_id in asked:
        is_elsewhere = market_id is not None and instrument_id not in market_of
        if instrument_id not in stored and not is_elsewhere:
            raise unknown_instrument(instrument_id)


def _load_sessions(market: _Market, first: date, last: date) -> _Sessions:
    if market.calendar is None:
        return _Sessions((), first)
    calendar = TradingCalendar(TradingCalendarConfig(market=market.calendar))
    try:
        return _Sessions(tuple(calendar.trading_days_between(first, last)), first)
    except CalendarRangeError as error:
        begin, end = max(first, error.first), min(last, error.last)
        return _Sessions(tuple(calendar.trading_days_between(begin, end)) if begin <= end else (), begin)


def _summarize(
    connection: psycopg.Connection[Any], market: _Market, group: Sequence[_Span]
) -> Iterator[InstrumentReport]:
    with connection.cursor(row_factory=scalar_row) as cursor:
        found: date | None = cursor.execute(_NEWEST_BAR, (list(market.members),)).fetchone()
    newest = found or max(span.last for span in group)
    sessions = _load_sessions(market, min(span.first for span in group), newest)
    connection.execute("SET LOCAL work_mem = '128MB'")
    parameters = {
        "sessions": list(sessions.dates),
        "begin": sessions.begin,
        "ids": [span.instrument_id for span in group],
        "jump": JUMP,
        "n_shown": N_DATES_SHOWN,
    }
    with connection.cursor(row_factory=dict_row) as rows:
        for row in rows.execute(_SUMMARY, parameters):
            yield _report(market, sessions, row)


def _report(market: _Market, sessions: _Sessions, row: dict[str, Any]) -> InstrumentReport:
    missing = dates_in_gaps(sessions.dates, row.pop("before_gaps"), row.pop("after_gaps"))
    has_calendar, first, last = bool(sessions.dates), row["first_date"], row["last_date"]
    if not has_calendar:
        row |= {"n_missing_sessions": None, "n_off_session": None}
    n_after = len(sessions.dates) - bisect_right(sessions.dates, last)
    return InstrumentReport(**{
        **row,
        "market_id": market.market_id,
        "ended_on": last if n_after > ENDED_AFTER_SESSIONS else None,
        "first_missing": missing[:N_DATES_SHOWN],
        "checked_from": sessions.begin if has_calendar and sessions.begin > first else None,
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
