"""What an embedding model must offer; anything of that shape will do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from prometheus.arrays import Float32Cube, Float32Matrix, Float32Vector

if TYPE_CHECKING:
    from prometheus.encoders.joint import JointExample
    from prometheus.encoders.text_documents import TextDoc, TextEncoding


class NumericEmbeddingModel(Protocol):
    """Turns windows into vectors; the same window gives the same bytes, alone or among others."""

    def encode(self, window: Float32Matrix) -> Float32Vector:
        """Return the vector of one window of shape (window_days, n_features), float32."""


@runtime_checkable
class BatchNumericEmbeddingModel(NumericEmbeddingModel, Protocol):
    """A model that also takes many windows at once, which is much faster."""

    def encode_batch(self, windows: Float32Cube) -> Float32Matrix:
        """Return one vector per window, shape (n_windows, dim)."""


class JointEmbeddingModel(Protocol):
    """Joins the numeric and the text embedding of a date into one vector."""

    def embed_batch(self, examples: Sequence[JointExample]) -> Float32Matrix:
        """Return one vector per example, shape (n, dim)."""


class TextEmbeddingModel(Protocol):
    """Turns texts into vectors; the same text gives the same bytes, alone or among others."""

    def embed_batch(self, docs: Sequence[TextDoc]) -> Float32Matrix:
        """Return one vector per text, shape (n, dim)."""


@runtime_checkable
class ChunkingTextEmbeddingModel(TextEmbeddingModel, Protocol):
    """A model that reads long texts in pieces, and says in how many."""

    def encode(self, docs: Sequence[TextDoc]) -> TextEncoding:
        """Return one vector per text with its number of chunks and its flags."""
