"""Joint embeddings: what the market did and what was said, in one vector per date."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prometheus.arrays import Float32Matrix
from prometheus.encoders.identity import model_config
from prometheus.encoders.joint.examples import JointExample
from prometheus.protocols import JointEmbeddingModel, JointVectorStore


class JointEmbeddingService:
    """Joins examples with a model and stores the vectors.

    Parameters
    ----------
    model, store
        The two steps.
    model_id
        The name the vectors are stored under; it must mean this model for ever.
    """

    def __init__(self, *, model: JointEmbeddingModel, store: JointVectorStore, model_id: str) -> None:
        self.model = model
        self.store = store
        self.model_id = model_id

    def embed_and_store(self, examples: Sequence[JointExample]) -> Float32Matrix:
        """Return one vector per example, shape (n, dim), and store them; without examples shape (0, 0), nothing stored.

        Raises
        ------
        ModelFingerprintError
            `model_id` belongs to another model.
        """
        if not examples:
            return np.empty((0, 0), dtype=np.float32)
        vectors = self.model.embed_batch(examples)
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
        self.store.registry.register(self.model_id, "joint", model_config(self.model))
        return self.store.save_embeddings(examples, self.model_id, vectors, branch_models)
