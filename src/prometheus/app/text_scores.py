"""What each text known on a date scores against a question: by its words, and by its meaning."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from prometheus.analogs.closeness import drawn_texts, random_questions, rank_among
from prometheus.analogs.ranking import cosines
from prometheus.analogs.words import Collection, Postings, bm25, most_possible
from prometheus.app.caches import Cache
from prometheus.app.text_memory import KeptWords
from prometheus.app.text_readings import QuestionVectors, kind_span
from prometheus.app.text_vectors import TextVectors
from prometheus.app.wiring import Wiring
from prometheus.arrays import Float64Vector, Int64Vector
from prometheus.data.words import FOUND, MOST_SAID, TextWords
from prometheus.encoders.texts.documents import ANY_TEXT, TEXT_TABLES, TextFilters, TextSelection, TextSourceType

KnownTexts: TypeAlias = NDArray[Any]
"""The texts known on a date: ``kind`` (U5), and what `FOUND` says of each; by kind and id."""

MAX_STEMS = 256
"""Of a longer question those stems are asked that it says most."""
_KNOWN_KEPT, _RANDOM_KEPT = 8, 256
_KNOWN = np.dtype([("kind", "U5"), *FOUND])


class WordScores:
    """BM25 over the texts known on a date: rarity and mean length are those of that date, too.

    The first question reads the postings of its own words; from the second on the words of all texts are in memory.
    """

    def __init__(self, wired: Wiring) -> None:
        self._table = TextWords(wired.db_manager)
        self._visible_state = wired.db_manager.visible_state
        self._known: Cache[KnownTexts] = Cache(_KNOWN_KEPT)
        self._random: Cache[Float64Vector] = Cache(_RANDOM_KEPT)
        self._kept: dict[TextSourceType, KeptWords] | None = None
        self._is_asked_again = False

    def known(self, kinds: Sequence[TextSourceType], as_of: date, filters: TextFilters = ANY_TEXT) -> KnownTexts:
        """Return the texts of some kinds dated up to a date and known on it, each event in its newest version.

        Those that do not pass the filters are there, too, as words are rare among all texts known. The rows are shared:
        do not write to them.
        """
        if self._is_asked_again:
            self._kept = self._kept or self._memory()
        self._is_asked_again = True
        key = self._visible_state(), tuple(kinds), as_of, filters
        return self._known.get(key, lambda: self._load_known(kinds, as_of, filters))

    def _load_known(self, kinds: Sequence[TextSourceType], as_of: date, filters: TextFilters) -> KnownTexts:
        parts = [(kind, self._table.known(kind, as_of, filters)) for kind in kinds]
        known = np.empty(sum(len(rows) for _, rows in parts), _KNOWN)
        known["kind"] = np.repeat([kind for kind, _ in parts], [len(rows) for _, rows in parts])
        for name, _ in FOUND:
            known[name] = np.concatenate([rows[name] for _, rows in parts])
        known.setflags(write=False)
        return known

    def said(self, kinds: Sequence[TextSourceType], name: str, as_of: date) -> list[str]:
        """Return some of what texts known on a date say of a filter, in order."""
        return sorted({value for kind in kinds for value in self._table.said(kind, name, as_of)})[:MOST_SAID]

    def of(self, question: str, known: KnownTexts) -> Float64Vector:
        """Return the BM25 score of each known text, shape (n,); texts of each language are a collection of their own.

        A text that has no word of the question scores 0.
        """
        return self._score(self._asked(question, known), known)[0]

    def ranked(self, question: str, known: KnownTexts) -> tuple[Float64Vector, Float64Vector]:
        """Return the scores, and what each means: its rank in [0, 1] among random questions, both shape (n,)."""
        asked = self._asked(question, known)
        scores, most = self._score(asked, known)
        shares = np.divide(scores, most, out=np.zeros(len(known)), where=most > 0)
        if not shares.any():
            return scores, shares
        number = int(np.bincount(known["configuration"]).argmax())
        n_stems = len(asked.get(number, ()))
        texts = hashlib.blake2b(known["kind"].tobytes() + known["text_id"].tobytes()).digest()
        key = self._visible_state(), texts, number, n_stems
        return scores, rank_among(shares, self._random.get(key, lambda: self._best_of_random(number, n_stems, known)))

    def _best_of_random(self, number: int, n_stems: int, known: KnownTexts) -> Float64Vector:
        """Return the best share of each random question in one configuration, shape (n_questions,)."""
        alike = np.flatnonzero(known["configuration"] == number)
        drawn = known[alike[drawn_texts(len(alike))]]
        kinds = np.unique(drawn["kind"]).tolist()
        texts = [self._table.distinct_stems(kind, drawn["text_id"][drawn["kind"] == kind].tolist()) for kind in kinds]
        questions = random_questions(chain.from_iterable(texts), n_stems)
        found = self._postings({number: sorted({stem for each in questions for stem in each})}, known)
        collection = _collection(number, known)
        best = []
        for stems in questions:
            postings = [Postings(*found[number, stem]) for stem in stems]
            most = most_possible(postings, collection)
            best.append(bm25(postings, known["n_words"], collection).max() / most if most else 0.0)
        return np.array(best)

    def _asked(self, question: str, known: KnownTexts) -> dict[int, dict[str, int]]:
        asked = self._table.stems(question, np.unique(known["configuration"]).tolist())
        return {number: most_said(stems) for number, stems in asked.items()}

    def _score(self, asked: Mapping[int, Mapping[str, int]], known: KnownTexts) -> tuple[Float64Vector, Float64Vector]:
        """Return the score of each known text, and the most that one of its language could have, both shape (n,)."""
        scores, most = np.zeros(len(known)), np.zeros(len(known))
        found = self._postings(asked, known)
        for number, stems in asked.items():
            collection = _collection(number, known)
            postings = [Postings(*found[number, stem], n) for stem, n in stems.items()]
            scores += bm25(postings, known["n_words"], collection)
            most[known["configuration"] == number] = most_possible(postings, collection)
        return scores, most

    def _postings(
        self, asked: Mapping[int, Iterable[str]], known: KnownTexts
    ) -> dict[tuple[int, str], tuple[Int64Vector, Int64Vector]]:
        """Return the positions among the known texts of those that have each stem, and how often they have it."""
        pairs = [(number, stem) for number, stems in asked.items() for stem in stems]
        found: dict[tuple[int, str], list[tuple[Int64Vector, Int64Vector]]] = {pair: [] for pair in pairs}
        for kind in kinds_of(known):
            for pair, (ids, counts) in zip(pairs, self._read(kind, pairs, self._kept), strict=True):
                at, is_known = positions_of(kind, ids, known)
                found[pair].append((at, counts[is_known]))
        return {
            pair: (np.concatenate([at for at, _ in parts]), np.concatenate([counts for _, counts in parts]))
            for pair, parts in found.items()
        }

    def _memory(self) -> dict[TextSourceType, KeptWords]:
        return {kind: KeptWords(self._table, kind, self._visible_state) for kind in TEXT_TABLES}

    def _read(
        self, kind: TextSourceType, pairs: Sequence[tuple[int, str]], kept: Mapping[TextSourceType, KeptWords] | None
    ) -> list[tuple[Int64Vector, Int64Vector]]:
        if kept is None:
            return self._table.postings(kind, pairs)
        kept[kind].refresh()
        return [kept[kind].texts_with(*pair) for pair in pairs]


class MeaningScores:
    """The cosine of each text's vectors with the question's."""

    def __init__(self, wired: Wiring) -> None:
        self._vectors = TextVectors(wired)

    def of(self, vectors: QuestionVectors, known: KnownTexts, as_of: date) -> Float64Vector:
        """Return the cosine of each known text, shape (n,), in [-1, 1]; NaN for one without a vector.

        That of a text in several passages is the one of its nearest passage.
        """
        found = np.full(len(known), np.nan)
        for reading in vectors:
            # passages come behind the texts: what they say replaces what the text says as a whole
            wanted = TextSelection(reading.kind, reading.model_id, {}, known_by=as_of)
            for page in self._vectors.pages(wanted, as_of):
                at, is_known = positions_of(reading.kind, page.text_ids, known)
                similar = cosines(page.vectors, reading.vector)[is_known]
                firsts = np.flatnonzero(np.diff(at, prepend=-1))
                best = np.maximum.reduceat(similar, firsts) if len(firsts) else similar
                is_read = reading.reads(known["configuration"][at[firsts]])
                found[at[firsts][is_read]] = best[is_read]
        return found


def kinds_of(known: KnownTexts) -> list[TextSourceType]:
    """Return the kinds of text that there are, in order."""
    spans = {kind: kind_span(kind, known) for kind in sorted(TEXT_TABLES)}
    return [kind for kind, (first, last) in spans.items() if first < last]


def positions_of(kind: str, text_ids: Int64Vector, known: KnownTexts) -> tuple[Int64Vector, NDArray[np.bool_]]:
    """Return where the known ones of some texts stand, and which of them are known."""
    first, last = kind_span(kind, known)
    ids = known["text_id"][first:last]
    at = np.searchsorted(ids, text_ids)
    is_known = np.zeros(len(text_ids), dtype=bool)
    inside = at < len(ids)
    is_known[inside] = ids[at[inside]] == text_ids[inside]
    return first + at[is_known], is_known


def _collection(number: int, known: KnownTexts) -> Collection:
    lengths = known["n_words"][known["configuration"] == number]
    return Collection(len(lengths), int(lengths.sum()))


def most_said(stems: Mapping[str, int]) -> dict[str, int]:
    """Return the stems of a question that it is asked by, at most `MAX_STEMS`, in order."""
    kept = sorted(stems, key=lambda stem: (-stems[stem], stem))[:MAX_STEMS]
    return {stem: stems[stem] for stem in sorted(kept)}
