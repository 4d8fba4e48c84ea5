"""Values of series in `series_values`, and which facts tell them; a revision is a row, by when it became known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple, TypeAlias

import psycopg

from prometheus.data.postgres.connections import HistoricalDatabase, HistoricalTables, Transactions
from prometheus.encoders.joint.numbers import KnownLevel
from prometheus.encoders.texts.documents import TOLD_VALUES

SeriesRow: TypeAlias = tuple[str, date, datetime, float]
"""Series, day, when it became known, value."""
FactKey: TypeAlias = tuple[str, datetime, str]
"""Type and timestamp of a macro event, and the value it tells."""

# two runs at once wait for each other: what is a revision depends on what is stored
_LOCK = "LOCK TABLE series_values IN SHARE ROW EXCLUSIVE MODE"
_LOAD = """
    SELECT series_id, observation_date, known_at, value FROM series_values WHERE series_id = ANY(%s)
    ORDER BY series_id, observation_date, known_at
"""
_KNOWN = """
    SELECT series_id, observation_date, (known_at AT TIME ZONE %(zone)s)::date, value FROM series_values
    WHERE series_id = ANY(%(names)s) AND observation_date >= %(since)s
      AND (known_at AT TIME ZONE %(zone)s)::date <= %(until)s
    ORDER BY known_at, series_id, observation_date
"""
_FACTS = """
    SELECT event_type, timestamp, value, description
    FROM (SELECT *, metadata->%(told)s::text->>0 AS value FROM macro_events) AS fact WHERE value = ANY(%(values)s)
"""
_STAGE = "CREATE TEMPORARY TABLE staged_series (LIKE series_values) ON COMMIT DROP"
_COPY = "COPY staged_series (series_id, observation_date, known_at, value) FROM STDIN"
_DROP = """
    DELETE FROM series_values AS stored USING staged_series AS gone
    WHERE (stored.series_id, stored.observation_date, stored.known_at)
          = (gone.series_id, gone.observation_date, gone.known_at)
"""
_ADD = "INSERT INTO series_values SELECT * FROM staged_series ORDER BY series_id, observation_date, known_at"
_REMOVE = """
    WITH gone AS (
        DELETE FROM series_values WHERE series_id = %s AND observation_date BETWEEN %s AND %s
        RETURNING observation_date
    ) SELECT DISTINCT observation_date FROM gone
"""
_LIST = """
    SELECT series_id, min(observation_date), max(observation_date), count(DISTINCT observation_date), count(*),
           max(known_at)
    FROM series_values GROUP BY series_id ORDER BY series_id
"""


class StoredSeries(NamedTuple):
    """A stored series: its first and last day, for how many days it has values, how many with all their revisions."""

    series_id: str
    first: date
    last: date
    n_days: int
    n_values: int
    newest_known_at: datetime


def list_series(db_manager: HistoricalDatabase) -> list[StoredSeries]:
    """Return the stored series, in order of their names."""
    return [StoredSeries(*row) for row in Transactions(db_manager.get_historical_connection).rows(_LIST)]


class SeriesReader(HistoricalTables):
    """Reads `series_values`; a `prometheus.protocols.SeriesSource`."""

    def load(self, names: Sequence[str], since: date, until: date, timezone: str) -> list[KnownLevel]:
        """Return the values of days from `since` on that were known by `until`, in order of knowing."""
        return self._db.rows(_KNOWN, {"names": list(names), "since": since, "until": until, "zone": timezone})


def load_series(connection: psycopg.Connection[Any], names: Sequence[str]) -> list[SeriesRow]:
    """Return what is stored of some series, by day, then by when it became known; no other run changes it meanwhile."""
    connection.execute(_LOCK)
    return connection.execute(_LOAD, (list(names),)).fetchall()


def store_series(connection: psycopg.Connection[Any], dropped: Iterable[SeriesRow], added: Iterable[SeriesRow]) -> None:
    """Take some stored values out and put others in."""
    connection.execute(_STAGE)
    for rows, statement in ((dropped, _DROP), (added, _ADD)):
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            for row in rows:
                copy.write_row(row)
        connection.execute(statement)
        connection.execute("TRUNCATE staged_series")


def remove_values(connection: psycopg.Connection[Any], series_id: str, first: date, last: date) -> list[date]:
    """Delete the values of a series for a span of days; return the days that had any."""
    return [day for (day,) in connection.execute(_REMOVE, (series_id, first, last))]


def told_value(series: str, day: date) -> str:
    """Return how a fact names a value that it stands on."""
    return f"{series} {day}"


def load_facts(connection: psycopg.Connection[Any], values: Sequence[str]) -> dict[FactKey, set[str]]:
    """Return what stored macro events say that tell some values, named as `told_value` does."""
    found: dict[FactKey, set[str]] = {}
    given = {"told": TOLD_VALUES, "values": list(values)}
    for event_type, timestamp, value, description in connection.execute(_FACTS, given):
        found.setdefault((event_type, timestamp, value), set()).add(description)
    return found
