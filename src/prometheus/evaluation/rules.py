"""The yardsticks that a model has to beat: rules anyone can write down, and the first version of our own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from prometheus.arrays import Float32Matrix, Float64Matrix, Float64Vector
from prometheus.encoders.models_simple_numeric import PadToDimNumericEmbeddingModel
from prometheus.errors import InputRefusedError
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import DEFAULT_SPAN, FittedScore, Labeller, Score, high_outcomes, recalibrated
from prometheus.regime.decoding import euclidean_distances

VOLATILITY_SESSIONS = 21
HALF_LIFE = 10
AVERAGE_SESSIONS = 200
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


def trailing_windows(values: Float64Vector, n_last: int, width: int) -> Float64Matrix:
    """Return the window that ends at each of the last values, one per row in memory; NaN before the first."""
    reach = values[max(len(values) - n_last - width + 1, 0) :]
    padding = np.full(max(n_last + width - 1 - len(reach), 0), np.nan)
    windows: Float64Matrix = np.ascontiguousarray(sliding_window_view(np.concatenate([padding, reach]), width))
    return windows


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
        limit = self.limit if self.quantile is None else float(np.nanquantile(scores, self.quantile))
        return FittedScore(self.score, limit, recalibrated(scores, high_outcomes(history.last(n_last), threshold)))


def rule_labellers(span: int = DEFAULT_SPAN) -> list[Labeller]:
    """Return holding, the three rules and ``num-regime-core-v1``; they need no extra."""
    return [
        ScoreRule("holding", _constant, None, span, math.inf),
        ScoreRule("21-day volatility", log_realized_volatility, 0.8, span),
        ScoreRule("EWMA volatility", log_ewma_volatility, 0.8, span),
        ScoreRule("200-day average", fall_below_average, None, span),
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
