"""From windows and texts to vectors of a named model."""

from prometheus.encoders.joint import JointEmbeddingService, JointEmbeddingStore, JointExample
from prometheus.encoders.numeric import EmbeddingBatch, NumericEmbeddingStore, NumericWindowEncoder
from prometheus.encoders.protocols import JointEmbeddingModel, NumericEmbeddingModel, TextEmbeddingModel
from prometheus.encoders.text import TextDoc, TextEmbeddingService, TextEmbeddingStore
from prometheus.encoders.windows import NumericWindowBuilder, NumericWindowSpec, WindowBatch, WindowBuild

__all__ = [
    "EmbeddingBatch",
    "JointEmbeddingModel",
    "JointEmbeddingService",
    "JointEmbeddingStore",
    "JointExample",
    "NumericEmbeddingModel",
    "NumericEmbeddingStore",
    "NumericWindowBuilder",
    "NumericWindowEncoder",
    "NumericWindowSpec",
    "TextDoc",
    "TextEmbeddingModel",
    "TextEmbeddingService",
    "TextEmbeddingStore",
    "WindowBatch",
    "WindowBuild",
]
