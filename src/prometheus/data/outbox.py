"""How far nights have told each region's changes (``nightly_marks``), and alerts to send (``alert_deliveries``).

A row of the outbox is one alert for one channel. It is written once, in the transaction that stores the states it is
about, and is the log of its delivery afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, TypeAlias

import psycopg
from psycopg.types.json import Jsonb

from prometheus.data.postgres.connections import RuntimeDatabase, Transactions
from prometheus.regime.alerts import Alert, AlertKind, Reading, RoutedAlert

Judge: TypeAlias = Callable[[str, str, Sequence[Reading]], Iterable[RoutedAlert]]
"""Returns the alerts of a region's and model's readings after the first, and where they go."""

_READINGS = """
    SELECT as_of_date, regime_label, confidence, (metadata->'high_volatility'->>'probability')::float8,
           coalesce(metadata->'probabilities', '{}'), metadata->>'held', (metadata->'bear'->>'probability')::float8
    FROM regimes WHERE region = %(region)s AND model_id = %(model_id)s AND as_of_date >= (
        SELECT coalesce((
            SELECT max(as_of_date) FROM regimes
            WHERE region = %(region)s AND model_id = %(model_id)s AND as_of_date <= told_until
        ), told_until) FROM nightly_marks WHERE region = %(region)s AND model_id = %(model_id)s
    ) ORDER BY as_of_date
"""
_ADD = """
    INSERT INTO alert_deliveries (kind, region, model_id, as_of_date, detail, channel, rule, message, facts, state)
    SELECT %(kind)s, %(region)s, %(model_id)s, %(day)s::date, %(detail)s, %(channel)s, %(rule)s, %(message)s, %(facts)s,
           CASE WHEN EXISTS (
               SELECT FROM alert_deliveries
               WHERE kind = %(kind)s AND region = %(region)s AND channel = %(channel)s AND rule = %(rule)s
                 AND state <> 'QUIET' AND as_of_date > %(day)s::date - %(cooldown)s::int AND as_of_date <= %(day)s::date
           ) THEN 'QUIET' ELSE 'PENDING' END
    ON CONFLICT DO NOTHING
"""
_DELIVERIES = """
    SELECT kind, region, model_id, as_of_date, detail, message, facts, sequence, channel, rule, state, attempts, answer,
           tried_at, created_at
    FROM alert_deliveries WHERE %(state)s::text IS NULL OR state = %(state)s ORDER BY sequence DESC LIMIT %(newest)s
