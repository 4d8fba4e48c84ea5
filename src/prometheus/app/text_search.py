"""Texts like a question, or like a stored one: by their words, by their meaning, or by both."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from prometheus.analogs.closeness import LEAST_RANK
from prometheus.analogs.passages import Passage
from prometheus.analogs.ranking import best_first, nudged
from prometheus.app.text_known import KnownTexts
from prometheus.app.text_models import TextModels
from prometheus.app.text_passages import ShownPassages
from prometheus.app.text_ranking import RankedBy, Ranking, Scored, Searched
from prometheus.app.text_readings import QuestionVectors, Reading
from prometheus.app.text_scores import MeaningScores, WordScores
from prometheus.app.wiring import Wiring
from prometheus.core import MINILM
from prometheus.data.text_reader import DatedText
from prometheus.encoders.texts.copies import Stories, describe_copies
from prometheus.encoders.texts.direction import Ask, Way, agreement, asked_direction, main_way, told_directions
from prometheus.encoders.texts.documents import ANY_TEXT, QUESTION, TextFilters, TextSourceType
from prometheus.errors import NotFoundError, UsageError, no_text_embeddings, no_texts, no_words_found

MAX_TEXTS = 1_000
MAX_QUERY_CHARACTERS = 10_000
_MIN_PAGE = 50
N_RESORTED = 20
"""Hits beyond those wanted that may come forward because they tell the direction that was asked for."""
Source = Literal["macro", "news"]
By: TypeAlias = RankedBy
_KINDS: dict[Source, TextSourceType] = {"macro": "MACRO", "news": "NEWS"}
_STORED = re.compile(r"(macro|news):(\d{1,18})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TextQuery:
    """A search of texts like a question; only texts dated up to `as_of` and known on it.

    They are ranked `by` the words of the question, by its meaning, or by both. A source of None is both sources; a
    model of None the newest that reads a text's language. `hf_model_name` is the hub model, or folder, of `model_id`.
    Instead of a question, `like` names a stored text, such as MACRO:123, to find others like it.
    """

    query: str
    as_of: date
    k: int = 10
    source: Source | None = None
    model_id: str | None = None
    hf_model_name: str = MINILM
    by: By = "both"
    like: str | None = None
    filters: TextFilters = ANY_TEXT

    def __post_init__(self) -> None:
        if self.like is not None and self.query:
            raise UsageError("give either a question or a text that others are like (--like), not both")
        if self.like is not None and not _STORED.fullmatch(self.like):
            raise UsageError(f"--like {self.like[:40]!r}: name a text by its source and number, such as MACRO:123")
        if self.like is None and not self.query.strip():
            raise UsageError("the question is empty; say what the texts should mean")
        if len(self.query) > MAX_QUERY_CHARACTERS:
            raise UsageError(f"the question has {len(self.query)} characters; {MAX_QUERY_CHARACTERS} are the limit")
        if "\0" in self.query or any("\ud800" <= letter <= "\udfff" for letter in self.query):
            raise UsageError("the question has a NUL, or is no valid Unicode; leave such characters out")
        _require_choice("source", self.source, (None, *_KINDS))
        _require_choice("by", self.by, get_args(By))
        _require_k(self.k)

    @property
    def kinds(self) -> tuple[TextSourceType, ...]:
        """The kinds of text searched."""
        return tuple(_KINDS.values()) if self.source is None else (_KINDS[self.source],)

    @property
    def liked(self) -> tuple[TextSourceType, int] | None:
        """The source and number of the text that others are like; None for a question."""
        named = _STORED.fullmatch(self.like or "")
        return None if named is None else (_KINDS[named[1].lower()], int(named[2]))  # type: ignore[index]


@dataclass(frozen=True, slots=True)
class TextHit:
    """One text, and how many near-copies it stands for.

    `similarity` is the cosine in [-1, 1] between its vector and the question's, `words` its BM25 score; None where the
    search, or the text, has none. `score` is what it was ranked by: one of the two, or by both their sum, each in
    standard deviations above the mean of the texts compared. `passage` is the part of the text that matched: by both,
    the sum of nearness and words decides. `rank` is how many random questions of the same length find nothing that has
    as many of their words, in [0, 1]; None where it was not asked. `way` is which way the passage says that the
    question's subject went; None where the question asks for none, or it does not tell.
    """

    similarity: float | None
    text: DatedText
    n_copies: int = 0
    words: float | None = None
    score: float | None = None
    passage: Passage | None = None
    rank: float | None = None
    way: Way | None = None

    @property
    def copies(self) -> str:
        """The near-copies in words, empty for none."""
        return describe_copies(self.n_copies)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        scores = {"score": self.score, "similarity": self.similarity, "words": self.words, "rank": self.rank}
        passage = None if self.passage is None else self.passage.to_dict()
        return {**scores, "way": self.way, "n_copies": self.n_copies, "passage": passage, **self.text.to_dict()}

    def excerpt(self, n_characters: int) -> list[tuple[str, bool]]:
        """Return what to show of the text, in pieces, and whether each is a word of the question.

        It is the part of the passage with most of these words, of about `n_characters`; dots stand for the rest.
        """
        text = self.text.text
        part = (self.passage or Passage(0, len(text))).shortened(text, n_characters)
        before = [("… ", False)] if text[: part.first_char].strip() else []
        behind = [(" …", False)] if text[part.last_char :].strip() else []
        return [*before, *part.parts(text), *behind]

    def passage_text(self, n_characters: int | None = None) -> str:
        """Return the passage, or about `n_characters` of it; the whole text if that is no longer."""
        text = self.text.text
        if self.passage is None or (n_characters is not None and len(text) <= n_characters):
            return text
        part = self.passage if n_characters is None else self.passage.shortened(text, n_characters)
        return text[part.first_char : part.last_char]


@dataclass(frozen=True, slots=True)
class ToldText:
    """One text, and how many near-copies it stands for."""

    text: DatedText
    n_copies: int

    @property
    def copies(self) -> str:
        """The near-copies in words, empty for none."""
        return describe_copies(self.n_copies)


@dataclass(frozen=True, slots=True)
class TextSearchReport:
    """The texts found, the best first, of `n_texts` compared; `n_without_vector` of them by their words alone.

    `model_id` is whose vectors were compared: of several, which have embedded texts of different sources, all; None
    for a search by words alone. `best_rank` is the highest of all texts compared, None where it was not asked.
    """

    as_of_date: date
    model_id: str | None
    n_texts: int
    hits: tuple[TextHit, ...]
    by: By = "meaning"
    n_without_vector: int = 0
    best_rank: float | None = None

    @property
    def is_nothing_close(self) -> bool:
        """Whether no text has more of the question's words than most random questions find of theirs."""
        return self.best_rank is not None and self.best_rank < LEAST_RANK

    @property
    def means(self) -> str:
        """What the texts were compared by, in words."""
        by_words = [] if self.by == "meaning" else ["words"]
        return " and ".join([*by_words, *([self.model_id] if self.model_id else [])])

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "as_of_date": str(self.as_of_date), "by": self.by, "model_id": self.model_id, "n_texts": self.n_texts,
            "n_without_vector": self.n_without_vector, "nothing_close": self.is_nothing_close,
            "hits": [hit.to_dict() for hit in self.hits],
        }  # fmt: skip


