"""The numeric encoders of the first version: the window itself, and the window brought to a fixed length."""

from __future__ import annotations

from typing import Any

import numpy as np

from prometheus.arrays import FeatureCube, FeatureTable, Float32Matrix, Float32Vector
from prometheus.errors import UsageError, WindowShapeError


class FlattenNumericEmbeddingModel:
    """``numeric-simple-v1``: the window row by row, ``window_days * 3`` values."""

    @property
    def config(self) -> dict[str, Any]:
        """What decides the bytes."""
        return {"family": "flatten", "code_version": 1}

    def encode(self, window: FeatureTable) -> Float32Vector:
        """Return the vector of one window, shape (dim,).

        Examples
        --------
        >>> FlattenNumericEmbeddingModel().encode(np.array([[1, 2, 0], [3, 4, 5]], dtype=np.float32))
        array([1., 2., 0., 3., 4., 5.], dtype=float32)
        """
        if window.ndim != 2:
            raise WindowShapeError("window", window.shape, ("window_days", "n_features"))
        return self.encode_batch(window[np.newaxis]).ravel()

    def encode_batch(self, windows: FeatureCube) -> Float32Matrix:
        """Return one vector per window, shape (n_windows, window_days * n_features)."""
        n_windows, window_days, n_features = windows.shape
        return np.array(windows, dtype=np.float32, order="C").reshape(n_windows, window_days * n_features)


class PadToDimNumericEmbeddingModel(FlattenNumericEmbeddingModel):
    """``num-regime-core-v1``: the flattened window, zero-padded or truncated to `target_dim` values.

    Examples
    --------
    >>> PadToDimNumericEmbeddingModel(target_dim=4).encode(np.array([[1, 2, 0]], dtype=np.float32))
    array([1., 2., 0., 0.], dtype=float32)
    """

    def __init__(self, target_dim: int = 384) -> None:
        if target_dim < 1:
            raise UsageError(f"target_dim must be at least 1, got {target_dim}")
        self.target_dim = target_dim

    @property
    def config(self) -> dict[str, Any]:
        """What decides the bytes."""
        return {"family": "flatten-pad", "code_version": 1, "target_dim": self.target_dim}

    def encode_batch(self, windows: FeatureCube) -> Float32Matrix:
        """Return one vector per window, shape (n_windows, target_dim)."""
        n_windows, window_days, n_features = windows.shape
        n_kept = min(window_days * n_features, self.target_dim)
        vectors = np.zeros((n_windows, self.target_dim), dtype=np.float32)
        vectors[:, :n_kept] = windows.reshape(n_windows, window_days * n_features)[:, :n_kept]
        return vectors
