"""The yardsticks that a model has to beat: rules anyone can write down, and the first version of our own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from prometheus.arrays import DateVector, Float32Matrix, Float64Vector
from prometheus.encoders.models_simple_numeric import PadToDimNumericEmbeddingModel
from prometheus.errors import InputRefusedError
from prometheus.evaluation.har import har_labellers, range_variances
from prometheus.evaluation.history import MarketHistory, trailing_windows
from prometheus.evaluation.jump import CausalJump
from prometheus.evaluation.labeller import (
    DEFAULT_SPAN,
    FittedScore,
    Labeller,
    Predictions,
    Recalibration,
    Score,
    high_outcomes,
    recalibrated,
)
from prometheus.regime.decoding import euclidean_distances
from prometheus.regime.market_index import newest_rows

VOLATILITY_SESSIONS = 21
HALF_LIFE = 10
AVERAGE_SESSIONS = 200
HOLDING, CEILING = "holding", "hindsight ceiling"
BAND = 0.03
"""How far a close must lie from its average, on the other side, to change what the band says."""
HINDSIGHT_SIDE = 5
"""Sessions before and after today whose volatility the ceiling knows."""
WINDOW_DAYS = 63
N_CALM = 252
N_WILD = 42
_KERNEL_HALF_LIVES = 25
_SMALLEST_VARIANCE = 1e-16
_SESSIONS_PER_YEAR = 252


def log_realized_volatility(history: MarketHistory, n_last: int) -> Float64Vector:
    """Return the log of the annualised root mean square of the last 21 log returns, shape (n_last,)."""
    windows = trailing_windows(history.log_returns, n_last, VOLATILITY_SESSIONS)
    return _log_volatility((windows * windows).sum(axis=1) / VOLATILITY_SESSIONS)


def log_ewma_volatility(history: MarketHistory, n_last: int) -> Float64Vector:
    """Return the log of the annualised exponentially weighted volatility of half-life 10, shape (n_last,)."""
    width = HALF_LIFE * _KERNEL_HALF_LIVES  # 3e-8 of the weight is left: no session depends on where the history begins
    weights = 0.5 ** (np.arange(width - 1, -1, -1) / HALF_LIFE)
    windows = trailing_windows(history.log_returns, n_last, width)
    return _log_volatility((windows * windows * (weights / weights.sum())).sum(axis=1))


def fall_below_average(history: MarketHistory, n_last: int) -> Float64Vector:
    """Return the log of the 200-session average over the close, shape (n_last,): positive below the average."""
    windows = trailing_windows(history.closes, n_last, AVERAGE_SESSIONS)
    scores: Float64Vector = np.log(windows.sum(axis=1) / AVERAGE_SESSIONS / windows[:, -1])
    return scores


def _log_volatility(variances: Float64Vector) -> Float64Vector:
    logs: Float64Vector = 0.5 * np.log(np.maximum(variances, _SMALLEST_VARIANCE) * _SESSIONS_PER_YEAR)
    return logs


def _constant(_history: MarketHistory, n_last: int) -> Float64Vector:
    return np.zeros(n_last)


@dataclass(frozen=True, slots=True)
class ScoreRule:
    """Risk-off where a score lies above `limit`, or above this quantile of the scores on the fit span."""

    name: str
    score: Score
    quantile: float | None = None
    span: int = DEFAULT_SPAN
    limit: float = 0.0

    def fit(self, history: MarketHistory, threshold: float) -> FittedScore:
        """Learn the limit and the probabilities from the last `span` sessions."""
        n_last = min(self.span, len(history))
        scores = self.score(history, n_last)
        if not np.isfinite(scores).any():
            raise InputRefusedError(f"{self.name} has no value on the {n_last} sessions up to {history.dates[-1]}")
        limit = self.limit if self.quantile is None else float(np.nanquantile(scores, self.quantile))
        return FittedScore(self.score, limit, recalibrated(scores, high_outcomes(history.last(n_last), threshold)))


@dataclass(frozen=True, slots=True)
class BandRule:
    """Risk-off below the 200-session average by `band` or more, until the close lies as far above it."""

    name: str = "200-day average, 3% band"
    band: float = BAND
    span: int = DEFAULT_SPAN

    def fit(self, history: MarketHistory, threshold: float) -> _FittedBand:
        """Learn the probabilities from the last `span` sessions, on the first of which the rule begins anew."""
        seen = history.last(self.span)
        scores = fall_below_average(history, len(seen))
        recalibration = recalibrated(scores, high_outcomes(seen, threshold))
        return _FittedBand(-math.log1p(-self.band), -math.log1p(self.band), seen.dates[0], recalibration)


@dataclass(frozen=True, slots=True)
class _FittedBand:
    enter: float
    leave: float
    first: np.datetime64
    recalibration: Recalibration

    def predictions(self, history: MarketHistory, n_last: int) -> Predictions:
        n_seen = len(history) - history.position_of(self.first)
        scores = fall_below_average(history, max(n_seen, n_last))
        crossed = np.where((scores > self.enter) | (scores < self.leave), np.arange(len(scores)), 0)
        is_risk_off = scores[np.maximum.accumulate(crossed)] > self.enter
        last = scores[-n_last:]
        return Predictions(is_risk_off[-n_last:], last, self.recalibration.probabilities(last))


def level_rule(name: str, dates: DateVector, levels: Float64Vector, span: int = DEFAULT_SPAN) -> ScoreRule:
    """Return the rule that a level, such as the VIX, lies in the top fifth of the fit span.

    `levels`, positive, were known on `dates`, ascending; on other dates the newest level of the week before counts.
    """
    return ScoreRule(name, partial(_log_level, dates, np.log(levels)), 0.8, span)


def hindsight_ceiling(history: MarketHistory, span: int = DEFAULT_SPAN) -> ScoreRule:
    """Return a labeller that cheats: the mean variance of today, the five sessions before it and the five to come.

    It shows how much better today's volatility could be known. It may see all of `history`, so no check of repaint can
    find it out.
    """
    sums = np.concatenate([[0.0], np.cumsum(range_variances(history))])
    rows = np.arange(len(history))
    begins, ends = np.maximum(rows - HINDSIGHT_SIDE, 0), np.minimum(rows + HINDSIGHT_SIDE + 1, len(history))
    variances = np.maximum((sums[ends] - sums[begins]) / (ends - begins), _SMALLEST_VARIANCE)
    return level_rule(CEILING, history.dates, np.sqrt(variances), span)


def _log_level(dates: DateVector, logs: Float64Vector, history: MarketHistory, n_last: int) -> Float64Vector:
    return np.append(logs, np.nan)[newest_rows(dates, history.dates[len(history) - n_last :])]


def rule_labellers(span: int = DEFAULT_SPAN) -> list[Labeller]:
    """Return holding, the rules, HAR, the causal jump model and ``num-regime-core-v1``; they need no extra."""
    return [
        ScoreRule(HOLDING, _constant, None, span, math.inf),
        ScoreRule("21-day volatility", log_realized_volatility, 0.8, span),
        ScoreRule("EWMA volatility", log_ewma_volatility, 0.8, span),
        ScoreRule("200-day average", fall_below_average, None, span),
        BandRule(span=span),
        *har_labellers(span),
        CausalJump(span=span),
        V1Labeller(span=span),
    ]


@dataclass(frozen=True, slots=True)
class V1Labeller:
    """``num-regime-core-v1``: the nearer of the mean raw windows of 252 calm and of 42 wild sessions."""

    name: str = "num-regime-core-v1"
    span: int = DEFAULT_SPAN

    def fit(self, history: MarketHistory, threshold: float) -> FittedScore:
        """Average the vectors of the sessions of least and of most 21-day volatility on the fit span."""
        n_last = min(self.span, len(history) - WINDOW_DAYS + 1)
        if n_last < N_CALM + N_WILD:
            raise InputRefusedError(
                f"{history.instrument_id}: {len(history)} sessions are too few for prototypes of "
                f"{N_CALM} calm and {N_WILD} wild windows of {WINDOW_DAYS}"
            )
        order = np.argsort(log_realized_volatility(history, n_last), kind="stable")
        vectors = v1_vectors(history, n_last)
        calm, wild = (vectors[rows].astype(np.float64).mean(axis=0) for rows in (order[:N_CALM], order[-N_WILD:]))
        centers = np.stack([calm, wild]).astype(np.float32)
        outcomes = high_outcomes(history.last(n_last), threshold)
        recalibration = recalibrated(_excess_distance(vectors, centers), outcomes)
        return FittedScore(partial(_v1_scores, centers), 0.0, recalibration)


def v1_vectors(history: MarketHistory, n_last: int) -> Float32Matrix:
    """Return the vectors of windows of close, volume (0 if unknown) and log return, shape (n_last, 384)."""
    n_rows = n_last + WINDOW_DAYS - 1
    seen = history.last(n_rows)
    volumes = np.zeros(len(seen)) if seen.volumes is None else np.nan_to_num(seen.volumes)
    table = np.column_stack([seen.closes, volumes, history.log_returns[-n_rows:]]).astype(np.float32)
    windows = np.ascontiguousarray(sliding_window_view(table, WINDOW_DAYS, axis=0).transpose(0, 2, 1))
    return PadToDimNumericEmbeddingModel().encode_batch(windows)


def _v1_scores(centers: Float32Matrix, history: MarketHistory, n_last: int) -> Float64Vector:
    return _excess_distance(v1_vectors(history, n_last), centers)


def _excess_distance(vectors: Float32Matrix, centers: Float32Matrix) -> Float64Vector:
    distances = euclidean_distances(vectors, centers)
    excess: Float64Vector = distances[:, 0] - distances[:, 1]
    return excess
