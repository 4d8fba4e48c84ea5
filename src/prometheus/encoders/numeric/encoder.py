"""Numeric encoders at work: windows in, vectors out, stored under a model id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prometheus.arrays import DateVector, Float32Matrix, Float32Vector, Int64Vector, as_float32, require_finite
from prometheus.collaborators import offers, require_methods
from prometheus.encoders.identity import RegisteredModel, completed
from prometheus.encoders.numeric.coverage import CoveredSpan
from prometheus.encoders.numeric.features import CLOSE_VOLUME, FeatureSet
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
)

Encode: TypeAlias = "Callable[[Any, NumericWindowSpec, date, NumericEmbeddingModel], ArrayLike]"
"""Makes a vector of what a collaborator gives for a spec and a date."""


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingBatch:
    """Vectors of one model, shape (n, dim), float32, finite, ready to be stored; `sources` say what made each row.

    `is_held` says of which dates the bar was suspect, so that the vector is that of the window before. Once the batch
    is stored, all windows of the spans that it `completes` are; a store may remember that with the rows.
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
    is_held: NDArray[np.bool_] | None = None
    completes: tuple[CoveredSpan, ...] = ()

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
        """Return a batch of one vector, of unknown inputs."""
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
            is_held=None if self.is_held is None else self.is_held[chosen],
        )


class NumericWindowEncoder(RegisteredModel):
    """Builds a window, encodes it and stores the vector; `build_window`, `encode` and `save_embedding` are enough."""

    kind = "numeric"

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
        user = "NumericWindowEncoder"
        self.builder: WindowSource = completed(
            builder, user, "builder", ("build_one", "build_trailing"), "build_window",
            lambda plain: _SingleWindows(plain, _encoded_window),
        )  # fmt: skip
        self.model: NumericEmbeddingModel = model
        self.store: NumericVectorStore = completed(store, user, "store", ("save_batch",), "save_embedding", _OneByOne)
        self.model_id = model_id
        self.entity_type = entity_type

    def embed_and_store(self, spec: NumericWindowSpec, as_of_date: date) -> Float32Vector:
        """Return the vector of one window, shape (dim,), and store it; `ModelFingerprintError` if the id is taken."""
        batch = self.encode(self.builder.build_one(spec, as_of_date), spec.entity_type)
        self.save(batch)
        return batch.vectors.ravel()

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
            is_held=windows.is_held,
        )

    def save(self, batch: EmbeddingBatch, *, is_new: bool = False) -> int:
        """Store a batch under this encoder's model id; return how many rows were new or changed."""
        self.register()
        return self.store.save_batch(batch, is_new=is_new)


def numeric_encoder(encoder: NumericWindowEncoder | StoringEncoder) -> NumericWindowEncoder:
    """Return what encodes and stores in two steps, made of an encoder that only has `embed_and_store` if need be."""
    if offers(encoder, "encode", "save"):
        return cast("NumericWindowEncoder", encoder)
    require_methods(encoder, "a regime model", "encoder", "embed_and_store")
    return NumericWindowEncoder(
        builder=_SingleWindows(encoder, lambda owner, spec, day, _model: owner.embed_and_store(spec, day)),
        model=_ModelWithin(),
        store=_StoredAlready(None),
        model_id=str(getattr(encoder, "model_id", type(encoder).__name__)),
        entity_type=str(getattr(encoder, "entity_type", INSTRUMENT)),
    )


class _OneByOne:
    def __init__(self, store: NumericVectorSink | None) -> None:
        self._store: Any = store
        self.registry: Any = getattr(store, "registry", None)

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
        raise self._lacks("load_input_hashes")

    def drop(self, *_key: Any) -> int:
        raise self._lacks("drop")

    def _lacks(self, method: str) -> UsageError:
        owner = type(self._store).__qualname__
        return UsageError(f"{owner} has no method {method!r}, which a backfill needs of its store")


class _ModelWithin:
    def encode(self, window: ArrayLike) -> Float32Vector:
        return as_float32(window)


class _StoredAlready(_OneByOne):
    def save_batch(self, batch: EmbeddingBatch, *, is_new: bool = False) -> int:  # noqa: ARG002 -- as any other row
        return len(batch)


@dataclass(frozen=True, slots=True)
class _SingleWindows:
    owner: Any
    encode: Encode

    def build_one(self, spec: NumericWindowSpec, as_of_date: date) -> EncodableWindows:
        day = np.array([as_of_date], dtype="M8[D]")
        index = np.zeros(1, dtype=np.int64)
        return _SingleWindow(self.owner, self.encode, spec, spec.window_days, (spec.entity_id,), index, day)

    def build_trailing(self, spec: NumericWindowSpec, as_of_date: date, n_windows: int) -> EncodableWindows:
        if n_windows != 1:
            raise UsageError(
                f"{type(self.owner).__qualname__} has no method 'build_trailing', which a model that looks back on "
                f"{n_windows - 1} sessions needs"
            )
        return self.build_one(spec, as_of_date)


@dataclass(frozen=True, slots=True, eq=False)
class _SingleWindow:
    owner: Any
    encode: Encode
    spec: NumericWindowSpec
    window_days: int
    entity_ids: tuple[str, ...]
    entity_index: Int64Vector
    as_of_dates: DateVector
    input_hashes: None = None
    feature_set: FeatureSet = CLOSE_VOLUME
    sources: None = None
    is_held: None = None

    def __len__(self) -> int:
        return 1

    def vectors(self, model: NumericEmbeddingModel, /) -> Float32Matrix:
        as_of_date: date = self.as_of_dates[0].item()
        vector = self.encode(self.owner, self.spec, as_of_date, model)
        name = f"{type(self.owner).__qualname__}, {self.spec.entity_id} on {as_of_date}"
        if vector is None:
            raise VectorError(name, "gave no vector")
        values = as_float32(vector)
        if values.ndim != 1:
            raise VectorError(name, f"shape {values.shape} is not that of a vector")
        return values[np.newaxis]


def _encoded_window(
    builder: WindowBuilder, spec: NumericWindowSpec, as_of_date: date, model: NumericEmbeddingModel
) -> ArrayLike:
    window = builder.build_window(spec, as_of_date)
    values: NDArray[Any] = np.asarray(() if window is None else window)
    if values.ndim != 2 or len(values) != spec.window_days:
        name = f"{type(builder).__qualname__}, window of {spec.entity_id} on {as_of_date}"
        raise WindowShapeError(name, values.shape, (spec.window_days, "n_features"))
    return model.encode(values)
