"""Texts on their way into their table: a temporary one first, then found again by what they say, filled in or added."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg import sql

from prometheus.encoders.texts.documents import TEXT_TABLES, TextTable

# the hashes are computed where they are defined, in the schema; the temporary table takes their definitions over
_CREATE_TEXTS = """
    CREATE TEMPORARY TABLE staged_texts (LIKE {table} INCLUDING GENERATED) ON COMMIT DROP;
    ALTER TABLE staged_texts DROP COLUMN {key}, ADD COLUMN file_no integer, ADD COLUMN row_no bigint;
    CREATE TEMPORARY TABLE staged_links (file_no integer, row_no bigint, instrument_id text) ON COMMIT DROP;
    CREATE TEMPORARY TABLE changed_texts (content_hash text) ON COMMIT DROP
"""
# Of equal texts the one known first counts.
_MAKE_DISTINCT = """
    CREATE TEMPORARY TABLE wanted_texts ON COMMIT DROP AS
    SELECT DISTINCT ON (content_hash) * FROM staged_texts
    ORDER BY content_hash, coalesce(known_at, {timestamp}), file_no, row_no;
    ANALYZE wanted_texts
"""
# A row that says less of the same text than another one is that one.
_TAKE_OVER_KNOWN_AT = """
    UPDATE wanted_texts AS fuller SET known_at = nullif(known.first, fuller.{timestamp})
    FROM (
        SELECT fuller.content_hash, min(coalesce(less.known_at, less.{timestamp})) AS first
        FROM wanted_texts AS fuller JOIN wanted_texts AS less USING (identity_hash)
        WHERE {fuller_covers_less} GROUP BY fuller.content_hash
    ) AS known
    WHERE known.content_hash = fuller.content_hash
"""
_DROP_LESS = """
    DELETE FROM wanted_texts AS less USING wanted_texts AS fuller
    WHERE fuller.identity_hash = less.identity_hash AND fuller.content_hash <> less.content_hash
      AND {fuller_covers_less}
"""
_SUMMARIZE_TEXTS = """
    SELECT (SELECT count(*) FROM staged_texts) AS n_rows, count(*) AS n_distinct,
           min(({timestamp} AT TIME ZONE 'UTC')::date) AS first_date,
           max(({timestamp} AT TIME ZONE 'UTC')::date) AS last_date
    FROM wanted_texts
"""
# Two runs at once wait for each other: neither sees what the other adds.
_LOCK = "LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"
# A wanted text is every stored one that says as much of it; without such a one it fills in the one that says most.
_MATCH_TEXTS = """
    CREATE TEMPORARY TABLE matched_texts ON COMMIT DROP AS
    WITH pairs AS (
        SELECT t.{key} AS stored_key, wanted.content_hash, {t_covers_wanted} AS is_covered,
               num_nonnulls({t_names}) AS n_said
        FROM wanted_texts AS wanted JOIN {table} AS t USING (identity_hash) WHERE {are_alike}
    ), fitting AS (
        SELECT *, bool_or(is_covered) OVER (PARTITION BY content_hash) AS is_there,
               row_number() OVER (PARTITION BY content_hash ORDER BY n_said DESC, stored_key) AS choice
        FROM pairs
    )
    SELECT DISTINCT ON (stored_key) stored_key, content_hash FROM fitting
    WHERE is_covered OR (NOT is_there AND choice = 1) ORDER BY stored_key, is_covered DESC, content_hash
"""
_ADD_TEXTS = """
    WITH added AS (
        INSERT INTO {table} ({columns}, metadata)
        SELECT {columns}, metadata FROM wanted_texts
        WHERE content_hash NOT IN (SELECT content_hash FROM matched_texts) AND NOT EXISTS (
            SELECT FROM {table} AS t WHERE t.identity_hash = wanted_texts.identity_hash AND {t_covers_wanted_texts}
        )
        ORDER BY {timestamp}, content_hash RETURNING content_hash
    ) INSERT INTO changed_texts SELECT content_hash FROM added
"""
_FILL_IN = """
    WITH changed AS (
        UPDATE {table} AS t SET {filled}, known_at = {known_first}, metadata = wanted.metadata || t.metadata
        FROM matched_texts AS matched JOIN wanted_texts AS wanted USING (content_hash)
        WHERE t.{key} = matched.stored_key
          AND ({t_names}, t.known_at, t.metadata)
              IS DISTINCT FROM ({filled_names}, {known_first}, wanted.metadata || t.metadata)
        RETURNING wanted.content_hash
    ) INSERT INTO changed_texts SELECT content_hash FROM changed
