"""Texts on their way into their table: a temporary table with the same content hash, one upsert on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from prometheus.data.convert import TextColumn
from prometheus.data.instants import InstantColumn, from_microseconds
from prometheus.data.text_checks import TextRows, is_blank
from prometheus.data.text_tables import TextTable

# the hash is computed where it is defined, in the schema; the temporary table takes its definition over
_CREATE = """
    CREATE TEMPORARY TABLE staged_texts (LIKE {table} INCLUDING GENERATED) ON COMMIT DROP;
    ALTER TABLE staged_texts DROP COLUMN {key}, ADD COLUMN file_no integer, ADD COLUMN row_no bigint
"""
_SUMMARIZE = """
    SELECT count(*), count(DISTINCT content_hash), min(({timestamp} AT TIME ZONE 'UTC')::date),
           max(({timestamp} AT TIME ZONE 'UTC')::date)
    FROM staged_texts
"""
# The keys are written in one order in every run, so that two runs at once wait instead of deadlocking; by time first,
# so that ids ascend with it. Of equal texts the one known first counts, here and against what is stored.
_UPSERT = """
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
        connection.execute(self._compose(_CREATE))

    def append(self, file_no: int, rows: TextRows, is_good: NDArray[np.bool_]) -> None:
        """Add the good rows of a batch."""
        names = ("file_no", "row_no", *self._table.columns, "metadata")
        statement = sql.SQL("COPY staged_texts ({}) FROM STDIN").format(sql.SQL(", ").join(map(sql.Identifier, names)))
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            for values in self._records(rows, np.flatnonzero(is_good).tolist()):
                copy.write_row((file_no, *values))

    def _records(self, rows: TextRows, positions: list[int]) -> Iterator[tuple[Any, ...]]:
        table = self._table
        known = rows.known_at
        by_name = {
            table.timestamp: _instants(rows.timestamps),
            "known_at": [None] * len(rows.rows) if known is None else _instants(known, rows.says_known_at),
            **{name: _cells(column, "" if name in table.required else None) for name, column in rows.names.items()},
            **{name: _cells(_without_blanks(column), "") for name, column in rows.texts.items()},
        }
        columns = [by_name[name] for name in table.columns]
        metadata = _metadata(rows)
        happened = by_name[table.timestamp]
        for position in positions:
            cells = [column[position] for column in columns]
            if by_name["known_at"][position] == happened[position]:
                cells[table.columns.index("known_at")] = None
            yield int(rows.rows[position]), *cells, metadata[position]

    def summarize(self) -> StagedTexts:
        """Return what is staged."""
        found = self._connection.execute(self._compose(_SUMMARIZE)).fetchall()
        return StagedTexts(*found[0])

    def upsert(self) -> int:
        """Store the texts; return how many were new or changed."""
        self._connection.execute("ANALYZE staged_texts (content_hash)")
        return self._connection.execute(self._compose(_UPSERT)).rowcount

    def _compose(self, statement: str) -> sql.Composed:
        timestamp = sql.Identifier(self._table.timestamp)
        return sql.SQL(statement).format(
            table=sql.Identifier(self._table.name),
            key=sql.Identifier(self._table.key),
            timestamp=timestamp,
            columns=sql.SQL(", ").join(map(sql.Identifier, self._table.columns)),
            known_first=sql.SQL(_KNOWN_FIRST).format(timestamp=timestamp),
        )  # fmt: skip


def _instants(column: InstantColumn, is_said: NDArray[np.bool_] | None = None) -> list[Any]:
    instants: list[Any] = [from_microseconds(value) for value in column.microseconds.tolist()]
    if is_said is not None:
        instants = [instant if said else None for instant, said in zip(instants, is_said.tolist(), strict=True)]
    return instants


def _cells(column: TextColumn, missing: str | None) -> list[str | None]:
    values = [*(text or missing for text in column.values), missing]  # MISSING_CODE, -1, is the last one
    return [values[code] for code in column.codes.tolist()]


def _without_blanks(column: TextColumn) -> TextColumn:
    return TextColumn(column.codes, tuple("" if is_blank(text) else text for text in column.values))


def _metadata(rows: TextRows) -> list[str]:
    if not rows.metadata:
        return ["{}"] * len(rows.rows)
    columns = [_cells(column, None) for column in rows.metadata.values()]
    return [
        json.dumps({name: cell for name, cell in zip(rows.metadata, cells, strict=True) if cell is not None})
        for cells in zip(*columns, strict=True)
    ]
