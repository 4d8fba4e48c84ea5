"""What an embedding model must offer; anything of that shape will do."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from prometheus.arrays import Float32Cube, Float32Matrix, Float32Vector


class NumericEmbeddingModel(Protocol):
    """Turns windows into vectors; the same window gives the same bytes, alone or among others."""

    def encode(self, window: Float32Matrix) -> Float32Vector:
        """Return the vector of one window of shape (window_days, n_features), float32."""


@runtime_checkable
class BatchNumericEmbeddingModel(NumericEmbeddingModel, Protocol):
    """A model that also takes many windows at once, which is much faster."""

    def encode_batch(self, windows: Float32Cube) -> Float32Matrix:
        """Return one vector per window, shape (n_windows, dim)."""
