"""The search for near window vectors: exact, over all that are stored, or by an index.

The index is pgvector's HNSW over half-precision copies, one table per model. It is derived: the truth stays in
``numeric_window_embeddings``, from where a search reads the vectors of what it finds; it leaves out what was rewritten
since it was copied, and `sync` brings the copies in step.

Source of the method: Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical
navigable small world graphs", 2016.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from prometheus.arrays import DateVector, Float32Matrix, Float32Vector, Float64Matrix, decode_vector
from prometheus.data.postgres.binary_copy import constant_bytes, copy_in
from prometheus.data.postgres.connections import HistoricalDatabase, OwnedDatabase, Transactions
from prometheus.errors import VectorError, missing_index, missing_vector_extension, no_embedding

MINIMUM_PGVECTOR = (0, 8)
EF_SEARCH = 200
MAX_SCANNED = 200_000
"""Rows that one search may look at before it gives up; pgvector counts them itself."""
_GRAPH_BYTES_PER_ROW = 1_400
_LARGEST_BUILD_MEMORY = 4 << 30
_SPARE_ROWS = 8
"""Found beside those wanted: distances are first taken in float32, whose last digits may misplace a row."""


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """What an index holds, and how many stored vectors it lacks or holds as they were before."""

    model_id: str
    n_indexed: int
    n_missing: int
    n_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class StoredWindow:
    """One stored window vector, shape (dim,), float32."""

    entity_id: str
    as_of_date: date
    vector: Float32Vector


@dataclass(frozen=True, slots=True)
class WindowSpace:
    """Vectors that may be compared."""

    model_id: str
    entity_type: str
    window_days: int


class WindowIndex:
    """The HNSW index of one model's window vectors."""

    def __init__(self, db_manager: OwnedDatabase, model_id: str) -> None:
        self._db = Transactions(db_manager.get_historical_connection)
        self._own = db_manager.get_owner_connection
        self.model_id = model_id
        self._table = f"window_index_{hashlib.sha256(model_id.encode()).hexdigest()[:16]}"
        self._graph = f"{self._table}_hnsw"
        self._names = {
            "table": sql.Identifier(self._table),
            "graph": sql.Identifier(self._graph),
            "name": sql.Literal(self._table),
            "model": sql.Literal(model_id),
            "same_row": sql.SQL(_SAME_ROW),
        }

    def exists(self) -> bool:
        """Return whether the index is there, graph and all."""
        return bool(self._db.value("SELECT to_regclass(%s) IS NOT NULL", (self._graph,)))

    def build(self, progress: Callable[[int, int | None], None]) -> int:
        """Make the index, or bring it in step where it is there; return how many vectors were copied.

        An interrupted build is taken up where it ended. `NotFoundError` where the model has no vectors, `DatabaseError`
        where the server has no pgvector or one too old, `VectorError` where vectors do not fit into half precision.
        """
        dim = self._dim()
        with self._own("historical") as connection:
            _require_extension(connection)
            connection.execute(self._compose(_CREATE_TABLE, dim=sql.Literal(dim)))
            connection.execute(self._compose("COMMENT ON TABLE {table} IS {model}"))
        try:
            n_copied = self._copy_missing(dim, progress)
        except VectorError:
            self.drop()
            raise
        with self._own("historical") as connection:
            n_rows = connection.execute(self._compose("SELECT count(*) FROM {table}")).fetchall()[0][0]
            memory = min(_LARGEST_BUILD_MEMORY, max(64 << 20, n_rows * _GRAPH_BYTES_PER_ROW))
            connection.execute(sql.SQL("SET maintenance_work_mem = {}").format(sql.Literal(f"{memory >> 10}kB")))
            connection.execute(self._compose(_CREATE_GRAPH))
        with self._own("historical") as connection:
            connection.execute(self._compose("ANALYZE {table}"))
        return n_copied

    def sync(self) -> int:
        """Bring an index that is there in step with the rows; return how many vectors were copied, 0 without one."""
        if not self.exists():
            return 0
        return self._copy_missing(self._dim(), lambda _done, _total: None)

    def drop(self) -> bool:
        """Remove the index; return whether there was one. No embedding is touched."""
        with self._own("historical") as connection:
            row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (self._table,)).fetchone()
            connection.execute(self._compose("DROP TABLE IF EXISTS {table}"))
        return bool(row and row[0])

    def status(self) -> IndexStatus:
        """Return what the index holds; every key is compared, which takes seconds for millions of rows."""
        if not self.exists():
            raise missing_index(self.model_id)
        return IndexStatus(self.model_id, *self._db.rows(self._compose(_STATUS))[0])

    def nearest(self, space: WindowSpace, vector: Float32Vector, before: date, n_rows: int) -> list[StoredWindow]:
        """Return about the nearest vectors of a space dated before a date, by Euclidean distance, nearest first.

        pgvector goes on looking until enough rows pass the filter (iterative scan).
        """
        parameters = {
            "entity_type": space.entity_type,
            "window_days": space.window_days,
            "before": before,
            "n_rows": n_rows,
            "query": f"[{','.join(map(repr, vector.astype(np.float16).astype(float).tolist()))}]",
        }
        try:
            with self._db.connect() as connection:
                connection.execute("SET LOCAL hnsw.iterative_scan = strict_order")
                connection.execute(f"SET LOCAL hnsw.ef_search = {EF_SEARCH}")
                connection.execute(f"SET LOCAL hnsw.max_scan_tuples = {MAX_SCANNED}")
                connection.execute("SET LOCAL enable_seqscan = off")
                found = connection.execute(self._compose(_NEAREST), parameters, binary=True).fetchall()
        except psycopg.errors.UndefinedTable as error:
            raise missing_index(self.model_id) from error
        return [
            StoredWindow(name, day, decode_vector(stored, dim, f"{self.model_id} {name} {day}"))
            for name, day, stored, dim in found
        ]

    def _compose(self, statement: str, **more: sql.Composable) -> sql.Composed:
        return sql.SQL(statement).format(**self._names, **more)

    def _dim(self) -> int:
        query = "SELECT dim FROM numeric_window_embeddings WHERE model_id = %s LIMIT 1"
        dim: int | None = self._db.value(query, (self.model_id,))
        if dim is None:
            raise no_embedding(self.model_id, None, None)
        return dim

    def _copy_missing(self, dim: int, progress: Callable[[int, int | None], None]) -> int:
        """Copy what is missing or was rewritten, remove what was deleted."""
        with self._db.connect() as connection:
            connection.execute(self._compose(_DELETE_GONE))
            entities = connection.execute(self._compose(_ENTITIES_BEHIND)).fetchall()
        total = sum(row[2] for row in entities)
        n_copied = 0
        for entity_type, entity_id, _ in entities:
            with self._db.connect() as connection:
                n_copied += self._copy_entity(connection, entity_type, entity_id, dim)
            progress(n_copied, total)
        return n_copied

    def _copy_entity(self, connection: psycopg.Connection, entity_type: str, entity_id: str, dim: int) -> int:
        parameters = {"entity_type": entity_type, "entity_id": entity_id, "dim": dim}
        # another run may copy the same rows; the second one finds them there
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (self._table,))
        rows = connection.execute(self._compose(_MISSING_ROWS), parameters, binary=True).fetchall()
        if not rows:
            return 0
        vectors = np.frombuffer(b"".join(row[2] for row in rows), dtype="<f4").reshape(len(rows), dim)
        columns = {
            "entity_type": constant_bytes(entity_type.encode(), len(rows)),
            "entity_id": constant_bytes(entity_id.encode(), len(rows)),
            "window_days": np.array([row[0] for row in rows], dtype=np.int32),
            "as_of_date": np.array([row[1] for row in rows], dtype="M8[D]"),
            "written": np.array([row[3] for row in rows], dtype=np.int64),
            "vector": self._halved(vectors),
        }
        with connection.cursor() as cursor:
            copy_in(cursor, self._table, columns)
        return len(rows)

    def _halved(self, vectors: Float32Matrix) -> NDArray[np.float16]:
        with np.errstate(over="ignore"):
            halves = vectors.astype(np.float16)
        if not np.isfinite(halves).all():
            largest = float(np.abs(vectors).max())
            raise VectorError(
                self.model_id,
                f"values up to {largest:.3g} do not fit into half precision, which ends at 65504; index a scale-free "
                "model such as num-regime-core-v2",
            )
        return halves


