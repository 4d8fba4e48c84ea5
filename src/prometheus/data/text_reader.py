"""Macro events and news out of the historical database: which ones there are, the texts of some, what is to embed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from psycopg import sql
from psycopg.rows import class_row, scalar_row

from prometheus.data.postgres.connections import HistoricalDatabase
from prometheus.encoders.texts.documents import (
    TEXT_TABLES,
    SourceText,
    TextKey,
    TextSourceType,
    TextTableName,
    load_zone,
)
from prometheus.errors import InputRefusedError, UsageError

PAGE_ROWS = 8_192
_N_SHOWN = 10
_DAY = timedelta(days=1)

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
    WHERE {key} = ANY(%(ids)s::bigint[]) ORDER BY array_position(%(ids)s::bigint[], {key})
"""
_DATED = "SELECT {key}, {timestamp}, known_at, {kind}, {place}, coalesce(source, ''), {text} FROM {table} "
_TEXTS_OF_A_DAY = """
    WHERE {timestamp} >= %(first)s AND {timestamp} < %(after)s AND coalesce(known_at, {timestamp}) < %(known)s
    ORDER BY {timestamp}, {key}
"""
_NEWEST = """
    SELECT ({timestamp} AT TIME ZONE 'UTC')::date FROM {table}
    WHERE {timestamp} < %(after)s AND coalesce(known_at, {timestamp}) < %(after)s
    ORDER BY {timestamp} DESC LIMIT 1
"""
# a text never changes under its id, so a row that is there is the right one; blank texts, which only rows written by
# hand can be, never get one
_BACKLOG = """
    SELECT count(*) AS n_texts, count(*) FILTER (WHERE embedding.source_id IS NULL) AS n_missing,
           (min({timestamp}) FILTER (WHERE embedding.source_id IS NULL) AT TIME ZONE 'UTC')::date AS first_missing
    FROM {table} LEFT JOIN text_embeddings AS embedding
      ON embedding.source_type = {source} AND embedding.source_id = {table}.{key}::text
     AND embedding.model_id = {model}
    WHERE {timestamp} < ({as_of}::date + 1)::timestamp AT TIME ZONE 'UTC' AND ({written}) ~ '[^[:space:]]'
"""


