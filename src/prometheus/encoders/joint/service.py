"""Joint embeddings: what the market did and what was said, in one vector per date."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from prometheus.arrays import Float32Matrix
from prometheus.encoders.identity import model_config, registry_of
from prometheus.encoders.joint.examples import JointExample, require_joint_vectors
from prometheus.protocols import JointEmbeddingModel, JointVectorSink, JointVectorStore, require_methods


class JointEmbeddingService:
    """Joins examples with a model and stores the vectors.

    Parameters
    ----------
    model, store
        The two steps: `embed_batch` and `save_embeddings` are enough. Without a registry in the store no meaning of
        the id is recorded.
    model_id
        The name the vectors are stored under; it must mean this model for ever.
    """

    def __init__(self, *, model: JointEmbeddingModel, store: JointVectorStore | JointVectorSink, model_id: str) -> None:
        require_methods(model, type(self).__name__, "model", "embed_batch")
        require_methods(store, type(self).__name__, "store", "save_embeddings")
        self.model = model
        self.store = cast("JointVectorStore", store)
        self.model_id = model_id

    def embed_and_store(self, examples: Sequence[JointExample]) -> Float32Matrix:
        """Return one vector per example, shape (n, dim), and store them; without examples shape (0, 0), nothing stored.

        Raises
        ------
        VectorError, WindowShapeError
            An example lacks a branch that the model needs, or the model's vectors cannot be stored.
        ModelFingerprintError
            `model_id` belongs to another model.
        """
        if not examples:
            return np.empty((0, 0), dtype=np.float32)
        vectors = require_joint_vectors(examples, self.model_id, self.model.embed_batch(examples))
        self.save(examples, vectors)
        return vectors

    def save(
        self,
        examples: Sequence[JointExample],
        vectors: Float32Matrix,
        branch_models: tuple[str, str] | None = None,
    ) -> int:
        """Store vectors of this model, shape (n, dim), and return how many rows were new or changed.

        Parameters
        ----------
        branch_models
            As in `prometheus.encoders.JointEmbeddingStore.save_embeddings`.
        """
        if not examples:
            return 0
        registry_of(self.store).register(self.model_id, "joint", model_config(self.model))
        said = () if branch_models is None else (branch_models,)  # a store by its fixed name knows no such argument
        return self.store.save_embeddings(examples, self.model_id, vectors, *said)
