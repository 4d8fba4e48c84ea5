"""The table ``text_embeddings``: text vectors in and out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from prometheus.arrays import VECTOR_DTYPE, Float32Matrix, Float32Vector, as_float32, decode_vector, require_finite
from prometheus.core.retry import retry_lost_connection
from prometheus.data.models import ModelRegistry
from prometheus.data.postgres.connections import HistoricalDatabase
from prometheus.encoders.texts.documents import (
    StoredText,
    TextDoc,
)
from prometheus.errors import UsageError, WindowShapeError


class TextEmbeddingStore:
    """The table ``text_embeddings``; every write is an upsert on the natural key.

    Parameters
    ----------
    db_manager
        Where the historical database is.
    """

    def __init__(self, db_manager: HistoricalDatabase) -> None:
        self.db_manager = db_manager
        self.registry = ModelRegistry(db_manager)

    def save_embeddings(
        self,
        docs: Sequence[TextDoc],
        model_id: str,
        vectors: Float32Matrix,
        *,
        n_chunks: Sequence[int | None] | None = None,
        flags: Sequence[Sequence[str]] | None = None,
    ) -> int:
        """Store one vector per text in one transaction; return how many rows were new or changed.

        Parameters
        ----------
        vectors
            Shape (n, dim), in the order of the texts.
        n_chunks, flags
            What a model said about each vector, if it did.

        Raises
        ------
        VectorError, WindowShapeError
            The vectors are not finite, or not one per text.
        UsageError
            One name stands for two different texts.
        """
        values = as_float32(vectors)
        if values.ndim != 2 or len(values) != len(docs) or (docs and not values.shape[1]):
            raise WindowShapeError(f"{model_id} vectors", values.shape, (len(docs), "dim"))
        if not docs:
            return 0
        for doc, row in zip(docs, values, strict=True):
            require_finite(row, f"{model_id} vector of {doc.name}")
        rows = _rows(docs, values, n_chunks or [None] * len(docs), flags or [()] * len(docs))
        return retry_lost_connection(lambda: self._save(rows, model_id, values.shape[1]))

    def _save(self, rows: list[tuple[Any, ...]], model_id: str, dim: int) -> int:
        with self.db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
            return _upsert(cursor, rows, model_id, dim)

    def load_embedding(self, source_type: str, source_id: str, model_id: str) -> Float32Vector | None:
        """Return one stored vector, or None."""
        stored = self.load_many(source_type, [source_id], model_id).get(source_id)
        return None if stored is None else stored.vector

    def model_ids(self, source_type: str, registered: Sequence[str]) -> list[str]:
        """Return those of the registered text models that have a vector of a source type."""
        query = """
            SELECT wanted.id FROM unnest(%s::text[]) AS wanted(id)
            WHERE EXISTS (SELECT FROM text_embeddings WHERE source_type = %s AND model_id = wanted.id) ORDER BY 1
        """
        with self.db_manager.get_historical_connection() as connection:
            return [row[0] for row in connection.execute(query, (list(registered), source_type))]

    def load_many(self, source_type: str, source_ids: Sequence[str], model_id: str) -> dict[str, StoredText]:
        """Return what is stored for these sources, by source id."""
        query = """
            SELECT source_id, text_hash, vector, dim, n_chunks, flags FROM text_embeddings
            WHERE source_type = %s AND source_id = ANY(%s) AND model_id = %s
        """
        with self.db_manager.get_historical_connection() as connection:
            rows = connection.execute(query, (source_type, list(source_ids), model_id), binary=True).fetchall()
        return {row[0]: _stored(row[1:], f"{model_id} vector of {source_type} {row[0]}") for row in rows}

    def load_same_texts(self, text_hashes: Sequence[str], model_id: str) -> dict[str, StoredText]:
        """Return what is stored for these texts, whatever their source, by text hash."""
        query = """
            SELECT DISTINCT ON (text_hash) text_hash, vector, dim, n_chunks, flags FROM text_embeddings
            WHERE model_id = %s AND text_hash = ANY(%s) ORDER BY text_hash, source_type, source_id
        """
        with self.db_manager.get_historical_connection() as connection:
            rows = connection.execute(query, (model_id, list(text_hashes)), binary=True).fetchall()
        return {row[0]: _stored(row, f"{model_id} vector of text {row[0]}") for row in rows}

    def load_text_hashes(self, source_type: str, source_ids: Sequence[str], model_id: str) -> dict[str, str]:
        """Return the hash of the text each stored vector was made of, by source id; unknown ones are left out."""
        query = """
            SELECT source_id, text_hash FROM text_embeddings
            WHERE source_type = %s AND source_id = ANY(%s) AND model_id = %s AND text_hash IS NOT NULL
        """
        with self.db_manager.get_historical_connection() as connection:
            return dict(connection.execute(query, (source_type, list(source_ids), model_id)).fetchall())


def _stored(row: Sequence[Any], name: str) -> StoredText:
    text_hash, vector, dim, n_chunks, flags = row
    return StoredText(text_hash, decode_vector(vector, dim, name), n_chunks, tuple(flags))


def _rows(
    docs: Sequence[TextDoc], vectors: Float32Matrix, n_chunks: Sequence[int | None], flags: Sequence[Sequence[str]]
) -> list[tuple[Any, ...]]:
    """Return one row per name, sorted by it, so that two writers never wait for each other in a circle."""
    rows: dict[tuple[str, str], tuple[Any, ...]] = {}
    little_endian = vectors.astype(VECTOR_DTYPE, copy=False)
    for doc, vector, count, names in zip(docs, little_endian, n_chunks, flags, strict=True):
        key = (doc.source_type, doc.source_id)
        row = (*key, doc.text_hash, vector.tobytes(), count, ",".join(sorted(names)))
        if rows.setdefault(key, row) != row:
            raise UsageError(f"{doc.name} stands for two different texts")
    return [rows[key] for key in sorted(rows)]


def _upsert(cursor: psycopg.Cursor[Any], rows: Sequence[tuple[Any, ...]], model_id: str, dim: int) -> int:
    """Text vectors come a few hundred at a time, with texts and arrays beside them: arrays as parameters beat COPY."""
    types, ids, hashes, vectors, n_chunks, flags = map(list, zip(*rows, strict=True))
    cursor.execute(
        """
        INSERT INTO text_embeddings AS stored
            (source_type, source_id, model_id, dim, vector, text_hash, n_chunks, flags)
        SELECT source_type, source_id, %(model)s, %(dim)s, vector, text_hash, n_chunks, string_to_array(flags, ',')
        FROM unnest(%(types)s::text[], %(ids)s::text[], %(vectors)b::bytea[], %(hashes)s::text[], %(n_chunks)s::int4[],
                    %(flags)s::text[])
          AS incoming(source_type, source_id, vector, text_hash, n_chunks, flags)
        ON CONFLICT (source_type, source_id, model_id) DO UPDATE
        SET dim = excluded.dim, vector = excluded.vector, text_hash = excluded.text_hash,
            n_chunks = excluded.n_chunks, flags = excluded.flags, created_at = now()
        WHERE stored.vector <> excluded.vector
           OR stored.text_hash IS DISTINCT FROM excluded.text_hash
           OR (excluded.n_chunks IS NOT NULL
               AND (stored.n_chunks, stored.flags) IS DISTINCT FROM (excluded.n_chunks, excluded.flags))
        """,
        {
            "model": model_id, "dim": dim, "types": types, "ids": ids, "vectors": vectors, "hashes": hashes,
            "n_chunks": n_chunks, "flags": flags,
        },
    )  # fmt: skip
    return cursor.rowcount
