"""The vectors of windows of one space, read as a whole or entity by entity, for the search that compares every one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import count

import numpy as np
import psycopg
from psycopg import sql

from prometheus.analogs.sound import unsound_rows
from prometheus.analogs.window_rows import WindowRows
from prometheus.arrays import VECTOR_DTYPE, DateVector, Float32Matrix, Int64Vector
from prometheus.data.postgres.binary_copy import decode_dates, same_length
from prometheus.data.postgres.connections import HistoricalDatabase, HistoricalTables

FEW_WINDOWS = 100_000
"""Up to this number the windows of a space are read at once, and kept by a process that asks again."""
_FEW_BYTES = 512 << 20
_PAGES = 512
"""Of the table, read at once: 4 MiB, which a core's cache holds."""


@dataclass(frozen=True, slots=True)
class WindowSpace:
    """Vectors that may be compared."""

    model_id: str
    entity_type: str
    window_days: int


@dataclass(frozen=True, slots=True, eq=False)
class EntityWindows:
    """The vectors of one entity, by date; shapes (n,) and (n, dim)."""

    entity_id: str
    dates: DateVector
    vectors: Float32Matrix


class WindowScan(HistoricalTables):
    """Reads the vectors of a space.

    `left_out` are the entity and the date of those that `blocks` met and that cannot be compared.
    """

    def __init__(self, db_manager: HistoricalDatabase, space: WindowSpace) -> None:
        super().__init__(db_manager)
        self._space = space
        self.left_out: list[tuple[str, date]] = []
        self._where = sql.SQL(
            "model_id = {model_id} AND entity_type = {entity_type} AND window_days = {window_days}"
        ).format(model_id=space.model_id, entity_type=space.entity_type, window_days=space.window_days)

    def n_windows(self, most: int | None = None) -> int:
        """Return how many vectors there are; no more than `most` are counted."""
        query = sql.SQL("SELECT count(*) FROM (SELECT FROM numeric_window_embeddings WHERE {} LIMIT {}) AS stored")
        return int(self._db.value(query.format(self._where, most)))

    def n_by_entity(self) -> dict[str, int]:
        """Return how many vectors each entity has, by id."""
        query = sql.SQL("SELECT entity_id, count(*) FROM numeric_window_embeddings WHERE {} GROUP BY 1")
        return dict(sorted(self._db.rows(query.format(self._where))))

    def dim(self) -> int:
        """Return how long the vectors are, but for one of another length; 0 without any."""
        return int(self._db.value(sql.SQL(_DIM).format(where=self._where)) or 0)

    def load(self, entity_id: str) -> EntityWindows:
        """Return all vectors of an entity; one of another length is NaN."""
        of_entity = sql.SQL("{} AND entity_id = {}").format(self._where, entity_id)
        dim = self._db.value(sql.SQL(_DIM).format(where=of_entity)) or 0
        query = sql.SQL("SELECT as_of_date, vector FROM numeric_window_embeddings WHERE {}")
        return EntityWindows(entity_id, *self._db.vectors(query.format(of_entity), dim))

    def blocks(self, before: date = date.max) -> Iterator[WindowRows]:
        """Yield the vectors dated before a date, block by block in any order, as the table was at one time.

        Those that cannot be compared are left out and added to `left_out`. The server joins the vectors of a block into
        one value, so neither side handles them one by one.
        """
        dim = self.dim()
        with self._db.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            seed, names, digests = self._named(cursor)
            by_digest = np.argsort(digests)
            for place in self._places(cursor):
                query = sql.SQL(_BLOCK).format(
                    seed=seed, where=self._where, before=before, place=place, vector=same_length("vector", dim)
                )
                n_rows, keys, vectors = cursor.execute(query, binary=True).fetchall()[0]
                if not n_rows:
                    continue
                key = np.frombuffer(keys, dtype=[("entity", ">i8"), ("as_of_date", ">i4")])
                entities = by_digest[np.searchsorted(digests, key["entity"].astype(np.int64), sorter=by_digest)]
                rows = np.frombuffer(vectors, dtype=VECTOR_DTYPE).reshape(n_rows, dim)
                yield self._sound(names, entities, decode_dates(key["as_of_date"]), rows)

    def _sound(
        self, names: tuple[str, ...], entities: Int64Vector, dates: DateVector, rows: Float32Matrix
    ) -> WindowRows:
        is_bad = unsound_rows(rows)
        if is_bad is not None:
            self.left_out += [
                (names[at], day) for at, day in zip(entities[is_bad], dates[is_bad].tolist(), strict=True)
            ]
            entities, dates, rows = entities[~is_bad], dates[~is_bad], rows[~is_bad]
        return WindowRows.of(names, entities, dates, rows)

    def _places(self, cursor: psycopg.Cursor) -> list[sql.Composable]:
        """Return conditions that part the table: none for few vectors, else spans of pages, which lie side by side."""
        query = sql.SQL("SELECT octet_length(vector) FROM numeric_window_embeddings WHERE {} LIMIT {}")
        n_few = FEW_WINDOWS + 1
        found = cursor.execute(
            sql.SQL("SELECT count(*), max(n) FROM ({}) AS few (n)").format(query.format(self._where, n_few))
        )
        n_rows, n_bytes = found.fetchall()[0]
        if n_rows * (n_bytes or 0) < _FEW_BYTES and n_rows < n_few:
            return [sql.SQL("true")]
        # not the planner's choice: an index would be walked anew for each span
        cursor.execute("SET LOCAL enable_indexscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
        size = "SELECT pg_relation_size('numeric_window_embeddings') / current_setting('block_size')::int"
        n_pages = cursor.execute(size).fetchall()[0][0]
        spans = [(f"({first},0)", f"({first + _PAGES},0)") for first in range(0, n_pages, _PAGES)]
        return [sql.SQL("ctid >= {}::tid AND ctid < {}::tid").format(*span) for span in spans]

    def _named(self, cursor: psycopg.Cursor) -> tuple[int, tuple[str, ...], Int64Vector]:
        """Return the entities by id, and a number of 64 bits for each, with the seed that makes them differ."""
        for seed in count():
            found: dict[str, int] = dict(
                cursor.execute(sql.SQL(_ENTITIES).format(seed=seed, where=self._where)).fetchall()
            )
            if len(set(found.values())) == len(found):
                break
        names = tuple(sorted(found))
        return seed, names, np.array([found[name] for name in names], dtype=np.int64)


# of a few: counting all takes long, and one alone may be the odd one
_DIM = """
    SELECT mode() WITHIN GROUP (ORDER BY dim) FROM (
        SELECT dim FROM numeric_window_embeddings WHERE {where} LIMIT 9
    ) AS few
"""
# from one entity to the next by the primary key: a text has no fixed width, and to count all rows takes longer
_ENTITIES = """
    WITH RECURSIVE named AS (
        (SELECT entity_id FROM numeric_window_embeddings WHERE {where} ORDER BY entity_id LIMIT 1)
        UNION ALL
        SELECT following.entity_id FROM named CROSS JOIN LATERAL (
            SELECT entity_id FROM numeric_window_embeddings
            WHERE {where} AND entity_id > named.entity_id ORDER BY entity_id LIMIT 1
        ) AS following
    )
    SELECT entity_id, hashtextextended(entity_id, {seed}) FROM named
"""
_BLOCK = """
    SELECT count(*),
           string_agg(int8send(hashtextextended(entity_id, {seed})) || date_send(as_of_date), ''::bytea),
           string_agg({vector}, ''::bytea)
    FROM numeric_window_embeddings WHERE {where} AND as_of_date < {before} AND {place}
"""
