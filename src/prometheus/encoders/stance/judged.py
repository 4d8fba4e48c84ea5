"""What a head is worth: each block of years judged by a head that was fitted on the other years."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from prometheus.arrays import Float32Matrix, Float64Matrix, Float64Vector, Int64Vector
from prometheus.encoders.stance.head import N_FOLDS, StanceFit, fit_heads, text_digest
from prometheus.encoders.stance.labels import STANCES, LabelledSentences
from prometheus.encoders.stance.softmax import fit_temperature, tempered
from prometheus.errors import InputRefusedError

N_BINS = 10
LEAST_OF_A_BANK = 50
"""Figures of fewer sentences are not told for each bank."""


@dataclass(frozen=True, slots=True)
class StanceFigures:
    """Figures of out-of-fold predictions.

    `f1` and `f1_sure` are the unweighted means over the stances, of all sentences and of the surer half;
    `calibration_error` is the expected calibration error of the likeliest stance in `N_BINS` bins of equal width;
    `coverage` is the share of sentences at least as sure as `sureness`, `f1_covered` their F1, None without any.
    `shares` are those of the labels.
    """

    f1: float
    f1_sure: float
    calibration_error: float
    sureness: float
    coverage: float
    f1_covered: float | None
    shares: dict[str, float]
    folds: tuple[str, ...]
    by_bank: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "folds": list(self.folds)}


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Calibrated out-of-fold probabilities, shape (n, 3), the folds, shape (n,), and what is fitted on them."""

    probabilities: Float64Matrix
    folds: Int64Vector
    temperature: float
    figures: StanceFigures


def folds_of(sentences: LabelledSentences) -> tuple[Int64Vector, tuple[str, ...]]:
    """Return the fold of each sentence, shape (n,), and the folds in words: blocks of whole years, about equal.

    Where some sentence has no date, or the dates are of fewer years than folds, a hash of the text decides.
    """
    years = sentences.days.astype("M8[Y]").astype(np.int64) + 1970
    distinct = np.unique(years) if sentences.are_dated else np.empty(0, np.int64)
    if len(distinct) < N_FOLDS:
        folds = np.array([text_digest(text) % N_FOLDS for text in sentences.texts], dtype=np.int64)
        return folds, (f"{N_FOLDS} folds by a hash of the text",)
    before = np.searchsorted(np.sort(years), distinct) + np.bincount(np.searchsorted(distinct, years)) / 2.0
    of_year = np.minimum(before * N_FOLDS // len(years), N_FOLDS - 1).astype(np.int64)
    of_year = np.unique(of_year, return_inverse=True)[1]
    spans = [distinct[of_year == fold] for fold in range(int(of_year.max()) + 1)]
    return of_year[np.searchsorted(distinct, years)], tuple(f"{span[0]}-{span[-1]}" for span in spans)


def judge(
    sentences: LabelledSentences,
    vectors: Float32Matrix,
    sureness: float | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    fit: Callable[..., StanceFit] = fit_heads,
) -> Judged:
    """Return what heads say of sentences that they were not fitted on, and its figures.

    Each fold's temperature is fitted on the other folds' predictions, so its calibration error is honest. Without a
    `sureness` the median of the calibrated probabilities is taken: half of the sentences are sure.
    """
    folds, named = folds_of(sentences)
    stances, raw = sentences.stances, np.empty((len(sentences), len(STANCES)))
    numbers = np.unique(folds).tolist()
    for done, fold in enumerate(numbers):
        others = np.flatnonzero(folds != fold)
        if len(np.unique(stances[others])) < len(STANCES) or len(others) == len(folds):
            raise InputRefusedError("the years other than a block lack a stance; label sentences of more years")
        heads = fit([sentences.texts[at] for at in others], vectors[others], stances[others])
        asked = np.flatnonzero(folds == fold)
        raw[asked] = heads.probabilities([sentences.texts[at] for at in asked], vectors[asked])
        progress(done + 1, len(numbers))
    calibrated = np.empty_like(raw)
    for fold in numbers:
        is_asked = folds == fold
        calibrated[is_asked] = tempered(raw[is_asked], fit_temperature(raw[~is_asked], stances[~is_asked]))
    figures = figures_of(calibrated, stances, sureness, named, sentences.banks)
    return Judged(calibrated, folds, fit_temperature(raw, stances), figures)


def figures_of(
    probabilities: Float64Matrix, stances: Int64Vector, sureness: float | None, folds: tuple[str, ...],
    banks: tuple[str, ...],
) -> StanceFigures:  # fmt: skip
    """Return the figures of calibrated probabilities, shape (n, 3), against stances, shape (n,)."""
    sure, said = probabilities.max(axis=1), probabilities.argmax(axis=1)
    median = float(np.median(sure))
    least = math.floor(1e4 * median) / 1e4 if sureness is None else sureness
    is_covered = sure >= least
    by_bank = {}
    for bank in sorted(set(banks) - {""}):
        is_own = np.array([each == bank for each in banks])
        if is_own.sum() >= LEAST_OF_A_BANK:
            by_bank[bank] = macro_f1(said[is_own], stances[is_own])
    counts = np.bincount(stances, minlength=len(STANCES)) / len(stances)
    return StanceFigures(
        f1=macro_f1(said, stances),
        f1_sure=macro_f1(said[sure >= median], stances[sure >= median]),
        calibration_error=calibration_error(sure, said == stances),
        sureness=least,
        coverage=float(is_covered.mean()),
        f1_covered=macro_f1(said[is_covered], stances[is_covered]) if is_covered.any() else None,
        shares=dict(zip(STANCES, counts.tolist(), strict=True)),
        folds=folds,
        by_bank=by_bank,
    )


def macro_f1(said: Int64Vector, stances: Int64Vector) -> float:
    """Return the mean of the stances' F1, those that neither labels nor predictions have left out.

    Examples
    --------
    >>> macro_f1(np.array([0, 1, 1]), np.array([0, 1, 0]))
    0.6666666666666666
    """
    scores = []
    for number in range(len(STANCES)):
        n_said, n_true = int((said == number).sum()), int((stances == number).sum())
        if n_said + n_true:
            scores.append(2.0 * int(((said == number) & (stances == number)).sum()) / (n_said + n_true))
    return float(np.mean(scores))


def calibration_error(sure: Float64Vector, is_right: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    """Return the mean distance, over sentences, of a bin's mean probability from its share of right answers."""
    bins = np.minimum((sure * N_BINS).astype(np.int64), N_BINS - 1)
    error = 0.0
    for number in np.unique(bins).tolist():
        is_own = bins == number
        error += float(is_own.mean()) * abs(float(sure[is_own].mean()) - float(is_right[is_own].mean()))
    return error
