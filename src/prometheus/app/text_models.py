"""Text models: those with stored vectors, and opening them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prometheus.app.databases import DatabaseManager
from prometheus.arrays import Float32Vector
from prometheus.data.models import ModelRegistry
from prometheus.data.vectors.texts import TextEmbeddingStore
from prometheus.encoders.identity import PLUGIN, model_config
from prometheus.encoders.texts.chunks import checked_long_text
from prometheus.encoders.texts.documents import TextDoc, TextSourceType
from prometheus.encoders.texts.service import KIND
from prometheus.errors import UsageError, VectorError, no_text_embeddings, unnamed_text_model
from prometheus.plugins import is_reference
from prometheus.protocols import TextEmbeddingModel

ONNX_FAMILIES = ("sentence-onnx", "sentence-bert")
MEAN = "mean"


class TextModels:
    """The text models of a historical database."""

    def __init__(self, db_manager: DatabaseManager) -> None:
        self._db = db_manager
        self._registry = ModelRegistry(db_manager)
        self._store = TextEmbeddingStore(db_manager=db_manager)
        self._opened: dict[tuple[str, str], TextEmbeddingModel] = {}
        self._lock = threading.Lock()

    def only_one(self, kinds: Sequence[TextSourceType]) -> str:
        """Return the one model with vectors of these kinds; NotFoundError for no such model, or several."""
        registered = self._registry.ids_of_kind(KIND)
        found = sorted({each for kind in kinds for each in self._store.model_ids(kind, registered)})
        if not found:
            raise no_text_embeddings(kinds)
        if len(found) > 1:
            raise unnamed_text_model(kinds, found)
        return found[0]

    def encode(self, text: str, model_id: str, hf_model_name: str) -> Float32Vector:
        """Return a model's vector of a text, shape (dim,).

        A user's own text model is reopened from the record of its vectors, unless `hf_model_name` names one.

        Raises
        ------
        ModelFingerprintError
            `hf_model_name` is not the model that `model_id` names.
        InputRefusedError, RetryableError, MissingExtraError, UsageError
            There is no such model, or it cannot run.
        """
        with self._lock:
            model = self._opened.get((model_id, hf_model_name))
            if model is None:
                model = self._opened[model_id, hf_model_name] = self._open(model_id, hf_model_name)
            vector: Float32Vector = model.embed_batch([TextDoc("QUERY", "0", text)])[0]
        if not np.isfinite(vector).all():
            raise VectorError(f"vector of the question by {model_id}", "some of its values are NaN or infinite")
        return vector

    def _open(self, model_id: str, hf_model_name: str) -> TextEmbeddingModel:
        config = self._registry.load_config(model_id)
        if config is None or model_id not in self._registry.ids_of_kind(KIND):
            raise no_text_embeddings([], model_id)
        recorded, is_named = config.get(PLUGIN), is_own(hf_model_name)
        model: TextEmbeddingModel
        if recorded is not None and not is_named:
            from prometheus.encoders.own import open_recorded_text_model  # noqa: PLC0415 -- rarely needed

            model = open_recorded_text_model(str(recorded))
        else:
            model = open_text_model(
                hf_model_name,
                "onnx" if is_named or config.get("family") in ONNX_FAMILIES else "torch",
                str(config.get("long_text", MEAN)),
                self._db.config.home / "models",
            )
        self._registry.require_same(model_id, KIND, model_config(model))
        return model


def is_own(name: str) -> bool:
    """Return whether a name is a text model of the user's own; a folder of that name comes first.

    UsageError if it is, and lacks a method or cannot be imported.
    """
    from prometheus.encoders.own import is_own_text_model  # noqa: PLC0415 -- the text runtime is slow to import

    return not Path(name).expanduser().is_dir() and is_own_text_model(name)


def open_text_model(name: str, runtime: str, long_text: str, cache_dir: Path, threads: int = 1) -> TextEmbeddingModel:
    """Return a text model: the user's own by entry point or ``module:Class``, else from a folder or the hub.

    Raises
    ------
    InputRefusedError, RetryableError, MissingExtraError, UsageError
        There is no such model, or it cannot run.
    """
    if runtime == "torch" and not is_reference(name):  # it has threads of its own; fewer might change the last bits
        from prometheus.encoders.texts.torch_model import TorchTextEmbeddingModel  # noqa: PLC0415 -- optional

        return TorchTextEmbeddingModel(name, long_text=long_text)
    if is_own(name):
        from prometheus.encoders.own import open_own_text_model  # noqa: PLC0415

        if long_text != MEAN:
            raise UsageError(f"text model {name}: it reads texts in its own way; leave --long-text {long_text} away")
        return open_own_text_model(name)
    from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel  # noqa: PLC0415 -- slow to import
    from prometheus.encoders.texts.sources import find_text_folder  # noqa: PLC0415 -- slow to import

    checked_long_text(long_text)
    return OnnxTextEmbeddingModel(find_text_folder(name), long_text=long_text, cache_dir=cache_dir, threads=threads)
