"""The history of an instrument carried over to another id: its bars, what was decided of them, and what they were."""

from __future__ import annotations

from datetime import date
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from prometheus.data.postgres.connections import HistoricalTables

_BAR = "open, high, low, close, adjusted_close, volume, currency"
_REACH = "SELECT min(trade_date), max(trade_date) FROM prices_daily WHERE instrument_id = %s"
_DIFFERING = """
    SELECT old.trade_date FROM prices_daily old LEFT JOIN prices_daily new
      ON new.instrument_id = %(new)s AND new.trade_date = old.trade_date
    WHERE old.instrument_id = %(old)s AND old.trade_date >= %(first)s
      AND (new.open, new.high, new.low, new.close, new.adjusted_close, new.volume, new.currency)
          IS DISTINCT FROM (old.open, old.high, old.low, old.close, old.adjusted_close, old.volume, old.currency)
    ORDER BY 1
"""
_FIRST_OWN = """
    SELECT min(new.trade_date) FROM prices_daily new LEFT JOIN prices_daily old
      ON old.instrument_id = %(old)s AND old.trade_date = new.trade_date
      AND (old.open, old.high, old.low, old.close, old.adjusted_close, old.volume, old.currency, old.known_from)
          IS NOT DISTINCT FROM
          (new.open, new.high, new.low, new.close, new.adjusted_close, new.volume, new.currency, new.known_from)
    WHERE new.instrument_id = %(new)s AND old.instrument_id IS NULL
"""
_COPY = sql.SQL("""
    INSERT INTO {table} (instrument_id, trade_date, {columns}) SELECT %(new)s, trade_date, {columns} FROM {table}
    WHERE instrument_id = %(old)s AND trade_date < %(until)s ORDER BY trade_date ON CONFLICT DO NOTHING
""")
_FORGET = sql.SQL("DELETE FROM {table} WHERE instrument_id = %(new)s AND trade_date <= %(until)s")
_TABLES = {
    "prices_daily": f"{_BAR}, known_from",
    "price_revisions": f"{_BAR}, known_from, known_until",
    "price_decisions": "verdict, close, decided_by, decided_at, reason, reopened_by, reopened_at, reopened_for",
}
"""What is carried over: by table the columns beside instrument and date."""


class Reach(NamedTuple):
    """The dates of the first and the newest bar, None without any."""

    first: date | None
    newest: date | None


class CarriedHistories(HistoricalTables):
    """Copies histories between ids; what was known when stays as it was, and the old rows stay where they are."""

    def reach(self, instrument_id: str) -> Reach:
        """Return how far the bars of an instrument reach."""
        return Reach(*(self._db.row(_REACH, (instrument_id,)) or (None, None)))

    def first_own(self, new: str, old: str) -> date | None:
        """Return the first bar of `new` that is no copy of one of `old`: a carrying over that was killed left some."""
        found: date | None = self._db.value(_FIRST_OWN, {"new": new, "old": old})
        return found

    def differing(self, old: str, new: str, first: date) -> list[date]:
        """Return the dates from `first` on of which `new` lacks the bar of `old` as it is."""
        return self._db.column(_DIFFERING, {"old": old, "new": new, "first": first})

    def carry(self, old: str, new: str, until: date) -> dict[str, int]:
        """Copy the bars before `until`, in one transaction; return rows that are new by table."""

        def copy(cursor: psycopg.Cursor[Any]) -> dict[str, int]:
            given = {"old": old, "new": new, "until": until}
            return {
                name: cursor.execute(_COPY.format(table=sql.Identifier(name), columns=_listed(columns)), given).rowcount
                for name, columns in _TABLES.items()
            }

        return self._db.write(copy)

    def forget(self, new: str, until: date) -> None:
        """Remove decisions and earlier forms of bars up to a date: of an id whose bars there are taken back."""

        def remove(cursor: psycopg.Cursor[Any]) -> None:
            for table in ("price_decisions", "price_revisions"):
                cursor.execute(_FORGET.format(table=sql.Identifier(table)), {"new": new, "until": until})

        self._db.write(remove)


def _listed(columns: str) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns.split(", ")))
