"""The index of near window vectors.

It is pgvector's HNSW over half-precision copies, one table per model. It is derived: the truth stays in
``numeric_window_embeddings``, from where a search reads the vectors of what it finds; it leaves out what was rewritten
since it was copied, and `sync` brings the copies in step.

Source of the method: Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical
navigable small world graphs", 2016.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeAlias

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from prometheus.analogs.sound import unsound_rows, warn_left_out
from prometheus.analogs.window_rows import NearWindow
from prometheus.arrays import VECTOR_DTYPE, Float32Matrix, Float32Vector
from prometheus.data.postgres.binary_copy import constant_bytes, copy_in
from prometheus.data.postgres.connections import OwnedDatabase, Transactions
from prometheus.data.vectors.scan import WindowSpace
from prometheus.errors import PrometheusError, VectorError, missing_index, missing_vector_extension, no_embedding
from prometheus.regime.decoding import euclidean_distances

logger = logging.getLogger(__name__)

Progress: TypeAlias = Callable[[int, int | None], None]
Connect: TypeAlias = Callable[[], AbstractContextManager[psycopg.Connection]]
_WATCHED_EVERY_S = 1.0
MINIMUM_PGVECTOR = (0, 8)
LINKS, CANDIDATES = 8, 32
"""Of each window in the graph, and those looked at to find them: pgvector's m and ef_construction (ADR 0015)."""
EF_SEARCH = 200
MAX_SCANNED = 200_000
"""Rows that one search may look at before it gives up; pgvector counts them itself."""
_GRAPH_BYTES_PER_ROW = 1_400
_LARGEST_BUILD_MEMORY = 4 << 30


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """What an index holds, and how many stored vectors it lacks or holds as they were before."""

    model_id: str
    n_indexed: int
    n_missing: int
    n_bytes: int


