"""Backfills of stance: read a chunk of texts, count the stances of their sentences, write it in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

from prometheus.backfill.plan import TextChunk
from prometheus.encoders.stance.head import StanceHead
from prometheus.encoders.stance.shares import SentenceEncoder, StanceCounts, StanceText, counts_of
from prometheus.encoders.texts.documents import TextSourceType
from prometheus.encoders.texts.service import is_english
from prometheus.errors import InputRefusedError

ROW_BYTES = 64


class StanceStore(Protocol):
    """Where texts come from and their stances go; `prometheus.data.stance.StanceTable` is one."""

    def load_texts(self, source_type: TextSourceType, source_ids: Sequence[int]) -> list[StanceText]:
        """Return texts by id; removed ones are left out."""

    def save(self, source_type: TextSourceType, model_id: str, found: Mapping[int, StanceCounts | None]) -> int:
        """Store what a head says of texts, None for one that it does not read; return how many rows are new."""


@dataclass(frozen=True, slots=True)
class StanceReport:
    """Numbers of a run; `other_language` are texts that are not English, `silent` those without a policy sentence."""

    planned: int = 0
    written: int = 0
    other_language: int = 0
    silent: int = 0
    sentences: int = 0
    n_bytes: int = 0
    failures: tuple[InputRefusedError, ...] = ()

    def __add__(self, other: StanceReport) -> StanceReport:
        return StanceReport(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True, slots=True)
class WantedStances:
    """The texts of a chunk that are there."""

    source_type: TextSourceType
    texts: tuple[StanceText, ...]


@dataclass(frozen=True, slots=True)
class FoundStances:
    """What a head says of texts, by id; None for one of another language."""

    source_type: TextSourceType
    found: Mapping[int, StanceCounts | None]


@dataclass(frozen=True, slots=True)
class StanceBackfill:
    """Fills ``text_stances``; a `prometheus.backfill.work.ChunkWork`."""

    store: StanceStore
    model_id: str
    head: StanceHead
    encoder: SentenceEncoder

    def read(self, chunk: TextChunk) -> WantedStances:
        """Load the texts of a chunk."""
        return WantedStances(chunk.source_type, tuple(self.store.load_texts(chunk.source_type, chunk.source_ids)))

    def count(self, wanted: WantedStances) -> StanceReport:
        """Return how many texts would be read."""
        n_texts = len(wanted.texts)
        return StanceReport(n_texts, n_texts, n_bytes=ROW_BYTES * n_texts)

    def encode(self, wanted: WantedStances) -> FoundStances:
        """Return the counts of each text; one that says, or shows, another language has none."""
        read = [each for each in wanted.texts if each.is_english and is_english(each.text)]
        counts = counts_of([each.text for each in read], self.head, self.encoder)
        found: dict[int, StanceCounts | None] = dict.fromkeys(each.source_id for each in wanted.texts)
        return FoundStances(
            wanted.source_type, found | {each.source_id: n for each, n in zip(read, counts, strict=True)}
        )

    def write(self, encoded: FoundStances) -> StanceReport:
        """Store the rows of a chunk in one transaction."""
        found = encoded.found
        n_written = self.store.save(encoded.source_type, self.model_id, found) if found else 0
        read = [each for each in found.values() if each is not None]
        return StanceReport(
            planned=len(found), written=n_written, other_language=len(found) - len(read),
            silent=sum(not each.n_sentences for each in read), sentences=sum(each.n_sentences for each in read),
            n_bytes=ROW_BYTES * n_written,
        )  # fmt: skip
