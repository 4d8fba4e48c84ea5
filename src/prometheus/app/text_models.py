"""Which text models have vectors, and the models themselves, opened to ask with."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from prometheus.app.databases import DatabaseManager
from prometheus.arrays import Float32Vector
from prometheus.data.models import ModelRegistry
from prometheus.data.vectors.texts import TextEmbeddingStore
from prometheus.encoders.identity import model_config
from prometheus.encoders.texts.documents import TextDoc, TextSourceType
from prometheus.encoders.texts.service import KIND
from prometheus.errors import NoTextEmbeddingsError, UnnamedTextModelError
from prometheus.protocols import TextEmbeddingModel

ONNX_FAMILIES = ("sentence-onnx", "sentence-bert")


class TextModels:
    """The text models of a historical database.

    Parameters
    ----------
    db_manager
        The databases.
    """

    def __init__(self, db_manager: DatabaseManager) -> None:
        self._db = db_manager
        self._registry = ModelRegistry(db_manager)
        self._store = TextEmbeddingStore(db_manager=db_manager)
        self._opened: dict[tuple[str, str], TextEmbeddingModel] = {}
        self._lock = threading.Lock()

    def only_one(self, kinds: Sequence[TextSourceType]) -> str:
        """Return the one model that has vectors of these kinds of text.

        Raises
        ------
        NoTextEmbeddingsError, UnnamedTextModelError
            There is none, or there are several: their vectors are not compared with each other.
        """
        registered = self._registry.ids_of_kind(KIND)
        found = sorted({each for kind in kinds for each in self._store.model_ids(kind, registered)})
        if not found:
            raise NoTextEmbeddingsError(kinds)
        if len(found) > 1:
            raise UnnamedTextModelError(kinds, found)
        return found[0]

    def encode(self, text: str, model_id: str, hf_model_name: str) -> Float32Vector:
        """Return a model's vector of a text, shape (dim,).

        Raises
        ------
        ModelFingerprintError
            `hf_model_name` is not the model that `model_id` names.
        InputRefusedError, RetryableError, MissingExtraError
            There is no such model, or it cannot be run.
        """
        with self._lock:
            model = self._opened.get((model_id, hf_model_name))
            if model is None:
                model = self._opened[model_id, hf_model_name] = self._open(model_id, hf_model_name)
            vector: Float32Vector = model.embed_batch([TextDoc("QUERY", "0", text)])[0]
            return vector

    def _open(self, model_id: str, hf_model_name: str) -> TextEmbeddingModel:
        config = self._registry.load_config(model_id)
        if config is None or model_id not in self._registry.ids_of_kind(KIND):
            raise NoTextEmbeddingsError([], model_id)
        long_text = str(config.get("long_text", "mean"))
        model: TextEmbeddingModel
        if config.get("family") in ONNX_FAMILIES:
            from prometheus.encoders.texts.onnx_model import open_text_model  # noqa: PLC0415 -- slow to import

            model = open_text_model(
                hf_model_name, cache_dir=self._db.config.home / "models", long_text=long_text, threads=1
            )
        else:
            from prometheus.encoders.texts.torch_model import TorchTextEmbeddingModel  # noqa: PLC0415 -- optional

            model = TorchTextEmbeddingModel(hf_model_name, long_text=long_text)
        self._registry.require_same(model_id, KIND, model_config(model))
        return model
