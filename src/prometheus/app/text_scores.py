"""What each text known on a date scores against a question: by its words, and by its meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import chain
from typing import TypeAlias

import numpy as np

from prometheus.analogs.closeness import best_shares, drawn_texts, random_questions, rank_among
from prometheus.analogs.words import Postings, bm25, most_possible
from prometheus.app.caches import Cache
from prometheus.app.text_known import KnownTexts
from prometheus.app.text_memory import KeptWords
from prometheus.app.text_readings import QuestionVectors, Reading
from prometheus.app.text_vectors import Compared, TextVectors
from prometheus.app.wiring import Wiring
from prometheus.arrays import Float64Vector, Int64Vector
from prometheus.data.text_reader import describe_unlinked
from prometheus.data.vectors.texts import VectorsOfTexts
from prometheus.data.words import MOST_SAID, TextWords
from prometheus.encoders.texts.documents import ANY_TEXT, TEXT_TABLES, TextFilters, TextSourceType
from prometheus.errors import NotFoundError

Asked: TypeAlias = Mapping[int, Mapping[str, int]]
"""Of each configuration the stems of a question that are asked, in order, and how often it says each."""
Found: TypeAlias = tuple[Int64Vector, Int64Vector]
"""The positions of the known texts that have a stem, and how often they have it."""

MAX_STEMS = 256
"""Of a longer question those stems are asked that it says most."""
_KNOWN_KEPT, _RANDOM_KEPT = 8, 256
_TABLES: tuple[VectorsOfTexts, ...] = ("text_embeddings", "text_passages")
"""Passages come behind the texts: what they say replaces what the text says as a whole."""


@dataclass(frozen=True, slots=True, eq=False)
class SaidWords:
    """The BM25 score of each known text, and what it is worth: its rank in [0, 1] among random questions, (n,)."""

    scores: Float64Vector
    ranks: Float64Vector


class WordScores:
    """BM25 over the texts known on a date: rarity and mean length are those of that date, too.

    The first question reads the postings of its own words; from the second on the words of all texts are in memory.
    """

    def __init__(self, wired: Wiring) -> None:
        self._table, self._texts = TextWords(wired.db_manager), wired.texts
        self._known: Cache[KnownTexts] = Cache(_KNOWN_KEPT)
        self._newest_known: Cache[KnownTexts] = Cache(_KNOWN_KEPT)
        self._random: Cache[Float64Vector] = Cache(_RANDOM_KEPT)
        self._kept: dict[TextSourceType, KeptWords] | None = None
        self._is_asked_again = False

    def known(
        self, kinds: Sequence[TextSourceType], as_of: date, mark: tuple[str, ...], filters: TextFilters = ANY_TEXT
    ) -> KnownTexts:
        """Return the texts of some kinds dated up to a date and known on it, each event in its newest version.

        Those that do not pass the filters are there, too, as words are rare among all texts known. `mark` says what was
        stored when the question came. NotFoundError for an instrument that no text known on the date concerns.
        """
        if self._is_asked_again:
            self._kept = self._kept or {kind: KeptWords(self._table, kind) for kind in TEXT_TABLES}
        self._is_asked_again = True
        key = tuple(kinds), as_of, filters
        return self._known.get((mark, *key), lambda: self._read_known(*key))

    def _read_known(self, kinds: tuple[TextSourceType, ...], as_of: date, filters: TextFilters) -> KnownTexts:
        """Return the texts as they are read, or those read before if they are the same, with all derived from them."""
        self._require_linked(kinds, as_of, filters)
        read = KnownTexts.of({kind: self._table.known(kind, as_of, filters) for kind in sorted(kinds)})
        before = self._newest_known.get((kinds, as_of, filters), lambda: read)
        return before if before.is_same(read) else self._newest_known.put((kinds, as_of, filters), read)

    def _require_linked(self, kinds: Sequence[TextSourceType], as_of: date, filters: TextFilters) -> None:
        if filters.instrument_id:
            known = sorted({each for kind in kinds for each in self._texts.linked(kind, as_of)})
            for instrument_id in filters.instrument_id:
                if instrument_id not in known:
                    raise NotFoundError(describe_unlinked(instrument_id, kinds, known), code="no_texts")

    def said(self, kinds: Sequence[TextSourceType], name: str, as_of: date) -> list[str]:
        """Return some of what texts known on a date say of a filter, in order."""
        return sorted({value for kind in kinds for value in self._table.said(kind, name, as_of)})[:MOST_SAID]

    def asked(self, question: str, known: KnownTexts) -> Asked:
        """Return the stems of a question that are asked, for texts of each language a collection of their own."""
        return {number: most_said(stems) for number, stems in self._table.stems(question, known.numbers).items()}

    def score(self, asked: Asked, known: KnownTexts, mark: tuple[str, ...], *, is_ranked: bool) -> SaidWords:
        """Return what the words of a question score; ranks are NaN unless wanted.

        A text that has no word of the question scores 0.
        """
        scores, shares = np.zeros(len(known)), np.zeros(len(known))
        found = self._postings(asked, known, mark)
        for number, stems in asked.items():
            collection = known.collections[number]
            postings = [Postings(*found[number, stem], n) for stem, n in stems.items()]
            own, most = bm25(postings, known.n_words, collection), most_possible(postings, collection)
            scores += own
            if most > 0:
                shares += own / most
        if not is_ranked:
            return SaidWords(scores, np.full(len(known), np.nan))
        ranks, has_word = np.zeros(len(known)), np.flatnonzero(shares)
        if len(has_word):
            n_stems = len(asked.get(known.commonest, ()))
            words = [mark] if self._kept is None else [self._kept[kind].digest(mark, known) for kind in known.kinds]
            key = *words, known.digest, known.commonest, n_stems
            random = self._random.get(key, lambda: self._best_of_random(known.commonest, n_stems, known, mark))
            ranks[has_word] = rank_among(shares[has_word], random)
        return SaidWords(scores, ranks)

    def _best_of_random(self, number: int, n_stems: int, known: KnownTexts, mark: tuple[str, ...]) -> Float64Vector:
        """Return the best share of each random question in one configuration, shape (n_questions,)."""
        alike = np.flatnonzero(known.configurations == number)
        drawn = alike[drawn_texts(len(alike))]
        texts = [
            self._table.distinct_stems(kind, known.text_ids[drawn[known.of_kind(kind, drawn)]].tolist())
            for kind in known.kinds
        ]
        questions = random_questions(chain.from_iterable(texts), n_stems)
        found = self._postings({number: sorted({stem for each in questions for stem in each})}, known, mark)
        postings = {stem: Postings(*each) for (_, stem), each in found.items()}
        return best_shares(questions, postings, known.n_words, known.collections[number])

    def _postings(
        self, asked: Mapping[int, Iterable[str]], known: KnownTexts, mark: tuple[str, ...]
    ) -> dict[tuple[int, str], Found]:
        """Return what the known texts of each configuration have of each stem."""
        pairs = [(number, stem) for number, stems in asked.items() for stem in stems]
        parts = [self._of_kind(kind, pairs, known, mark) for kind in known.kinds]
        found = {}
        for place, pair in enumerate(pairs):
            at, counts = (np.concatenate(each) for each in zip(*(part[place] for part in parts), strict=True))
            if len(known.numbers) > 1:
                is_alike = known.configurations[at] == pair[0]
                at, counts = at[is_alike], counts[is_alike]
            found[pair] = at, counts
        return found

    def _of_kind(
        self, kind: TextSourceType, pairs: Sequence[tuple[int, str]], known: KnownTexts, mark: tuple[str, ...]
    ) -> list[Found]:
        if self._kept is not None:
            texts_with: Callable[[str], Found] = self._kept[kind].reader(mark, known)
            return [texts_with(stem) for _, stem in pairs]
        found = []
        for ids, counts in self._table.postings(kind, pairs):
            at = known.positions_of(kind, ids)
            found.append((at[at >= 0], counts[at >= 0]))
        return found


class MeaningScores:
    """The cosine of each text's vectors with the question's."""

    def __init__(self, wired: Wiring) -> None:
        self._vectors = TextVectors(wired)

    def of(self, vectors: QuestionVectors, known: KnownTexts, mark: tuple[str, ...]) -> tuple[Float64Vector, bool]:
        """Return the cosine of each known text, shape (n,), in [-1, 1], NaN for none, and whether all are exact.

        That of a text in several passages is the one of its nearest passage.
        """
        found, are_exact = np.full(len(known), np.nan), True
        for each in vectors:
            for table in _TABLES:
                key = each.kind, each.model_id, table
                compared, is_exact = self._vectors.compare(key, each.vector, known, mark)
                _put_best(found, compared, known, each)
                are_exact &= is_exact
        return found, are_exact

    def exact(self, vectors: QuestionVectors, known: KnownTexts, positions: Int64Vector) -> Float64Vector:
        """Return the cosines of the texts at some positions, shape of these, by their vectors as they are stored."""
        found = np.full(len(known), np.nan)
        for each in vectors:
            is_asked = known.of_kind(each.kind, positions) & each.reads(known.configurations[positions])
            text_ids = known.text_ids[positions[is_asked]].tolist()
            for table in _TABLES:
                compared = self._vectors.compare_some((each.kind, each.model_id, table), each.vector, known, text_ids)
                _put_best(found, compared, known, each)
        return found[positions]


def _put_best(found: Float64Vector, compared: Sequence[Compared], known: KnownTexts, reading: Reading) -> None:
    """Put the highest cosine of each text that a reading is compared with in the place of what was found before.

    NaN is the cosine of no vector.
    """
    best = np.full(len(found), -np.inf)
    for each in compared:
        if each.is_one_each:
            best[each.places] = each.cosines
        else:
            np.fmax.at(best, each.places, each.cosines)
    np.copyto(found, best, where=(best > -np.inf) & reading.reads(known.configurations))


def most_said(stems: Mapping[str, int]) -> dict[str, int]:
    """Return the stems of a question that it is asked by, at most `MAX_STEMS`, in order."""
    kept = sorted(stems, key=lambda stem: (-stems[stem], stem))[:MAX_STEMS]
    return {stem: stems[stem] for stem in sorted(kept)}
