"""What an embedding model must offer; anything of that shape will do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from prometheus.arrays import FeatureCube, FeatureTable, Float32Matrix, Float32Vector, Int64Vector
from prometheus.encoders.features import CLOSE_VOLUME, FeatureSet

if TYPE_CHECKING:
    from prometheus.encoders.joint import JointExample
    from prometheus.encoders.text_documents import TextDoc, TextEncoding


class NumericEmbeddingModel(Protocol):
    """Turns windows into vectors; the same window gives the same bytes, alone or among others."""

    def encode(self, window: FeatureTable) -> Float32Vector:
        """Return the vector of one window of shape (window_days, n_features)."""


@runtime_checkable
class BatchNumericEmbeddingModel(NumericEmbeddingModel, Protocol):
    """A model that also takes many windows at once, which is much faster."""

    def encode_batch(self, windows: FeatureCube) -> Float32Matrix:
        """Return one vector per window, shape (n_windows, dim)."""


@runtime_checkable
class TableNumericEmbeddingModel(NumericEmbeddingModel, Protocol):
    """A model that reads windows where they lie in a shared table, without copying each one out."""

    feature_set: FeatureSet

    def encode_table(self, features: FeatureTable, ends: Int64Vector, window_days: int) -> Float32Matrix:
        """Return the vector of each window, shape (n_windows, dim).

        `features` has shape (n_rows, n_features); a window is the `window_days` rows before its end.
        """


def feature_set_of(model: NumericEmbeddingModel) -> FeatureSet:
    """Return what the model's windows say of each session: close, volume and log return unless it states otherwise."""
    feature_set: FeatureSet = getattr(model, "feature_set", CLOSE_VOLUME)
    return feature_set


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
