"""The table ``numeric_window_embeddings``: numeric vectors in and out."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.types.json import Jsonb

from prometheus.arrays import DateVector, Float32Vector, decode_vector
from prometheus.data.coverage import forget_dates, keep_coverage, record_spans
from prometheus.data.models import VectorTable
from prometheus.data.postgres.binary_copy import constant_bytes, copy_blocks_in, copy_in
from prometheus.data.postgres.connections import OwnedDatabase
from prometheus.data.postgres.row_copy import JSONB_VERSION
from prometheus.encoders.identity import repeated_key
from prometheus.encoders.numeric.encoder import EmbeddingBatch
from prometheus.encoders.numeric.windows import NumericWindowSpec

HASHED_KEY = [("entity_index", "i4"), ("as_of_date", "M8[D]"), ("input_hash", "i8")]

ROWS_AT_ONCE = 512
"""Of a COPY: 0.8 MB with 384 values."""

logger = logging.getLogger(__name__)


class NumericEmbeddingStore(VectorTable):
    """The table ``numeric_window_embeddings``; every write is an upsert on the natural key."""

    @property
    def is_frozen(self) -> bool:
        """Whether new rows are written as settled ones, which takes a table that this transaction emptied."""
        return False

    def save_embedding(self, spec: NumericWindowSpec, as_of_date: date, model_id: str, vector: Float32Vector) -> None:
        """Store one vector; an equal stored one is left alone."""
        self.save_batch(EmbeddingBatch.of_one(spec, as_of_date, model_id, vector))

    def save_batch(self, batch: EmbeddingBatch, *, is_new: bool = False) -> int:
        """Store a batch in one transaction; return how many rows were new or changed.

        If `is_new`, no row of the batch was stored a moment ago: it is tried without looking for each, which is twice
        as fast.
        """
        if not len(batch):
            return 0
        if is_new and batch.input_hashes is not None:
            try:
                copy = partial(copy_new_rows, is_frozen=self.is_frozen)
                return self._db.write(lambda cursor: _covering(cursor, batch, copy))
            except psycopg.errors.UniqueViolation:  # another run was here first, or the rows have no input hash
                logger.debug("%s: some rows were stored meanwhile", batch.model_id)
        try:
            return self._db.write(lambda cursor: _covering(cursor, batch, upsert_rows))
        except psycopg.errors.CardinalityViolation as error:
            raise repeated_key(batch.model_id) from error

    def load_embedding(self, spec: NumericWindowSpec, as_of_date: date, model_id: str) -> Float32Vector | None:
        """Return one stored vector, or None."""
        query = """
            SELECT vector, dim FROM numeric_window_embeddings
            WHERE entity_type = %s AND entity_id = %s AND model_id = %s AND window_days = %s AND as_of_date = %s
        """
        key = (spec.entity_type, spec.entity_id, model_id, spec.window_days, as_of_date)
        row = self._db.row(query, key, binary=True)
        return None if row is None else decode_vector(row[0], row[1], model_id)

    def load_input_hashes(
        self, entity_type: str, entity_ids: Sequence[str], model_id: str, window_days: int, dates: DateVector
    ) -> NDArray[Any]:
        """Return ``entity_index``, ``as_of_date``, known ``input_hash`` of the rows from first to last of `dates`."""
        # OFFSET 0 keeps it one scan of the index per entity: without statistics the planner would rather compare every
        # stored row of those dates with every entity.
        query = psycopg.sql.SQL("""
            SELECT (wanted.ordinal - 1)::int4, stored.as_of_date, stored.input_hash
            FROM unnest({ids}::text[]) WITH ORDINALITY AS wanted(id, ordinal)
            CROSS JOIN LATERAL (
                SELECT as_of_date, input_hash FROM numeric_window_embeddings
                WHERE entity_type = {entity_type} AND entity_id = wanted.id AND model_id = {model_id}
                  AND window_days = {window_days} AND as_of_date BETWEEN {first} AND {last} AND input_hash IS NOT NULL
                OFFSET 0
            ) AS stored
        """).format(
            ids=list(entity_ids), entity_type=entity_type, model_id=model_id, window_days=window_days,
            first=dates.min().item(), last=dates.max().item(),
        )  # fmt: skip
        return self._db.packed(query, HASHED_KEY)

    def drop(self, entity_type: str, entity_id: str, model_id: str, window_days: int, dates: DateVector) -> int:
        """Delete the vectors of some dates; return how many there were."""
        query = """
            DELETE FROM numeric_window_embeddings WHERE entity_type = %s AND entity_id = %s AND model_id = %s
            AND window_days = %s AND as_of_date = ANY(%s)
        """
        key = (entity_type, entity_id, model_id, window_days, dates.tolist())

        if not len(dates):
            return 0

        def delete(cursor: psycopg.Cursor[Any]) -> int:
            keep_coverage(cursor)
            n_rows = cursor.execute(query, key).rowcount
            forget_dates(cursor, entity_type, [entity_id], model_id, window_days, dates)
            return n_rows

        return self._db.write(delete)

    def is_empty(self) -> bool:
        """Return whether there is no row at all."""
        return self._db.row("SELECT FROM numeric_window_embeddings LIMIT 1") is None

    def tidy(self, *, analyze: bool) -> None:
        """Do at once what the server does by itself some minutes after a large load: mark rows settled, count them.

        Until then the next run looks into every row instead of into the index, and, if `analyze` was never asked for,
        plans are made for an empty table. A role that may not do it leaves it to the server.
        """
        also = "ANALYZE, " if analyze else ""
        statement = f"VACUUM ({also}INDEX_CLEANUP OFF, TRUNCATE OFF, SKIP_LOCKED) numeric_window_embeddings"
        with self._db.connect() as connection:
            connection.autocommit = True  # VACUUM refuses to run in a transaction
            try:
                connection.execute(statement)
            finally:
                connection.autocommit = False


def _covering(
    cursor: psycopg.Cursor[Any], batch: EmbeddingBatch, store: Callable[[psycopg.Cursor[Any], EmbeddingBatch], int]
) -> int:
    """Store rows, remember the spans that they complete, and forget others that hold one of their dates."""
    keep_coverage(cursor)
    n_rows = store(cursor, batch)
    key = (batch.model_id, batch.window_days)
    recorded = record_spans(cursor, batch.entity_type, *key, batch.completes) if batch.completes else set()
    others = {batch.entity_ids[index] for index in set(batch.entity_index.tolist())} - recorded
    if others and n_rows:
        forget_dates(cursor, batch.entity_type, others, *key, batch.as_of_dates)
    return n_rows


def checkpoint(databases: OwnedDatabase) -> None:
    """Have a server of our own write out all it holds, so that it keeps no WAL of what was stored until now."""
    with databases.get_owner_connection("historical") as connection:
        connection.execute("CHECKPOINT")


def copy_new_rows(cursor: psycopg.Cursor[Any], batch: EmbeddingBatch, *, is_frozen: bool = False) -> int:
    """Append rows in one COPY straight into the table; `psycopg.errors.UniqueViolation` if one is stored already."""
    copy_blocks_in(cursor, "numeric_window_embeddings", _blocks(batch), is_frozen=is_frozen)
    return len(batch)


def _blocks(batch: EmbeddingBatch) -> Iterator[Mapping[str, NDArray[Any]]]:
    # ids of one length make rows of one width; the order is that of `upsert_rows`, so that two runs cannot deadlock;
    # few rows at once stay in the processor's cache, and the server reads them while the next ones are made
    hashes = np.zeros(len(batch), dtype=np.int64) if batch.input_hashes is None else batch.input_hashes
    spec = JSONB_VERSION + json.dumps(_window_spec(batch)).encode()
    ids = np.array([entity_id.encode() for entity_id in batch.entity_ids])
    lengths = np.char.str_len(ids)
    ranks = np.argsort(np.lexsort((ids, lengths)))
    order = np.lexsort((batch.as_of_dates, ranks[batch.entity_index]))
    cuts = np.flatnonzero(np.diff(lengths[batch.entity_index[order]])) + 1
    for rows in np.split(order, sorted({*cuts.tolist(), *range(ROWS_AT_ONCE, len(batch), ROWS_AT_ONCE)})):
        n_rows, named = len(rows), batch.entity_index[rows]
        yield {
            "entity_type": constant_bytes(batch.entity_type.encode(), n_rows),
            "entity_id": ids[named].astype(f"S{lengths[named[0]]}"),
            "model_id": constant_bytes(batch.model_id.encode(), n_rows),
            "window_days": np.full(n_rows, batch.window_days, dtype=np.int32),
            "as_of_date": batch.as_of_dates[rows],
            "window_spec": constant_bytes(spec, n_rows),
            "dim": np.full(n_rows, batch.vectors.shape[1], dtype=np.int32),
            "vector": batch.vectors[rows],
            "input_hash": hashes[rows],
        }


def _window_spec(batch: EmbeddingBatch) -> dict[str, Any]:
    return {"window_days": batch.window_days, "features": list(batch.feature_names)}


def upsert_rows(cursor: psycopg.Cursor[Any], batch: EmbeddingBatch) -> int:
    """Insert new rows and change the ones that differ; return how many were either."""
    cursor.execute(
        "CREATE TEMP TABLE IF NOT EXISTS incoming_numeric_embeddings"
        " (entity_index int4, as_of_date date, input_hash int8, vector bytea) ON COMMIT DELETE ROWS"
    )
    has_hashes = batch.input_hashes is not None
    hashes = batch.input_hashes if batch.input_hashes is not None else np.zeros(len(batch), dtype=np.int64)
    copy_in(
        cursor,
        "incoming_numeric_embeddings",
        {
            "entity_index": batch.entity_index.astype(np.int32),
            "as_of_date": batch.as_of_dates,
            "input_hash": hashes,
            "vector": batch.vectors,
        },
    )
    cursor.execute(
        """
        INSERT INTO numeric_window_embeddings AS stored
            (entity_type, entity_id, model_id, window_days, as_of_date, window_spec, dim, vector, input_hash)
        SELECT %(type)s, (%(ids)s::text[])[entity_index + 1], %(model)s, %(days)s, as_of_date, %(spec)s, %(dim)s,
               vector, CASE WHEN %(has_hashes)s THEN input_hash END
        FROM incoming_numeric_embeddings
        ORDER BY octet_length((%(ids)s::text[])[entity_index + 1]), (%(ids)s::text[])[entity_index + 1] COLLATE "C",
                 as_of_date
        ON CONFLICT (entity_type, entity_id, model_id, window_days, as_of_date) DO UPDATE
        SET vector = excluded.vector, dim = excluded.dim, input_hash = excluded.input_hash,
            window_spec = excluded.window_spec, created_at = now()
        WHERE stored.vector IS DISTINCT FROM excluded.vector
           OR stored.input_hash IS DISTINCT FROM coalesce(excluded.input_hash, stored.input_hash)
        """,
        {
            "type": batch.entity_type, "ids": list(batch.entity_ids), "model": batch.model_id,
            "days": batch.window_days, "spec": Jsonb(_window_spec(batch)), "dim": batch.vectors.shape[1],
            "has_hashes": has_hashes,
        },
    )  # fmt: skip
    return cursor.rowcount
