"""Numeric encoders at work: windows in, vectors out, stored under a model id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Protocol

import numpy as np
import psycopg
from psycopg.types.json import Jsonb

from prometheus.arrays import (
    DateVector,
    Float32Matrix,
    Float32Vector,
    Int64Vector,
    as_float32,
    decode_vector,
    require_finite,
)
from prometheus.core.binary_copy import copy_in, copy_out
from prometheus.core.connections import HistoricalDatabase
from prometheus.core.retry import retry_lost_connection
from prometheus.encoders.features import CLOSE_VOLUME, FeatureSet
from prometheus.encoders.protocols import NumericEmbeddingModel
from prometheus.encoders.registry import ModelRegistry, model_config
from prometheus.encoders.windows import INSTRUMENT, NumericWindowSpec
from prometheus.errors import VectorError, WindowShapeError


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


class NumericEmbeddingStore:
    """The table ``numeric_window_embeddings``; every write is an upsert on the natural key.

    Parameters
    ----------
    db_manager
        Where the historical database is.
    """

    def __init__(self, db_manager: HistoricalDatabase) -> None:
        self.db_manager = db_manager

    def save_embedding(self, spec: NumericWindowSpec, as_of_date: date, model_id: str, vector: Float32Vector) -> None:
        """Store one vector; an equal stored one is left alone.

        Raises
        ------
        VectorError
            Not one-dimensional, empty or not finite.
        """
        values = as_float32(vector)
        if values.ndim != 1:
            raise VectorError(model_id, f"shape {values.shape} is not that of a vector")
        self.save_batch(
            EmbeddingBatch(
                entity_type=spec.entity_type,
                model_id=model_id,
                window_days=spec.window_days,
                entity_ids=(spec.entity_id,),
                entity_index=np.zeros(1, dtype=np.int64),
                as_of_dates=np.array([as_of_date], dtype="M8[D]"),
                input_hashes=None,
                vectors=values[np.newaxis],
            )
        )

    def save_batch(self, batch: EmbeddingBatch) -> int:
        """Store a batch in one transaction; return how many rows were new or changed."""
        return retry_lost_connection(lambda: self._save_batch(batch)) if len(batch) else 0

    def _save_batch(self, batch: EmbeddingBatch) -> int:
        with self.db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
            return _upsert(cursor, batch)

    def load_embedding(self, spec: NumericWindowSpec, as_of_date: date, model_id: str) -> Float32Vector | None:
        """Return one stored vector, or None."""
        query = """
            SELECT vector, dim FROM numeric_window_embeddings
            WHERE entity_type = %s AND entity_id = %s AND model_id = %s AND window_days = %s AND as_of_date = %s
        """
        key = (spec.entity_type, spec.entity_id, model_id, spec.window_days, as_of_date)
        with self.db_manager.get_historical_connection() as connection:
            row = connection.execute(query, key, binary=True).fetchone()
        return None if row is None else decode_vector(row[0], row[1], model_id)

    def load_input_hashes(
        self, entity_type: str, entity_ids: Sequence[str], model_id: str, window_days: int, dates: DateVector
    ) -> np.ndarray[Any, np.dtype[Any]]:
        """Return what is stored between the first and the last of `dates`.

        Returns
        -------
        Structured, shape (n_stored,): ``entity_index`` into `entity_ids`, ``as_of_date``, ``input_hash``. Rows whose
        inputs are unknown are left out.
        """
        query = psycopg.sql.SQL("""
            SELECT (wanted.ordinal - 1)::int4, stored.as_of_date, stored.input_hash
            FROM unnest({ids}::text[]) WITH ORDINALITY AS wanted(id, ordinal)
            JOIN numeric_window_embeddings AS stored
              ON stored.entity_type = {entity_type} AND stored.entity_id = wanted.id AND stored.model_id = {model_id}
             AND stored.window_days = {window_days} AND stored.as_of_date BETWEEN {first} AND {last}
            WHERE stored.input_hash IS NOT NULL
        """).format(
            ids=list(entity_ids),
            entity_type=entity_type,
            model_id=model_id,
            window_days=window_days,
            first=dates.min().item(),
            last=dates.max().item(),
        )
        with self.db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
            return copy_out(cursor, query, [("entity_index", "i4"), ("as_of_date", "M8[D]"), ("input_hash", "i8")])


class EncodableWindows(Protocol):
    """Windows of any make, in time order per entity: of one instrument each, or of a region's members together."""

    @property
    def window_days(self) -> int:
        """Sessions per window."""

    @property
    def entity_ids(self) -> tuple[str, ...]:
        """Names; `entity_index` points into them."""

    @property
    def entity_index(self) -> Int64Vector:
        """The entity of each window."""

    @property
    def as_of_dates(self) -> DateVector:
        """The date of each window."""

    @property
    def input_hashes(self) -> Int64Vector:
        """Equal windows have equal hashes."""

    @property
    def feature_set(self) -> FeatureSet:
        """What the windows say of each session."""

    @property
    def sources(self) -> Sequence[Mapping[str, Any]] | None:
        """What each window was made of, where the entity does not say it all."""

    def __len__(self) -> int:
        """Return how many windows there are."""

    def take(self, chosen: slice, /) -> EncodableWindows:
        """Return some of them."""

    def vectors(self, model: NumericEmbeddingModel, /) -> Float32Matrix:
        """Return a model's vector of each window, shape (n_windows, dim)."""


