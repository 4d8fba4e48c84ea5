"""Texts on their way into their table: a temporary one first, then one upsert by the hash of their content."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg import sql

from prometheus.encoders.texts.documents import TextTable

# the hash is computed where it is defined, in the schema; the temporary table takes its definition over
_CREATE_TEXTS = """
    CREATE TEMPORARY TABLE staged_texts (LIKE {table} INCLUDING GENERATED) ON COMMIT DROP;
    ALTER TABLE staged_texts DROP COLUMN {key}, ADD COLUMN file_no integer, ADD COLUMN row_no bigint
"""
_SUMMARIZE_TEXTS = """
    SELECT count(*) AS n_rows, count(DISTINCT content_hash) AS n_distinct,
           min(({timestamp} AT TIME ZONE 'UTC')::date) AS first_date,
           max(({timestamp} AT TIME ZONE 'UTC')::date) AS last_date
    FROM staged_texts
"""
# The keys are written in one order in every run, so that two runs at once wait instead of deadlocking; by time first,
# so that ids ascend with it. Of equal texts the one known first counts, here and against what is stored.
_UPSERT_TEXTS = """
    INSERT INTO {table} AS t ({columns}, metadata)
    SELECT {columns}, metadata FROM (
        SELECT DISTINCT ON ({timestamp}, content_hash) *
        FROM staged_texts
        ORDER BY {timestamp}, content_hash, coalesce(known_at, {timestamp}), file_no, row_no
    ) AS first_known
    ORDER BY {timestamp}, content_hash
    ON CONFLICT (content_hash) DO UPDATE
    SET known_at = {known_first}, metadata = excluded.metadata || t.metadata
    WHERE (t.known_at, t.metadata) IS DISTINCT FROM ({known_first}, excluded.metadata || t.metadata)
"""
_KNOWN_FIRST = """
    nullif(least(coalesce(t.known_at, t.{timestamp}), coalesce(excluded.known_at, excluded.{timestamp})), t.{timestamp})
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

    An instant a text became known that equals its timestamp is stored as NULL, which means just that.
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
        """Return what is staged."""
        return StagedTexts(*self._connection.execute(self._compose(_SUMMARIZE_TEXTS)).fetchall()[0])

    def upsert(self) -> int:
        """Store the texts; return how many were new or changed."""
        self._connection.execute("ANALYZE staged_texts (content_hash)")
        return self._connection.execute(self._compose(_UPSERT_TEXTS)).rowcount

    def _compose(self, statement: str) -> sql.Composed:
        timestamp = sql.Identifier(self._table.timestamp)
        return sql.SQL(statement).format(
            table=sql.Identifier(self._table.name),
            key=sql.Identifier(self._table.key),
            timestamp=timestamp,
            columns=sql.SQL(", ").join(map(sql.Identifier, self._table.columns)),
            known_first=sql.SQL(_KNOWN_FIRST).format(timestamp=timestamp),
        )  # fmt: skip
