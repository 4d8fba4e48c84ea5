"""The tables ``forward_record`` and ``forward_record_head``: statements are appended, and never written again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import accumulate
from operator import add
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from prometheus.arrays import Int64Vector
from prometheus.data.postgres.connections import RuntimeDatabase, Transactions
from prometheus.data.postgres.row_copy import (
    Column,
    copy_rows_in,
    copy_rows_out,
    encoded_rows,
    split_field,
)
from prometheus.regime.history import LABELS
from prometheus.regime.record import EMPTY, FIELDS, Head, Link, Statement, Verdict, columns_of, link, verify
from prometheus.regime.types import RegimeState

_NEWEST_OF_MODEL = "SELECT max(as_of_date) FROM forward_record WHERE region = %s AND model_id = %s"
_NEWEST_OF_REGION = "SELECT max(as_of_date) FROM forward_record WHERE region = %s"
_HEAD = "SELECT n_statements, hash FROM forward_record_head"
_LOCK_HEAD = """
    INSERT INTO forward_record_head AS head (n_statements, hash) VALUES (%s, %s)
    ON CONFLICT (is_only) DO UPDATE SET n_statements = head.n_statements
    RETURNING n_statements, hash, clock_timestamp()
"""
_MOVE_HEAD = "UPDATE forward_record_head SET n_statements = %s, hash = %s"
_COLUMNS = sql.SQL("number, hash, {}").format(sql.SQL(", ").join(map(sql.Identifier, FIELDS)))
_APPEND = sql.SQL("COPY forward_record ({}) FROM STDIN (FORMAT BINARY)").format(_COLUMNS)
_CHAIN = sql.SQL("COPY (SELECT {} FROM forward_record ORDER BY number) TO STDOUT (FORMAT BINARY)").format(_COLUMNS)
_NAME = "SELECT concat_ws(', ', region, as_of_date::text, model_id) FROM forward_record WHERE number = %s"
# Materialized: the statements of a region are found by its index; in the order of numbers, all rows would be read.
_STATEMENTS = sql.SQL("""
    WITH of_region AS MATERIALIZED (
        SELECT * FROM forward_record
        WHERE region = %s AND number >= %s AND said_at <= %s AND as_of_date = coalesce(%s, as_of_date)
    ), record AS (
        SELECT * FROM of_region ORDER BY number LIMIT %s
    )
    SELECT {}, record.number, record.hash, stored.regime_label
    FROM record LEFT JOIN regimes AS stored ON %s
         AND (stored.region, stored.model_id, stored.as_of_date) = (record.region, record.model_id, record.as_of_date)
    ORDER BY record.number