class SearchTexts:
    """Ranks all texts known on a date; nothing is written."""

    def __init__(self, wired: Wiring) -> None:
        self._models = TextModels(wired)
        self._words = WordScores(wired)
        self._meaning = MeaningScores(wired)
        self._ranking = Ranking(self._words, self._meaning)
        self._passages = ShownPassages(wired)
        self._texts = wired.texts
        self._visible_state = wired.db_manager.visible_state

    def find(self, query: TextQuery) -> TextSearchReport:
        """Return the texts most like a question, or like a stored text.

        NotFoundError: no text is known by the date, or passes the filters; none has a vector, by meaning; none has a
        word of the question, by words.
        """
        mark = self._visible_state()
        known = self._known(query, mark)
        liked = self._liked(query, known, mark)
        wanted, question = known.is_wanted, query.query
        if liked is not None:
            own = known.position_of(liked.source_type, liked.source_id)
            wanted = wanted & (np.arange(len(known)) != (-1 if own is None else own))
            question = liked.text
        vectors = [] if query.by == "words" else self._read(query, question, liked, mark)
        asked = self._words.asked(question, known)
        searched = Searched(question, asked, vectors, known, wanted, query.as_of, query.by, mark)
        return self._ranked(searched, query.k, is_asked=liked is None)

    def _known(self, query: TextQuery, mark: tuple[str, ...]) -> KnownTexts:
        known = self._words.known(query.kinds, query.as_of, mark, query.filters)
        if not len(known):
            raise no_texts(" or ".join(query.kinds), query.as_of)
        if not known.is_wanted.any():
            said = {name: self._words.said(query.kinds, name, query.as_of) for name in query.filters.named}
            listed = "; ".join(f"{name} is {' or '.join(values) or 'never said'}" for name, values in said.items())
            passing = f"no text known on {query.as_of} passes {query.filters}"
            if said.get("stance") == []:
                listed += ": fit a head with fit_stance, and read the texts with backfill_stance"
            raise NotFoundError(f"{passing}{f'; {listed}' if listed else ''}", code="no_texts")
        return known

    def _liked(self, query: TextQuery, known: KnownTexts, mark: tuple[str, ...]) -> DatedText | None:
        """Return the text that others are like; None for a question."""
        if query.liked is None:
            return None
        kind, text_id = query.liked
        others = known if kind in query.kinds else self._words.known([kind], query.as_of, mark)
        if others.position_of(kind, text_id) is None:
            raise NotFoundError(f"there is no text {query.like} known on {query.as_of}", code="no_texts")
        (found,) = self._texts.load_dated(kind, [text_id])
        return found

    def _read(self, query: TextQuery, question: str, liked: DatedText | None, mark: tuple[str, ...]) -> QuestionVectors:
        """Return the question as it is read for each kind of text that has vectors, and for which of its languages."""
        named, hf_model_name = query.model_id, query.hf_model_name
        source = QUESTION if liked is None else liked.source_type
        vectors: list[Reading] = []
        for kind in query.kinds:
            readers = [(named, None)] if named else self._models.readers(kind, query.as_of, hf_model_name, mark)
            for model_id, group in readers:
                vector = self._models.stored(liked.source_type, liked.source_id, model_id) if liked else None
                if vector is None:
                    vector = self._models.encode(question, model_id, hf_model_name, source)
                vectors.append(Reading(kind, model_id, group, vector))
        if not vectors and query.by == "meaning":
            raise no_text_embeddings(query.kinds)
        return vectors

    def _ranked(self, searched: Searched, k: int, *, is_asked: bool) -> TextSearchReport:
        known, by, as_of = searched.known, searched.by, searched.as_of
        scored = self._ranking.score(searched, k, is_ranked=is_asked)
        has_vector = ~np.isnan(scored.similarity)
        n_vectors = int(has_vector.sum())
        n_compared = n_vectors if by == "meaning" else len(scored)
        n_without = len(scored) - n_vectors if by == "both" else 0
        compared = scored.positions[has_vector]
        models = {each.model_id for each in searched.vectors if each.compares(known, compared).any()}
        if n_vectors < len(scored):
            scored = scored.take(has_vector | (scored.words > 0))
        if not len(scored):
            raise (
                no_text_embeddings(known.kinds, as_of=as_of)
                if by == "meaning"
                else no_words_found(as_of, searched.question[:60])
            )
        if is_asked and by == "both" and not any(searched.asked.values()):
            raise UsageError(
                f"{searched.question[:60]!r} has no word to search by, such as a name or a subject: add one, or ask by "
                "its meaning alone (--by meaning)"
            )
        ask = asked_direction(searched.question) if is_asked else None
        found = self._first_distinct(scored, known, k if ask is None else k + N_RESORTED)
        hits = self._with_passages(found, searched)
        if ask is not None:
            hits = _resorted(hits, ask, float(scored.score.std()))[:k]
        best_rank = float(scored.rank.max()) if is_asked else None
        return TextSearchReport(as_of, ", ".join(sorted(models)) or None, n_compared, hits, by, n_without, best_rank)

    def _with_passages(self, found: Sequence[tuple[int, TextHit]], searched: Searched) -> tuple[TextHit, ...]:
        texts = [(hit.text, int(searched.known.configurations[at])) for at, hit in found]
        passages = self._passages.of(texts, searched.asked, searched.vectors, ranks_words=searched.by == "both")
        return tuple(replace(hit, passage=passage) for (_, hit), passage in zip(found, passages, strict=True))

    def _first_distinct(self, scored: Scored, known: KnownTexts, k: int) -> list[tuple[int, TextHit]]:
        """Return the `k` best hits, each with the near-copies among the texts compared up to the page of the last.

        Each comes with its position among the texts known.
        """
        stories = Stories()
        found: list[tuple[DatedText, int]] = []
        days, text_ids = known.days, known.text_ids
        if len(scored) < len(known):
            days, text_ids = days[scored.positions], text_ids[scored.positions]
        for rows in best_first(scored.score, days, text_ids, max(2 * k, _MIN_PAGE)):
            at = scored.positions[rows]
            kinds = {kind: known.of_kind(kind, at) for kind in known.kinds}
            texts = {
                (kind, text.source_id): text
                for kind, is_of in kinds.items()
                if is_of.any()
                for text in self._texts.load_dated(kind, known.text_ids[at[is_of]].tolist())
            }
            for row, position in zip(rows.tolist(), at.tolist(), strict=True):
                text = texts.get((known.kind_at(position), int(known.text_ids[position])))
                if text is not None and stories.add(text, may_open=len(found) < k):
                    found.append((text, row))
            if len(found) == k:
                break
        return [
            (int(scored.positions[row]), hit_of(text, scored, row, n_copies))
            for (text, row), n_copies in zip(found, stories.n_copies, strict=True)
        ]


