"""The table ``text_embeddings``: text vectors in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from prometheus.arrays import Float32Matrix, Float32Vector, decode_vector, encode_vector
from prometheus.core.retry import retry_lost_connection
from prometheus.data.models import ModelRegistry
from prometheus.data.postgres.connections import HistoricalDatabase
from prometheus.encoders.texts.documents import StoredText, TextDoc, text_rows


class TextEmbeddingStore:
    """The table ``text_embeddings``; every write is an upsert on the natural key."""

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
        rows = text_rows(docs, model_id, vectors, n_chunks, flags)

        def save() -> int:
            with self.db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
                return _upsert(cursor, rows, model_id)

        return retry_lost_connection(save) if rows else 0

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


def _upsert(cursor: psycopg.Cursor[Any], rows: Mapping[tuple[str, str], StoredText], model_id: str) -> int:
    """Text vectors come a few hundred at a time, with texts and arrays beside them: arrays as parameters beat COPY."""
    texts = list(rows.values())
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
            "model": model_id,
            "dim": texts[0].vector.size,
            "types": [source_type for source_type, _ in rows],
            "ids": [source_id for _, source_id in rows],
            "vectors": [encode_vector(text.vector) for text in texts],
            "hashes": [text.text_hash for text in texts],
            "n_chunks": [text.n_chunks for text in texts],
            "flags": [",".join(text.flags) for text in texts],
        },
    )
    return cursor.rowcount
