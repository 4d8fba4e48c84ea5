"""Rankers of texts, each as plain as can be: a vector a text, the best passage, BM25, and two of them together."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from importlib.resources import files

import numpy as np

from benchmarks.search_corpora import Passages
from prometheus.arrays import Float32Matrix, Float32Vector, Float64Vector

K1, B = 1.2, 0.75
_WORD = re.compile(r"[a-z0-9]+")
_ENDINGS = ("ations", "ation", "ments", "ment", "ings", "ing", "ies", "ed", "es", "s", "ly", "y", "e")
_LISTS = files("prometheus.encoders.texts").joinpath("function_words.txt").read_text(encoding="utf-8")
_STOP_WORDS = frozenset(_LISTS.splitlines()[0].split()) - {"up", "out", "no", "not", "time", "new"}


def stems(text: str) -> list[str]:
    """Return the words of a text without stop words, each without one ending.

    Examples
    --------
    >>> stems("The banks were widening their spreads")
    ['bank', 'widen', 'spread']
    """
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS]


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: len(word) - len(ending)]
    return word


class Bm25:
    """Scores of texts by the words of a question (Robertson and Walker, with k1 and b as stated above)."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        lengths = []
        for position, text in enumerate(texts):
            counts = Counter(stems(text))
            lengths.append(counts.total())
            for stem, count in counts.items():
                self._postings[stem].append((position, count))
        self._norms = 1 - B + B * np.array(lengths) / np.mean(lengths)

    def scores(self, question: str) -> Float64Vector:
        """Return the score of each text, shape (n_texts,); 0 where it has none of the question's words."""
        return self._scores(stems(question))

    def _scores(self, asked: Iterable[str]) -> Float64Vector:
        found = np.zeros(len(self._norms))
        for stem in sorted(set(asked)):
            for position, count in self._postings.get(stem, []):
                found[position] += self._rarity(stem) * count * (K1 + 1) / (count + K1 * self._norms[position])
        return found

    def best_share(self, asked: Sequence[str]) -> float:
        """Return the best score for some stems as a share of the most that a text could have; 0 for no stem."""
        most = sum(self._rarity(stem) for stem in set(asked)) * (K1 + 1)
        return float(self._scores(asked).max()) / most if most else 0.0

    def _rarity(self, stem: str) -> float:
        n_with = len(self._postings.get(stem, []))
        return math.log(1 + (len(self._norms) - n_with + 0.5) / (n_with + 0.5))


def text_vectors(passages: Passages, n_texts: int) -> Float32Matrix:
    """Return the mean of each text's passages at unit length, shape (n_texts, dim): the vector that is stored."""
    total = np.zeros((n_texts, passages.vectors.shape[1]))
    np.add.at(total, passages.owners, passages.vectors)
    lengths = np.linalg.norm(total, axis=1, keepdims=True)
    vectors: Float32Matrix = (total / np.maximum(lengths, 1e-12)).astype(np.float32)
    return vectors


def best_passages(passages: Passages, n_texts: int, question: Float32Vector) -> Float64Vector:
    """Return the cosine of each text's best passage, shape (n_texts,)."""
    best = np.full(n_texts, -1.0)
    np.maximum.at(best, passages.owners, passages.vectors.astype(np.float64) @ question)
    return best


def z_sum(scores: Sequence[Float64Vector]) -> Float64Vector:
    """Return the sum of scores, each standardised over all texts; one that is the same everywhere says nothing."""
    total: Float64Vector = np.sum([(each - each.mean()) / (each.std() or 1.0) for each in scores], axis=0)
    return total
