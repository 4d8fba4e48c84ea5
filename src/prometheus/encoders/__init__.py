"""From windows and texts to vectors of a named model."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus.data.vectors.joint import JointEmbeddingStore as JointEmbeddingStore
    from prometheus.data.vectors.numeric import NumericEmbeddingStore as NumericEmbeddingStore
    from prometheus.data.vectors.texts import TextEmbeddingStore as TextEmbeddingStore
    from prometheus.encoders.joint.examples import JointEmbeddingService as JointEmbeddingService
    from prometheus.encoders.joint.examples import JointExample as JointExample
    from prometheus.encoders.numeric.encoder import EmbeddingBatch as EmbeddingBatch
    from prometheus.encoders.numeric.encoder import NumericWindowEncoder as NumericWindowEncoder
    from prometheus.encoders.numeric.windows import NumericWindowBuilder as NumericWindowBuilder
    from prometheus.encoders.numeric.windows import NumericWindowSpec as NumericWindowSpec
    from prometheus.encoders.numeric.windows import WindowBatch as WindowBatch
    from prometheus.encoders.numeric.windows import WindowBuild as WindowBuild
    from prometheus.encoders.texts.documents import TextDoc as TextDoc
    from prometheus.encoders.texts.service import TextEmbeddingService as TextEmbeddingService
    from prometheus.protocols import JointEmbeddingModel as JointEmbeddingModel
    from prometheus.protocols import NumericEmbeddingModel as NumericEmbeddingModel
    from prometheus.protocols import TextEmbeddingModel as TextEmbeddingModel

# stores bring psycopg, texts their own runtime: asking for a name imports its module, and no other
_NAMES = {
    "data.vectors.joint": ("JointEmbeddingStore",),
    "data.vectors.numeric": ("NumericEmbeddingStore",),
    "data.vectors.texts": ("TextEmbeddingStore",),
    "encoders.joint.examples": ("JointEmbeddingService", "JointExample"),
    "encoders.numeric.encoder": ("EmbeddingBatch", "NumericWindowEncoder"),
    "encoders.numeric.windows": ("NumericWindowBuilder", "NumericWindowSpec", "WindowBatch", "WindowBuild"),
    "encoders.texts.documents": ("TextDoc",),
    "encoders.texts.service": ("TextEmbeddingService",),
    "protocols": ("JointEmbeddingModel", "NumericEmbeddingModel", "TextEmbeddingModel"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"prometheus.{_HOMES[name]}"), name)