@dataclass(frozen=True, slots=True)
class DatedText:
    """One stored text for people to read.

    `timestamp` and `known_at` are UTC instants: which moment it belongs to, and when it became known where that was
    another one. `kind` is the type of a macro event, empty for news; `place` the country of a macro event or the
    language of an article, empty where the source did not say it; `origin` is who published it.
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
        known_at = None if self.known_at is None else self.known_at.isoformat()
        return {**asdict(self), "timestamp": self.timestamp.isoformat(), "known_at": known_at}


@dataclass(frozen=True, slots=True)
class TextBacklog:
    """Texts up to a date, those of them that a model has not embedded, and the date, in UTC, of the oldest of these."""

    n_texts: int
    n_missing: int
    first_missing: date | None


class TextReader:
    """Reads ``macro_events`` and ``news_articles``.

    A text belongs to the calendar date of its timestamp in UTC, or in the zone named; the time zone of the database
    session never counts. When it became known is the business of those who use it: from the later of the two on.
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

        Rows that were removed are left out.
        """
        with self._db.get_historical_connection() as connection:
            rows = connection.execute(_compose(_TEXTS, source_type), {"ids": list(source_ids)}).fetchall()
        return [SourceText(source_type, str(key), text, language) for key, text, language in rows]

    def load_dated(self, source_type: TextSourceType, source_ids: Sequence[int]) -> list[DatedText]:
        """Return these texts with all that is known of them; removed rows are left out."""
        return self._dated(source_type, "WHERE {key} = ANY(%(ids)s::bigint[])", {"ids": list(source_ids)})

    def texts_of(self, source_type: TextSourceType, day: date, known_by: date) -> list[DatedText]:
        """Return the texts dated on a day in UTC and known by another, in order of their time."""
        span = {"first": _midnight(day, timedelta()), "after": _midnight(day, _DAY), "known": _midnight(known_by, _DAY)}
        return self._dated(source_type, _TEXTS_OF_A_DAY, span)

    def newest(self, source_type: TextSourceType, until: date) -> date | None:
        """Return the date in UTC of the newest text dated and known up to a date; None if not found."""
        with self._db.get_historical_connection() as connection, connection.cursor(row_factory=scalar_row) as cursor:
            found: date | None = cursor.execute(
                _compose(_NEWEST, source_type), {"after": _midnight(until, _DAY)}
            ).fetchone()
        return found

    def _dated(self, source_type: TextSourceType, which: str, parameters: Mapping[str, Any]) -> list[DatedText]:
        with self._db.get_historical_connection() as connection:
            rows = connection.execute(_compose(_DATED + which, source_type), parameters)
            return [DatedText(source_type, *row) for row in rows]

    def require_known(self, table: TextTableName, filters: Mapping[str, str | None]) -> None:
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
        given = {column: value for column, value in filters.items() if value is not None}
        self.require_known(TEXT_TABLES[source_type].name, given)
        parameters = {
            **given, "start": start, "end": end, "timezone": timezone, "earliest": _midnight(start, -_DAY),
            "latest": _midnight(end, 2 * _DAY),
        }  # fmt: skip
        conditions = [sql.SQL("AND {} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in given]
        statement = _compose(_PAGE, source_type, filters=sql.SQL(" ").join(conditions))
        return self._pages(statement, parameters, limit)

    def _pages(
        self, statement: sql.Composed, parameters: Mapping[str, Any], limit: int | None
    ) -> Iterator[list[TextKey]]:
        after, after_id = parameters["earliest"], -1
        n_left = limit
        while n_left is None or n_left > 0:
            n_rows = PAGE_ROWS if n_left is None else min(PAGE_ROWS, n_left)
            position = {"after": after, "after_id": after_id, "n_rows": n_rows}
            with self._db.get_historical_connection() as connection:
                rows = connection.execute(statement, {**parameters, **position}).fetchall()
            if not rows:
                return
            after_id, after = rows[-1][:2]
            n_left = None if n_left is None else n_left - len(rows)
            yield [TextKey(key, n_characters) for key, _, n_characters in rows]


def load_text_backlog(
    db_manager: HistoricalDatabase, source_type: TextSourceType, model_id: str, as_of_date: date
) -> TextBacklog:
    """Return what a model has still to embed of the texts dated up to `as_of_date` in UTC; no text is read."""
    query = _compose(_BACKLOG, source_type, model=sql.Literal(model_id), as_of=sql.Literal(as_of_date))
    with (
        db_manager.get_historical_connection() as connection,
        connection.cursor(row_factory=class_row(TextBacklog)) as cursor,
    ):
        return cursor.execute(query).fetchone() or TextBacklog(0, 0, None)


def _compose(statement: str, source_type: TextSourceType, **further: sql.Composable) -> sql.Composed:
    """Put the names of a table into a statement; `text` is all its texts as one, `written` says whether there is any.

    A row without a column has nothing for `language`, `kind` or `place`.
    """
    table = TEXT_TABLES[source_type]
    parts = [sql.Identifier(name) for name in table.texts]
    filled = sql.SQL(", ").join(sql.SQL("nullif({}, '')").format(part) for part in parts)
    place = next(name for name in ("country", "language") if name in table.names)
    names: dict[str, sql.Composable] = {
        "source": sql.Literal(source_type),
        "table": sql.Identifier(table.name),
        "key": sql.Identifier(table.key),
        "timestamp": sql.Identifier(table.timestamp),
        "parts": sql.SQL(", ").join(parts),
        "length": sql.SQL(" + ").join(sql.SQL("length({})").format(part) for part in parts),
        "written": sql.SQL(" || ").join(parts),
        "text": sql.SQL("concat_ws(E'\\n\\n', {})").format(filled),
        "language": sql.SQL("language" if "language" in table.names else "NULL::text"),
        "kind": sql.SQL("event_type" if "event_type" in table.names else "''"),
        "place": sql.SQL("coalesce({}, '')").format(sql.Identifier(place)),
    }
    return sql.SQL(statement).format(**names, **further)


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
