"""Scores of all texts known on a date against one question: by words, by meaning, or by their standardised sum."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import date
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from prometheus.analogs.ranking import standardised, standardised_by
from prometheus.app.text_known import KnownTexts
from prometheus.app.text_scores import Asked, MeaningScores, QuestionVectors, WordScores
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
        scored = replace(scored, score=_score_of(scored, known, vectors, by))
        return scored if are_exact else self._rescored(scored, searched, N_RESCORED + 4 * k)

    def _rescored(self, scored: Scored, searched: Searched, n_best: int) -> Scored:
        """Return scores with the cosines of the best texts at full length; means and deviations stay as they were."""
        best = np.argpartition(-scored.score, min(n_best, len(scored) - 1))[:n_best]
        best = best[~np.isnan(scored.similarity[best])]
        about = scored.similarity[best]
        exact = self._meaning.exact(searched.vectors, searched.known, scored.positions[best])
        similarity, score = scored.similarity.copy(), scored.score.copy()
        similarity[best] = exact
        deviations = _deviations_of(scored, searched)[best]
        score[best] += np.divide(exact - about, deviations, out=np.zeros(len(best)), where=deviations > 0)
        return replace(scored, similarity=similarity, score=score)


def _standardised_of_models(scored: Scored, known: KnownTexts, vectors: QuestionVectors) -> Float64Vector:
    """Return the cosines in standard deviations from the mean of each model: two models' cosines are not compared."""
    models = list(dict.fromkeys(model_id for model_id, _ in vectors.values()))
    if len(models) < 2:
        return standardised(scored.similarity)
    groups = np.full(len(scored), -1)
    for kind, (model_id, _) in vectors.items():
        groups[known.of_kind(kind, scored.positions)] = models.index(model_id)
    return standardised_by(groups, scored.similarity)


def _score_of(scored: Scored, known: KnownTexts, vectors: QuestionVectors, by: RankedBy) -> Float64Vector:
    """Return what texts are ranked by, by meaning or by both."""
    if by == "both":
        return standardised(scored.words) + _standardised_of_models(scored, known, vectors)
    n_models = len({model_id for model_id, _ in vectors.values()})
    return _standardised_of_models(scored, known, vectors) if n_models > 1 else scored.similarity


def _deviations_of(scored: Scored, searched: Searched) -> Float64Vector:
    """Return the deviation that the cosine of each text is divided by, shape (n,): 1 where cosines are the scores."""
    found = np.ones(len(scored))
    models = {kind: model_id for kind, (model_id, _) in searched.vectors.items()}
    if searched.by == "meaning" and len(set(models.values())) < 2:
        return found
    for model_id in set(models.values()):
        kinds = [kind for kind, own in models.items() if own == model_id]
        is_own = np.any([searched.known.of_kind(kind, scored.positions) for kind in kinds], axis=0)
        cosines = scored.similarity[is_own]
        found[is_own] = cosines[~np.isnan(cosines)].std() if np.isfinite(cosines).any() else 0.0
    return found