""").format(sql.SQL(", ").join(sql.Identifier("record", name) for name in FIELDS))


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """States of one region and model, ascending in time, and the hash of what each was made of; at least one state."""

    states: Sequence[RegimeState]
    input_hashes: Sequence[int | None] | Int64Vector

    @property
    def region(self) -> str:
        """That of every state."""
        return self.states[0].region

    @property
    def model_id(self) -> str:
        """That of every state."""
        return self.states[0].model_id

    def take(self, rows: slice) -> History:
        """Return some of the states."""
        return History(self.states[rows], self.input_hashes[rows])

    def after(self, day: date | None) -> History:
        """Return the states after a day, perhaps none; all without it."""
        first = 0 if day is None else bisect_right(self.states, day, key=lambda state: state.as_of_date)
        return self.take(slice(first, None))


class ForwardRecord:
    """What was said, in the order in which it was said."""

    def __init__(self, db_manager: RuntimeDatabase) -> None:
        self._db = Transactions(db_manager.get_runtime_connection)

    def head(self) -> Head:
        """Return how many statements there are and the hash of the last."""
        return Head(*(self._db.row(_HEAD) or (EMPTY.n_statements, EMPTY.hash)))

    def verify(self, kept: bytes | None = None) -> Verdict:
        """Compute every hash again, of one state of the tables; see `prometheus.regime.record.verify`."""
        with self._db.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute("SET LOCAL statement_timeout = 0")  # millions of rows are read in one statement
            row = cursor.execute(_HEAD).fetchone()
            verdict = verify(lambda: map(_to_link, copy_rows_out(cursor, _CHAIN)), Head(*row) if row else EMPTY, kept)
            if verdict.fault is None or verdict.fault.number is None:
                return verdict
            named = cursor.execute(_NAME, (verdict.fault.number,)).fetchone()
            return replace(verdict, fault=replace(verdict.fault, name=named[0] if named else None))

    def regions(self) -> list[str]:
        """Return the regions that something was said of."""
        return self._db.column("SELECT DISTINCT region FROM forward_record ORDER BY 1")

    def statements(
        self,
        region: str,
        until: datetime,
        first_number: int = 1,
        limit: int | None = None,
        day: date | None = None,
        *,
        is_compared: bool,
    ) -> list[Statement]:
        """Return what was said of a region, or of one date of it, up to an instant, from a number on; at most `limit`.

        What the tables say today stands beside it if `is_compared`.
        """
        asked = (region, first_number, until, day, limit, is_compared)
        return [_to_statement(row, is_compared=is_compared) for row in self._db.rows(_STATEMENTS, asked)]


def append(cursor: psycopg.Cursor[Any], histories: Sequence[History]) -> None:
    """Add the states that are said for the first time, of histories ordered by region and model.

    A model goes on from its own last date in a region; one that is new to the region begins after the last date of all.
    The last step of a transaction that holds the locks of these histories: until it ends, others wait to append.
    """
    unsaid = [
        (newest, later)
        for history in histories
        for newest in [_date_of(cursor, _NEWEST_OF_MODEL, history.region, history.model_id)]
        if (later := history.after(newest)).states
    ]
    if not unsaid:
        return
    n_statements, last_hash, said_at = cursor.execute(_LOCK_HEAD, (EMPTY.n_statements, EMPTY.hash)).fetchall()[0]
    head = Head(n_statements, last_hash)
    for newest, later in unsaid:
        said = later if newest else later.after(_date_of(cursor, _NEWEST_OF_REGION, later.region))
        if not said.states:
            continue
        head, rows = _extend(head, columns_of(said.states, said.input_hashes, said_at))
        copy_rows_in(cursor, _APPEND, 2 + len(FIELDS), rows)
    cursor.execute(_MOVE_HEAD, (head.n_statements, head.hash))


def _extend(head: Head, columns: Sequence[Column]) -> tuple[Head, Iterator[bytes]]:
    """Return the head behind further statements, at least one, and their rows."""
    said = list(encoded_rows(columns))
    hashes = list(accumulate(said, link, initial=head.hash))[1:]
    numbers = np.arange(head.n_statements + 1, head.n_statements + len(said) + 1)
    places = encoded_rows([numbers, np.frombuffer(b"".join(hashes), dtype=f"V{len(head.hash)}")])
    return Head(head.n_statements + len(said), hashes[-1]), map(add, places, said)


def _date_of(cursor: psycopg.Cursor[Any], query: str, *parameters: str) -> date | None:
    row = cursor.execute(query, parameters).fetchone()
    return None if row is None else row[0]


def _to_link(row: bytes) -> Link:
    number, rest = split_field(row)
    hash_, said = split_field(rest)
    return Link(int.from_bytes(number or b"", signed=True), said, hash_ or b"")


def _to_statement(row: tuple[Any, ...], *, is_compared: bool) -> Statement:
    said = dict(zip(FIELDS, row[: len(FIELDS)], strict=True))
    number, hash_, label_today = row[len(FIELDS) :]
    probabilities = {label.name: said.pop(label.name.lower()) for label in LABELS}
    label, instruments = said.pop("regime_label"), tuple(said.pop("instruments"))
    return Statement(
        **said, label=label, instruments=instruments, probabilities=probabilities, number=number, hash=hash_,
        label_today=label_today, is_compared=is_compared,
    )  # fmt: skip
