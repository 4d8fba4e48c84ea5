"""The table ``numeric_window_embeddings``: numeric vectors in and out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import numpy as np
import psycopg

from prometheus.arrays import DateVector, Float32Vector, decode_vector
from prometheus.core.retry import retry_lost_connection
from prometheus.data.models import ModelRegistry
from prometheus.data.postgres.binary_copy import fetch_packed
from prometheus.data.postgres.connections import HistoricalDatabase
from prometheus.data.vectors.numeric_rows import copy_new_rows, upsert_rows
from prometheus.encoders.identity import repeated_key
from prometheus.encoders.numeric.encoder import EmbeddingBatch
from prometheus.encoders.numeric.windows import NumericWindowSpec

logger = logging.getLogger(__name__)


class NumericEmbeddingStore:
    """The table ``numeric_window_embeddings``; every write is an upsert on the natural key.

    Parameters
    ----------
    db_manager
        Where the historical database is.
    """

    def __init__(self, db_manager: HistoricalDatabase) -> None:
        self.db_manager = db_manager
        self.registry = ModelRegistry(db_manager)

    def save_embedding(self, spec: NumericWindowSpec, as_of_date: date, model_id: str, vector: Float32Vector) -> None:
        """Store one vector; an equal stored one is left alone.

        Raises
        ------
        VectorError
            Not one-dimensional, empty or not finite.
        """
        self.save_batch(EmbeddingBatch.of_one(spec, as_of_date, model_id, vector))

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
        try:
            return retry_lost_connection(lambda: self._write(upsert_rows, batch))
        except psycopg.errors.CardinalityViolation as error:
            raise repeated_key(batch.model_id) from error

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