class WindowSource(Protocol):
    """What the encoder needs of a builder; `NumericWindowBuilder` is one."""

    def build_one(self, spec: NumericWindowSpec, as_of_date: date) -> EncodableWindows:
        """Return a batch of one window, or raise."""

    def build_trailing(self, spec: NumericWindowSpec, as_of_date: date, n_windows: int) -> EncodableWindows:
        """Return the windows of the last sessions up to a date, oldest first, or raise."""


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
        store: NumericEmbeddingStore,
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

    def save(self, batch: EmbeddingBatch) -> int:
        """Store a batch under this encoder's model id; return how many rows were new or changed."""
        self.register()
        return self.store.save_batch(batch)

    def register(self) -> None:
        """Record the meaning of the model id, or prove that it is unchanged; asked once per encoder."""
        if not self._is_registered:
            ModelRegistry(self.store.db_manager).register(self.model_id, "numeric", model_config(self.model))
            self._is_registered = True


def _upsert(cursor: psycopg.Cursor[Any], batch: EmbeddingBatch) -> int:
    cursor.execute(
        "CREATE TEMP TABLE IF NOT EXISTS incoming_numeric_embeddings"
        " (entity_index int4, as_of_date date, input_hash int8, vector bytea) ON COMMIT DELETE ROWS"
    )
    has_hashes = batch.input_hashes is not None
    hashes = batch.input_hashes if batch.input_hashes is not None else np.zeros(len(batch), dtype=np.int64)
    copy_in(
        cursor,
        "incoming_numeric_embeddings",
        {
            "entity_index": batch.entity_index.astype(np.int32),
            "as_of_date": batch.as_of_dates,
            "input_hash": hashes,
            "vector": batch.vectors,
        },
    )
    spec = {"window_days": batch.window_days, "features": list(batch.feature_names)}
    cursor.execute(
        """
        INSERT INTO numeric_window_embeddings AS stored
            (entity_type, entity_id, model_id, window_days, as_of_date, window_spec, dim, vector, input_hash)
        SELECT %(type)s, (%(ids)s::text[])[entity_index + 1], %(model)s, %(days)s, as_of_date, %(spec)s, %(dim)s,
               vector, CASE WHEN %(has_hashes)s THEN input_hash END
        FROM incoming_numeric_embeddings ORDER BY 2, as_of_date
        ON CONFLICT (entity_type, entity_id, model_id, window_days, as_of_date) DO UPDATE
        SET vector = excluded.vector, dim = excluded.dim, input_hash = excluded.input_hash,
            window_spec = excluded.window_spec, created_at = now()
        WHERE stored.vector IS DISTINCT FROM excluded.vector
           OR stored.input_hash IS DISTINCT FROM coalesce(excluded.input_hash, stored.input_hash)
        """,
        {
            "type": batch.entity_type, "ids": list(batch.entity_ids), "model": batch.model_id,
            "days": batch.window_days, "spec": Jsonb(spec), "dim": batch.vectors.shape[1], "has_hashes": has_hashes,
        },
    )  # fmt: skip
    return cursor.rowcount
