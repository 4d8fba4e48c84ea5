"""The stance of a document: how many of its sentences about policy are hawkish, dovish, neutral or not sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

import numpy as np

from prometheus.arrays import Float32Matrix, Float64Matrix
from prometheus.encoders.stance.head import StanceHead
from prometheus.encoders.stance.labels import STANCES, Stance
from prometheus.encoders.stance.sentences import policy_sentences
from prometheus.encoders.texts.documents import TextDoc, TextSourceType

NOT_SURE = "not sure"
DESCRIBES = "It describes what the texts say, as a head fitted on labels reads them; it does not forecast."
"""Stands wherever a stance is shown."""


@dataclass(frozen=True, slots=True)
class StanceCounts:
    """Sentences of a document about policy, by stance."""

    hawkish: int = 0
    dovish: int = 0
    neutral: int = 0
    not_sure: int = 0

    def __add__(self, other: StanceCounts) -> StanceCounts:
        return StanceCounts(
            self.hawkish + other.hawkish, self.dovish + other.dovish, self.neutral + other.neutral,
            self.not_sure + other.not_sure,
        )  # fmt: skip

    @property
    def n_sentences(self) -> int:
        """Sentences about policy."""
        return self.n_sure + self.not_sure

    @property
    def n_sure(self) -> int:
        """Those that have a stance."""
        return self.hawkish + self.dovish + self.neutral

    @property
    def net(self) -> float | None:
        """(hawkish - dovish) / sure, in [-1, 1]; None without a sure sentence."""
        return (self.hawkish - self.dovish) / self.n_sure if self.n_sure else None

    @property
    def main(self) -> Stance | None:
        """The stance of most sure sentences; None where two have as many, or without one.

        Examples
        --------
        >>> StanceCounts(hawkish=3, dovish=1, not_sure=9).main
        'hawkish'
        """
        counts = {name: int(getattr(self, name)) for name in STANCES}
        most = max(counts.values())
        leading = [name for name, n in counts.items() if n == most]
        return leading[0] if most and len(leading) == 1 else None

    @property
    def shares(self) -> dict[str, float]:
        """The share of each in the sentences about policy; empty without any."""
        n = self.n_sentences
        return {name: getattr(self, name) / n for name in (*STANCES, "not_sure")} if n else {}

    def describe(self) -> str:
        """Return the shares in words, the largest stance first.

        Examples
        --------
        >>> StanceCounts(1, 6, 2, 1).describe()
        'dovish 60 %, neutral 20 %, hawkish 10 %, not sure 10 %'
        """
        shares = self.shares
        if not shares:
            return "no sentence about policy"
        said = sorted(STANCES, key=lambda name: -shares[name])
        parts = [f"{name} {shares[name]:.0%}" for name in said] + [f"{NOT_SURE} {shares['not_sure']:.0%}"]
        return ", ".join(parts).replace("%", " %")


@dataclass(frozen=True, slots=True)
class StanceText:
    """One stored text by the id of its row; `is_english` unless it says that it is of another language."""

    source_id: int
    text: str
    is_english: bool


@dataclass(frozen=True, slots=True)
class DocumentStance:
    """What a head says of one stored text; `kind`, `place` and `origin` are those of `DatedText`."""

    source_type: TextSourceType
    day: date
    source_id: int
    kind: str
    place: str
    origin: str
    counts: StanceCounts

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        counts = self.counts
        return {
            "date": str(self.day), "source_type": self.source_type, "source_id": self.source_id, "kind": self.kind,
            "place": self.place, "origin": self.origin, "sentences": counts.n_sentences,
            **{name: counts.shares.get(name) for name in (*STANCES, "not_sure")},
            "net": counts.net, "main": counts.main,
        }  # fmt: skip


class SentenceEncoder(Protocol):
    """What reads the meaning of sentences; `prometheus.encoders.texts.onnx_model` has one."""

    def embed_batch(self, docs: Sequence[TextDoc], /) -> Float32Matrix:
        """Return one vector per text, shape (n, dim)."""


def counts_of(texts: Sequence[str], head: StanceHead, encoder: SentenceEncoder) -> list[StanceCounts]:
    """Return the counts of each text; a text's own do not depend on the others."""
    sentences = [policy_sentences(text) for text in texts]
    distinct = list(dict.fromkeys(each for found in sentences for each in found))
    if not distinct:
        return [StanceCounts() for _ in texts]
    vectors = encoder.embed_batch([TextDoc("SENTENCE", str(at), text) for at, text in enumerate(distinct)])
    said = dict(zip(distinct, stances_of(head.probabilities(distinct, vectors), head.sureness), strict=True))
    return [StanceCounts(*(sum(said[each] == name for each in found) for name in _NAMES)) for found in sentences]


_NAMES = (*STANCES, NOT_SURE)


def stances_of(probabilities: Float64Matrix, sureness: float) -> list[str]:
    """Return the likeliest stance of each row, `NOT_SURE` where its probability is below the sureness."""
    likeliest = probabilities.argmax(axis=1)
    is_sure = probabilities.max(axis=1) >= sureness
    return [_NAMES[at] for at in np.where(is_sure, likeliest, len(STANCES)).tolist()]
