"""What people told of instruments and markets that bars cannot tell: renamed, ended, closed on a day (ADR-0039)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple

import psycopg

from prometheus.data.postgres.connections import RuntimeDatabase, Transactions

_RENAMES = "SELECT old_id, new_id, from_date, carried_until, told_by, told_at FROM instrument_renames ORDER BY old_id"
_ENDS = "SELECT instrument_id, last_date, reason, told_by, told_at FROM instrument_ends ORDER BY instrument_id"
_CLOSURES = "SELECT market_id, day, reason, told_by, told_at FROM market_closures ORDER BY market_id, day"
_REFERENCE = """
    INSERT INTO instruments (instrument_id, market_id, asset_class, symbol, name, currency, status)
    SELECT %(new)s, market_id, asset_class, %(new)s, name, currency, status FROM instruments
    WHERE instrument_id = %(old)s
    ON CONFLICT (instrument_id) DO NOTHING
"""


class Rename(NamedTuple):
    """An instrument whose history goes on under another id from a date on.

    `carried_until` is the newest bar that was carried over, None where the new id had all of them.
    """

    old_id: str
    new_id: str
    from_date: date
    carried_until: date | None
    told_by: str
    told_at: datetime


class End(NamedTuple):
    """An instrument that was told to have ended, and its last date."""

    instrument_id: str
    last_date: date
    reason: str
    told_by: str
    told_at: datetime


class Closure(NamedTuple):
    """A day on which a market was closed though its calendar has a session."""

    market_id: str
    day: date
    reason: str
    told_by: str
    told_at: datetime


@dataclass(frozen=True, slots=True)
class Told:
    """Everything that was told: renames and ends by instrument, closures by market and day."""

    renames: Mapping[str, Rename] = field(default_factory=dict)
    ends: Mapping[str, End] = field(default_factory=dict)
    closures: Mapping[tuple[str, date], Closure] = field(default_factory=dict)

    def follow(self, instrument_id: str) -> str:
        """Return the id under which the history of an instrument goes on; its own unless it was renamed."""
        while (rename := self.renames.get(instrument_id)) is not None:
            instrument_id = rename.new_id
        return instrument_id

    def followed(self, names: Iterable[str]) -> dict[str, str]:
        """Return the present id of each name that was renamed."""
        return {name: self.follow(name) for name in names if name in self.renames}

    def closed_days(self, market_id: str, after: date, until: date) -> list[date]:
        """Return the days in (`after`, `until`] on which a market was told to be closed."""
        return [day for market, day in self.closures if market == market_id and after < day <= until]


class ToldFacts:
    """The tables ``instrument_renames``, ``instrument_ends`` and ``market_closures`` of the runtime database.

    Every method that writes returns how many rows are new, changed or gone; writing what is there changes nothing.
    """

    def __init__(self, db_manager: RuntimeDatabase) -> None:
        self._db = Transactions(db_manager.get_runtime_connection)

    def load(self) -> Told:
        """Return everything that was told."""
        return Told(
            {row[0]: Rename(*row) for row in self._db.rows(_RENAMES)},
            {row[0]: End(*row) for row in self._db.rows(_ENDS)},
            {(row[0], row[1]): Closure(*row) for row in self._db.rows(_CLOSURES)},
        )

    def rename(self, old: str, new: str, from_date: date, carried_until: date | None, told_by: str) -> int:
        """Note a rename, and give the new id the reference row of the old one unless it has one."""
        query = """
            INSERT INTO instrument_renames (old_id, new_id, from_date, carried_until, told_by)
            VALUES (%(old)s, %(new)s, %(from)s, %(carried)s, %(by)s) ON CONFLICT (old_id) DO NOTHING
        """
        given = {"old": old, "new": new, "from": from_date, "carried": carried_until, "by": told_by}

        def store(cursor: psycopg.Cursor) -> int:
            cursor.execute(_REFERENCE, given)
            return cursor.execute(query, given).rowcount

        return self._db.write(store)

    def take_rename_back(self, old: str, without_row: str | None) -> int:
        """Forget a rename, and the reference row of an id if one is given."""

        def remove(cursor: psycopg.Cursor) -> int:
            cursor.execute("DELETE FROM instruments WHERE instrument_id = %s", (without_row,))
            return cursor.execute("DELETE FROM instrument_renames WHERE old_id = %s", (old,)).rowcount

        return self._db.write(remove)

    def end(self, instrument_id: str, last_date: date, reason: str, told_by: str) -> int:
        """Note the last date of an instrument."""
        query = """
            INSERT INTO instrument_ends AS known (instrument_id, last_date, reason, told_by) VALUES (%s, %s, %s, %s)
            ON CONFLICT (instrument_id) DO UPDATE
            SET last_date = excluded.last_date, reason = excluded.reason, told_by = excluded.told_by, told_at = now()
            WHERE (known.last_date, known.reason) IS DISTINCT FROM (excluded.last_date, excluded.reason)
        """
        return self._db.write(
            lambda cursor: cursor.execute(query, (instrument_id, last_date, reason, told_by)).rowcount
        )

    def take_end_back(self, instrument_id: str) -> int:
        """Forget that an instrument ended."""
        query = "DELETE FROM instrument_ends WHERE instrument_id = %s"
        return self._db.write(lambda cursor: cursor.execute(query, (instrument_id,)).rowcount)

    def close(self, market_id: str, day: date, reason: str, told_by: str) -> int:
        """Note a day on which a market is closed."""
        query = """
            INSERT INTO market_closures AS known (market_id, day, reason, told_by) VALUES (%s, %s, %s, %s)
            ON CONFLICT (market_id, day) DO UPDATE
            SET reason = excluded.reason, told_by = excluded.told_by, told_at = now()
            WHERE known.reason IS DISTINCT FROM excluded.reason
        """
        return self._db.write(lambda cursor: cursor.execute(query, (market_id, day, reason, told_by)).rowcount)

    def take_closure_back(self, market_id: str, day: date) -> int:
        """Forget that a market was closed on a day."""
        query = "DELETE FROM market_closures WHERE market_id = %s AND day = %s"
        return self._db.write(lambda cursor: cursor.execute(query, (market_id, day)).rowcount)
