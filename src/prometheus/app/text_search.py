"""Texts like a question, or like a stored one: by their words, by their meaning, or by both."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from prometheus.analogs.closeness import LEAST_RANK
from prometheus.analogs.passages import Passage
from prometheus.analogs.ranking import best_first, nudged, standardised, standardised_by
from prometheus.app.text_models import TextModels
from prometheus.app.text_passages import ShownPassages
from prometheus.app.text_scores import KnownTexts, MeaningScores, QuestionVectors, WordScores, kinds_of, positions_of
from prometheus.app.wiring import Wiring
from prometheus.arrays import Float32Vector, Float64Vector
from prometheus.core import MINILM
from prometheus.data.text_reader import DatedText
from prometheus.encoders.texts.copies import Stories, describe_copies
from prometheus.encoders.texts.direction import Ask, Way, agreement, asked_direction, main_way, told_directions
from prometheus.encoders.texts.documents import ANY_TEXT, TextFilters, TextSourceType
from prometheus.errors import NotFoundError, UsageError, no_text_embeddings, no_texts, no_words_found

MAX_TEXTS = 1_000
MAX_QUERY_CHARACTERS = 10_000
_MIN_PAGE = 50
N_RESORTED = 20
"""Hits beyond those wanted that may come forward because they tell the direction that was asked for."""
Source = Literal["macro", "news"]
By = Literal["both", "words", "meaning"]
_KINDS: dict[Source, TextSourceType] = {"macro": "MACRO", "news": "NEWS"}
_STORED = re.compile(r"(macro|news):(\d{1,18})", re.IGNORECASE)
SCORES = ("score", "words", "similarity", "rank")
_RANKED = np.dtype([("kind", "U5"), ("day", "M8[D]"), ("text_id", "i8"), *((name, "f8") for name in SCORES)])


@dataclass(frozen=True, slots=True)
class TextQuery:
    """A search of texts like a question; only texts dated up to `as_of` and known on it.

    They are ranked `by` the words of the question, by its meaning, or by both. A source of None is both sources; a
    model of None the newest that has vectors of each. `hf_model_name` is the hub model, or folder, of `model_id`.
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


@dataclass(frozen=True, slots=True, eq=False)
class KnownWanted:
    """The texts known on a date, shape (n,), and which of them may be found."""

    rows: KnownTexts
    is_wanted: NDArray[np.bool_]
    as_of: date


