"""From windows and texts to vectors of a named model."""

from prometheus.encoders.numeric import (
    EmbeddingBatch,
    NumericEmbeddingStore,
    NumericWindowEncoder,
)
from prometheus.encoders.protocols import NumericEmbeddingModel
from prometheus.encoders.windows import NumericWindowBuilder, NumericWindowSpec, WindowBatch, WindowBuild

__all__ = [
    "EmbeddingBatch",
    "NumericEmbeddingModel",
    "NumericEmbeddingStore",
    "NumericWindowBuilder",
    "NumericWindowEncoder",
    "NumericWindowSpec",
    "WindowBatch",
    "WindowBuild",
]
