"""The first fill of ``numeric_window_embeddings``: rows into an empty table that the server need not log (ADR-0013)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import pq

from prometheus.arrays import DateVector
from prometheus.data.coverage import keep_coverage
from prometheus.data.postgres.connections import OwnedDatabase, Transactions
from prometheus.data.vectors.numeric import HASHED_KEY, NumericEmbeddingStore
from prometheus.encoders.numeric.encoder import EmbeddingBatch

Clock = Callable[[], float]


class FirstFill(NumericEmbeddingStore):
    """Appends batches in one transaction that holds the whole table; an ordinary store once that has ended.

    Used by one thread that writes and one that reads ahead of it: what is stored is told without a query, as the
    connection is the writer's, and any other one would wait for the table. So no step of the run may ask for the table
    by a connection of its own.
    """

    def __init__(self, databases: OwnedDatabase, held: psycopg.Connection, longest_s: float, clock: Clock) -> None:
        super().__init__(databases)
        self._ordinary = self._db
        self._db = Transactions(self._connect)
        self._held: psycopg.Connection | None = held
        self._clock, self._until = clock, clock() + longest_s

    @property
    def is_frozen(self) -> bool:
        """Whether the table is held, so that rows are written as settled ones."""
        return self._held is not None

    def save_batch(self, batch: EmbeddingBatch, *, is_new: bool = False) -> int:
        """Append a batch, and commit all so far if the time is up; see `NumericEmbeddingStore.save_batch`."""
        n_written = super().save_batch(batch, is_new=is_new)
        if self._clock() >= self._until:
            self.end()
        return n_written

    def load_input_hashes(
        self, entity_type: str, entity_ids: Sequence[str], model_id: str, window_days: int, dates: DateVector
    ) -> NDArray[Any]:
        """Return no row while the table is held, as it was empty; else see `NumericEmbeddingStore`."""
        if self.is_frozen:
            return np.empty(0, dtype=HASHED_KEY)
        return super().load_input_hashes(entity_type, entity_ids, model_id, window_days, dates)

    def end(self) -> None:
        """Commit the batches that are whole; none is if one was cut short by an error."""
        held, self._held = self._held, None
        if held is not None and held.info.transaction_status == pq.TransactionStatus.INTRANS:
            held.commit()

    @contextmanager
    def _connect(self) -> Iterator[psycopg.Connection]:
        if self._held is not None:
            yield self._held
        else:
            with self._ordinary.connect() as connection:
                yield connection


@contextmanager
def first_fill(
    databases: OwnedDatabase, longest_s: float, clock: Clock = time.monotonic
) -> Iterator[NumericEmbeddingStore]:
    """Yield a `FirstFill` if the table is empty and not in use, else the ordinary store; committed at the end.

    The transaction that fills the table has emptied it, so rows are written as settled ones, and no VACUUM has to write
    their pages again; with ``wal_level = minimal`` they are not in the WAL either, and the files are flushed at the
    commit instead. Others wait for the table until then, `longest_s` seconds and one batch at most, and a run or a
    server that is killed meanwhile loses no more than that.
    """
    with databases.get_owner_connection("historical") as connection:
        if not _holds_empty_table(connection):
            connection.rollback()
            yield NumericEmbeddingStore(databases)
            return
        store = FirstFill(databases, connection, longest_s, clock)
        try:
            yield store
        finally:
            store.end()


def _holds_empty_table(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("LOCK TABLE numeric_window_embeddings IN ACCESS EXCLUSIVE MODE NOWAIT")
    except psycopg.errors.LockNotAvailable:
        return False
    if connection.execute("SELECT FROM numeric_window_embeddings LIMIT 1").fetchone() is not None:
        return False
    keep_coverage(connection)  # nothing goes that a run may know to be stored
    connection.execute("TRUNCATE numeric_window_embeddings")
    return True
