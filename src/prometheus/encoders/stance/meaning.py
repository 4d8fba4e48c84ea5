"""A head on vectors: logistic regression on their nearness to some of the labelled sentences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prometheus.arrays import Float32Matrix, Float64Matrix, Int64Vector
from prometheus.encoders.stance.softmax import DenseRows, SoftmaxWeights, fit_softmax

MOST_LANDMARKS = 800
SHARPNESS = 1.0
"""Nearness is exp(-SHARPNESS * |difference|²) of vectors of unit length."""
LOOSENESS = 3.0
_LEAST_VARIANCE = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class MeaningHead:
    """`landmarks`, shape (m, dim), are vectors of labelled sentences; `weights` say what nearness to each tells."""

    landmarks: Float32Matrix
    weights: SoftmaxWeights

    def log_odds(self, vectors: Float32Matrix) -> Float64Matrix:
        """Return log odds, shape (n, k); the bits of a row do not depend on how many are asked at once."""
        near = nearness(vectors, self.landmarks)
        products = np.einsum("nm,mk->nk", near, self.weights.weights, optimize=False)
        return np.asarray(products + self.weights.intercepts, dtype=np.float64)


def nearness(vectors: Float32Matrix, landmarks: Float32Matrix) -> Float64Matrix:
    """Return the nearness of unit vectors, shape (n, dim), to landmarks, shape (m, dim): shape (n, m).

    Without BLAS, whose sums depend on how many rows there are.
    """
    products = np.einsum("nd,md->nm", vectors, landmarks, dtype=np.float64, optimize=False)
    return np.asarray(np.exp(2.0 * SHARPNESS * (products - 1.0)))


def fit_meaning(vectors: Float32Matrix, classes: Int64Vector, n_classes: int) -> MeaningHead:
    """Return a head fitted on vectors, shape (n, dim), and their classes, shape (n,).

    The kernel is approximated by landmarks, sentences at even distances (Williams and Seeger, Using the Nyström Method
    to Speed Up Kernel Machines, 2001).
    """
    chosen = np.linspace(0, len(vectors) - 1, min(MOST_LANDMARKS, len(vectors))).astype(np.int64)
    landmarks = np.ascontiguousarray(vectors[chosen])
    variances, directions = np.linalg.eigh(_near(landmarks, landmarks))
    is_kept = variances > _LEAST_VARIANCE * variances.max()
    to_features = directions[:, is_kept] / np.sqrt(variances[is_kept])
    found = fit_softmax(DenseRows(_near(vectors, landmarks) @ to_features), classes, n_classes, LOOSENESS)
    return MeaningHead(landmarks, SoftmaxWeights(to_features @ found.weights, found.intercepts))


def _near(vectors: Float32Matrix, landmarks: Float32Matrix) -> Float64Matrix:
    """Return what `nearness` does, by BLAS: a fit happens once."""
    products = vectors.astype(np.float64) @ landmarks.astype(np.float64).T
    return np.asarray(np.exp(2.0 * SHARPNESS * (products - 1.0)))
