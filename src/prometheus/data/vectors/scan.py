"""Stored window vectors, all of them: the exact search that an index is checked against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from psycopg import sql

from prometheus.arrays import DateVector, Float32Matrix, Float64Matrix
from prometheus.data.postgres.binary_copy import fetch_packed
from prometheus.data.postgres.connections import HistoricalDatabase
from prometheus.data.vectors.index import StoredWindow, WindowSpace

_SPARE_ROWS = 8
"""Found beside those wanted: distances are first taken in float32, whose last digits may misplace a row."""


@dataclass(frozen=True, slots=True, eq=False)
class EntityWindows:
    """The vectors of one entity, by date; shapes (n,) and (n, dim)."""

    entity_id: str
    dates: DateVector
    vectors: Float32Matrix


@dataclass(frozen=True, slots=True, eq=False)
class WindowQuery:
    """A vector, shape (dim,), and the date before which like ones are wanted."""

    vector: Float32Matrix
    before: date


class WindowScan:
    """Reads the vectors of a space, entity by entity.

    Parameters
    ----------
    db_manager
        Where the historical database is.
    space
        Which vectors.
    """

    def __init__(self, db_manager: HistoricalDatabase, space: WindowSpace) -> None:
        self._db = db_manager
        self._space = space
        self._where = sql.SQL(
            "model_id = {model_id} AND entity_type = {entity_type} AND window_days = {window_days}"
        ).format(model_id=space.model_id, entity_type=space.entity_type, window_days=space.window_days)

    def n_windows(self) -> int:
        """Return how many vectors there are."""
        query = sql.SQL("SELECT count(*) FROM numeric_window_embeddings WHERE {}").format(self._where)
        with self._db.get_historical_connection() as connection:
            row = connection.execute(query).fetchone()
        return int(row[0]) if row else 0

    def entities(self) -> list[str]:
        """Return the entities that have vectors, by id."""
        query = sql.SQL("SELECT DISTINCT entity_id FROM numeric_window_embeddings WHERE {} ORDER BY 1")
        with self._db.get_historical_connection() as connection:
            return [row[0] for row in connection.execute(query.format(self._where))]

    def load(self, entity_id: str) -> EntityWindows:
        """Return all vectors of an entity."""
        with self._db.get_historical_connection() as connection, connection.cursor() as cursor:
            probe = sql.SQL("SELECT dim FROM numeric_window_embeddings WHERE {} AND entity_id = {} LIMIT 1")
            row = cursor.execute(probe.format(self._where, entity_id)).fetchone()
            dim = int(row[0]) if row else 0
            query = sql.SQL("SELECT as_of_date, vector FROM numeric_window_embeddings WHERE {} AND entity_id = {}")
            columns = [("as_of_date", "M8[D]"), ("vector", f"V{4 * dim}")]
            rows = fetch_packed(cursor, query.format(self._where, entity_id), columns)
        rows = rows[np.argsort(rows["as_of_date"])]
        vectors = np.ascontiguousarray(rows["vector"]).view("<f4").reshape(len(rows), dim)
        return EntityWindows(entity_id, np.ascontiguousarray(rows["as_of_date"]), vectors)

    def nearest(self, queries: Sequence[WindowQuery], n_rows: int) -> list[list[StoredWindow]]:
        """Return for each query the nearest vectors dated before its date, by Euclidean distance, nearest first."""
        kept: list[list[tuple[float, StoredWindow]]] = [[] for _ in queries]
        asked = np.stack([query.vector for query in queries])
        for windows in self.iter_entities():
            squares = _squared_distances(windows.vectors, asked)
            for number, query in enumerate(queries):
                n_past = int(np.searchsorted(windows.dates, np.datetime64(query.before, "D")))
                found = _nearest_of(windows, squares[:n_past, number], query, n_rows)
                kept[number] = sorted(kept[number] + found, key=_by_distance)[:n_rows]
        return [[window for _, window in found] for found in kept]

    def iter_entities(self) -> Iterator[EntityWindows]:
        """Yield the vectors of each entity."""
        for entity_id in self.entities():
            yield self.load(entity_id)


def exact_distance(first: Float32Matrix, second: Float32Matrix) -> float:
    """Return the Euclidean distance of two vectors, in float64."""
    difference = first.astype(np.float64) - second.astype(np.float64)
    return float(np.sqrt((difference * difference).sum()))


def _by_distance(found: tuple[float, StoredWindow]) -> tuple[float, str, date]:
    distance, window = found
    return distance, window.entity_id, window.as_of_date


def _squared_distances(vectors: Float32Matrix, asked: Float32Matrix) -> Float64Matrix:
    lengths = np.einsum("ij,ij->i", vectors, vectors)[:, np.newaxis] + np.einsum("ij,ij->i", asked, asked)
    squares: Float64Matrix = (lengths - 2.0 * (vectors @ asked.T)).astype(np.float64)
    return squares


def _nearest_of(
    windows: EntityWindows, squares: Float64Matrix, query: WindowQuery, n_rows: int
) -> list[tuple[float, StoredWindow]]:
    n_kept = min(len(squares), n_rows + _SPARE_ROWS)
    rows = np.argpartition(squares, n_kept - 1)[:n_kept].tolist() if n_kept else []
    found = [
        (
            exact_distance(windows.vectors[row], query.vector),
            StoredWindow(windows.entity_id, windows.dates[row].item(), windows.vectors[row]),
        )
        for row in rows
    ]
    return sorted(found, key=_by_distance)[:n_rows]
