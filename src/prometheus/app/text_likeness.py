"""Texts like those of a day: of each its nearest earlier text, and what was said nearest to them on other days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from prometheus.app.caches import Cache
from prometheus.app.text_known import KnownTexts
from prometheus.app.text_ranking import Searched
from prometheus.app.text_readings import QuestionVectors, Reading
from prometheus.app.text_search import SearchTexts, TextHit, TextSearchReport, ToldText, hit_of
from prometheus.app.wiring import Wiring
from prometheus.arrays import Float64Vector, Int64Vector
from prometheus.data.text_reader import DatedText
from prometheus.data.vectors.texts import TextEmbeddingStore
from prometheus.encoders.texts.documents import TextSourceType
from prometheus.errors import NotFoundError, no_texts

N_PAIRED = 40
"""Earlier texts, spread over them, whose pairs with all texts before each say how near two texts are."""
MOST_PAIRS = 0.3
"""Where more of these pairs are as near as a text and its nearest, nothing is close (docs/how-to/page.md)."""
_GRID = np.linspace(0.0, 1.0, 1_001)
SAID_WITHIN = timedelta(days=6)
"""Before a day: what was said then is of the week that ends with it."""


@dataclass(frozen=True, slots=True)
class LikeText:
    """A text of a day and the earlier text nearest to it; None where none has a word or a vector to compare.

    `nearer_pairs` is the share of pairs of earlier texts that are as near or nearer, by cosine, in [0, 1]; None where
    one of the two has no vector.
    """

    told: ToldText
    hit: TextHit | None
    nearer_pairs: float | None = None

    @property
    def is_nothing_close(self) -> bool:
        """Whether many pairs of earlier texts are as near."""
        return self.nearer_pairs is not None and self.nearer_pairs > MOST_PAIRS


@dataclass(frozen=True, slots=True)
class SaidThen:
    """What was said in the week up to a day that is nearest to one of some texts, `like`."""

    day: date
    hit: TextHit
    like: DatedText


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """One text of a day as a question: as the models that have its vector read it; without one, by its words."""

    told: ToldText
    vectors: QuestionVectors


@dataclass(frozen=True, slots=True, eq=False)
class _Earlier:
    """The texts known on a date, shape (n,), and which of them are earlier than a text; `mark` says what was stored."""

    known: KnownTexts
    is_wanted: NDArray[np.bool_]
    as_of: date
    mark: tuple[str, ...]


class LikeTexts(SearchTexts):
    """Searches of texts, and what texts of a day are like; all are answered on one reading of the known texts."""

    def __init__(self, wired: Wiring) -> None:
        super().__init__(wired)
        self._store = TextEmbeddingStore(db_manager=wired.db_manager)
        self._kept_pairs: Cache[Float64Vector] = Cache(8)

    def like_texts(self, texts: Sequence[ToldText], as_of: date, k: int = 1) -> list[TextSearchReport | None]:
        """Return for each text of one kind and day the `k` earlier ones most like it, by words and meaning.

        Only texts dated before them and known on `as_of` count. A text without a stored vector is compared by its
        words; None where no earlier text has one of them. NotFoundError if no text is earlier.
        """
        if not texts:
            return []
        earlier = self._earlier(texts[0].text, as_of)
        return [self._like(each, earlier, k) for each in self._asked(texts, earlier)]

    def like_day(self, texts: Sequence[ToldText], as_of: date) -> list[LikeText]:
        """Return the nearest earlier text of each text of one kind and day, and what its nearness means."""
        if not texts:
            return []
        hits = [report.hits[0] if report else None for report in self.like_texts(texts, as_of)]
        earlier = self._earlier(texts[0].text, as_of)
        pairs = self._pairs(self._asked(texts, earlier), earlier)
        return [LikeText(told, hit, _nearer(hit, pairs)) for told, hit in zip(texts, hits, strict=True)]

    def said_then(self, texts: Sequence[ToldText], as_of: date, days: Sequence[date]) -> list[SaidThen]:
        """Return for each day the text of its last week nearest to one of the texts; days without a text have none."""
        if not texts or not days:
            return []
        earlier = self._earlier(texts[0].text, as_of)
        said = earlier.known.days
        ends = np.array(sorted(days), dtype="M8[D]")
        after = np.searchsorted(ends, said)
        # the first of the days that a text is not later than; a gap between the days keeps their weeks apart
        of_day = ends[np.minimum(after, len(ends) - 1)]
        is_then = earlier.is_wanted & (after < len(ends)) & (of_day - said <= np.timedelta64(SAID_WITHIN))
        if not is_then.any():
            return []
        then, asked = replace(earlier, is_wanted=is_then), self._asked(texts, earlier)
        searches = [self._searched(each, then) for each in asked]
        rows = [self._ranking.score(each, 1, is_ranked=False) for each in searches]
        scores, groups = np.stack([each.score for each in rows]), of_day[is_then]
        found = []
        for day in np.unique(groups):
            members = np.flatnonzero(groups == day)
            which, best = np.unravel_index(int(scores[:, members].argmax()), (len(rows), len(members)))
            row, question = int(members[best]), asked[which].told.text
            at = int(rows[which].positions[row])
            for text in self._texts.load_dated(question.source_type, [int(then.known.text_ids[at])]):
                (shown,) = self._with_passages([(at, hit_of(text, rows[which], row))], searches[which])
                found.append(SaidThen(day.item(), shown, question))
        return found

    def _earlier(self, text: DatedText, as_of: date) -> _Earlier:
        """Return the texts of a text's kind known on a date, and which of them are dated before it."""
        mark = self._visible_state()
        known = self._words.known([text.source_type], as_of, mark)
        is_earlier = known.days < np.datetime64(text.timestamp.date(), "D")
        if not is_earlier.any():
            raise no_texts(text.source_type, text.timestamp.date() - timedelta(days=1))
        return _Earlier(known, is_earlier, as_of, mark)

    def _asked(self, texts: Sequence[ToldText], earlier: _Earlier) -> list[_Asked]:
        kind: TextSourceType = texts[0].text.source_type
        names = [str(told.text.source_id) for told in texts]
        vectors: list[list[Reading]] = [[] for _ in texts]
        for model_id, group in self._models.readers(kind, earlier.as_of, mark=earlier.mark):
            stored = self._store.load_many(kind, names, model_id)
            for name, readings in zip(names, vectors, strict=True):
                if name in stored:
                    readings.append(Reading(kind, model_id, group, stored[name].vector))
        return [_Asked(*each) for each in zip(texts, vectors, strict=True)]

    def _searched(self, asked: _Asked, earlier: _Earlier) -> Searched:
        question, known = asked.told.text.text, earlier.known
        stems = self._words.asked(question, known)
        return Searched(question, stems, asked.vectors, known, earlier.is_wanted, earlier.as_of, "both", earlier.mark)

    def _like(self, asked: _Asked, earlier: _Earlier, k: int) -> TextSearchReport | None:
        try:
            return self._ranked(self._searched(asked, earlier), k, is_asked=False)
        except NotFoundError:  # no earlier text has a word of it
            return None

    def _pairs(self, asked: Sequence[_Asked], earlier: _Earlier) -> Float64Vector:
        """Return the quantiles of the cosines of pairs of texts dated before those of a day; none without vectors."""
        with_vector = [each for each in asked if len(each.vectors) == 1]  # cosines of two models are not compared
        if not with_vector:
            return np.empty(0)
        text = with_vector[0].told.text
        key = earlier.mark, text.source_type, text.timestamp.date(), earlier.as_of
        return self._kept_pairs.get(key, lambda: self._measure_pairs(with_vector[0].vectors, earlier))

    def _measure_pairs(self, vectors: QuestionVectors, earlier: _Earlier) -> Float64Vector:
        (reading,) = vectors
        known, mark = earlier.known, earlier.mark
        has_vector = ~np.isnan(self._meaning.of(vectors, known, mark)[0])
        places: Int64Vector = np.flatnonzero(earlier.is_wanted & has_vector)
        drawn = places[np.unique(np.linspace(0, len(places) - 1, min(len(places), N_PAIRED)).round().astype(np.int64))]
        names = [str(each) for each in known.text_ids[drawn].tolist()]
        stored = self._store.load_many(reading.kind, names, reading.model_id)
        nearness = [
            self._meaning.of([replace(reading, vector=stored[name].vector)], known, mark)[0][
                places[known.days[places] < known.days[at]]
            ]
            for at, name in zip(drawn.tolist(), names, strict=True)
        ]
        pairs = np.concatenate(nearness) if nearness else np.empty(0)
        return np.quantile(pairs, _GRID) if len(pairs) else pairs


def _nearer(hit: TextHit | None, pairs: Float64Vector) -> float | None:
    if hit is None or hit.similarity is None or not len(pairs):
        return None
    return 1.0 - float(np.searchsorted(pairs, hit.similarity)) / len(pairs)
