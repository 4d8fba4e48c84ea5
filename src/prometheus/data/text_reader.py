"""Macro events and news out of the historical database: which ones there are, and then the texts of some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

from psycopg import sql

from prometheus.core.zones import load_zone
from prometheus.data.postgres.connections import HistoricalDatabase
from prometheus.encoders.texts.documents import SourceText, TextKey, TextSourceType
from prometheus.errors import InputRefusedError, UsageError

Table = Literal["macro_events", "news_articles"]

PAGE_ROWS = 8_192
_N_SHOWN = 10
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the texts of one kind are, and what makes one of a row."""

    table: Table
    key: str
    timestamp: str
    parts: tuple[str, ...]
    text: str
    language: str
    dated: str


_SOURCES: Mapping[TextSourceType, _Source] = {
    "MACRO": _Source(
        "macro_events", "event_id", "timestamp", ("description",), "description", "NULL::text",
        "event_id, timestamp, known_at, event_type, coalesce(country, ''), coalesce(source, ''), description",
    ),
    "NEWS": _Source(
        "news_articles", "article_id", "published_at", ("headline", "body"),
        "concat_ws(E'\\n\\n', nullif(headline, ''), nullif(body, ''))", "language",
        "article_id, published_at, known_at, '', coalesce(language, ''), coalesce(source, ''), "
        "concat_ws(E'\\n\\n', nullif(headline, ''), nullif(body, ''))",
    ),
}  # fmt: skip

# The outer bounds let the index find the rows whatever the zone; the date is what counts. The limit stands inside, so
# that only the texts of one page are measured.
_PAGE = """
    SELECT {key}, {timestamp}, {length}
    FROM (
        SELECT {key}, {timestamp}, {parts} FROM {table}
        WHERE {timestamp} >= %(earliest)s AND {timestamp} < %(latest)s
          AND ({timestamp} AT TIME ZONE %(timezone)s)::date BETWEEN %(start)s AND %(end)s
          AND ({timestamp}, {key}) > (%(after)s, %(after_id)s) {filters}
        ORDER BY {timestamp}, {key} LIMIT %(n_rows)s
    ) AS page
    ORDER BY {timestamp}, {key}
"""
_TEXTS = """
    SELECT {key}, {text}, {language} FROM {table}
    WHERE {key} = ANY(%s::bigint[]) ORDER BY array_position(%s::bigint[], {key})
"""


@dataclass(frozen=True, slots=True)
class DatedText:
    """One stored text for people to read.

    Attributes
    ----------
    timestamp, known_at
        UTC instants: which moment it belongs to, and when it became known where that was another one.
    kind
        The type of a macro event; empty for news.
    place
        The country of a macro event, the language of an article; empty where nobody said it.
    origin
        Who published it.
    """

    source_type: TextSourceType
    source_id: int
    timestamp: datetime
    known_at: datetime | None
    kind: str
    place: str
    origin: str
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "source_type": self.source_type,
            "source_id": self.source_id,
            "timestamp": self.timestamp.isoformat(),
            "known_at": None if self.known_at is None else self.known_at.isoformat(),
            "kind": self.kind,
            "place": self.place,
            "origin": self.origin,
            "text": self.text,
        }


