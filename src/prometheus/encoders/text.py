"""Text encoders at work: texts in, vectors out, stored under a model id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psycopg

from prometheus.arrays import VECTOR_DTYPE, Float32Matrix, Float32Vector, as_float32, decode_vector, require_finite
from prometheus.core.connections import HistoricalDatabase
from prometheus.core.retry import retry_lost_connection
from prometheus.encoders.protocols import ChunkingTextEmbeddingModel, TextEmbeddingModel
from prometheus.encoders.registry import ModelRegistry, model_config
from prometheus.encoders.text_documents import TextDoc, TextEncoding, no_vectors
from prometheus.encoders.text_language import NON_ENGLISH, is_english
from prometheus.errors import UsageError, VectorError, WindowShapeError

__all__ = ["StoredText", "TextCounts", "TextDoc", "TextEmbeddingService", "TextEmbeddingStore"]

DOCS_PER_CHUNK = 256
CHARACTERS_PER_CHUNK = 400_000


@dataclass(frozen=True, slots=True, eq=False)
class StoredText:
    """A stored vector and what is known about it.

    Attributes
    ----------
    text_hash
        Of the text it was made of, None where that is unknown.
    vector
        Shape (dim,), float32.
    n_chunks
        Pieces the text was embedded in, None where that is unknown.
    """

    text_hash: str | None
    vector: Float32Vector
    n_chunks: int | None
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TextCounts:
    """What came of a number of texts.

    Attributes
    ----------
    texts
        How many there were.
    encoded
        How many different ones went through the model; the others were stored already, or equal to another one.
    written
        How many rows were new or changed.
    flags
        How many texts carry each flag.
    """

    texts: int = 0
    encoded: int = 0
    written: int = 0
    flags: Mapping[str, int] = field(default_factory=dict)
    flagged: int = 0

    def __add__(self, other: TextCounts) -> TextCounts:
        return TextCounts(
            self.texts + other.texts,
            self.encoded + other.encoded,
            self.written + other.written,
            Counter(self.flags) + Counter(other.flags),
            self.flagged + other.flagged,
        )


class TextEmbeddingStore:
    """The table ``text_embeddings``; every write is an upsert on the natural key.

    Parameters
    ----------
    db_manager
        Where the historical database is.
    """

    def __init__(self, db_manager: HistoricalDatabase) -> None:
        self.db_manager = db_manager

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


class TextEmbeddingService:
    """Encodes texts and stores the vectors; what is stored already is not encoded again.

    Parameters
    ----------
    model, store
        The two steps.
    model_id
        The name the vectors are stored under; it must mean this model for ever.
    """

    def __init__(self, *, model: TextEmbeddingModel, store: TextEmbeddingStore, model_id: str) -> None:
        self.model = model
        self.store = store
        self.model_id = model_id
        self._is_registered = False

    def embed_and_store(self, docs: Iterable[TextDoc]) -> Float32Matrix:
        """Return the vectors of texts, shape (n, dim), and store them; (0, 0) for no texts.

        Each chunk of texts is written before the next one is encoded.

        Raises
        ------
        ModelFingerprintError
            `model_id` belongs to another model.
        """
        vectors = [vectors for vectors, _ in self._run(docs)]
        return np.concatenate(vectors) if vectors else no_vectors()

    def embed_and_count(self, docs: Iterable[TextDoc]) -> TextCounts:
        """Store the vectors of any number of texts, keep none of them in memory, and return what came of it.

        Raises
        ------
        ModelFingerprintError
            `model_id` belongs to another model.
        """
        return sum((counts for _, counts in self._run(docs)), start=TextCounts())

    def register(self) -> None:
        """Record the meaning of the model id, or prove that it is unchanged; asked once per service."""
        if not self._is_registered:
            ModelRegistry(self.store.db_manager).register(self.model_id, "text", model_config(self.model))
            self._is_registered = True

    def _run(self, docs: Iterable[TextDoc]) -> Iterator[tuple[Float32Matrix, TextCounts]]:
        for chunk in chunks_of(docs):
            self.register()
            yield self._embed_chunk(chunk)

    def _embed_chunk(self, docs: Sequence[TextDoc]) -> tuple[Float32Matrix, TextCounts]:
        hashes = [doc.text_hash for doc in docs]
        current = self._load_current(docs, hashes)
        known = {hashes[position]: text for position, text in current.items()}
        elsewhere = sorted({text_hash for text_hash in hashes if text_hash not in known})
        if elsewhere:
            known |= self.store.load_same_texts(elsewhere, self.model_id)
        fresh = {text_hash: doc for doc, text_hash in zip(docs, hashes, strict=True) if text_hash not in known}
        known |= self._encode(fresh)
        found = [known[text_hash] for text_hash in hashes]
        self._require_one_dim(found)
        n_written = self._save([(docs[at], found[at]) for at in range(len(docs)) if at not in current])
        counts = TextCounts(
            texts=len(docs),
            encoded=len(fresh),
            written=n_written,
            flagged=sum(bool(text.flags) for text in found),
            flags=Counter(flag for text in found for flag in text.flags),
        )
        return np.stack([text.vector for text in found]), counts

    def _load_current(self, docs: Sequence[TextDoc], hashes: Sequence[str]) -> dict[int, StoredText]:
        """Return, by position, the rows that were made of the very text asked for."""
        by_type: dict[str, list[str]] = {}
        for doc in docs:
            by_type.setdefault(doc.source_type, []).append(doc.source_id)
        stored = {
            (source_type, source_id): text
            for source_type, source_ids in by_type.items()
            for source_id, text in self.store.load_many(source_type, source_ids, self.model_id).items()
        }
        found = [(at, stored.get((doc.source_type, doc.source_id))) for at, doc in enumerate(docs)]
        return {at: text for at, text in found if text is not None and text.text_hash == hashes[at]}

    def _encode(self, fresh: Mapping[str, TextDoc]) -> dict[str, StoredText]:
        if not fresh:
            return {}
        docs = list(fresh.values())
        if isinstance(self.model, ChunkingTextEmbeddingModel):
            encoding = self.model.encode(docs)
        else:
            encoding = TextEncoding(as_float32(self.model.embed_batch(docs)), (1,) * len(docs), ((),) * len(docs))
        texts = zip(fresh.items(), encoding.vectors, encoding.n_chunks, encoding.flags, strict=True)
        return {
            text_hash: StoredText(text_hash, vector, n_chunks, _all_flags(doc, flags))
            for (text_hash, doc), vector, n_chunks, flags in texts
        }

    def _require_one_dim(self, texts: Sequence[StoredText]) -> None:
        stated = model_config(self.model).get("dim")
        dims = {len(text.vector) for text in texts} | ({stated} if isinstance(stated, int) else set())
        if len(dims) > 1:
            listed = " and ".join(map(str, sorted(dims)))
            raise VectorError(self.model_id, f"vectors of {listed} values stand under one model id; choose a new one")

    def _save(self, texts: Sequence[tuple[TextDoc, StoredText]]) -> int:
        if not texts:
            return 0
        return self.store.save_embeddings(
            [doc for doc, _ in texts],
            self.model_id,
            np.stack([text.vector for _, text in texts]),
            n_chunks=[text.n_chunks for _, text in texts],
            flags=[text.flags for _, text in texts],
        )


def chunks_of(docs: Iterable[TextDoc]) -> Iterator[list[TextDoc]]:
    """Yield texts in lists that take some ten seconds to encode."""
    chunk: list[TextDoc] = []
    n_characters = 0
    for doc in docs:
        chunk.append(doc)
        n_characters += len(doc.text)
        if len(chunk) == DOCS_PER_CHUNK or n_characters >= CHARACTERS_PER_CHUNK:
            yield chunk
            chunk, n_characters = [], 0
    if chunk:
        yield chunk


def _all_flags(doc: TextDoc, flags: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({*flags, *([] if is_english(doc.text) else [NON_ENGLISH])}))


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