def _require_extension(connection: psycopg.Connection) -> None:
    """Make pgvector available in this database, or say what is missing."""
    try:
        with connection.transaction():
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except psycopg.Error as error:
        raise missing_vector_extension(str(error.diag.message_primary or error)) from error
    version = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchall()[0][0]
    if tuple(int(part) for part in version.split(".")[:2]) < MINIMUM_PGVECTOR:
        raise missing_vector_extension(f"pgvector {version} is too old, 0.8 or newer is needed")


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
    """Reads the vectors of a space, entity by entity: the exact search that an index is checked against."""

    def __init__(self, db_manager: HistoricalDatabase, space: WindowSpace) -> None:
        self._db = Transactions(db_manager.get_historical_connection)
        self._where = sql.SQL(
            "model_id = {model_id} AND entity_type = {entity_type} AND window_days = {window_days}"
        ).format(model_id=space.model_id, entity_type=space.entity_type, window_days=space.window_days)

    def n_windows(self) -> int:
        """Return how many vectors there are."""
        query = sql.SQL("SELECT count(*) FROM numeric_window_embeddings WHERE {}")
        return int(self._db.value(query.format(self._where)))

    def entities(self) -> list[str]:
        """Return the entities that have vectors, by id."""
        query = sql.SQL("SELECT DISTINCT entity_id FROM numeric_window_embeddings WHERE {} ORDER BY 1")
        return self._db.column(query.format(self._where))

    def load(self, entity_id: str) -> EntityWindows:
        """Return all vectors of an entity."""
        probe = sql.SQL("SELECT dim FROM numeric_window_embeddings WHERE {} AND entity_id = {} LIMIT 1")
        dim = self._db.value(probe.format(self._where, entity_id)) or 0
        query = sql.SQL("SELECT as_of_date, vector FROM numeric_window_embeddings WHERE {} AND entity_id = {}")
        return EntityWindows(entity_id, *self._db.vectors(query.format(self._where, entity_id), dim))

    def nearest(self, queries: Sequence[WindowQuery], n_rows: int) -> list[list[StoredWindow]]:
        """Return for each query the nearest vectors dated before its date, by Euclidean distance, nearest first."""
        kept: list[list[tuple[float, StoredWindow]]] = [[] for _ in queries]
        asked = np.stack([query.vector for query in queries])
        for windows in map(self.load, self.entities()):
            squares = _squared_distances(windows.vectors, asked)
            for number, query in enumerate(queries):
                n_past = int(np.searchsorted(windows.dates, np.datetime64(query.before, "D")))
                found = _nearest_of(windows, squares[:n_past, number], query, n_rows)
                kept[number] = sorted(kept[number] + found, key=_by_distance)[:n_rows]
        return [[window for _, window in found] for found in kept]


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


