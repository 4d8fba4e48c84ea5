"""What is stored, seen by someone who has to trust it: gaps, dead volume, frozen bars, jumps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg

from prometheus.data.postgres.connections import Databases
from prometheus.errors import CalendarRangeError, UnknownInstrumentError, UnknownMarketError
from prometheus.market.calendar import TradingCalendar, TradingCalendarConfig

JUMP = 0.5
"""A close more than 50 % away from the one before is worth a look: a split, a unit error, or a real crash."""

N_DATES_SHOWN = 5

_INSTRUMENTS_OF_MARKET = """
    SELECT i.instrument_id, i.market_id, m.calendar
    FROM instruments i JOIN markets m USING (market_id)
    WHERE (%(ids)s::text[] IS NULL OR i.instrument_id = ANY(%(ids)s))
      AND (%(market_id)s::text IS NULL OR i.market_id = %(market_id)s)
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
    SELECT instrument_id, min(trade_date), max(trade_date),
           ARRAY[
               count(*),
               count(*) FILTER (WHERE n IS NULL AND trade_date >= %(begin)s),
               count(*) FILTER (WHERE volume = 0),
               count(*) FILTER (WHERE open = high AND high = low AND low = close),
               coalesce(sum(n - previous_n - 1) FILTER (WHERE is_after_gap), 0)::bigint
           ],
           coalesce((array_agg(previous_n ORDER BY n) FILTER (WHERE is_after_gap))[:%(n_shown)s], '{}'),
           coalesce((array_agg(n ORDER BY n) FILTER (WHERE is_after_gap))[:%(n_shown)s], '{}'),
           coalesce(array_agg(trade_date ORDER BY trade_date) FILTER (WHERE is_jump), '{}')
    FROM judged GROUP BY instrument_id
"""


@dataclass(frozen=True, slots=True)
class InstrumentReport:
    """What is stored of one instrument.

    Sessions are those of its market's calendar between its first and its last bar. `n_missing_sessions`,
    `first_missing` and `n_off_session` (bars on a date that is no session) are None and empty where no calendar is
    known; `checked_from` says where the calendar begins when that is later than the first bar. `jump_dates` names each
    close more than 50 % away from the one before.
    """

    instrument_id: str
    market_id: str | None
    first_date: date
    last_date: date
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
    market_id: str | None
    calendar: str | None


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
    UnknownInstrumentError
        No prices of one of `instrument_ids` are stored.
    UnknownMarketError
        No market of that id is stored.
    """
    market_of = _load_markets(db_manager, instrument_ids, market_id)
    wanted = instrument_ids if market_id is None else sorted(market_of)
    reports: list[InstrumentReport] = []
    with db_manager.get_historical_connection() as connection:
        spans = connection.execute(_SPAN, {"ids": None if wanted is None else list(wanted)}).fetchall()
        _require_known(instrument_ids or (), {row[0] for row in spans}, market_of, market_id)
        for market, group in _by_market(spans, market_of).items():
            sessions = _load_sessions(market, min(row[1] for row in group), max(row[2] for row in group))
            reports += _summarize(connection, market, [row[0] for row in group], sessions)
    return sorted(reports, key=lambda report: report.instrument_id)


def _load_markets(
    db_manager: Databases, instrument_ids: Sequence[str] | None, market_id: str | None
) -> dict[str, _Market]:
    given = {"ids": None if instrument_ids is None else list(instrument_ids), "market_id": market_id}
    with db_manager.get_runtime_connection() as connection:
        if market_id is not None:
            known = [row[0] for row in connection.execute("SELECT market_id FROM markets ORDER BY market_id")]
            if market_id not in known:
                raise UnknownMarketError(market_id, known)
        rows = connection.execute(_INSTRUMENTS_OF_MARKET, given).fetchall()
    return {instrument_id: _Market(market, calendar) for instrument_id, market, calendar in rows}


def _require_known(
    asked: Iterable[str], stored: set[str], market_of: Mapping[str, _Market], market_id: str | None
) -> None:
    for instrument_id in asked:
        is_elsewhere = market_id is not None and instrument_id not in market_of
        if instrument_id not in stored and not is_elsewhere:
            raise UnknownInstrumentError(instrument_id)


def _by_market(
    spans: Iterable[tuple[str, date, date]], market_of: Mapping[str, _Market]
) -> dict[_Market, list[tuple[str, date, date]]]:
    groups: dict[_Market, list[tuple[str, date, date]]] = {}
    for span in spans:
        groups.setdefault(market_of.get(span[0], _Market(None, None)), []).append(span)
    return groups


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
    connection: psycopg.Connection[Any], market: _Market, instrument_ids: Sequence[str], sessions: _Sessions
) -> list[InstrumentReport]:
    connection.execute("SET LOCAL work_mem = '128MB'")
    found = connection.execute(
        _SUMMARY,
        {
            "sessions": list(sessions.dates),
            "begin": sessions.begin,
            "ids": list(instrument_ids),
            "jump": JUMP,
            "n_shown": N_DATES_SHOWN,
        },
    )
    return [
        _report(market, sessions, instrument_id, first, last, counts, (before, after), jumps)
        for instrument_id, first, last, counts, before, after, jumps in found
    ]


def _report(
    market: _Market,
    sessions: _Sessions,
    instrument_id: str,
    first: date,
    last: date,
    counts: Sequence[int],
    gaps: tuple[Sequence[int], Sequence[int]],
    jumps: Sequence[date],
) -> InstrumentReport:
    n_rows, n_off_session, n_zero_volume, n_flat_bars, n_missing = counts
    has_calendar = bool(sessions.dates)
    return InstrumentReport(
        instrument_id=instrument_id,
        market_id=market.market_id,
        first_date=first,
        last_date=last,
        n_rows=n_rows,
        n_missing_sessions=n_missing if has_calendar else None,
        first_missing=dates_in_gaps(sessions.dates, *gaps)[:N_DATES_SHOWN],
        n_off_session=n_off_session if has_calendar else None,
        checked_from=sessions.begin if has_calendar and sessions.begin > first else None,
        n_zero_volume=n_zero_volume,
        n_flat_bars=n_flat_bars,
        jump_dates=tuple(jumps),
    )


def dates_in_gaps(sessions: Sequence[date], before: Sequence[int], after: Sequence[int]) -> tuple[date, ...]:
    """Return the sessions between each pair of bars, given by their numbers counted from 1.

    Examples
    --------
    >>> dates_in_gaps([date(2024, 1, day) for day in (2, 3, 4, 5)], [1], [4])
    (datetime.date(2024, 1, 3), datetime.date(2024, 1, 4))
    """
    return tuple(session for start, end in zip(before, after, strict=True) for session in sessions[start : end - 1])
