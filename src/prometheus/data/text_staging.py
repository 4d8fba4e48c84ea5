"""Texts on their way into their table: a temporary one first, then found again by what they say, filled in or added."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg import sql

from prometheus.encoders.texts.documents import TextTable

# the hashes are computed where they are defined, in the schema; the temporary table takes their definitions over
_CREATE_TEXTS = """
    CREATE TEMPORARY TABLE staged_texts (LIKE {table} INCLUDING GENERATED) ON COMMIT DROP;
    ALTER TABLE staged_texts DROP COLUMN {key}, ADD COLUMN file_no integer, ADD COLUMN row_no bigint
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
    INSERT INTO {table} ({columns}, metadata)
    SELECT {columns}, metadata FROM wanted_texts
    WHERE content_hash NOT IN (SELECT content_hash FROM matched_texts) AND NOT EXISTS (
        SELECT FROM {table} AS t WHERE t.identity_hash = wanted_texts.identity_hash AND {t_covers_wanted_texts}
    )
    ORDER BY {timestamp}, content_hash
"""
_FILL_IN = """
    WITH changed AS (
        UPDATE {table} AS t SET {filled}, known_at = {known_first}, metadata = wanted.metadata || t.metadata
        FROM matched_texts AS matched JOIN wanted_texts AS wanted USING (content_hash)
        WHERE t.{key} = matched.stored_key
          AND ({t_names}, t.known_at, t.metadata)
              IS DISTINCT FROM ({filled_names}, {known_first}, wanted.metadata || t.metadata)
        RETURNING wanted.content_hash
    ) SELECT count(DISTINCT content_hash) FROM changed
"""
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
        connection.execute("SET LOCAL work_mem = '128MB'")
        connection.execute(self._compose(_CREATE_TEXTS))

    def append(self, file_no: int, records: Iterable[tuple[Any, ...]]) -> None:
        """Add rows: number in the file, the columns of the table in their order, and metadata as JSON text."""
        names = ("file_no", "row_no", *self._table.columns, "metadata")
        statement = sql.SQL("COPY staged_texts ({}) FROM STDIN").format(sql.SQL(", ").join(map(sql.Identifier, names)))
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            for values in records:
                copy.write_row((file_no, *values))

    def summarize(self) -> StagedTexts:
        """Return what is staged, once all rows are there."""
        for statement in (_MAKE_DISTINCT, _TAKE_OVER_KNOWN_AT, _DROP_LESS):
            self._connection.execute(self._compose(statement))
        return StagedTexts(*self._connection.execute(self._compose(_SUMMARIZE_TEXTS)).fetchall()[0])

    def upsert(self) -> int:
        """Store what was summarized; return how many texts were new or changed."""
        for statement in (_LOCK, _MATCH_TEXTS):
            self._connection.execute(self._compose(statement))
        n_added = self._connection.execute(self._compose(_ADD_TEXTS)).rowcount
        ((n_changed,),) = self._connection.execute(self._compose(_FILL_IN)).fetchall()
        return n_added + int(n_changed)

    def _compose(self, statement: str) -> sql.Composed:
        timestamp, names = sql.Identifier(self._table.timestamp), self._open_names
        filled = [sql.SQL("coalesce(t.{0}, wanted.{0})").format(name) for name in names]
        return sql.SQL(statement).format(
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
