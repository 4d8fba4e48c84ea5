"""Scores of all texts known on a date against one question: by words, by meaning, or by their standardised sum."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import date
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from prometheus.analogs.ranking import standardised, standardised_by
from prometheus.app.text_known import KnownTexts
from prometheus.app.text_readings import QuestionVectors, readings_of
from prometheus.app.text_scores import Asked, MeaningScores, WordScores
from prometheus.arrays import Float64Vector, Int64Vector

RankedBy: TypeAlias = Literal["both", "words", "meaning"]
N_RESCORED = 300
"""Texts, and four for each hit wanted, that are compared at full length where the first look was a shorter one."""


@dataclass(frozen=True, slots=True, eq=False)
class Searched:
    """A question over the texts known on a date: what it asks, and which of the texts may be found, shape (n,).

    `mark` says what was stored when it came.
    """

    question: str
    asked: Asked
    vectors: QuestionVectors
    known: KnownTexts
    is_wanted: NDArray[np.bool_]
    as_of: date
    by: RankedBy
    mark: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The texts compared, by their `positions` among those known, and their scores, all of shape (n,); NaN for none."""

    positions: Int64Vector
    score: Float64Vector
    words: Float64Vector
    similarity: Float64Vector
    rank: Float64Vector

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, rows: NDArray[Any]) -> Scored:
        """Return those at some places, or where a mask says so."""
        return Scored(*(getattr(self, each.name)[rows] for each in fields(self)))


class Ranking:
    """Scores texts by what a question asks."""

    def __init__(self, words: WordScores, meaning: MeaningScores) -> None:
        self._words, self._meaning = words, meaning

    def score(self, searched: Searched, k: int, *, is_ranked: bool) -> Scored:
        """Return each text wanted with its scores; NaN stands for one that it does not have."""
        known, vectors, by = searched.known, searched.vectors, searched.by
        said = self._words.score(searched.asked, known, searched.mark, is_ranked=is_ranked)
        similarity, are_exact = self._meaning.of(vectors, known, searched.mark)
        words = np.full(len(known), np.nan) if by == "meaning" else said.scores
        scored = Scored(np.arange(len(known)), words, words, similarity, said.ranks)
        if not searched.is_wanted.all():
            scored = scored.take(searched.is_wanted)
        if by == "words":
            return scored
        scored = replace(scored, score=_score_of(scored, searched))
        return scored if are_exact else self._rescored(scored, searched, N_RESCORED + 4 * k)

    def _rescored(self, scored: Scored, searched: Searched, n_best: int) -> Scored:
        """Return scores with the cosines of the best texts at full length; means and deviations stay as they were."""
        best = np.argpartition(-scored.score, min(n_best, len(scored) - 1))[:n_best]
        best = best[~np.isnan(scored.similarity[best])]
        about = scored.similarity[best]
        exact = self._meaning.exact(searched.vectors, searched.known, scored.positions[best])
        similarity, score = scored.similarity.copy(), scored.score.copy()
        similarity[best] = exact
        deviations = _deviations_of(scored, searched, best)
        score[best] += np.divide(exact - about, deviations, out=np.zeros(len(best)), where=deviations > 0)
        return replace(scored, similarity=similarity, score=score)


def _score_of(scored: Scored, searched: Searched) -> Float64Vector:
    """Return what texts are ranked by, by meaning or by both."""
    if searched.by == "both":
        return standardised(scored.words) + _standardised_of_models(scored, searched)
    return scored.similarity if _is_of_one(searched) else _standardised_of_models(scored, searched)


def _standardised_of_models(scored: Scored, searched: Searched) -> Float64Vector:
    """Return the cosines in standard deviations from the mean of each model: two models' cosines are not compared."""
    if _is_of_one(searched):
        return standardised(scored.similarity)
    return standardised_by(_models_of(scored, searched), scored.similarity)


def _is_of_one(searched: Searched) -> bool:
    return len({each.model_id for each in searched.vectors}) < 2


def _models_of(scored: Scored, searched: Searched) -> Int64Vector:
    """Return the number of the model that each text is read by, shape (n,); -1 for none."""
    models = list(dict.fromkeys(each.model_id for each in searched.vectors))
    numbers = np.array([*(models.index(each.model_id) for each in searched.vectors), -1])
    return numbers[readings_of(searched.known, searched.vectors, scored.positions)]


def _deviations_of(scored: Scored, searched: Searched, rows: Int64Vector) -> Float64Vector:
    """Return the deviation that the cosine at each of some rows is divided by, their shape: 1 where it is the score."""
    found = np.ones(len(rows))
    if _is_of_one(searched):
        if searched.by == "both":
            found[:] = np.nanstd(scored.similarity)
        return found
    numbers = _models_of(scored, searched)
    for number in np.unique(numbers[rows]).tolist():
        found[numbers[rows] == number] = np.nanstd(scored.similarity[numbers == number])
    return found
