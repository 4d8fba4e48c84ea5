"""Backfills of text embeddings: read a chunk, encode what is new, write it in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice

from prometheus.arrays import VECTOR_DTYPE
from prometheus.backfill.plan import TextChunk
from prometheus.encoders.identity import model_config
from prometheus.encoders.texts.documents import EncodedTexts, StoredText, TextDoc, WantedTexts
from prometheus.encoders.texts.languages import count_unread
from prometheus.encoders.texts.service import TextCounts, TextEmbeddingService, count_texts
from prometheus.errors import InputRefusedError, VectorError
from prometheus.protocols import TextSource


@dataclass(frozen=True, slots=True)
class TextBackfill:
    """Fills ``text_embeddings``; a `prometheus.backfill.work.ChunkWork`.

    A stored text, under any name, is not encoded again. Equal texts in chunks done at the same time, or in neighbouring
    ones, may be encoded twice: the rows are the same, and `TextCounts.encoded` counts both.
    """

    source: TextSource
    service: TextEmbeddingService

    def read(self, chunk: TextChunk) -> WantedTexts:
        """Load the texts of a chunk, without blank ones, and their stored vectors."""
        loaded = self.source.load_texts(chunk.source_type, chunk.source_ids)
        texts = [text for text in loaded if text.text.strip()]
        wanted = self.service.read([TextDoc(text.source_type, text.source_id, text.text) for text in texts])
        unread = count_unread((text.language for text in texts), model_config(self.service.model))
        return replace(wanted, unread=unread)

    def count(self, wanted: WantedTexts) -> TextCounts:
        """Return the number of texts to encode and write; flags are known of stored vectors only."""
        n_missing = len(wanted.docs) - len(wanted.current)
        n_passages = sum(
            wanted.known[text_hash].n_chunks or 0 for text_hash in wanted.hashes if text_hash in wanted.lacking
        )
        n_bytes = (n_missing + n_passages) * self._vector_bytes(wanted)
        stored = count_texts(EncodedTexts(wanted, {}), n_missing, n_bytes)
        return replace(stored, texts=len(wanted.docs), encoded=len(wanted.fresh), passages=n_passages)

    def encode(self, wanted: WantedTexts) -> EncodedTexts:
        """Return the vectors; each text the model refuses is a failure of its own."""
        made, refused = self._encode_sound(wanted.fresh)
        failures = tuple(
            _name(refused[text_hash], doc)
            for text_hash, doc in zip(wanted.hashes, wanted.docs, strict=True)
            if text_hash in refused
        )
        return EncodedTexts(wanted, made, failures)

    def write(self, encoded: EncodedTexts) -> TextCounts:
        """Store the rows of a chunk in one transaction."""
        return self.service.write(encoded)

    def _encode_sound(self, fresh: Mapping[str, TextDoc]) -> tuple[dict[str, StoredText], dict[str, InputRefusedError]]:
        """Return the vectors, and the errors of the texts without one, both by text hash.

        A refusal does not name its text, so the texts are halved until one is alone.
        """
        try:
            return self.service.encode(fresh), {}
        except InputRefusedError as error:
            if len(fresh) == 1:
                return {}, dict.fromkeys(fresh, error)
        made: dict[str, StoredText] = {}
        refused: dict[str, InputRefusedError] = {}
        items, middle = list(fresh.items()), len(fresh) // 2
        for half in (items[:middle], items[middle:]):
            some_made, some_refused = self._encode_sound(dict(half))
            made |= some_made
            refused |= some_refused
        return made, refused

    def _vector_bytes(self, wanted: WantedTexts) -> int:
        if self.service.stated_dim is not None:
            return self.service.stated_dim * VECTOR_DTYPE.itemsize
        found = wanted.known or self._encode_sound(dict(islice(wanted.fresh.items(), 1)))[0]
        return next((text.vector.nbytes for text in found.values()), 0)


def _name(error: InputRefusedError, doc: TextDoc) -> InputRefusedError:
    if isinstance(error, VectorError):
        return VectorError(f"vector of {doc.name}", error.reason)
    return InputRefusedError(f"{doc.name}: {error}")