def tell_once(texts: Iterable[DatedText]) -> tuple[ToldText, ...]:
    """Return texts in their order, near-copies counted with the first of them."""
    stories = Stories()
    first = [text for text in texts if stories.add(text)]
    return tuple(map(ToldText, first, stories.n_copies))


def hit_of(text: DatedText, scored: Scored, row: int, n_copies: int = 0) -> TextHit:
    """Return a text with its scores, those of a row."""
    score, words, similarity, rank = (
        None if np.isnan(each[row]) else float(each[row])
        for each in (scored.score, scored.words, scored.similarity, scored.rank)
    )
    return TextHit(similarity, text, n_copies, words, score, rank=rank)


def _resorted(hits: Sequence[TextHit], ask: Ask, deviation: float) -> tuple[TextHit, ...]:
    """Return hits with what their passages tell; those that tell the way asked for before others nearly as good."""
    told = [told_directions(hit.passage_text(), ask) for hit in hits]
    scores = np.array([hit.score for hit in hits], dtype=np.float64)
    agreements = np.array([agreement(each, ask) for each in told], dtype=np.int64)
    order = np.argsort(-nudged(scores, agreements, deviation), kind="stable")
    return tuple(replace(hits[at], way=main_way(told[at])) for at in order.tolist())


def _require_choice(name: str, given: object, choices: tuple[object, ...]) -> None:
    if given not in choices:
        raise UsageError(f"unknown {name} {given!r}; choose from {', '.join(str(each) for each in choices if each)}")


def _require_k(k: int) -> None:
    if not 1 <= k <= MAX_TEXTS:
        raise UsageError(f"--k {k}: name a number from 1 to {MAX_TEXTS}")
