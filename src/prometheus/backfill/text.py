"""Backfill of text embeddings: read a chunk of texts, encode what is new, write it in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice

from prometheus.arrays import VECTOR_DTYPE
from prometheus.backfill.plan import TextChunk
from prometheus.encoders.texts.documents import EncodedTexts, StoredText, TextCounts, TextDoc, WantedTexts
from prometheus.encoders.texts.service import TextEmbeddingService, count_texts
from prometheus.errors import InputRefusedError, VectorError
from prometheus.protocols import TextSource


class TextBackfill:
    """Fills ``text_embeddings``; a `prometheus.backfill.work.ChunkWork`.

    A text that is stored already, under its own name or another one, is not encoded again. Two equal texts in chunks
    that are done at the same time, or in neighbouring ones (the second is read before the first is written), both are:
    the rows are the same, and `TextCounts.encoded` counts both.

    Parameters
    ----------
    source
        Has the texts; blank ones, which only rows written by hand can be, are passed over.
    service
        Makes the vectors and stores them.
    """

    def __init__(self, source: TextSource, service: TextEmbeddingService) -> None:
        self._source = source
        self._service = service

    def read(self, chunk: TextChunk) -> WantedTexts:
        """Load the texts of a chunk, and what is stored of them.

        Raises
        ------
        ModelFingerprintError
            The model id belongs to another model.
        """
        texts = self._source.load_texts(chunk.source_type, chunk.source_ids)
        return self._service.read(
            [TextDoc(text.source_type, text.source_id, text.text) for text in texts if text.text.strip()]
        )

    def count(self, wanted: WantedTexts) -> TextCounts:
        """Return what there is to encode and to write; flags are known of stored vectors only."""
        n_missing = len(wanted.docs) - len(wanted.current)
        stored = count_texts(EncodedTexts(wanted, {}), n_missing, n_missing * self._vector_bytes(wanted))
        return replace(stored, texts=len(wanted.docs), encoded=len(wanted.fresh))

    def encode(self, wanted: WantedTexts) -> EncodedTexts:
        """Return the vectors of the texts that have one; each text the model refuses is a failure of its own."""
        made, refused = self._encode_sound(wanted.fresh)
        failures = tuple(
            _name(refused[text_hash], doc)
            for text_hash, doc in zip(wanted.hashes, wanted.docs, strict=True)
            if text_hash in refused
        )
        return EncodedTexts(wanted, made, failures)

    def write(self, encoded: EncodedTexts) -> TextCounts:
        """Store the rows of a chunk in one transaction."""
        return self._service.write(encoded)

    def _encode_sound(self, fresh: Mapping[str, TextDoc]) -> tuple[dict[str, StoredText], dict[str, InputRefusedError]]:
        """Return the vectors, and the errors of the texts without one, both by text hash.

        A refusal does not say whose it is, so the texts are halved until one stands alone.
        """
        try:
            return self._service.encode(fresh), {}
        except InputRefusedError as error:
            if len(fresh) == 1:
                return {}, dict.fromkeys(fresh, error)
        made: dict[str, StoredText] = {}
        refused: dict[str, InputRefusedError] = {}
        for half in _halves(fresh):
            some_made, some_refused = self._encode_sound(half)
            made |= some_made
            refused |= some_refused
        return made, refused

    def _vector_bytes(self, wanted: WantedTexts) -> int:
        """Return the size of one vector: as the model states it, as stored, or by encoding a text."""
        if self._service.stated_dim is not None:
            return self._service.stated_dim * VECTOR_DTYPE.itemsize
        found = wanted.known or self._encode_sound(dict(islice(wanted.fresh.items(), 1)))[0]
        return next((text.vector.nbytes for text in found.values()), 0)


def _halves(fresh: Mapping[str, TextDoc]) -> tuple[dict[str, TextDoc], dict[str, TextDoc]]:
    middle = len(fresh) // 2
    return dict(islice(fresh.items(), middle)), dict(islice(fresh.items(), middle, None))


def _name(error: InputRefusedError, doc: TextDoc) -> InputRefusedError:
    """Return the error with the name of the text it is about."""
    if isinstance(error, VectorError):
        return VectorError(f"vector of {doc.name}", error.reason)
    return InputRefusedError(f"{doc.name}: {error}")
