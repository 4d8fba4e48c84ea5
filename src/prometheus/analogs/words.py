"""How well texts answer to the words of a question: BM25 over counts of stems.

Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, equations 3.14 and 3.15,
with the inverse document frequency kept above 0 by adding 1 inside its logarithm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Float64Vector, Int32Vector, Int64Vector

IntegerVector: TypeAlias = NDArray[np.integer]

K1, B = 1.2, 0.75
"""How soon further mentions of a word count less, and how much of a text's length is held against it; usual values."""


@dataclass(frozen=True, slots=True, eq=False)
class Postings:
    """Which texts of a collection have a stem, by position, each once, and how often; both shape (n,).

    `weight` is how often the question says it.
    """

    positions: Int64Vector
    counts: Int64Vector
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Collection:
    """Texts whose words are stemmed alike: their number, and the words of all of them, stop words left out."""

    n_texts: int
    n_words: int


def bm25(asked: Sequence[Postings], n_words: Int64Vector, collection: Collection) -> Float64Vector:
    """Return the score of each text, shape (n,), 0 for one without a word of the question.

    The score of a text depends on its own counts and length, on the collection, and on how many of its texts have each
    stem; to the last bit also on the order of the stems asked, so give them in one of your own.

    Parameters
    ----------
    n_words
        Shape (n,): the length of each text. The positions of the postings are places in it, all of one collection.

    Examples
    --------
    >>> twice, once = np.array([0]), np.array([1])
    >>> asked = [Postings(np.array([0, 1]), np.array([2, 1]))]
    >>> bm25(asked, np.array([10, 10, 10]), Collection(3, 30)).round(3).tolist()
    [0.646, 0.47, 0.0]
    """
    scores = np.zeros(len(n_words))
    for each in asked:
        scores[each.positions] += parts_of(each, n_words, collection)
    return scores


def parts_of(asked: Postings, n_words: Int64Vector, collection: Collection) -> Float64Vector:
    """Return what one stem adds to the score of each text that has it, shape of its positions; see `bm25`."""
    if not collection.n_words:
        return np.zeros(len(asked.positions))
    mean = collection.n_words / collection.n_texts
    held_back = K1 * (1.0 - B + B * n_words[asked.positions] / mean)
    parts: Float64Vector = _most(asked, collection) * asked.counts / (asked.counts + held_back)
    return parts


def most_possible(asked: Sequence[Postings], collection: Collection) -> float:
    """Return what a text would score that says nothing but the words of a question, and those without end."""
    return sum(_most(each, collection) for each in asked)


def _most(asked: Postings, collection: Collection) -> float:
    n_with = len(asked.positions)
    return float(asked.weight * np.log1p((collection.n_texts - n_with + 0.5) / (n_with + 0.5)) * (K1 + 1.0))


class _Numbers(dict[str, int]):
    """The number of each stem, given at first sight."""

    def __missing__(self, stem: str) -> int:
        number = self[stem] = len(self)
        return number


class WordIndex:
    """The postings of texts in memory, by stem; a text goes by its number, in the order of the pages."""

    def __init__(self, pages: Iterable[tuple[IntegerVector, Sequence[str], IntegerVector]]) -> None:
        """Take pages of texts: how many stems each has, the stems, each once a text, and how often it has them."""
        self._numbers = _Numbers()
        none = np.empty(0, np.int32)
        parts, n_texts = [(none, none, none)], 0
        for sizes, stems, counts in pages:
            texts = np.repeat(np.arange(n_texts, n_texts + len(sizes), dtype=np.int32), sizes)
            numbers = np.fromiter(map(self._numbers.__getitem__, stems), np.int32, len(texts))
            parts.append((numbers, texts, np.asarray(counts, np.int32)))
            n_texts += len(sizes)
        numbers, texts, counted = (np.concatenate(each) for each in zip(*parts, strict=True))
        order = np.argsort(numbers, kind="stable")
        self._texts = texts[order]
        self._counts = counted[order].astype(np.min_scalar_type(int(counted.max(initial=0))))
        self._firsts = np.append(0, np.cumsum(np.bincount(numbers, minlength=len(self._numbers))))

    def texts_with(self, stem: str) -> tuple[Int32Vector, IntegerVector]:
        """Return the numbers of the texts that have a stem, ascending, and how often they have it."""
        number = self._numbers.get(stem)
        if number is None:
            return self._texts[:0], self._counts[:0]
        first, last = self._firsts[number], self._firsts[number + 1]
        return self._texts[first:last], self._counts[first:last]

    @property
    def n_bytes(self) -> int:
        """About how much memory it takes; a stem with its place in a dict is taken to need 150 bytes."""
        return self._texts.nbytes + self._counts.nbytes + 150 * len(self._numbers)
