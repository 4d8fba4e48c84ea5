"""Numeric encoders at work: windows in, vectors out, stored under a model id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prometheus.arrays import (
    DateVector,
    FeatureTable,
    Float32Matrix,
    Float32Vector,
    Int64Vector,
    as_float32,
    require_finite,
)
from prometheus.encoders.identity import NoRegistry, model_config, registry_of
from prometheus.encoders.numeric.features import CLOSE_VOLUME
from prometheus.encoders.numeric.plain import stored_vectors, window_source
from prometheus.encoders.numeric.windows import INSTRUMENT, NumericWindowSpec
from prometheus.errors import UsageError, VectorError, WindowShapeError
from prometheus.protocols import (
    EncodableWindows,
    NumericEmbeddingModel,
    NumericVectorSink,
    NumericVectorStore,
    StoringEncoder,
    WindowBuilder,
    WindowSource,
    offers,
    require_methods,
)


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
        The three steps: `build_window`, `encode` and `save_embedding` are enough. A store without a registry records
        no meaning of the id.
    model_id
        The name the vectors are stored under; it must mean this model for ever.
    entity_type
        Whose windows they are, instruments' or regions'.
    """

    def __init__(
        self,
        *,
        builder: WindowSource | WindowBuilder,
        model: NumericEmbeddingModel,
        store: NumericVectorStore | NumericVectorSink,
        model_id: str,
        entity_type: str = INSTRUMENT,
    ) -> None:
        require_methods(model, type(self).__name__, "model", "encode")
        self.builder = window_source(builder)
        self.model = model
        self.store = numeric_store(store)
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
        """Prove that the model id means this model or nothing yet; nothing is recorded."""
        if not self._is_registered:
            registry_of(self.store).require_same(self.model_id, "numeric", model_config(self.model))

    def register(self) -> None:
        """Record the meaning of the model id, or prove that it is unchanged; asked once per encoder."""
        if not self._is_registered:
            registry_of(self.store).register(self.model_id, "numeric", model_config(self.model))
            self._is_registered = True


def numeric_store(store: NumericVectorStore | NumericVectorSink) -> NumericVectorStore:
    """Return what keeps batches; a store that only has `save_embedding` is enough."""
    if offers(store, "save_batch"):
        return cast("NumericVectorStore", store)
    require_methods(store, "NumericWindowEncoder", "store", "save_embedding")
    return _OneByOne(cast("NumericVectorSink", store))


def numeric_encoder(encoder: NumericWindowEncoder | StoringEncoder) -> NumericWindowEncoder:
    """Return what encodes and stores in two steps; an encoder that only has `embed_and_store` is enough.

    Its vectors are stored before they are judged. Without a `model_id` of its own it goes by the name of its class.
    """
    if offers(encoder, "encode", "save"):
        return cast("NumericWindowEncoder", encoder)
    return NumericWindowEncoder(
        builder=stored_vectors(cast("StoringEncoder", encoder)),
        model=_ModelWithin(),
        store=_StoredAlready(),
        model_id=str(getattr(encoder, "model_id", type(encoder).__name__)),
        entity_type=str(getattr(encoder, "entity_type", INSTRUMENT)),
    )


class _OneByOne:
    """Saves the rows of a batch one by one."""

    def __init__(self, store: NumericVectorSink) -> None:
        self._store: Any = store
        self.registry = registry_of(store)

    def save_batch(self, batch: EmbeddingBatch, *, is_new: bool = False) -> int:  # noqa: ARG002 -- as any other row
        days: list[date] = batch.as_of_dates.tolist()
        for entity, day, vector in zip(batch.entity_index.tolist(), days, batch.vectors, strict=True):
            spec = NumericWindowSpec(batch.entity_type, batch.entity_ids[entity], batch.window_days)
            self._store.save_embedding(spec, day, batch.model_id, vector)
        return len(batch)

    def load_embedding(self, spec: NumericWindowSpec, as_of_date: date, model_id: str) -> Float32Vector | None:
        require_methods(self._store, "this", "store", "load_embedding")
        found: Float32Vector | None = self._store.load_embedding(spec, as_of_date, model_id)
        return found

    def load_input_hashes(self, *_key: Any) -> NDArray[Any]:
        raise UsageError(
            f"{type(self._store).__qualname__} has no method 'load_input_hashes', which a backfill needs of its store"
        )


class _ModelWithin:
    """Stands for the model inside an encoder."""

    def encode(self, window: FeatureTable) -> Float32Vector:
        return as_float32(window)


class _StoredAlready(_OneByOne):
    """Stands for the store inside an encoder, which has kept the vector already."""

    def __init__(self) -> None:
        self.registry = NoRegistry()

    def save_batch(self, batch: EmbeddingBatch, *, is_new: bool = False) -> int:  # noqa: ARG002 -- as any other row
        return len(batch)
