"""Words of sentences as numbers: tf-idf of stems, and of what goes which way, as sparse rows of unit length."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prometheus.arrays import Float64Matrix, Float64Vector, Int64Vector
from prometheus.encoders.texts.direction import ways_of

_WORDS = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+")
REACH = 5
"""Words, without `_LEFT_OUT`, that a word of direction may be from what it tells of."""
LEAST_SENTENCES = 2
"""A term of fewer sentences tells nothing of others."""
_ENDINGS = (("ies", "y"), ("ied", "y"), ("ing", ""), ("ed", ""), ("ly", ""), ("es", ""), ("s", ""))
_PASSED_OVER = (
    "the a an of to in and that is was were be been for on at by with as it its this these those had has have would "
    "could which their from or than also there some while"
)
_LEFT_OUT = frozenset(_PASSED_OVER.split())
_WEIGHTS = (
    "strong robust solid firm weak soft subdu mut moderat slow tight accommodat stimul restrictiv pressur risk downsid "
    "upsid uncertain persist transitory stabl below above cautiou high low"
)
_WEIGHING = frozenset(_WEIGHTS.split())
"""Stems that say how strong something is, not that it moves."""


@dataclass(frozen=True, slots=True, eq=False)
class SparseRows:
    """n rows of a matrix with few values: those of row i stand from ``starts[i]`` up to ``starts[i + 1]``."""

    starts: Int64Vector
    columns: Int64Vector
    values: Float64Vector
    n_columns: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def rows(self) -> Int64Vector:
        """The row of each value."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def times(self, weights: Float64Matrix) -> Float64Matrix:
        """Return the product with weights, shape (n_columns, k); each row is summed alone, in order."""
        return _added_up(self.rows, self.values[:, np.newaxis] * weights[self.columns], len(self))

    def transposed_times(self, values: Float64Matrix) -> Float64Matrix:
        """Return the product of the transposed matrix with values, shape (n, k)."""
        return _added_up(self.columns, self.values[:, np.newaxis] * values[self.rows], self.n_columns)


def _added_up(places: Int64Vector, parts: Float64Matrix, n_places: int) -> Float64Matrix:
    """Return the sums of parts, shape (m, k), by place, shape (n_places, k), added in the order given."""
    sums = [np.bincount(places, weights=parts[:, at], minlength=n_places) for at in range(parts.shape[1])]
    return np.column_stack(sums)


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """The terms that a head knows, sorted, and the inverse document frequency of each, shape (n,)."""

    terms: tuple[str, ...]
    rarity: Float64Vector

    def __len__(self) -> int:
        return len(self.terms)

    def rows(self, sentences: Sequence[str]) -> SparseRows:
        """Return (1 + log count) * rarity of the known terms of each sentence, at unit length (Salton, Buckley 1988).

        A sentence without a known term is a row of zeros.
        """
        place = {term: at for at, term in enumerate(self.terms)}
        found = [self._row(terms_of(sentence), place) for sentence in sentences]
        starts = np.concatenate([[0], np.cumsum([len(columns) for columns, _ in found], dtype=np.int64)])
        columns = np.concatenate([np.empty(0, np.int64), *(columns for columns, _ in found)])
        values = np.concatenate([np.empty(0), *(values for _, values in found)])
        return SparseRows(starts.astype(np.int64), columns, values, len(self))

    def _row(self, counts: Mapping[str, int], place: Mapping[str, int]) -> tuple[Int64Vector, Float64Vector]:
        known = sorted((place[term], n) for term, n in counts.items() if term in place)
        columns = np.array([column for column, _ in known], dtype=np.int64)
        values = (1.0 + np.log(np.array([n for _, n in known], dtype=np.float64))) * self.rarity[columns]
        return columns, values / max(float(np.sqrt((values * values).sum())), 1e-12)


def terms_of(sentence: str) -> Counter[str]:
    """Return how often a sentence has each stem, each way, and each stem beside a word that tells a way.

    What is hawkish of prices is dovish of unemployment, so a direction and its neighbours are terms together, with the
    word itself and with the way alone: words with one meaning share what is learned of them.

    Examples
    --------
    >>> sorted(terms_of("Inflation rose"))
    ['=up', 'inflation', 'inflation~rose', 'inflation~up', 'rose']
    """
    words = _WORDS.findall(sentence.lower().replace("\u2019", "'"))
    stems, ways = [_stem(word) for word in words], ways_of(words)
    found = [*stems, *(f"={way}" for way in ways if way)]
    content = [at for at, word in enumerate(words) if word not in _LEFT_OUT]
    for place, at in enumerate(content):
        for other in content[place + 1 : place + 1 + REACH]:
            found += _pair(stems, ways, at, other)
    return Counter(found)


def _pair(stems: Sequence[str], ways: Sequence[str], at: int, other: int) -> Iterator[str]:
    """Yield the terms that two words are together: where one of them tells a way, or weighs, and the other does not."""
    tells = [bool(ways[each]) or stems[each] in _WEIGHING for each in (at, other)]
    if tells[0] != tells[1]:
        yield "~".join(sorted((stems[at], stems[other])))
    if bool(ways[at]) != bool(ways[other]):
        topic, way = (other, ways[at]) if ways[at] else (at, ways[other])
        yield f"{stems[topic]}~{way}"


def _stem(word: str) -> str:
    """Return a word without its commonest endings; what matters is that its forms are the same."""
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word.removesuffix(ending) + instead
    return word.rstrip("e") if len(word) > 4 else word


def vocabulary_of(sentences: Iterable[str]) -> Vocabulary:
    """Return the terms of at least `LEAST_SENTENCES` sentences; rarity is 1 + log((1 + n) / (1 + sentences))."""
    counts: Counter[str] = Counter()
    n_sentences = 0
    for sentence in sentences:
        counts.update(terms_of(sentence).keys())
        n_sentences += 1
    terms = tuple(sorted(term for term, n in counts.items() if n >= LEAST_SENTENCES))
    n_with = np.array([counts[term] for term in terms], dtype=np.float64)
    return Vocabulary(terms, 1.0 + np.log((1.0 + n_sentences) / (1.0 + n_with)))
