"""A fitted head: what it makes of sentences, and what decides it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from prometheus.arrays import Float32Matrix, Float64Matrix, Int64Vector
from prometheus.encoders.identity import fingerprint
from prometheus.encoders.stance.labels import STANCES, LabelledSentences, fold
from prometheus.encoders.stance.meaning import LOOSENESS, MOST_LANDMARKS, SHARPNESS, MeaningHead, fit_meaning
from prometheus.encoders.stance.sentences import SENTENCES_VERSION
from prometheus.encoders.stance.softmax import SoftmaxWeights, fit_softmax, softmax, tempered
from prometheus.encoders.stance.words import Vocabulary, vocabulary_of

KIND = "stance"
N_FOLDS = 5
"""Blocks of years of the cross-validation that the temperature is fitted on."""
HEAD_VERSION = 1
WORDS_LOOSENESS = 10.0
"""How far the weights of words may go from zero; see ADR-0030 for what else was tried."""


@dataclass(frozen=True, slots=True, eq=False)
class StanceFit:
    """One head on words and one on vectors."""

    vocabulary: Vocabulary
    words: SoftmaxWeights
    meaning: MeaningHead

    def probabilities(self, texts: Sequence[str], vectors: Float32Matrix) -> Float64Matrix:
        """Return the mean of both heads' probabilities, shape (n, 3), not yet calibrated."""
        by_words = softmax(self.words.log_odds(self.vocabulary.rows([fold(text) for text in texts])))
        return (by_words + softmax(self.meaning.log_odds(vectors))) / 2.0


def fit_heads(texts: Sequence[str], vectors: Float32Matrix, stances: Int64Vector) -> StanceFit:
    """Return heads fitted on folded sentences, their vectors, shape (n, dim), and stances, shape (n,)."""
    vocabulary = vocabulary_of(texts)
    words = fit_softmax(vocabulary.rows(texts), stances, len(STANCES), WORDS_LOOSENESS)
    meaning = fit_meaning(vectors, stances, len(STANCES))
    return StanceFit(vocabulary, _rounded(words), MeaningHead(meaning.landmarks, _rounded(meaning.weights)))


def _rounded(head: SoftmaxWeights) -> SoftmaxWeights:
    """Return weights that single precision can hold: as they are stored, so they are used."""
    weights, intercepts = (each.astype(np.float32).astype(np.float64) for each in (head.weights, head.intercepts))
    return SoftmaxWeights(weights, intercepts)


@dataclass(frozen=True, slots=True, eq=False)
class StanceHead:
    """Heads, the temperature of their probabilities, and the sureness below which a sentence is *not sure*.

    `config` is what decides the head; `labels_until` is the newest date of a label, None where the labels have none.
    `figures` are those of the cross-validation.
    """

    fit: StanceFit
    temperature: float
    sureness: float
    labels_until: date | None
    config: Mapping[str, Any]
    figures: Mapping[str, Any]

    def probabilities(self, texts: Sequence[str], vectors: Float32Matrix) -> Float64Matrix:
        """Return calibrated probabilities, shape (n, 3), in the order of `STANCES`."""
        return tempered(self.fit.probabilities(texts, vectors), self.temperature)

    def is_in_sample(self, day: date) -> bool:
        """Return whether a text of a date lies in the span of the labels; without dates every text may."""
        return self.labels_until is None or day <= self.labels_until


def head_config(
    sentences: LabelledSentences, encoder: Mapping[str, Any], encoder_name: str, dim: int, sureness: float | None
) -> dict[str, Any]:
    """Return what decides a head: the labelled sentences by their digest, the encoder, and the settings."""
    return {
        "family": "stance-words-and-meaning",
        "labels_sha256": sentences.digest,
        "labels_until": None if sentences.until is None else str(sentences.until),
        "n_sentences": len(sentences),
        "encoder": encoder_name,
        "encoder_fingerprint": fingerprint(encoder),
        "dim": dim,
        "settings": {
            "looseness": [WORDS_LOOSENESS, LOOSENESS],
            "landmarks": MOST_LANDMARKS,
            "sharpness": SHARPNESS,
            "folds": N_FOLDS,
        },
        "sureness": sureness,
        "code_version": f"{HEAD_VERSION}.{SENTENCES_VERSION}",
    }


def text_digest(text: str) -> int:
    """Return a number that depends on a text alone, by which folds are cut where no date is told."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