"""
# Once all is stored, some stored text says all that a staged row says of it: this one, or each, has its instruments.
_LINK = """
    WITH links AS (
        INSERT INTO text_instruments (source_type, source_id, instrument_id)
        SELECT DISTINCT {source}, t.{key}, link.instrument_id
        FROM staged_links AS link JOIN staged_texts AS wanted USING (file_no, row_no)
        JOIN {table} AS t USING (identity_hash)
        WHERE {t_covers_wanted}
        ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING RETURNING source_id
    ), linked AS (
        INSERT INTO changed_texts
        SELECT wanted.content_hash FROM links JOIN {table} AS t ON t.{key} = links.source_id
        JOIN wanted_texts AS wanted USING (identity_hash) WHERE {t_covers_wanted}
    ) SELECT count(*) FROM links
"""
_COUNT_CHANGED = "SELECT count(DISTINCT content_hash) FROM changed_texts"
_KNOWN_FIRST = """
    nullif(least(coalesce(t.known_at, t.{timestamp}), coalesce(wanted.known_at, wanted.{timestamp})), t.{timestamp})
"""


@dataclass(frozen=True, slots=True)
class StagedTexts:
    """What is staged; dates are those of UTC."""

    n_rows: int
    n_distinct: int
    first_date: date | None
    last_date: date | None


class TextStaging:
    """The rows of one run, in a temporary table of the transaction that will store them.

    A text is the same whatever a row says of language, country and source, unless two rows say different ones. What a
    stored text lacks of these is filled in, and what it has stays. An instant a text became known that equals its
    timestamp is stored as NULL, which means just that.
    """

    def __init__(self, connection: psycopg.Connection[Any], table: TextTable) -> None:
        self._connection, self._table = connection, table
        self._source_type = next(kind for kind, each in TEXT_TABLES.items() if each is table)
        connection.execute("SET LOCAL work_mem = '128MB'")
        connection.execute(self._compose(_CREATE_TEXTS))

    def append(self, file_no: int, records: Iterable[tuple[Any, ...]]) -> None:
        """Add rows: number in the file, the columns of the table in their order, and metadata as JSON text."""
        names = ("file_no", "row_no", *self._table.columns, "metadata")
        statement = sql.SQL("COPY staged_texts ({}) FROM STDIN").format(sql.SQL(", ").join(map(sql.Identifier, names)))
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            for values in records:
                copy.write_row((file_no, *values))

    def link(self, file_no: int, links: Iterable[tuple[int, str]]) -> None:
        """Say which instruments rows concern: number in the file, and instrument, of a row any number of times."""
        with self._connection.cursor() as cursor, cursor.copy("COPY staged_links FROM STDIN") as copy:
            for link in links:
                copy.write_row((file_no, *link))

    def summarize(self) -> StagedTexts:
        """Return what is staged, once all rows are there."""
        for statement in (_MAKE_DISTINCT, _TAKE_OVER_KNOWN_AT, _DROP_LESS):
            self._connection.execute(self._compose(statement))
        return StagedTexts(*self._connection.execute(self._compose(_SUMMARIZE_TEXTS)).fetchall()[0])

    def upsert(self) -> tuple[int, int]:
        """Store what was summarized; return how many texts were new, changed or newly linked, and how many new links.

        A link that is stored stays: no file takes one away.
        """
        for statement in (_LOCK, _MATCH_TEXTS, _ADD_TEXTS, _FILL_IN):
            self._connection.execute(self._compose(statement))
        n_links, n_changed = (
            int(self._connection.execute(self._compose(statement)).fetchall()[0][0])
            for statement in (_LINK, _COUNT_CHANGED)
        )
        return n_changed, n_links

    def _compose(self, statement: str) -> sql.Composed:
        timestamp, names = sql.Identifier(self._table.timestamp), self._open_names
        filled = [sql.SQL("coalesce(t.{0}, wanted.{0})").format(name) for name in names]
        return sql.SQL(statement).format(
            source=self._source_type,
            table=sql.Identifier(self._table.name),
            key=sql.Identifier(self._table.key),
            timestamp=timestamp,
            columns=sql.SQL(", ").join(map(sql.Identifier, self._table.columns)),
            known_first=sql.SQL(_KNOWN_FIRST).format(timestamp=timestamp),
            t_names=sql.SQL(", ").join(sql.SQL("t.{}").format(name) for name in names),
            filled_names=sql.SQL(", ").join(filled),
            filled=sql.SQL(", ").join(map(sql.SQL("{} = {}").format, names, filled)),
            are_alike=self._each("coalesce(t.{0} = wanted.{0}, true)"),
            t_covers_wanted=self._each("coalesce(t.{0} = wanted.{0}, wanted.{0} IS NULL)"),
            t_covers_wanted_texts=self._each("coalesce(t.{0} = wanted_texts.{0}, wanted_texts.{0} IS NULL)"),
            fuller_covers_less=self._each("coalesce(fuller.{0} = less.{0}, less.{0} IS NULL)"),
        )  # fmt: skip

    @property
    def _open_names(self) -> list[sql.Identifier]:
        """The names that a text need not have."""
        return [sql.Identifier(name) for name in self._table.names if name not in self._table.required]

    def _each(self, condition: str) -> sql.Composed:
        return sql.SQL(" AND ").join(sql.SQL(condition).format(name) for name in self._open_names)