class SearchTexts:
    """Ranks all texts known on a date; nothing is written."""

    def __init__(self, wired: Wiring) -> None:
        self._models = TextModels(wired)
        self._words, self._meaning = WordScores(wired), MeaningScores(wired)
        self._passages = ShownPassages(wired)
        self._texts = wired.texts

    def find(self, query: TextQuery) -> TextSearchReport:
        """Return the texts most like a question, or like a stored text.

        NotFoundError: no text is known by the date, or passes the filters; none has a vector, by meaning; none has a
        word of the question, by words.
        """
        known = self._known(query)
        liked = self._liked(query, known)
        wanted, question = known["is_wanted"], query.query
        if liked is not None:
            wanted = wanted & ~((known["kind"] == liked.source_type) & (known["text_id"] == liked.source_id))
            question = liked.text
        vectors = {} if query.by == "words" else self._read(query, question, liked)
        texts = KnownWanted(known, wanted, query.as_of)
        return self._ranked(question, vectors, texts, query.by, query.k, is_asked=liked is None)

    def _known(self, query: TextQuery) -> KnownTexts:
        known = self._words.known(query.kinds, query.as_of, query.filters)
        if not len(known):
            raise no_texts(" or ".join(query.kinds), query.as_of)
        if not known["is_wanted"].any():
            said = {name: self._words.said(query.kinds, name, query.as_of) for name in query.filters.named}
            listed = "; ".join(f"{name} is {' or '.join(values) or 'never said'}" for name, values in said.items())
            passing = f"no text known on {query.as_of} passes {query.filters}"
            raise NotFoundError(f"{passing}{f'; {listed}' if listed else ''}", code="no_texts")
        return known

    def _liked(self, query: TextQuery, known: KnownTexts) -> DatedText | None:
        """Return the text that others are like; None for a question."""
        if query.liked is None:
            return None
        kind, text_id = query.liked
        others = known if kind in query.kinds else self._words.known([kind], query.as_of)
        if not positions_of(kind, np.array([text_id]), others)[1].all():
            raise NotFoundError(f"there is no text {query.like} known on {query.as_of}", code="no_texts")
        (found,) = self._texts.load_dated(kind, [text_id])
        return found

    def _read(
        self, query: TextQuery, question: str, liked: DatedText | None
    ) -> dict[TextSourceType, tuple[str, Float32Vector]]:
        """Return the vector of a question for each kind of text that has vectors, and the model that read it."""
        vectors: dict[TextSourceType, tuple[str, Float32Vector]] = {}
        for kind in query.kinds:
            model_id = query.model_id or self._models.newest(kind, query.as_of, query.hf_model_name)
            if model_id is not None:
                vector = self._models.stored(liked.source_type, liked.source_id, model_id) if liked else None
                if vector is None:
                    vector = self._models.encode(question, model_id, query.hf_model_name)
                vectors[kind] = model_id, vector
        if not vectors and query.by == "meaning":
            raise no_text_embeddings(query.kinds)
        return vectors

    def _ranked(
        self, question: str, vectors: QuestionVectors, known: KnownWanted, by: By, k: int, *, is_asked: bool
    ) -> TextSearchReport:
        scored, as_of = self._score(question, vectors, known, by, is_asked=is_asked), known.as_of
        has_vector, has_word = ~np.isnan(scored["similarity"]), scored["words"] > 0
        n_compared, n_without = len(scored), 0
        if by == "meaning":
            n_compared = int(has_vector.sum())
        elif by == "both":
            n_without = int((~has_vector).sum())
        model_id = ", ".join(sorted({vectors[kind][0] for kind in kinds_of(scored[has_vector])}))
        scored = scored[has_vector | has_word]
        if not len(scored):
            kinds = kinds_of(known.rows)
            raise no_text_embeddings(kinds, as_of=as_of) if by == "meaning" else no_words_found(as_of, question[:60])
        if is_asked and by == "both" and not has_word.any() and not self._words.can_ask(question, known.rows):
            raise UsageError(
                f"{question[:60]!r} has no word to search by, such as a name or a subject: add one, or ask by its "
                "meaning alone (--by meaning)"
            )
        ask = asked_direction(question) if is_asked else None
        found = self._first_distinct(scored, k if ask is None else k + N_RESORTED)
        hits = self._with_passages(found, question, vectors, known.rows, by)
        if ask is not None:
            hits = _resorted(hits, ask, float(scored["score"].std()))[:k]
        best_rank = float(scored["rank"].max()) if is_asked else None
        return TextSearchReport(as_of, model_id or None, n_compared, hits, by, n_without, best_rank)

    def _score(
        self, question: str, vectors: QuestionVectors, known: KnownWanted, by: By, *, is_asked: bool
    ) -> NDArray[Any]:
        """Return each text wanted with its scores; NaN stands for one that it does not have."""
        scored = np.empty(len(known.rows), _RANKED)
        for name in ("kind", "day", "text_id"):
            scored[name] = known.rows[name]
        if is_asked:
            scored["words"], scored["rank"] = self._words.ranked(question, known.rows)
        else:
            scored["words"], scored["rank"] = self._words.of(question, known.rows), np.nan
        if by == "meaning":
            scored["words"] = np.nan
        scored["similarity"] = self._meaning.of(vectors, known.rows, known.as_of)
        scored = np.compress(known.is_wanted, scored)
        if by == "both":
            scored["score"] = standardised(scored["words"]) + _standardised_of_models(scored, vectors)
        elif by == "words":
            scored["score"] = scored["words"]
        else:
            n_models = len({model_id for model_id, _ in vectors.values()})
            scored["score"] = _standardised_of_models(scored, vectors) if n_models > 1 else scored["similarity"]
        return scored

    def _with_passages(
        self, hits: Sequence[TextHit], question: str, vectors: QuestionVectors, known: KnownTexts, by: By
    ) -> tuple[TextHit, ...]:
        places = [positions_of(hit.text.source_type, np.array([hit.text.source_id]), known)[0][0] for hit in hits]
        found = [(hit.text, int(known["configuration"][at])) for hit, at in zip(hits, places, strict=True)]
        passages = self._passages.of(found, question, vectors, ranks_words=by == "both")
        return tuple(replace(hit, passage=passage) for hit, passage in zip(hits, passages, strict=True))

    def _first_distinct(self, scored: NDArray[Any], k: int) -> list[TextHit]:
        """Return the `k` best hits, each with the near-copies among the texts compared up to the page of the last."""
        stories = Stories()
        found: list[tuple[DatedText, list[float]]] = []
        for rows in best_first(scored["score"], scored["day"], scored["text_id"], max(2 * k, _MIN_PAGE)):
            page = scored[rows]
            texts = {
                (kind, text.source_id): text
                for kind in _KINDS.values()
                if kind in page["kind"]
                for text in self._texts.load_dated(kind, page["text_id"][page["kind"] == kind].tolist())
            }
            for kind, _, text_id, *scores in page.tolist():
                text = texts.get((kind, text_id))
                if text is not None and stories.add(text, may_open=len(found) < k):
                    found.append((text, scores))
            if len(found) == k:
                break
        return [hit_of(*each, n_copies) for each, n_copies in zip(found, stories.n_copies, strict=True)]


def tell_once(texts: Iterable[DatedText]) -> tuple[ToldText, ...]:
    """Return texts in their order, near-copies counted with the first of them."""
    stories = Stories()
    first = [text for text in texts if stories.add(text)]
    return tuple(map(ToldText, first, stories.n_copies))


def _standardised_of_models(scored: NDArray[Any], vectors: QuestionVectors) -> Float64Vector:
    """Return the cosines in standard deviations from the mean of each model: two models' cosines are not compared."""
    models = list(dict.fromkeys(model_id for model_id, _ in vectors.values()))
    if len(models) < 2:
        return standardised(scored["similarity"])
    groups = np.full(len(scored), -1)
    for kind, (model_id, _) in vectors.items():
        groups[scored["kind"] == kind] = models.index(model_id)
    return standardised_by(groups, scored["similarity"])


def hit_of(text: DatedText, scores: Sequence[float], n_copies: int = 0) -> TextHit:
    """Return a text with its scores: by what it is ranked, words, similarity and rank; NaN for one it does not have."""
    score, words, similarity, rank = (None if np.isnan(each) else each for each in scores)
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
