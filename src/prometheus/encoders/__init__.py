"""From windows and texts to vectors of a named model."""

from importlib import import_module
from typing import TYPE_CHECKING

from prometheus.encoders.numeric import EmbeddingBatch, NumericEmbeddingStore, NumericWindowEncoder
from prometheus.encoders.protocols import JointEmbeddingModel, NumericEmbeddingModel, TextEmbeddingModel
from prometheus.encoders.windows import NumericWindowBuilder, NumericWindowSpec, WindowBatch, WindowBuild

if TYPE_CHECKING:
    from prometheus.encoders.joint import JointEmbeddingService, JointEmbeddingStore, JointExample
    from prometheus.encoders.text import TextDoc, TextEmbeddingService, TextEmbeddingStore

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

# numeric commands are started often and need neither
_LATER = {
    "JointEmbeddingService": "joint",
    "JointEmbeddingStore": "joint",
    "JointExample": "joint",
    "TextDoc": "text",
    "TextEmbeddingService": "text",
    "TextEmbeddingStore": "text",
}


def __getattr__(name: str) -> object:
    """Import the module of a name when it is first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
