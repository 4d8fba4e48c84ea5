"""The encoders of the first version, under the name callers have used from the start."""

from prometheus.encoders.numeric.simple import FlattenNumericEmbeddingModel, PadToDimNumericEmbeddingModel

__all__ = ["FlattenNumericEmbeddingModel", "PadToDimNumericEmbeddingModel"]
