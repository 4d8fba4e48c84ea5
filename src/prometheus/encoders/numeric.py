"""Numeric encoders at work: windows in, vectors out, stored under a model id."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Protocol

import numpy as np
import psycopg

from prometheus.arrays import (
    DateVector,
    Float32Matrix,
    Float32Vector,
    Int64Vector,
    as_float32,
    decode_vector,
    require_finite,
)
from prometheus.core.binary_copy import fetch_packed
from prometheus.core.connections import HistoricalDatabase
from prometheus.core.retry import retry_lost_connection
from prometheus.encoders.features import CLOSE_VOLUME, FeatureSet
from prometheus.encoders.numeric_rows import copy_new_rows, upsert_rows
from prometheus.encoders.protocols import NumericEmbeddingModel
from prometheus.encoders.registry import ModelRegistry, model_config
from prometheus.encoders.windows import INSTRUMENT, NumericWindowSpec
from prometheus.errors import VectorError, WindowShapeError

logger = logging.getLogger(__name__)


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

    def save_batch(self, batch: EmbeddingBatch, *, is_new: bool = False) -> int:
        """Store a batch in one transaction; return how many rows were new or changed.

        Parameters
        ----------
        is_new
            No row of the batch was stored a moment ago: it is tried without looking for each, which is twice as fast.
        """
        if not len(batch):
            return 0
        if is_new and batch.input_hashes is not None:
            try:
                return retry_lost_connection(lambda: self._write(copy_new_rows, batch))
            except psycopg.errors.UniqueViolation:  # another run was here first, or the rows have no input hash
                logger.debug("%s: some rows were stored meanwhile", batch.model_id)
        return retry_lost_connection(lambda: self._write(upsert_rows, batch))

    def _write(self, write: Callable[[psycopg.Cursor[Any], EmbeddingBatch], int], batch: EmbeddingBatch) -> int:
        with self.db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
            return write(cursor, batch)

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
        # OFFSET 0 keeps it one scan of the index per entity: without statistics the planner would rather compare every
        # stored row of those dates with every entity.
        query = psycopg.sql.SQL("""
            SELECT (wanted.ordinal - 1)::int4, stored.as_of_date, stored.input_hash
            FROM unnest({ids}::text[]) WITH ORDINALITY AS wanted(id, ordinal)
            CROSS JOIN LATERAL (
                SELECT as_of_date, input_hash FROM numeric_window_embeddings
                WHERE entity_type = {entity_type} AND entity_id = wanted.id AND model_id = {model_id}
                  AND window_days = {window_days} AND as_of_date BETWEEN {first} AND {last} AND input_hash IS NOT NULL
                OFFSET 0
            ) AS stored
        """).format(
            ids=list(entity_ids),
            entity_type=entity_type,
            model_id=model_id,
            window_days=window_days,
            first=dates.min().item(),
            last=dates.max().item(),
        )
        with self.db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
            return fetch_packed(cursor, query, [("entity_index", "i4"), ("as_of_date", "M8[D]"), ("input_hash", "i8")])

    def tidy(self, *, analyze: bool) -> None:
        """Do at once what the server does by itself some minutes after a large load: mark rows settled, count them.

        Until then the next run looks into every row instead of into the index, and, if `analyze` was never asked for,
        plans are made for an empty table. A role that may not do it leaves it to the server.
        """
        also = "ANALYZE, " if analyze else ""
        statement = f"VACUUM ({also}INDEX_CLEANUP OFF, TRUNCATE OFF, SKIP_LOCKED) numeric_window_embeddings"
        with self.db_manager.get_historical_connection() as connection:
            connection.autocommit = True  # VACUUM refuses to run in a transaction
            try:
                connection.execute(statement)
            finally:
                connection.autocommit = False


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
            ModelRegistry(self.store.db_manager).require_same(self.model_id, "numeric", model_config(self.model))

    def register(self) -> None:
        """Record the meaning of the model id, or prove that it is unchanged; asked once per encoder."""
        if not self._is_registered:
            ModelRegistry(self.store.db_manager).register(self.model_id, "numeric", model_config(self.model))
            self._is_registered = True