class WindowIndex:
    """The HNSW index of one model's window vectors."""

    def __init__(self, db_manager: OwnedDatabase, model_id: str) -> None:
        self._db = Transactions(db_manager.get_historical_connection)
        self._own = db_manager.get_owner_connection
        self.model_id = model_id
        self.left_out: set[tuple[str, date]] = set()
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

    def build(self, progress: Progress) -> int:
        """Make the index, or bring it in step where it is there; return how many vectors were copied.

        It is made in one transaction: a build that is interrupted leaves nothing. `progress` counts each window twice,
        as it is copied and as it is put into the graph. `NotFoundError` where the model has no vectors, `DatabaseError`
        where the server has no pgvector or one too old, `VectorError` where vectors do not fit into half precision.
        """
        dim = self._dim()
        with self._own("historical") as connection:
            # of two builds at once the second waits, and finds the index made
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", (self._table,))
            n_made = None if self.exists() else self._make(connection, dim, progress)
        n_copied = self._bring_in_step(dim, progress) if n_made is None else n_made
        with self._own("historical") as connection:
            connection.execute(self._compose("ANALYZE {table}"))
        return n_copied

    def _bring_in_step(self, dim: int, progress: Progress) -> int:
        try:
            return self._copy_missing(self._db.connect, dim, progress)
        except VectorError:
            self.drop()
            raise

    def _make(self, connection: psycopg.Connection, dim: int, progress: Progress) -> int:
        _require_extension(connection)
        _end_with_the_client(connection)
        connection.execute(self._compose("DROP TABLE IF EXISTS {table}"))  # earlier versions left one half made
        connection.execute(self._compose(_CREATE_TABLE, dim=sql.Literal(dim)))
        connection.execute(self._compose("COMMENT ON TABLE {table} IS {model}"))
        n_copied = self._copy_missing(
            lambda: nullcontext(connection), dim, lambda done, total: progress(done, total and 2 * total)
        )
        memory = f"{build_memory(n_copied) >> 10}kB"
        connection.execute(sql.SQL("SET LOCAL maintenance_work_mem = {}").format(memory))
        with self._watched(connection.info.backend_pid, lambda done: progress(n_copied + done, 2 * n_copied)):
            connection.execute(
                self._compose(_CREATE_GRAPH, links=sql.Literal(LINKS), candidates=sql.Literal(CANDIDATES))
            )
        return n_copied

    @contextmanager
    def _watched(self, pid: int, progress: Callable[[int], None]) -> Iterator[None]:
        """Tell once a second how many windows are in the graph that a server process builds."""
        is_built = threading.Event()

        def watch() -> None:
            try:
                while not is_built.wait(_WATCHED_EVERY_S):
                    with self._own("historical") as connection:
                        row = connection.execute(_GRAPH_PROGRESS, (pid,)).fetchone()
                    if row is not None and row[0]:
                        progress(row[0])
            except (psycopg.Error, PrometheusError) as error:
                logger.debug("how far the graph is cannot be told: %s", error)

        watcher = threading.Thread(target=watch, name="prometheus-index-progress", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            is_built.set()
            watcher.join()

    def sync(self) -> int:
        """Bring an index that is there in step with the rows; return how many vectors were copied, 0 without one."""
        if not self.exists():
            return 0
        return self._copy_missing(self._db.connect, self._dim(), lambda _done, _total: None)

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

    def nearest(self, space: WindowSpace, vector: Float32Vector, before: date, n_rows: int) -> list[NearWindow]:
        """Return about the nearest windows of a space dated before a date, by exact distance, nearest first.

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
        rows, vectors = _sound(found, len(vector))
        self.left_out |= {row[:2] for row in found} - {row[:2] for row in rows}
        distances = euclidean_distances(vectors, vector[np.newaxis])[:, 0].tolist()
        return sorted(NearWindow(distance, *row[:2]) for distance, row in zip(distances, rows, strict=True))

    def _compose(self, statement: str, **more: sql.Composable) -> sql.Composed:
        return sql.SQL(statement).format(**self._names, **more)

    def _dim(self) -> int:
        query = """
            SELECT mode() WITHIN GROUP (ORDER BY dim)
            FROM (SELECT dim FROM numeric_window_embeddings WHERE model_id = %s LIMIT 9) AS few
        """
        dim: int | None = self._db.value(query, (self.model_id,))
        if dim is None:
            raise no_embedding(self.model_id, None, None)
        return dim

    def _copy_missing(self, connect: Connect, dim: int, progress: Progress) -> int:
        """Copy what is missing or was rewritten, remove what was deleted."""
        with connect() as connection:
            connection.execute(self._compose(_DELETE_GONE))
            entities = connection.execute(self._compose(_ENTITIES_BEHIND)).fetchall()
        total = sum(row[2] for row in entities)
        n_copied = 0
        for entity_type, entity_id, _ in entities:
            with connect() as connection:
                n_copied += self._copy_entity(connection, entity_type, entity_id, dim)
            progress(n_copied, total)
        return n_copied

    def _copy_entity(self, connection: psycopg.Connection, entity_type: str, entity_id: str, dim: int) -> int:
        parameters = {"entity_type": entity_type, "entity_id": entity_id, "dim": dim}
        # another run may copy the same rows; the second one finds them there
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (self._table,))
        found = connection.execute(self._compose(_MISSING_ROWS), parameters, binary=True).fetchall()
        rows, vectors = _sound(found, dim)
        if len(rows) < len(found):  # they stay missing, and a later run copies them once they are put right
            left_out = sorted({row[1] for row in found} - {row[1] for row in rows})
            warn_left_out(f"index of {self.model_id}", [f"{entity_id} {day}" for day in left_out])
        if not rows:
            return 0
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


def _sound(found: list[tuple[Any, ...]], dim: int) -> tuple[list[tuple[Any, ...]], Float32Matrix]:
    """Return the rows whose third value is a vector that can be compared, and these vectors."""
    rows = [row for row in found if len(row[2]) == dim * VECTOR_DTYPE.itemsize]
    vectors = np.frombuffer(b"".join(row[2] for row in rows), VECTOR_DTYPE).reshape(len(rows), dim)
    is_bad = unsound_rows(vectors)
    if is_bad is not None:
        rows = [row for row, bad in zip(rows, is_bad.tolist(), strict=True) if not bad]
        vectors = vectors[~is_bad]
    return rows, vectors


def build_memory(n_rows: int) -> int:
    """Return how many bytes the graph of a number of vectors may take while it is built; a larger one goes to disk."""
    return min(_LARGEST_BUILD_MEMORY, max(64 << 20, n_rows * _GRAPH_BYTES_PER_ROW))


def _end_with_the_client(connection: psycopg.Connection) -> None:
    """Let the server look whether this program is still there, so that it does not go on for one that was killed."""
    try:
        with connection.transaction():
            connection.execute("SET LOCAL client_connection_check_interval = '1s'")
    except psycopg.Error as error:  # a server's system may not be able to
        logger.debug("the server cannot look for its client: %s", error)


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
_GRAPH_PROGRESS = "SELECT tuples_done FROM pg_stat_progress_create_index WHERE pid = %s"
_CREATE_GRAPH = """
    CREATE INDEX IF NOT EXISTS {graph} ON {table} USING hnsw (vector halfvec_l2_ops)
    WITH (m = {links}, ef_construction = {candidates})
"""
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
    SELECT stored.entity_id, stored.as_of_date, stored.vector
    FROM (
        SELECT entity_id, window_days, as_of_date, entity_type, written, vector <-> %(query)s::halfvec AS distance
        FROM {table}
        WHERE entity_type = %(entity_type)s AND window_days = %(window_days)s AND as_of_date < %(before)s
        ORDER BY vector <-> %(query)s::halfvec LIMIT %(n_rows)s
    ) AS copied
    JOIN numeric_window_embeddings AS stored ON {same_row}
    WHERE stored.model_id = {model} ORDER BY copied.distance, 1, 2
"""
