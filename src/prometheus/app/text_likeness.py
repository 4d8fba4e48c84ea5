"""Texts like those of a day: of each its nearest earlier text, and what was said nearest to them on other days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prometheus.app.caches import Cache
from prometheus.app.text_scores import KnownTexts, QuestionVectors
from prometheus.app.text_search import SCORES, KnownWanted, SearchTexts, TextHit, TextSearchReport, ToldText, hit_of
from prometheus.app.wiring import Wiring
from prometheus.arrays import Float64Vector
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
    """One text of a day as a question: its vector by kind, empty without one."""

    told: ToldText
    vectors: QuestionVectors


class LikeTexts(SearchTexts):
    """Searches of texts, and what texts of a day are like; all are answered on one reading of the known texts."""

    def __init__(self, wired: Wiring) -> None:
        super().__init__(wired)
        self._store = TextEmbeddingStore(db_manager=wired.db_manager)
        self._visible_state = wired.db_manager.visible_state
        self._kept_pairs: Cache[Float64Vector] = Cache(8)

    def like_texts(self, texts: Sequence[ToldText], as_of: date, k: int = 1) -> list[TextSearchReport | None]:
        """Return for each text of one kind and day the `k` earlier ones most like it, by words and meaning.

        Only texts dated before them and known on `as_of` count. A text without a stored vector is compared by its
        words; None where no earlier text has one of them. NotFoundError if no text is earlier.
        """
        if not texts:
            return []
        known, is_earlier = self._earlier(texts[0].text, as_of)
        return [self._like(each, known, is_earlier, as_of, k) for each in self._asked(texts, as_of)]

    def like_day(self, texts: Sequence[ToldText], as_of: date) -> list[LikeText]:
        """Return the nearest earlier text of each text of one kind and day, and what its nearness means."""
        if not texts:
            return []
        hits = [report.hits[0] if report else None for report in self.like_texts(texts, as_of)]
        pairs = self._pairs(self._asked(texts, as_of), as_of)
        return [LikeText(told, hit, _nearer(hit, pairs)) for told, hit in zip(texts, hits, strict=True)]

    def said_then(self, texts: Sequence[ToldText], as_of: date, days: Sequence[date]) -> list[SaidThen]:
        """Return for each day the text of its last week nearest to one of the texts; days without a text have none."""
        if not texts or not days:
            return []
        known, is_earlier = self._earlier(texts[0].text, as_of)
        ends = np.array(sorted(days), dtype="M8[D]")
        after = np.searchsorted(ends, known["day"])
        # the first of the days that a text is not later than; a gap between the days keeps their weeks apart
        of_day = ends[np.minimum(after, len(ends) - 1)]
        is_then = is_earlier & (after < len(ends)) & (of_day - known["day"] <= np.timedelta64(SAID_WITHIN))
        if not is_then.any():
            return []
        asked = self._asked(texts, as_of)
        rows = [self._score_of(each, known, is_then, as_of) for each in asked]
        scores, groups = np.stack([each["score"] for each in rows]), of_day[is_then]
        found = []
        for day in np.unique(groups):
            members = np.flatnonzero(groups == day)
            which, at = np.unravel_index(int(scores[:, members].argmax()), (len(rows), len(members)))
            row, question = rows[which][members[at]], asked[which]
            for text in self._texts.load_dated(question.told.text.source_type, [int(row["text_id"])]):
                hit = hit_of(text, [float(row[name]) for name in SCORES])
                (shown,) = self._with_passages([hit], question.told.text.text, question.vectors, known, "both")
                found.append(SaidThen(day.item(), shown, question.told.text))
        return found

    def _earlier(self, text: DatedText, as_of: date) -> tuple[KnownTexts, NDArray[np.bool_]]:
        """Return the texts of a text's kind known on a date, and which of them are dated before it."""
        known = self._words.known([text.source_type], as_of)
        is_earlier: NDArray[np.bool_] = known["day"] < np.datetime64(text.timestamp.date(), "D")
        if not is_earlier.any():
            raise no_texts(text.source_type, text.timestamp.date() - timedelta(days=1))
        return known, is_earlier

    def _asked(self, texts: Sequence[ToldText], as_of: date) -> list[_Asked]:
        kind: TextSourceType = texts[0].text.source_type
        model_id = self._models.newest(kind, as_of)
        if model_id is None:
            return [_Asked(told, {}) for told in texts]
        stored = self._store.load_many(kind, [str(told.text.source_id) for told in texts], model_id)
        rows = [stored.get(str(told.text.source_id)) for told in texts]
        return [
            _Asked(told, {} if row is None else {kind: (model_id, row.vector)})
            for told, row in zip(texts, rows, strict=True)
        ]

    def _like(
        self, asked: _Asked, known: KnownTexts, is_wanted: NDArray[np.bool_], as_of: date, k: int
    ) -> TextSearchReport | None:
        texts = KnownWanted(known, is_wanted, as_of)
        try:
            return self._ranked(asked.told.text.text, asked.vectors, texts, "both", k, is_asked=False)
        except NotFoundError:  # no earlier text has a word of it
            return None

    def _score_of(self, asked: _Asked, known: KnownTexts, is_wanted: NDArray[np.bool_], as_of: date) -> NDArray[Any]:
        texts = KnownWanted(known, is_wanted, as_of)
        return self._score(asked.told.text.text, asked.vectors, texts, "both", is_asked=False)

    def _pairs(self, asked: Sequence[_Asked], as_of: date) -> Float64Vector:
        """Return the quantiles of the cosines of pairs of texts dated before those of a day; none without vectors."""
        with_vector = [each for each in asked if each.vectors]
        if not with_vector:
            return np.empty(0)
        text = with_vector[0].told.text
        key = self._visible_state(), text.source_type, text.timestamp.date(), as_of
        return self._kept_pairs.get(key, lambda: self._measure_pairs(with_vector[0], as_of))

    def _measure_pairs(self, asked: _Asked, as_of: date) -> Float64Vector:
        ((kind, (model_id, _)),) = asked.vectors.items()
        known, is_earlier = self._earlier(asked.told.text, as_of)
        earlier = known[is_earlier & ~np.isnan(self._meaning.of(asked.vectors, known, as_of))]
        drawn = earlier[
            np.unique(np.linspace(0, len(earlier) - 1, min(len(earlier), N_PAIRED)).round().astype(np.int64))
        ]
        stored = self._store.load_many(kind, [str(each) for each in drawn["text_id"].tolist()], model_id)
        nearness = [
            self._meaning.of({kind: (model_id, stored[str(row["text_id"])].vector)}, earlier, as_of)[
                earlier["day"] < row["day"]
            ]
            for row in drawn
        ]
        pairs = np.concatenate(nearness) if nearness else np.empty(0)
        return np.quantile(pairs, _GRID) if len(pairs) else pairs


def _nearer(hit: TextHit | None, pairs: Float64Vector) -> float | None:
    if hit is None or hit.similarity is None or not len(pairs):
        return None
    return 1.0 - float(np.searchsorted(pairs, hit.similarity)) / len(pairs)
