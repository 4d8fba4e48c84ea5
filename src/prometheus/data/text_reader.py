"""Macro events and news out of the historical database, in batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

from psycopg import sql

from prometheus.core.connections import HistoricalDatabase
from prometheus.data.zones import load_zone
from prometheus.errors import InputRefusedError, UsageError

SourceType = Literal["MACRO", "NEWS"]

BATCH_ROWS = 512
BATCH_BYTES = 8 << 20
_N_SHOWN = 10
_DAY = timedelta(days=1)

_MACRO_TEXT = "description"
_NEWS_TEXT = "concat_ws(E'\\n\\n', nullif(headline, ''), nullif(body, ''))"
_BYTES = {"MACRO": "octet_length(description)", "NEWS": "octet_length(headline) + octet_length(body)"}

# The outer bounds let the index find the rows whatever the zone; the date is what counts. A row is never left out for
# its length: a batch holds at least one.
_PAGE = """
    SELECT {key}, {timestamp}, {text}, {language}
    FROM (
        SELECT *, sum({n_bytes}) OVER (ORDER BY {timestamp}, {key}) - ({n_bytes}) AS n_bytes_before
        FROM (
            SELECT * FROM {table}
            WHERE {timestamp} >= %(earliest)s AND {timestamp} < %(latest)s
              AND ({timestamp} AT TIME ZONE %(timezone)s)::date BETWEEN %(start)s AND %(end)s
              AND ({timestamp}, {key}) > (%(after)s, %(after_id)s) {filters}
            ORDER BY {timestamp}, {key} LIMIT %(n_rows)s
        ) AS page
    ) AS measured
    WHERE n_bytes_before < %(n_bytes)s
    ORDER BY {timestamp}, {key}
