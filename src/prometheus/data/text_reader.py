"""Macro events and news out of the historical database: which ones there are, the texts of some, what is to embed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, LiteralString

from psycopg import sql

from prometheus.data.postgres.connections import HistoricalDatabase, HistoricalTables, Transactions
from prometheus.encoders.texts.cleaning import mend
from prometheus.encoders.texts.codes import COUNTRY, LANGUAGE, is_tag, load_zone, spellings_of
from prometheus.encoders.texts.documents import (
    INSTRUMENT,
    TEXT_TABLES,
    VERSION,
    SourceText,
    TextFilters,
    TextKey,
    TextSourceType,
    TextTableName,
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
          AND NOT ({key} / 2048 %% 2147483648)::integer = ANY(%(without)s::int4[])
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
      {newest_version}
    ORDER BY {timestamp}, {key}
"""
# only what is marked as a version is looked up: other events of one type and instant count side by side
_NEWEST_VERSION = """
    AND NOT (metadata ? {version} AND EXISTS (
        SELECT FROM macro_events AS later
        WHERE later.timestamp = macro_events.timestamp AND later.event_type = macro_events.event_type
          AND later.country IS NOT DISTINCT FROM macro_events.country
          AND later.source IS NOT DISTINCT FROM macro_events.source AND later.metadata ? {version}
          AND coalesce(later.known_at, later.timestamp) > coalesce(macro_events.known_at, macro_events.timestamp)
          AND {is_known}
    ))
"""
_CONCERNED = """
    {key} IN (
        SELECT source_id FROM text_instruments WHERE source_type = {source} AND instrument_id = ANY({ids}::text[])
    )
"""
_LINKED = """
    SELECT DISTINCT instrument_id FROM text_instruments JOIN {table} USING ({key})
    WHERE {timestamp} < %(after)s AND coalesce(known_at, {timestamp}) < %(after)s ORDER BY 1
"""
_NEWEST = """
    SELECT ({timestamp} AT TIME ZONE 'UTC')::date FROM {table}
    WHERE {timestamp} < %(after)s AND coalesce(known_at, {timestamp}) < %(after)s
    ORDER BY {timestamp} DESC LIMIT 1
"""
_KINDS_BY_DAY = """
    SELECT DISTINCT ({timestamp} AT TIME ZONE 'UTC')::date, {kind} FROM {table}
    WHERE {timestamp} >= %(first)s AND {timestamp} < %(after)s AND coalesce(known_at, {timestamp}) < %(after)s
    ORDER BY 1, 2
"""
_MAIN_STANCE = """
    (SELECT main FROM text_stances AS stance
     WHERE stance.source_type = {source} AND stance.source_id = {table}.{key} AND stance.model_id = (
        SELECT model_id FROM stance_heads ORDER BY created_at DESC, model_id LIMIT 1
     ))
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


class TextReader(HistoricalTables):
    """Reads ``macro_events`` and ``news_articles``.

    A text belongs to the calendar date of its timestamp in UTC, or in the zone named; the time zone of the database
    session never counts. When it became known is the business of those who use it: from the later of the two on. Its
    letters are mended where a feed has garbled them.
    """

    def iter_keys(
        self,
        source_type: TextSourceType,
        start: date,
        end: date,
        *,
        limit: int | None = None,
        timezone: str = "UTC",
        without: Collection[int] = (),
        **filters: str | None,
    ) -> Iterator[list[TextKey]]:
        """Yield the texts dated `start` to `end`, both included, oldest first, page by page; `without` some blocks.

        `filters` are columns of the table, such as ``country``. Each page is one short query that takes up where the
        last one ended: between two of them no transaction is open, however long the caller takes. `InputRefusedError`
        where no stored text at all meets a filter; `UsageError` where the dates, the limit or the zone make no sense.
        """
        if end < start:
            raise UsageError(f"the range ends ({end}) before it starts ({start})")
        if limit is not None and limit < 1:
            raise UsageError(f"--limit {limit}: name a number above zero")
        load_zone("--timezone", timezone)
        given = {column: value for column, value in filters.items() if value is not None}
        self.require_known(TEXT_TABLES[source_type].name, given)
        spellings = {name: spellings_of(name, value) for name, value in given.items()}
        parameters = {
            **spellings, "start": start, "end": end, "timezone": timezone, "earliest": _midnight(start, -_DAY),
            "latest": _midnight(end, 2 * _DAY), "without": sorted(without),
        }  # fmt: skip
        statement = compose_text_query(_PAGE, source_type, given, are_bound=True)
        return self._pages(statement, parameters, limit)

    def load_texts(self, source_type: TextSourceType, source_ids: Sequence[int]) -> list[SourceText]:
        """Return the texts of these rows, in that order, headline and body as one; removed rows are left out."""
        rows = self._db.rows(compose_text_query(_TEXTS, source_type), {"ids": list(source_ids)})
        return [SourceText(source_type, str(key), mend(text), language) for key, text, language in rows]

    def load_dated(self, source_type: TextSourceType, source_ids: Sequence[int]) -> list[DatedText]:
        """Return these texts with all that is known of them; removed rows are left out."""
        return self._dated(source_type, "WHERE {key} = ANY(%(ids)s::bigint[])", {"ids": list(source_ids)})

    def texts_of(self, source_type: TextSourceType, day: date, known_by: date) -> list[DatedText]:
        """Return the texts dated on a day in UTC and known by another, in order of their time."""
        span = {"first": _midnight(day, timedelta()), "after": _midnight(day, _DAY), "known": _midnight(known_by, _DAY)}
        is_known = sql.SQL("coalesce(later.known_at, later.timestamp) < %(known)s")
        return self._dated(source_type, _TEXTS_OF_A_DAY, span, newest_version=newest_version(source_type, is_known))

    def kinds_by_day(self, source_type: TextSourceType, start: date, until: date) -> list[tuple[date, str]]:
        """Return the dates in UTC that have texts of each kind, from `start` to `until` and known by then, in order."""
        span = {"first": _midnight(start, timedelta()), "after": _midnight(until, _DAY)}
        return self._db.rows(compose_text_query(_KINDS_BY_DAY, source_type), span)

    def linked(self, source_type: TextSourceType, until: date = date.max) -> list[str]:
        """Return the instruments that texts dated and known up to a date concern, in order."""
        return self._db.column(compose_text_query(_LINKED, source_type), {"after": _midnight(until, _DAY)})

    def newest(self, source_type: TextSourceType, until: date) -> date | None:
        """Return the date in UTC of the newest text dated and known up to a date; None if not found."""
        found: date | None = self._db.value(compose_text_query(_NEWEST, source_type), {"after": _midnight(until, _DAY)})
        return found

    def _dated(
        self, source_type: TextSourceType, which: LiteralString, parameters: Mapping[str, Any], **further: Any
    ) -> list[DatedText]:
        rows = self._db.rows(compose_text_query(_DATED + which, source_type, **further), parameters)
        return [DatedText(source_type, *(*row[:-1], mend(row[-1]))) for row in rows]

    def require_known(self, table: TextTableName, filters: Mapping[str, str | None]) -> None:
        """Raise `InputRefusedError` for a filter, column to value, that no stored row at all meets."""
        for column, value in filters.items():
            if value is None:
                continue
            if column == INSTRUMENT:
                self._require_linked(table, value)
                continue
            names = {"table": sql.Identifier(table), "column": sql.Identifier(column)}
            met = _means(column, value, sql.Placeholder())
            exists = sql.SQL("SELECT EXISTS (SELECT FROM {table} WHERE {met})").format(met=met, **names)
            if not self._db.value(exists, (spellings_of(column, value),)):
                listing = sql.SQL("SELECT DISTINCT {column} FROM {table} WHERE {column} <> '' ORDER BY 1 LIMIT %s")
                known = self._db.column(listing.format(**names), (_N_SHOWN + 1,))
                raise InputRefusedError(_describe_unknown(table, column, value, known))

    def _require_linked(self, table: TextTableName, instrument_id: str) -> None:
        kind: TextSourceType = "MACRO" if table == TEXT_TABLES["MACRO"].name else "NEWS"
        known = self.linked(kind)
        if instrument_id not in known:
            raise InputRefusedError(describe_unlinked(instrument_id, [kind], known))

    def _pages(
        self, statement: sql.Composed, parameters: Mapping[str, Any], limit: int | None
    ) -> Iterator[list[TextKey]]:
        after, after_id = parameters["earliest"], -1
        n_left = limit
        while n_left is None or n_left > 0:
            n_rows = PAGE_ROWS if n_left is None else min(PAGE_ROWS, n_left)
            position = {"after": after, "after_id": after_id, "n_rows": n_rows}
            rows = self._db.rows(statement, {**parameters, **position})
            if not rows:
                return
            after_id, after = rows[-1][:2]
            n_left = None if n_left is None else n_left - len(rows)
            yield [TextKey(key, n_characters) for key, _, n_characters in rows]


def load_text_backlog(
    db_manager: HistoricalDatabase, source_type: TextSourceType, model_id: str, as_of_date: date
) -> TextBacklog:
    """Return what a model has still to embed of the texts dated up to `as_of_date` in UTC; no text is read."""
    query = compose_text_query(_BACKLOG, source_type, model=model_id, as_of=as_of_date)
    return TextBacklog(*Transactions(db_manager.get_historical_connection).rows(query)[0])


def compose_text_query(
    statement: LiteralString,
    source_type: TextSourceType,
    filters: Mapping[str, str] | None = None,
    *,
    are_bound: bool = False,
    **further: Any,
) -> sql.Composed:
    """Put the names of a table, and conditions on its columns, into a statement.

    `filters` are columns and what they mean, in any spelling; if `are_bound`, the `spellings_of` each are parameters.

    `text` is all texts of a row as one, `written` whether there is any; `language`, `kind` and `place` may be absent.
    """
    table = TEXT_TABLES[source_type]
    parts = [sql.Identifier(name) for name in table.texts]
    filled = sql.SQL(", ").join(sql.SQL("nullif({}, '')").format(part) for part in parts)
    place = next(name for name in ("country", "language") if name in table.names)
    conditions = []
    for name, value in (filters or {}).items():
        wanted = sql.Placeholder(name) if are_bound else sql.Literal(spellings_of(name, value))
        is_met = _concerns(source_type, wanted) if name == INSTRUMENT else _means(name, value, wanted)
        conditions.append(sql.SQL("AND {}").format(is_met))
    return sql.SQL(statement).format(
        source=source_type,
        table=sql.Identifier(table.name),
        key=sql.Identifier(table.key),
        timestamp=sql.Identifier(table.timestamp),
        parts=sql.SQL(", ").join(parts),
        length=sql.SQL(" + ").join(sql.SQL("length({})").format(part) for part in parts),
        written=sql.SQL(" || ").join(parts),
        text=sql.SQL("concat_ws(E'\\n\\n', {})").format(filled),
        language=sql.SQL("language" if "language" in table.names else "metadata->>'language'"),
        kind=sql.SQL("event_type" if "event_type" in table.names else "''"),
        place=sql.SQL("coalesce({}, '')").format(sql.Identifier(place)),
        filters=sql.SQL(" ").join(conditions),
        **further,
    )


def concerns(source_type: TextSourceType, instrument_ids: Collection[str]) -> sql.Composed:
    """Return the condition that a text concerns one of some instruments."""
    return _concerns(source_type, sql.Literal(list(instrument_ids)))


def _concerns(source_type: TextSourceType, ids: sql.Composable) -> sql.Composed:
    key = sql.Identifier(TEXT_TABLES[source_type].key)
    return sql.SQL(_CONCERNED).format(key=key, source=source_type, ids=ids)


def _means(column: str, wanted: str, spellings: sql.Composable, said: sql.Composable | None = None) -> sql.Composed:
    """Return the condition that a column, or what is `said`, is what is wanted; as `is_alike` of a text."""
    folded = "{}"
    if column == COUNTRY:
        folded = "replace(lower({}), '.', '')"
    elif column == LANGUAGE:
        tag = "replace(lower({}), '_', '-')"
        folded = tag if is_tag(column, wanted) else f"split_part({tag}, '-', 1)"
    return sql.SQL(f"{folded} = ANY({{}}::text[])").format(said or sql.Identifier(column), spellings)


def said_of(source_type: TextSourceType, name: str) -> sql.Composed:
    """Return what a text says of a filter: in its column, or in its metadata where the table has none."""
    if name == "publisher":
        return sql.SQL("{}").format(sql.Identifier("source"))
    if name == "stance":
        return compose_text_query(_MAIN_STANCE, source_type)
    said = sql.SQL("{}").format(sql.Identifier(name))
    if name == "author":
        said = sql.SQL("coalesce(metadata->>'author', metadata->>'speaker')").format()
    elif name not in TEXT_TABLES[source_type].names:
        said = sql.SQL("metadata->>{}").format(name)
    return sql.SQL("coalesce({}, 'en')").format(said) if name == LANGUAGE else said


def passes(source_type: TextSourceType, filters: TextFilters) -> sql.Composed:
    """Return the condition that a text passes filters; never NULL."""
    conditions = [sql.SQL("true").format()]
    own_date = compose_text_query("({timestamp} AT TIME ZONE 'UTC')::date", source_type)
    for sign, day in ((">=", filters.start), ("<=", filters.end)):
        if day is not None:
            conditions.append(sql.SQL(f"{{}} {sign} {{}}").format(own_date, day))
    for name, wanted in filters.named.items():
        said = said_of(source_type, name)
        if name in (COUNTRY, LANGUAGE):
            conditions.append(_means(name, wanted, sql.Literal(spellings_of(name, wanted)), said))
        else:
            form = "position(lower({}) in lower({})) > 0" if name == "author" else "lower({}) = lower({})"
            conditions.append(sql.SQL(form).format(wanted, said))
    if filters.instrument_id:
        conditions.append(concerns(source_type, filters.instrument_id))
    return sql.SQL("coalesce({}, false)").format(sql.SQL(" AND ").join(conditions))


def newest_version(source_type: TextSourceType, is_known: sql.Composable) -> sql.Composable:
    """Return the condition that no newer version of an event is known; `is_known` says so of the row ``later``."""
    if source_type != "MACRO":
        return sql.SQL("")
    return sql.SQL(_NEWEST_VERSION).format(version=sql.Literal(VERSION), is_known=is_known)


def _midnight(day: date, shift: timedelta) -> datetime:
    """Return the midnight in UTC that is `shift` from a date's own, or the end of the calendar."""
    midnight = datetime.combine(day, time(), UTC)
    try:
        return midnight + shift
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if shift > timedelta() else midnight


def describe_unlinked(instrument_id: str, kinds: Sequence[str], known: Sequence[str]) -> str:
    """Return that no text concerns an instrument, and which ones do."""
    fault = f"no {' or '.join(kinds)} text concerns {instrument_id[:60]!r}"
    if not known:
        return f"{fault}, or any instrument; link texts with: python -m prometheus ingest news FILE --instrument-id ID"
    return f"{fault}; instruments that texts concern: {', '.join(known[:_N_SHOWN])}{', …' * (len(known) > _N_SHOWN)}"


def _describe_unknown(table: str, column: str, value: str, known: list[str]) -> str:
    if not known:
        return f"no row of {table} says any {column.replace('_', ' ')}; load files with: python -m prometheus ingest"
    listed = ", ".join(known[:_N_SHOWN]) + (", …" if len(known) > _N_SHOWN else "")
    return f"{column.replace('_', ' ')} {value!r} matches nothing in {table}; known: {listed}"
