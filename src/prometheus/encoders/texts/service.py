"""Text encoders at work: texts in, vectors out, stored under a model id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar, cast

import numpy as np

from prometheus.arrays import Float32Matrix, as_float32
from prometheus.encoders.identity import model_config, registry_of
from prometheus.encoders.texts.documents import (
    EncodedTexts,
    StoredText,
    TextCounts,
    TextDoc,
    TextEncoding,
    WantedTexts,
    no_vectors,
)
from prometheus.encoders.texts.language import NON_ENGLISH, is_english
from prometheus.errors import VectorError
from prometheus.protocols import (
    ChunkingTextEmbeddingModel,
    TextEmbeddingModel,
    TextVectorSink,
    TextVectorStore,
    offers,
    require_methods,
)

__all__ = ["StoredText", "TextCounts", "TextDoc", "TextEmbeddingService"]

KIND = "text"
DOCS_PER_CHUNK = 256
CHARACTERS_PER_CHUNK = 50_000
"""Some fifty pieces that a model reads: two seconds on one core, so that several have an even share of the work."""

T = TypeVar("T")


class TextEmbeddingService:
    """Encodes texts and stores the vectors; what is stored already is not encoded again.

    `embed_and_store` and `embed_and_count` do it all. The steps they take, `read`, `encode` and `write`, are there for
    those who take them in several threads.

    Parameters
    ----------
    model, store
        What makes the vectors, and what receives them: `embed_batch` and `save_embeddings` are enough. Of a store that
        has no more every text is encoded again, and without a registry no meaning of the id is recorded.
    model_id
        The name the vectors are stored under; it must mean this model for ever.
    """

    def __init__(self, *, model: TextEmbeddingModel, store: TextVectorStore | TextVectorSink, model_id: str) -> None:
        require_methods(model, type(self).__name__, "model", "embed_batch")
        self.model = model
        self.store = text_store(store)
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
        """Store the vectors of any number of texts, keep none of them in memory, and return the counts."""
        return sum((counts for _, counts in self._run(docs)), start=TextCounts())

    def require_same(self) -> None:
        """Prove that the model id means this model or nothing yet; nothing is recorded. Asked once per service."""
        if not self._is_proven:
            registry_of(self.store).require_same(self.model_id, KIND, model_config(self.model))
            self._is_proven = True

    def register(self) -> None:
        """Record the meaning of the model id, or prove that it is unchanged; asked once per service."""
        if not self._is_registered:
            registry_of(self.store).register(self.model_id, KIND, model_config(self.model))
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
        """Store, in one transaction, the rows that are not stored as they should be, and return the counts.

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


def text_store(store: TextVectorStore | TextVectorSink) -> TextVectorStore:
    """Return what keeps text vectors and finds them again; a store that only has `save_embeddings` is enough."""
    if offers(store, "save_embeddings", "load_many", "load_same_texts"):
        return cast("TextVectorStore", store)
    require_methods(store, "TextEmbeddingService", "store", "save_embeddings")
    return _WriteOnly(store)


class _WriteOnly:
    """Finds nothing again."""

    def __init__(self, store: TextVectorSink) -> None:
        self._store = store
        self.registry = registry_of(store)

    def save_embeddings(self, docs: Sequence[TextDoc], model_id: str, vectors: Float32Matrix, **_said: object) -> int:
        self._store.save_embeddings(docs, model_id, vectors)
        return len(docs)

    def load_many(self, *_key: object) -> dict[str, StoredText]:
        return {}

    def load_same_texts(self, *_key: object) -> dict[str, StoredText]:
        return {}


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
    """Return the counts of texts, given the number of rows written."""
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
