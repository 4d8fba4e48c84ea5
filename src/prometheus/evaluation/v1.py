"""``num-regime-core-v1`` as it is used today: raw windows against the prototypes of calm and of wild sessions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from prometheus.arrays import Float32Matrix, Float64Vector
from prometheus.encoders.numeric.simple import PadToDimNumericEmbeddingModel
from prometheus.errors import InputRefusedError
from prometheus.evaluation.calibration import Recalibration, high_outcomes, recalibrated
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import DEFAULT_SPAN, Verdicts
from prometheus.evaluation.rules import log_realized_volatility
from prometheus.regime.decoding import euclidean_distances

WINDOW_DAYS = 63
N_CALM = 252
N_WILD = 42


@dataclass(frozen=True, slots=True)
class V1Labeller:
    """The nearest of two prototypes, the mean vectors of the calmest 252 and the wildest 42 sessions of the past."""

    name: str = "num-regime-core-v1"
    span: int = DEFAULT_SPAN

    def fit(self, history: MarketHistory, threshold: float) -> FittedV1:
        """Average the vectors of the sessions of least and of most 21-day volatility on the fit span.

        Raises
        ------
        InputRefusedError
            There are fewer windows than the two prototypes need.
        """
        n_last = min(self.span, len(history) - WINDOW_DAYS + 1)
        if n_last < N_CALM + N_WILD:
            raise InputRefusedError(
                f"{history.instrument_id}: {len(history)} sessions are too few for prototypes of "
                f"{N_CALM} calm and {N_WILD} wild windows of {WINDOW_DAYS}"
            )
        order = np.argsort(log_realized_volatility(history, n_last), kind="stable")
        vectors = v1_vectors(history, n_last)
        centers = np.stack([
            vectors[rows].astype(np.float64).mean(axis=0).astype(np.float32)
            for rows in (order[:N_CALM], order[-N_WILD:])
        ])  # fmt: skip
        scores = _excess_distance(vectors, centers)
        return FittedV1(centers, recalibrated(scores, high_outcomes(history.last(n_last), threshold)))


@dataclass(frozen=True, slots=True, eq=False)
class FittedV1:
    """Frozen prototypes, shape (2, 384), calm first, and probabilities."""

    centers: Float32Matrix
    recalibration: Recalibration

    def verdicts(self, history: MarketHistory, n_last: int) -> Verdicts:
        """Return verdicts about the last `n_last` sessions; the score is how much farther the calm prototype is."""
        scores = _excess_distance(v1_vectors(history, n_last), self.centers)
        return Verdicts(scores > 0.0, scores, self.recalibration.probabilities(scores))


def v1_vectors(history: MarketHistory, n_last: int) -> Float32Matrix:
    """Return the vectors of the windows that end at the last `n_last` sessions, shape (n_last, 384).

    A window holds close, volume and log return of 63 sessions; unknown volumes are zero.
    """
    n_rows = n_last + WINDOW_DAYS - 1
    seen = history.last(n_rows)
    volumes = np.zeros(len(seen)) if seen.volumes is None else np.nan_to_num(seen.volumes)
    table = np.column_stack([seen.closes, volumes, history.log_returns[-n_rows:]]).astype(np.float32)
    windows = np.ascontiguousarray(sliding_window_view(table, WINDOW_DAYS, axis=0).transpose(0, 2, 1))
    return PadToDimNumericEmbeddingModel().encode_batch(windows)


def _excess_distance(vectors: Float32Matrix, centers: Float32Matrix) -> Float64Vector:
    distances = euclidean_distances(vectors, centers)
    excess: Float64Vector = distances[:, 0] - distances[:, 1]
    return excess