_CREATE_TABLE = """
    CREATE TABLE IF NOT EXISTS {table} (
        entity_id   text        NOT NULL,
        window_days integer     NOT NULL,
        as_of_date  date        NOT NULL,
        entity_type text        NOT NULL,
        written     timestamptz NOT NULL,
        vector      halfvec({dim}) NOT NULL,
        PRIMARY KEY (entity_id, window_days, as_of_date, entity_type)
    )
"""
_CREATE_GRAPH = "CREATE INDEX IF NOT EXISTS {graph} ON {table} USING hnsw (vector halfvec_l2_ops)"
_SAME_ROW = """
    copied.entity_id = stored.entity_id AND copied.window_days = stored.window_days
    AND copied.as_of_date = stored.as_of_date AND copied.entity_type = stored.entity_type
    AND copied.written = stored.created_at
"""
_DELETE_GONE = """
    DELETE FROM {table} AS copied WHERE NOT EXISTS (
        SELECT FROM numeric_window_embeddings AS stored WHERE stored.model_id = {model} AND {same_row}
    )
"""
_ENTITIES_BEHIND = """
    SELECT stored.entity_type, stored.entity_id, count(*)
    FROM numeric_window_embeddings AS stored LEFT JOIN {table} AS copied ON {same_row}
    WHERE stored.model_id = {model} AND copied.entity_id IS NULL GROUP BY 1, 2 ORDER BY 1, 2
"""
_MISSING_ROWS = """
    SELECT stored.window_days, stored.as_of_date, stored.vector,
           (extract(epoch FROM stored.created_at - timestamptz '2000-01-01 00:00:00+00') * 1000000)::bigint
    FROM numeric_window_embeddings AS stored LEFT JOIN {table} AS copied ON {same_row}
    WHERE stored.model_id = {model} AND stored.entity_type = %(entity_type)s AND stored.entity_id = %(entity_id)s
      AND stored.dim = %(dim)s AND copied.entity_id IS NULL
    ORDER BY 1, 2
"""
_STATUS = """
    SELECT (SELECT count(*) FROM {table}),
           (SELECT count(*) FROM numeric_window_embeddings AS stored LEFT JOIN {table} AS copied ON {same_row}
            WHERE stored.model_id = {model} AND copied.entity_id IS NULL),
           pg_total_relation_size({name}::regclass)
"""
_NEAREST = """
    SELECT stored.entity_id, stored.as_of_date, stored.vector, stored.dim
    FROM (
        SELECT entity_id, window_days, as_of_date, entity_type, written, vector <-> %(query)s::halfvec AS distance
        FROM {table}
        WHERE entity_type = %(entity_type)s AND window_days = %(window_days)s AND as_of_date < %(before)s
        ORDER BY vector <-> %(query)s::halfvec LIMIT %(n_rows)s
    ) AS copied
    JOIN numeric_window_embeddings AS stored ON {same_row}
    WHERE stored.model_id = {model} ORDER BY copied.distance, 1, 2
"""
