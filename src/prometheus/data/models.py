"""The tables ``models`` and ``backfill_runs``: what each model id means, and what each backfill did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from prometheus import __version__
from prometheus.data.postgres.connections import HistoricalDatabase, HistoricalTables
from prometheus.encoders.identity import fingerprint, require_same_meaning
from prometheus.errors import unknown_run

MINIMUM_ROWS = 100
"""A run of fewer rows says nothing about the rate."""

_STORED = "SELECT kind, fingerprint, config FROM models WHERE model_id = %(id)s"


class ModelRegistry(HistoricalTables):
    """The table ``models``: a model id means one thing for ever."""

    def register(self, model_id: str, kind: str, config: Mapping[str, Any]) -> None:
        """Record what `model_id` means, or prove that it means the same as before."""
        query = """
            WITH added AS (
                INSERT INTO models (model_id, kind, fingerprint, config)
                VALUES (%(id)s, %(kind)s, %(print)s, %(config)s)
                ON CONFLICT (model_id) DO NOTHING
                RETURNING kind, fingerprint, config
            )
            SELECT * FROM added UNION ALL SELECT kind, fingerprint, config FROM models WHERE model_id = %(id)s LIMIT 1
        """
        meaning = {"id": model_id, "kind": kind, "print": fingerprint(config), "config": Jsonb(dict(config))}
        row = self._db.row(query, meaning)
        if row is None:  # another process added it between our two looks
            self.register(model_id, kind, config)
        else:
            require_same_meaning(model_id, row, kind, config)

    def require_same(self, model_id: str, kind: str, config: Mapping[str, Any]) -> None:
        """Prove that `model_id` means this or nothing yet; nothing is recorded."""
        row = self._db.row(_STORED, {"id": model_id})
        if row is not None:
            require_same_meaning(model_id, row, kind, config)

    def ids_of_kind(self, kind: str) -> list[str]:
        """Return the ids of all models of a kind: ``numeric``, ``text``, ``joint`` or ``regime``."""
        return self._db.column("SELECT model_id FROM models WHERE kind = %s ORDER BY 1", (kind,))

    def load_config(self, model_id: str) -> dict[str, Any] | None:
        """Return what is recorded under an id, None where nothing is."""
        found = self._db.row(_STORED, {"id": model_id})
        return None if found is None else dict(found[2])


class VectorTable(HistoricalTables):
    """A table of vectors, with the registry of what its model ids mean."""

    def __init__(self, db_manager: HistoricalDatabase) -> None:
        super().__init__(db_manager)
        self.registry = ModelRegistry(db_manager)


@dataclass(frozen=True, slots=True)
class LoggedRun:
    """One backfill that came to its end."""

    run_id: str
    kind: str
    model_id: str
    planned: int
    written: int
    failed: int
    n_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A backfill of the log, when it ended and which version of Prometheus did it."""

    run: LoggedRun
    finished_at: datetime
    version: str


class RunLog(HistoricalTables):
    """The table ``backfill_runs`` of the historical database."""

    def record(self, run: LoggedRun) -> None:
        """Keep a run; the same one twice is kept once."""
        query = """
            INSERT INTO backfill_runs (run_id, kind, model_id, planned, written, failed, n_bytes, seconds, version)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (run_id) DO NOTHING
        """
        self._db.write(lambda cursor: cursor.execute(query, (*astuple(run), __version__)))

    def record_all(self, runs: Sequence[LoggedRun]) -> None:
        """Keep several runs in one statement."""
        query = """
            INSERT INTO backfill_runs (run_id, kind, model_id, planned, written, failed, n_bytes, seconds, version)
            SELECT *, %s FROM unnest(%s::text[], %s::text[], %s::text[], %s::int8[], %s::int8[], %s::int8[], %s::int8[],
                                     %s::float8[])
            ON CONFLICT (run_id) DO NOTHING
        """
        if runs:
            columns = zip(*map(astuple, runs), strict=True)
            self._db.write(lambda cursor: cursor.execute(query, (__version__, *map(list, columns))))

    def newest(self, limit: int, kind: str | None = None, before: str | None = None) -> list[FinishedRun]:
        """Return at most `limit` runs, of one kind or of all, newest first; only those that ended `before` a run."""
        query = """
            SELECT run_id, kind, model_id, planned, written, failed, n_bytes, seconds, finished_at, version
            FROM backfill_runs
            WHERE (%(kind)s::text IS NULL OR kind = %(kind)s)
              AND (%(ended)s::timestamptz IS NULL OR (finished_at, run_id) < (%(ended)s, %(before)s))
            ORDER BY finished_at DESC, run_id DESC LIMIT %(limit)s
        """
        ended = None if before is None else self._end_of(before)
        rows = self._db.rows(query, {"kind": kind, "ended": ended, "before": before, "limit": limit})
        return [FinishedRun(LoggedRun(*row[:8]), *row[8:]) for row in rows]

    def seconds_per_row(self, kind: str, model_id: str) -> float | None:
        """Return how long a row took in the newest run that mostly wrote; None if not found."""
        query = """
            SELECT seconds / written FROM backfill_runs
            WHERE kind = %s AND model_id = %s AND written >= %s AND 2 * written > planned
            ORDER BY finished_at DESC LIMIT 1
        """
        seconds: float | None = self._db.value(query, (kind, model_id, MINIMUM_ROWS))
        return seconds

    def _end_of(self, run_id: str) -> datetime:
        ended: datetime | None = self._db.value("SELECT finished_at FROM backfill_runs WHERE run_id = %s", (run_id,))
        if ended is None:
            raise unknown_run(run_id)
        return ended