"""


class DeliveryState(StrEnum):
    """Where an alert is on its way; `QUIET` by the cooldown of its rule, `DROPPED` as its channel is gone."""

    PENDING = "PENDING"
    SENT = "SENT"
    QUIET = "QUIET"
    DROPPED = "DROPPED"


@dataclass(frozen=True, slots=True)
class Delivery:
    """An alert on its way to a channel; `answer` is what its last attempt met with."""

    alert: Alert
    sequence: int
    channel: str
    rule: str
    state: DeliveryState
    attempts: int
    answer: str | None
    tried_at: datetime | None
    created_at: datetime


class Outbox:
    """Reads and writes both tables."""

    def __init__(self, db_manager: RuntimeDatabase) -> None:
        self._db = Transactions(db_manager.get_runtime_connection)

    def open_mark(self, region: str, model_id: str, end: date) -> None:
        """Say how far changes are told where nothing says so yet: to the newest state stored, without any to `end`.

        So a first labelling up to `end` is history, also if it is killed and completed later.
        """
        query = """
            INSERT INTO nightly_marks (region, model_id, told_until)
            SELECT %(region)s, %(model_id)s, coalesce(max(as_of_date), %(end)s::date) FROM regimes
            WHERE region = %(region)s AND model_id = %(model_id)s
            ON CONFLICT DO NOTHING
        """
        self._db.write(lambda cursor: cursor.execute(query, {"region": region, "model_id": model_id, "end": end}))

    def advance_marks(self, told: Mapping[tuple[str, str], date]) -> None:
        """Note the last session told, by region and model; a mark never goes back."""
        query = """
            UPDATE nightly_marks SET told_until = %(until)s
            WHERE region = %(region)s AND model_id = %(model_id)s AND told_until < %(until)s
        """
        rows = [{"region": region, "model_id": model_id, "until": day} for (region, model_id), day in told.items()]
        self._db.write(lambda cursor: cursor.executemany(query, rows))

    def told(self) -> set[tuple[str, str]]:
        """Return the regions and models of which nights have told every session stored."""
        query = """
            SELECT region, model_id FROM nightly_marks AS mark
            WHERE NOT EXISTS (
                SELECT FROM regimes AS untold
                WHERE untold.region = mark.region AND untold.model_id = mark.model_id AND as_of_date > told_until
            )
        """
        return {(region, model_id) for region, model_id in self._db.rows(query)}

    def readings(self, region: str, model_id: str) -> list[Reading]:
        """Return what is stored of the sessions that no night has told yet, oldest first, after the last told one."""
        return self._db.write(lambda cursor: _readings(cursor, region, model_id))

    def note_states(self, region: str, model_id: str, judge: Judge) -> None:
        """Write the alerts of what is stored and untold, however it came to be stored."""
        self._db.write(lambda cursor: note_saved(cursor, region, model_id, judge))

    def add(self, routed: Iterable[RoutedAlert]) -> None:
        """Write alerts that are about no states; those that are there already stay as they are."""
        rows = list(routed)
        self._db.write(lambda cursor: _add(cursor, rows))

    def deliveries(self, state: DeliveryState | None = None, newest: int | None = None) -> list[Delivery]:
        """Return the rows in a state, or all, oldest first; the `newest` of them if that is given."""
        rows = self._db.rows(_DELIVERIES, {"state": state, "newest": newest})
        return [_to_delivery(row) for row in reversed(rows)]

    def n_pending(self) -> int:
        """Return how many alerts wait to be sent."""
        return int(self._db.value("SELECT count(*) FROM alert_deliveries WHERE state = 'PENDING'"))

    def record(self, delivery: Delivery, state: DeliveryState, answer: str, n_attempts: int) -> None:
        """Note the outcome of attempts to send a pending alert."""
        query = """
            UPDATE alert_deliveries SET state = %s, answer = %s, attempts = attempts + %s, tried_at = now()
            WHERE sequence = %s AND state = 'PENDING'
        """
        self._db.write(lambda cursor: cursor.execute(query, (state, answer, n_attempts, delivery.sequence)))


def note_saved(cursor: psycopg.Cursor[Any], region: str, model_id: str, judge: Judge) -> None:
    """Write the alerts of a region's untold states, in the transaction of a cursor."""
    _add(cursor, judge(region, model_id, _readings(cursor, region, model_id)))


def _readings(cursor: psycopg.Cursor[Any], region: str, model_id: str) -> list[Reading]:
    rows = cursor.execute(_READINGS, {"region": region, "model_id": model_id}).fetchall()
    return [Reading(*row) for row in rows]


def _to_delivery(row: tuple[Any, ...]) -> Delivery:
    kind, region, model_id, as_of_date, detail, message, facts, sequence, channel, rule, state, *attempted = row
    alert = Alert(AlertKind(kind), region, model_id, as_of_date, detail, message, facts)
    return Delivery(alert, sequence, channel, rule, DeliveryState(state), *attempted)


def _add(cursor: psycopg.Cursor[Any], routed: Iterable[RoutedAlert]) -> None:
    for alert, route in routed:
        cursor.execute(
            _ADD,
            {
                "kind": alert.kind, "region": alert.region, "model_id": alert.model_id, "day": alert.as_of_date,
                "detail": alert.detail, "channel": route.channel, "rule": route.rule, "message": alert.text,
                "facts": Jsonb(dict(alert.facts)), "cooldown": route.cooldown_days,
            },
        )  # fmt: skip
