"""Numeric encoders at work: windows in, vectors out, stored under a model id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from prometheus.arrays import DateVector, Float32Matrix, Float32Vector, Int64Vector, as_float32, require_finite
from prometheus.encoders.identity import model_config
from prometheus.encoders.numeric.features import CLOSE_VOLUME
from prometheus.encoders.numeric.windows import INSTRUMENT, NumericWindowSpec
from prometheus.errors import VectorError, WindowShapeError
from prometheus.protocols import EncodableWindows, NumericEmbeddingModel, NumericVectorStore, WindowSource


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingBatch:
    """Vectors of one model, ready to be stored.

    Attributes
    ----------
    entity_ids, entity_index, as_of_dates, input_hashes
        As in `WindowBatch`.
    vectors
        Shape (n, dim), float32, finite.
    feature_names
        What the windows said of each session.
    sources
        For each row JSON values that say what it was made of, where the entity does not say it all.
    """

    entity_type: str
    model_id: str
    window_days: int
    entity_ids: tuple[str, ...]
    entity_index: Int64Vector
    as_of_dates: DateVector
    input_hashes: Int64Vector | None
    vectors: Float32Matrix
    feature_names: tuple[str, ...] = CLOSE_VOLUME.names
    sources: Sequence[Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        n_rows = len(self.as_of_dates)
        if self.vectors.ndim != 2 or len(self.vectors) != n_rows:
            raise WindowShapeError("vectors", self.vectors.shape, (n_rows, "dim"))
        if n_rows and self.vectors.shape[1] == 0:
            raise VectorError(self.model_id, "the vectors are empty")
        if not np.isfinite(self.vectors).all():
            first = int(np.flatnonzero(~np.isfinite(self.vectors).all(axis=1))[0])
            entity = self.entity_ids[int(self.entity_index[first])]
            require_finite(self.vectors[first], f"{self.model_id} vector of {entity} on {self.as_of_dates[first]}")

    def __len__(self) -> int:
        return len(self.as_of_dates)

    @classmethod
    def of_one(cls, spec: NumericWindowSpec, as_of_date: date, model_id: str, vector: ArrayLike) -> EmbeddingBatch:
        """Return a batch of one vector, of unknown inputs.

        Raises
        ------
        VectorError
            Not one-dimensional, empty or not finite.
        """
        values = as_float32(vector)
        if values.ndim != 1:
            raise VectorError(model_id, f"shape {values.shape} is not that of a vector")
        return cls(
            entity_type=spec.entity_type,
            model_id=model_id,
            window_days=spec.window_days,
            entity_ids=(spec.entity_id,),
            entity_index=np.zeros(1, dtype=np.int64),
            as_of_dates=np.array([as_of_date], dtype="M8[D]"),
            input_hashes=None,
            vectors=values[np.newaxis],
        )

    def take(self, chosen: slice) -> EmbeddingBatch:
        """Return some of the rows."""
        hashes = self.input_hashes
        return replace(
            self,
            entity_index=self.entity_index[chosen],
            as_of_dates=self.as_of_dates[chosen],
            input_hashes=None if hashes is None else hashes[chosen],
            vectors=self.vectors[chosen],
            sources=None if self.sources is None else self.sources[chosen],
        )


class NumericWindowEncoder:
    """Builds a window, encodes it and stores the vector.

    Parameters
    ----------
    builder, model, store
        The three steps.
    model_id
        The name the vectors are stored under; it must mean this model for ever.
    entity_type
        Whose windows they are, instruments' or regions'.
    """

    def __init__(
        self,
        *,
        builder: WindowSource,
        model: NumericEmbeddingModel,
        store: NumericVectorStore,
        model_id: str,
        entity_type: str = INSTRUMENT,
    ) -> None:
        self.builder = builder
        self.model = model
        self.store = store
        self.model_id = model_id
        self.entity_type = entity_type
        self._is_registered = False

    def embed_and_store(self, spec: NumericWindowSpec, as_of_date: date) -> Float32Vector:
        """Return the vector of one window, shape (dim,), and store it.

        Raises
        ------
        InsufficientHistoryError, StaleHistoryError
            The window cannot be built.
        ModelFingerprintError
            `model_id` belongs to another model.
        """
        batch = self.encode(self.builder.build_one(spec, as_of_date), spec.entity_type)
        self.save(batch)
        vector: Float32Vector = batch.vectors[0]
        return vector

    def encode(self, windows: EncodableWindows, entity_type: str | None = None) -> EmbeddingBatch:
        """Return the vectors of a batch of windows; nothing is stored."""
        return EmbeddingBatch(
            entity_type=self.entity_type if entity_type is None else entity_type,
            model_id=self.model_id,
            window_days=windows.window_days,
            entity_ids=windows.entity_ids,
            entity_index=windows.entity_index,
            as_of_dates=windows.as_of_dates,
            input_hashes=windows.input_hashes,
            vectors=windows.vectors(self.model),
            feature_names=windows.feature_set.names,
            sources=windows.sources,
        )

    def save(self, batch: EmbeddingBatch, *, is_new: bool = False) -> int:
        """Store a batch under this encoder's model id; return how many rows were new or changed."""
        self.register()
        return self.store.save_batch(batch, is_new=is_new)

    def require_same(self) -> None:
        """Prove that the model id means this model or nothing yet; nothing is recorded.

        Raises
        ------
        ModelFingerprintError
            `model_id` belongs to another model.
        """
        if not self._is_registered:
            self.store.registry.require_same(self.model_id, "numeric", model_config(self.model))

    def register(self) -> None:
        """Record the meaning of the model id, or prove that it is unchanged; asked once per encoder."""
        if not self._is_registered:
            self.store.registry.register(self.model_id, "numeric", model_config(self.model))
            self._is_registered = True