"""


@dataclass(frozen=True, slots=True)
class StoredText:
    """One stored text; `source_id` is the id of its row, `language` None where nobody said it."""

    source_type: SourceType
    source_id: str
    text: str
    language: str | None


@dataclass(frozen=True, slots=True)
class _Query:
    """What is asked of one table."""

    source_type: SourceType
    statement: sql.Composed
    parameters: Mapping[str, Any]
    earliest: datetime


class TextReader:
    """Reads ``macro_events`` and ``news_articles``.

    A text belongs to the calendar date of its timestamp in UTC, or in the zone named; the time zone of the database
    session never counts. When it became known is the business of those who use it: from the later of the two on.

    Parameters
    ----------
    db_manager
        Where the historical database is.
    """

    def __init__(self, db_manager: HistoricalDatabase) -> None:
        self._db = db_manager

    def iter_macro_texts(
        self,
        start: date,
        end: date,
        *,
        country: str | None = None,
        event_type: str | None = None,
        limit: int | None = None,
        timezone: str = "UTC",
    ) -> Iterator[list[StoredText]]:
        """Yield the macro events dated `start` to `end`, both included, oldest first.

        Each batch is one short query that takes up where the last one ended: between two of them no transaction is
        open, however long the caller takes.

        Raises
        ------
        InputRefusedError
            No stored event at all is of that country, or of that type.
        UsageError
            The dates, the limit or the zone make no sense.
        """
        filters = {"country": country, "event_type": event_type}
        return self._iterate("MACRO", "macro_events", start, end, filters, limit, timezone)

    def iter_news_texts(
        self, start: date, end: date, *, language: str | None = None, limit: int | None = None, timezone: str = "UTC"
    ) -> Iterator[list[StoredText]]:
        """Yield the articles dated `start` to `end`: headline and body, a blank line between them.

        Raises
        ------
        InputRefusedError, UsageError
            As for macro events.
        """
        return self._iterate("NEWS", "news_articles", start, end, {"language": language}, limit, timezone)

    def require_known(self, table: Literal["macro_events", "news_articles"], filters: Mapping[str, str | None]) -> None:
        """Raise `InputRefusedError` for a filter, column to value, that no stored row at all meets."""
        with self._db.get_historical_connection() as connection:
            for column, value in filters.items():
                if value is None:
                    continue
                names = {"table": sql.Identifier(table), "column": sql.Identifier(column)}
                exists = sql.SQL("SELECT EXISTS (SELECT FROM {table} WHERE {column} = %s)").format(**names)
                found = connection.execute(exists, (value,)).fetchone()
                if found and found[0]:
                    continue
                listing = sql.SQL("SELECT DISTINCT {column} FROM {table} WHERE {column} <> '' ORDER BY 1 LIMIT %s")
                known = [row[0] for row in connection.execute(listing.format(**names), (_N_SHOWN + 1,))]
                raise InputRefusedError(_describe_unknown(table, column, value, known))

    def _iterate(
        self,
        source_type: SourceType,
        table: Literal["macro_events", "news_articles"],
        start: date,
        end: date,
        filters: Mapping[str, str | None],
        limit: int | None,
        timezone: str,
    ) -> Iterator[list[StoredText]]:
        if end < start:
            raise UsageError(f"the range ends ({end}) before it starts ({start})")
        if limit is not None and limit < 1:
            raise UsageError(f"--limit {limit}: name a number above zero")
        load_zone("--timezone", timezone)
        given = {column: value for column, value in filters.items() if value is not None}
        self.require_known(table, given)
        earliest = _midnight(start, -_DAY)
        parameters = {
            **given, "start": start, "end": end, "timezone": timezone, "earliest": earliest,
            "latest": _midnight(end, 2 * _DAY), "n_bytes": BATCH_BYTES,
        }  # fmt: skip
        query = _Query(source_type, _compose(source_type, table, tuple(given)), parameters, earliest)
        return self._pages(query, limit)

    def _pages(self, query: _Query, limit: int | None) -> Iterator[list[StoredText]]:
        after, after_id = query.earliest, -1
        n_left = limit
        while n_left is None or n_left > 0:
            n_rows = BATCH_ROWS if n_left is None else min(BATCH_ROWS, n_left)
            position = {"after": after, "after_id": after_id, "n_rows": n_rows}
            with self._db.get_historical_connection() as connection:
                rows = connection.execute(query.statement, {**query.parameters, **position}).fetchall()
            if not rows:
                return
            after_id, after = rows[-1][:2]
            n_left = None if n_left is None else n_left - len(rows)
            yield [StoredText(query.source_type, str(key), text, language) for key, _, text, language in rows]


def _compose(source_type: SourceType, table: str, filters: tuple[str, ...]) -> sql.Composed:
    is_macro = source_type == "MACRO"
    conditions = [sql.SQL("AND {} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in filters]
    return sql.SQL(_PAGE).format(
        table=sql.Identifier(table),
        key=sql.Identifier("event_id" if is_macro else "article_id"),
        timestamp=sql.Identifier("timestamp" if is_macro else "published_at"),
        text=sql.SQL(_MACRO_TEXT if is_macro else _NEWS_TEXT),
        language=sql.SQL("NULL::text" if is_macro else "language"),
        n_bytes=sql.SQL(_BYTES[source_type]),
        filters=sql.SQL(" ").join(conditions),
    )


def _midnight(day: date, shift: timedelta) -> datetime:
    """Return the midnight in UTC that is `shift` from a date's own, or the end of the calendar."""
    midnight = datetime.combine(day, time(), UTC)
    try:
        return midnight + shift
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if shift > timedelta() else midnight


def _describe_unknown(table: str, column: str, value: str, known: list[str]) -> str:
    if not known:
        return f"no row of {table} says any {column.replace('_', ' ')}; load files with: python -m prometheus ingest"
    listed = ", ".join(known[:_N_SHOWN]) + (", …" if len(known) > _N_SHOWN else "")
    return f"{column.replace('_', ' ')} {value!r} matches nothing in {table}; known: {listed}"
