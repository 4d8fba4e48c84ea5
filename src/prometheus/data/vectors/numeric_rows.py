"""The SQL that puts embeddings into ``numeric_window_embeddings``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.types.json import Jsonb

from prometheus.data.postgres.binary_copy import constant_bytes, copy_blocks_in, copy_in

if TYPE_CHECKING:
    from prometheus.encoders.numeric.encoder import EmbeddingBatch

_JSONB_VERSION = b"\x01"


def copy_new_rows(cursor: psycopg.Cursor[Any], batch: EmbeddingBatch) -> int:
    """Append rows whose keys are not stored yet, in one COPY straight into the table; return how many.

    Raises
    ------
    psycopg.errors.UniqueViolation
        One of them is stored; nothing was written.
    """
    copy_blocks_in(cursor, "numeric_window_embeddings", _blocks(batch))
    return len(batch)


def _blocks(batch: EmbeddingBatch) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Yield the rows of all entities whose ids are equally long, the shortest first.

    The order is that of `upsert_rows`, so that two runs cannot deadlock; ids of one length make rows of one width.
    """
    hashes = np.zeros(len(batch), dtype=np.int64) if batch.input_hashes is None else batch.input_hashes
    spec = _JSONB_VERSION + json.dumps(_window_spec(batch)).encode()
    ids = [entity_id.encode() for entity_id in batch.entity_ids]
    ranks = np.empty(len(ids), dtype=np.int64)
    ranks[sorted(range(len(ids)), key=lambda index: (len(ids[index]), ids[index]))] = np.arange(len(ids))
    order = np.lexsort((batch.as_of_dates, ranks[batch.entity_index]))
    lengths = np.array([len(entity_id) for entity_id in ids])[batch.entity_index[order]]
    for rows in np.split(order, np.flatnonzero(np.diff(lengths)) + 1):
        n_rows, width = len(rows), len(ids[int(batch.entity_index[rows[0]])])
        named = {index: ids[index] for index in np.unique(batch.entity_index[rows]).tolist()}
        column = np.zeros(len(ids), dtype=f"S{width}")
        column[list(named)] = list(named.values())
        yield {
            "entity_type": constant_bytes(batch.entity_type.encode(), n_rows),
            "entity_id": column[batch.entity_index[rows]],
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
