"""What users decided of single bars: the table ``price_decisions``, its rows kept when a decision is taken back.

A decision is in force while the bar has the close it was made about.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import psycopg
from psycopg import sql

from prometheus.data.postgres.connections import HistoricalTables
from prometheus.errors import InputRefusedError
from prometheus.market.bars import ACCEPTED, DECISION, REJECTED, PriceBars

Verdict: TypeAlias = Literal["ACCEPTED", "REJECTED"]


def decisions_on(bars: str, known_at: datetime | None) -> sql.Composed:
    """Return the right side of a join of bars with the decisions in force, now or at an instant, as `d`."""
    in_force = sql.SQL("d.reopened_at IS NULL").format()
    if known_at is not None:
        in_force = sql.SQL("d.decided_at <= {0} AND coalesce(d.reopened_at, 'infinity') > {0}").format(known_at)
    return sql.SQL(
        "price_decisions AS d ON d.instrument_id = {0}.instrument_id AND d.trade_date = {0}.trade_date "
        "AND d.close = {0}.close AND {1}"
    ).format(sql.Identifier(bars), in_force)


def decided_bars(connection: psycopg.Connection[Any], bars: PriceBars) -> PriceBars:
    """Return bars that are not stored yet with what was decided of equal ones, if anything was, as `DECISION`."""
    query = """
        SELECT instrument_id, trade_date, verdict, close FROM price_decisions
        WHERE reopened_at IS NULL AND instrument_id = ANY(%s)
    """
    made = connection.execute(query, (list(bars.instrument_ids),)).fetchall()
    if not made:
        return bars
    decision, closes = np.zeros(len(bars)), bars.column("close")
    for name, day, verdict, close in made:
        at = bars.instrument_ids.index(name)
        begin, end = bars.offsets[at : at + 2].tolist()
        row = begin + int(np.searchsorted(bars.dates[begin:end], np.datetime64(day, "D")))
        if row < end and bars.dates[row].item() == day and closes[row] == close:
            decision[row] = ACCEPTED if verdict == "ACCEPTED" else REJECTED
    return replace(bars, fields=(*bars.fields, DECISION), values=np.vstack([bars.values, decision]))


class PriceDecision(NamedTuple):
    """One decision on one bar; `is_in_force` is False once it was taken back, or the bar has another close."""

    instrument_id: str
    trade_date: date
    verdict: Verdict
    close: float
    decided_by: str
    decided_at: datetime
    reason: str
    reopened_by: str | None
    reopened_at: datetime | None
    reopened_for: str | None
    is_in_force: bool


class PriceDecisions(HistoricalTables):
    """Reads and writes ``price_decisions``."""

    def history(self, instrument_ids: Collection[str] | None = None) -> list[PriceDecision]:
        """Return every decision ever made, of some instruments or all, by instrument, bar and time."""
        query = """
            SELECT d.instrument_id, d.trade_date, d.verdict, d.close, d.decided_by, d.decided_at, d.reason,
                   d.reopened_by, d.reopened_at, d.reopened_for,
                   d.reopened_at IS NULL AND p.close IS NOT DISTINCT FROM d.close
            FROM price_decisions d LEFT JOIN prices_daily p USING (instrument_id, trade_date)
            WHERE %(ids)s::text[] IS NULL OR d.instrument_id = ANY(%(ids)s)
            ORDER BY d.instrument_id, d.trade_date, d.decided_at
        """
        ids = None if instrument_ids is None else list(instrument_ids)
        return [PriceDecision(*row) for row in self._db.rows(query, {"ids": ids})]

    def in_force(self, instrument_id: str, days: Sequence[date]) -> list[PriceDecision]:
        """Return the decisions in force on bars of an instrument, by date."""
        wanted = set(days)
        return [each for each in self.history([instrument_id]) if each.trade_date in wanted and each.is_in_force]

    def decide(self, instrument_id: str, days: Sequence[date], verdict: Verdict, decided_by: str, reason: str) -> int:
        """Store a decision on stored bars in place of those that lapsed; return on how many bars.

        InputRefusedError, and nothing stored, if a decision on one of them is in force.
        """
        lapsed = """
            UPDATE price_decisions d SET reopened_by = %(by)s, reopened_at = now(), reopened_for = 'the bar has changed'
            WHERE instrument_id = %(id)s AND trade_date = ANY(%(days)s) AND reopened_at IS NULL AND NOT EXISTS (
                SELECT FROM prices_daily p WHERE p.instrument_id = d.instrument_id AND p.trade_date = d.trade_date
                AND p.close = d.close)
        """
        new = """
            INSERT INTO price_decisions (instrument_id, trade_date, verdict, close, decided_by, reason)
            SELECT instrument_id, trade_date, %(verdict)s, close, %(by)s, %(reason)s FROM prices_daily
            WHERE instrument_id = %(id)s AND trade_date = ANY(%(days)s) ORDER BY trade_date
        """
        given = {"id": instrument_id, "days": list(days), "verdict": verdict, "by": decided_by, "reason": reason}

        def store(cursor: psycopg.Cursor) -> int:
            cursor.execute(lapsed, given)
            return cursor.execute(new, given).rowcount

        try:
            return self._db.write(store)
        except psycopg.errors.UniqueViolation as error:
            raise InputRefusedError(f"{instrument_id}: another decision came in between; look at it first") from error

    def reopen(self, instrument_id: str, days: Sequence[date], reopened_by: str, reason: str) -> int:
        """Take decisions back; return how many."""
        query = """
            UPDATE price_decisions SET reopened_by = %(by)s, reopened_at = now(), reopened_for = %(reason)s
            WHERE instrument_id = %(id)s AND trade_date = ANY(%(days)s) AND reopened_at IS NULL
        """
        given = {"id": instrument_id, "days": list(days), "by": reopened_by, "reason": reason}
        return self._db.write(lambda cursor: cursor.execute(query, given).rowcount)
