"""Backfill of text embeddings: read stored texts batch by batch, encode what is new, write as it is done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus.backfill.numeric import Progress
from prometheus.data.text_reader import StoredText
from prometheus.encoders.text import TextCounts, TextDoc, TextEmbeddingService


def run_text_backfill(
    service: TextEmbeddingService, batches: Iterable[Sequence[StoredText]], progress: Progress
) -> TextCounts:
    """Embed and store every text of the batches; a batch is written before the next one is read.

    Blank texts, which only rows written by hand can be, are passed over.
    """
    counts = TextCounts()
    progress(0, None)
    for batch in batches:
        docs = [TextDoc(text.source_type, text.source_id, text.text) for text in batch if text.text.strip()]
        counts += service.embed_and_count(docs)
        progress(counts.texts, None)
    return counts
