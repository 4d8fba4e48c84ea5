"""From windows and texts to vectors of a named model."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus.data.vectors.joint import JointEmbeddingStore
    from prometheus.data.vectors.numeric import NumericEmbeddingStore
    from prometheus.data.vectors.texts import TextEmbeddingStore
    from prometheus.encoders.joint.examples import JointEmbeddingService, JointExample
    from prometheus.encoders.numeric.encoder import EmbeddingBatch, NumericWindowEncoder
    from prometheus.encoders.numeric.windows import NumericWindowBuilder, NumericWindowSpec, WindowBatch, WindowBuild
    from prometheus.encoders.texts.documents import TextDoc
    from prometheus.encoders.texts.service import TextEmbeddingService
    from prometheus.protocols import JointEmbeddingModel, NumericEmbeddingModel, TextEmbeddingModel

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

# stores bring psycopg, texts their own runtime: asking for a name imports its module, and no other
_HOMES = {
    "EmbeddingBatch": "encoders.numeric.encoder",
    "JointEmbeddingModel": "protocols",
    "JointEmbeddingService": "encoders.joint.examples",
    "JointEmbeddingStore": "data.vectors.joint",
    "JointExample": "encoders.joint.examples",
    "NumericEmbeddingModel": "protocols",
    "NumericEmbeddingStore": "data.vectors.numeric",
    "NumericWindowBuilder": "encoders.numeric.windows",
    "NumericWindowEncoder": "encoders.numeric.encoder",
    "NumericWindowSpec": "encoders.numeric.windows",
    "TextDoc": "encoders.texts.documents",
    "TextEmbeddingModel": "protocols",
    "TextEmbeddingService": "encoders.texts.service",
    "TextEmbeddingStore": "data.vectors.texts",
    "WindowBatch": "encoders.numeric.windows",
    "WindowBuild": "encoders.numeric.windows",
}


def __getattr__(name: str) -> object:
    """Import the module of a name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"prometheus.{_HOMES[name]}"), name)