@dataclass(frozen=True, slots=True)
class _Query:
    """What is asked of one table."""

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

    def iter_macro_keys(
        self,
        start: date,
        end: date,
        *,
        country: str | None = None,
        event_type: str | None = None,
        limit: int | None = None,
        timezone: str = "UTC",
    ) -> Iterator[list[TextKey]]:
        """Yield the macro events dated `start` to `end`, both included, oldest first, page by page.

        Each page is one short query that takes up where the last one ended: between two of them no transaction is
        open, however long the caller takes.

        Raises
        ------
        InputRefusedError
            No stored event at all is of that country, or of that type.
        UsageError
            The dates, the limit or the zone make no sense.
        """
        filters = {"country": country, "event_type": event_type}
        return self._iterate("MACRO", start, end, filters, limit, timezone)

    def iter_news_keys(
        self, start: date, end: date, *, language: str | None = None, limit: int | None = None, timezone: str = "UTC"
    ) -> Iterator[list[TextKey]]:
        """Yield the articles dated `start` to `end`; as for macro events."""
        return self._iterate("NEWS", start, end, {"language": language}, limit, timezone)

    def load_texts(self, source_type: TextSourceType, source_ids: Sequence[int]) -> list[SourceText]:
        """Return the texts of these rows, in that order; of an article headline and body, a blank line between them.

        Rows that are no more are left out.
        """
        source = _SOURCES[source_type]
        statement = sql.SQL(_TEXTS).format(
            table=sql.Identifier(source.table),
            key=sql.Identifier(source.key),
            text=sql.SQL(source.text),
            language=sql.SQL(source.language),
        )
        wanted = list(source_ids)
        with self._db.get_historical_connection() as connection:
            rows = connection.execute(statement, (wanted, wanted)).fetchall()
        return [SourceText(source_type, str(key), text, language) for key, text, language in rows]

    def load_dated(self, source_type: TextSourceType, source_ids: Sequence[int]) -> list[DatedText]:
        """Return these texts with all that is known of them; rows that are no more are left out."""
        statement = sql.SQL("SELECT {columns} FROM {table} WHERE {key} = ANY(%s::bigint[])")
        return self._dated(source_type, statement, (list(source_ids),))

    def texts_of(self, source_type: TextSourceType, day: date, known_by: date) -> list[DatedText]:
        """Return the texts dated on a day in UTC and known by another, in order of their time."""
        statement = sql.SQL("""
            SELECT {columns} FROM {table}
            WHERE {timestamp} >= %(first)s AND {timestamp} < %(after)s AND coalesce(known_at, {timestamp}) < %(known)s
            ORDER BY {timestamp}, {key}
        """)
        span = {"first": _midnight(day, timedelta()), "after": _midnight(day, _DAY), "known": _midnight(known_by, _DAY)}
        return self._dated(source_type, statement, span)

    def newest(self, source_type: TextSourceType, until: date) -> date | None:
        """Return the date in UTC of the newest text dated and known up to a date; None where there is none."""
        source = _SOURCES[source_type]
        query = sql.SQL("""
            SELECT ({timestamp} AT TIME ZONE 'UTC')::date FROM {table}
            WHERE {timestamp} < %(after)s AND coalesce(known_at, {timestamp}) < %(after)s
            ORDER BY {timestamp} DESC LIMIT 1
        """).format(table=sql.Identifier(source.table), timestamp=sql.Identifier(source.timestamp))
        with self._db.get_historical_connection() as connection:
            row = connection.execute(query, {"after": _midnight(until, _DAY)}).fetchone()
        return None if row is None else row[0]

    def _dated(self, source_type: TextSourceType, statement: sql.SQL, parameters: Any) -> list[DatedText]:
        source = _SOURCES[source_type]
        named = statement.format(
            columns=sql.SQL(source.dated),
            table=sql.Identifier(source.table),
            key=sql.Identifier(source.key),
            timestamp=sql.Identifier(source.timestamp),
        )
        with self._db.get_historical_connection() as connection:
            return [DatedText(source_type, *row) for row in connection.execute(named, parameters)]

    def require_known(self, table: Table, filters: Mapping[str, str | None]) -> None:
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
        source_type: TextSourceType,
        start: date,
        end: date,
        filters: Mapping[str, str | None],
        limit: int | None,
        timezone: str,
    ) -> Iterator[list[TextKey]]:
        if end < start:
            raise UsageError(f"the range ends ({end}) before it starts ({start})")
        if limit is not None and limit < 1:
            raise UsageError(f"--limit {limit}: name a number above zero")
        load_zone("--timezone", timezone)
        source = _SOURCES[source_type]
        given = {column: value for column, value in filters.items() if value is not None}
        self.require_known(source.table, given)
        earliest = _midnight(start, -_DAY)
        parameters = {
            **given, "start": start, "end": end, "timezone": timezone, "earliest": earliest,
            "latest": _midnight(end, 2 * _DAY),
        }  # fmt: skip
        return self._pages(_Query(_compose(source, tuple(given)), parameters, earliest), limit)

    def _pages(self, query: _Query, limit: int | None) -> Iterator[list[TextKey]]:
        after, after_id = query.earliest, -1
        n_left = limit
        while n_left is None or n_left > 0:
            n_rows = PAGE_ROWS if n_left is None else min(PAGE_ROWS, n_left)
            position = {"after": after, "after_id": after_id, "n_rows": n_rows}
            with self._db.get_historical_connection() as connection:
                rows = connection.execute(query.statement, {**query.parameters, **position}).fetchall()
            if not rows:
                return
            after_id, after = rows[-1][:2]
            n_left = None if n_left is None else n_left - len(rows)
            yield [TextKey(key, n_characters) for key, _, n_characters in rows]


def _compose(source: _Source, filters: tuple[str, ...]) -> sql.Composed:
    conditions = [sql.SQL("AND {} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in filters]
    parts = [sql.Identifier(name) for name in source.parts]
    return sql.SQL(_PAGE).format(
        table=sql.Identifier(source.table),
        key=sql.Identifier(source.key),
        timestamp=sql.Identifier(source.timestamp),
        parts=sql.SQL(", ").join(parts),
        length=sql.SQL(" + ").join(sql.SQL("length({})").format(part) for part in parts),
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
