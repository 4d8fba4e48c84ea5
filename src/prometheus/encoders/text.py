"""Text encoders at work: texts in, vectors out, stored under a model id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import psycopg

from prometheus.arrays import VECTOR_DTYPE, Float32Matrix, Float32Vector, as_float32, decode_vector, require_finite
from prometheus.core.connections import HistoricalDatabase
from prometheus.core.retry import retry_lost_connection
from prometheus.encoders.protocols import ChunkingTextEmbeddingModel, TextEmbeddingModel
from prometheus.encoders.registry import ModelRegistry, model_config
from prometheus.encoders.text_documents import (
    EncodedTexts,
    StoredText,
    TextCounts,
    TextDoc,
    TextEncoding,
    WantedTexts,
    no_vectors,
)
from prometheus.encoders.text_language import NON_ENGLISH, is_english
from prometheus.errors import UsageError, VectorError, WindowShapeError

__all__ = ["StoredText", "TextCounts", "TextDoc", "TextEmbeddingService", "TextEmbeddingStore"]

KIND = "text"
DOCS_PER_CHUNK = 256
CHARACTERS_PER_CHUNK = 50_000
"""Some fifty pieces that a model reads: two seconds on one core, so that several have an even share of the work."""

T = TypeVar("T")


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


class TextEmbeddingService:
    """Encodes texts and stores the vectors; what is stored already is not encoded again.

    `embed_and_store` and `embed_and_count` do it all. The steps they take, `read`, `encode` and `write`, are there for
    those who take them in several threads.

    Parameters
    ----------
    model, store
        What makes the vectors, and what receives them.
    model_id
        The name the vectors are stored under; it must mean this model for ever.
    """

    def __init__(self, *, model: TextEmbeddingModel, store: TextEmbeddingStore, model_id: str) -> None:
        self.model = model
        self.store = store
        self.model_id = model_id
        self._is_proven = False
        self._is_registered = False

    @property
    def stated_dim(self) -> int | None:
        """Length of the model's vectors, None where it does not state it."""
        dim = model_config(self.model).get("dim")
        return dim if isinstance(dim, int) else None

    def embed_and_store(self, docs: Iterable[TextDoc]) -> Float32Matrix:
        """Return the vectors of texts, shape (n, dim), and store them; (0, 0) for no texts.

        Each chunk of texts is written before the next one is encoded.

        Raises
        ------
        ModelFingerprintError
            `model_id` belongs to another model.
        """
        vectors = [np.stack([text.vector for text in encoded.found.values()]) for encoded, _ in self._run(docs)]
        return np.concatenate(vectors) if vectors else no_vectors()

    def embed_and_count(self, docs: Iterable[TextDoc]) -> TextCounts:
        """Store the vectors of any number of texts, keep none of them in memory, and return what came of it.

        Raises
        ------
        ModelFingerprintError
            `model_id` belongs to another model.
        """
        return sum((counts for _, counts in self._run(docs)), start=TextCounts())

    def require_same(self) -> None:
        """Prove that the model id means this model or nothing yet; nothing is recorded. Asked once per service.

        Raises
        ------
        ModelFingerprintError
            `model_id` belongs to another model.
        """
        if not self._is_proven:
            ModelRegistry(self.store.db_manager).require_same(self.model_id, KIND, model_config(self.model))
            self._is_proven = True

    def register(self) -> None:
        """Record the meaning of the model id, or prove that it is unchanged; asked once per service."""
        if not self._is_registered:
            ModelRegistry(self.store.db_manager).register(self.model_id, KIND, model_config(self.model))
            self._is_registered = self._is_proven = True

    def read(self, docs: Sequence[TextDoc]) -> WantedTexts:
        """Return texts with what is stored of them: their own rows, and rows of equal texts.

        Raises
        ------
        ModelFingerprintError
            `model_id` belongs to another model: its rows are not comparable.
        """
        self.require_same()
        hashes = tuple(doc.text_hash for doc in docs)
        current = self._load_current(docs, hashes)
        known = {hashes[position]: text for position, text in current.items()}
        elsewhere = sorted(set(hashes) - known.keys())
        if elsewhere:
            known |= self.store.load_same_texts(elsewhere, self.model_id)
        return WantedTexts(tuple(docs), hashes, frozenset(current), known)

    def encode(self, fresh: Mapping[str, TextDoc]) -> dict[str, StoredText]:
        """Return what the model makes of texts, by text hash; no database is asked.

        Raises
        ------
        InputRefusedError
            The model refuses one of them, or its vector is not finite.
        """
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

    def write(self, encoded: EncodedTexts) -> TextCounts:
        """Store, in one transaction, the rows that are not stored as they should be, and return what came of it.

        Raises
        ------
        VectorError
            Rows of another length stand under the model id.
        ModelFingerprintError
            `model_id` was given to another model meanwhile.
        """
        found = encoded.found
        self._require_one_dim(found.values())
        current, docs = encoded.wanted.current, encoded.wanted.docs
        n_written = self._save([(docs[at], text) for at, text in found.items() if at not in current])
        n_bytes = n_written * next((text.vector.nbytes for text in found.values()), 0)
        return count_texts(encoded, n_written, n_bytes)

    def _run(self, docs: Iterable[TextDoc]) -> Iterator[tuple[EncodedTexts, TextCounts]]:
        for chunk in chunks_of(docs, lambda doc: len(doc.text)):
            self.register()
            wanted = self.read(chunk)
            encoded = EncodedTexts(wanted, self.encode(wanted.fresh))
            yield encoded, self.write(encoded)

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

    def _require_one_dim(self, texts: Iterable[StoredText]) -> None:
        dims = {len(text.vector) for text in texts}
        if self.stated_dim is not None:
            dims.add(self.stated_dim)
        if len(dims) > 1:
            listed = " and ".join(map(str, sorted(dims)))
            raise VectorError(self.model_id, f"vectors of {listed} values stand under one model id; choose a new one")

    def _save(self, texts: Sequence[tuple[TextDoc, StoredText]]) -> int:
        if not texts:
            return 0
        self.register()
        return self.store.save_embeddings(
            [doc for doc, _ in texts],
            self.model_id,
            np.stack([text.vector for _, text in texts]),
            n_chunks=[text.n_chunks for _, text in texts],
            flags=[text.flags for _, text in texts],
        )


def chunks_of(items: Iterable[T], n_characters_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Yield texts, or what stands for them, in lists that take some seconds to encode.

    At most `DOCS_PER_CHUNK` texts of `CHARACTERS_PER_CHUNK` characters together; a longer one stands alone.
    """
    chunk: list[T] = []
    total = 0
    for item in items:
        n_characters = n_characters_of(item)
        if chunk and total + n_characters > CHARACTERS_PER_CHUNK:
            yield chunk
            chunk, total = [], 0
        chunk.append(item)
        total += n_characters
        if len(chunk) == DOCS_PER_CHUNK or total >= CHARACTERS_PER_CHUNK:
            yield chunk
            chunk, total = [], 0
    if chunk:
        yield chunk


def count_texts(encoded: EncodedTexts, n_written: int, n_bytes: int) -> TextCounts:
    """Return what came of texts, of which so many rows were written."""
    found = encoded.found.values()
    return TextCounts(
        texts=len(found),
        encoded=len(encoded.fresh),
        written=n_written,
        flags=Counter(flag for text in found for flag in text.flags),
        flagged=sum(bool(text.flags) for text in found),
        n_bytes=n_bytes,
        failures=encoded.failures,
    )


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
