"""The log of backfills: what each one did, and how fast; nothing is planned by it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg

from prometheus import __version__
from prometheus.data.postgres.connections import HistoricalDatabase
from prometheus.errors import unknown_run

MINIMUM_ROWS = 100
"""A run of fewer rows says nothing about the rate."""


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


class RunLog:
    """The table ``backfill_runs`` of the historical database."""

    def __init__(self, db_manager: HistoricalDatabase) -> None:
        self._db = db_manager

    def record(self, run: LoggedRun) -> None:
        """Keep a run; the same one twice is kept once."""
        query = """
            INSERT INTO backfill_runs (run_id, kind, model_id, planned, written, failed, n_bytes, seconds, version)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (run_id) DO NOTHING
        """
        values = (
            run.run_id, run.kind, run.model_id, run.planned, run.written, run.failed, run.n_bytes, run.seconds,
            __version__,
        )  # fmt: skip
        with self._db.get_historical_connection() as connection:
            connection.execute(query, values)

    def newest(self, limit: int, kind: str | None = None, before: str | None = None) -> list[FinishedRun]:
        """Return at most `limit` runs, of one kind or of all, newest first; only those that ended `before` a run."""
        query = """
            SELECT run_id, kind, model_id, planned, written, failed, n_bytes, seconds, finished_at, version
            FROM backfill_runs
            WHERE (%(kind)s::text IS NULL OR kind = %(kind)s)
              AND (%(ended)s::timestamptz IS NULL OR (finished_at, run_id) < (%(ended)s, %(before)s))
            ORDER BY finished_at DESC, run_id DESC LIMIT %(limit)s
        """
        with self._db.get_historical_connection() as connection:
            ended = None if before is None else _end_of(connection, before)
            parameters = {"kind": kind, "ended": ended, "before": before, "limit": limit}
            return [FinishedRun(LoggedRun(*row[:8]), *row[8:]) for row in connection.execute(query, parameters)]

    def seconds_per_row(self, kind: str, model_id: str) -> float | None:
        """Return how long a row took in the newest run that mostly wrote; None if not found."""
        query = """
            SELECT seconds / written FROM backfill_runs
            WHERE kind = %s AND model_id = %s AND written >= %s AND 2 * written > planned
            ORDER BY finished_at DESC LIMIT 1
        """
        with self._db.get_historical_connection() as connection:
            row = connection.execute(query, (kind, model_id, MINIMUM_ROWS)).fetchone()
        return None if row is None else float(row[0])


def _end_of(connection: psycopg.Connection, run_id: str) -> datetime:
    row = connection.execute("SELECT finished_at FROM backfill_runs WHERE run_id = %s", (run_id,)).fetchone()
    if row is None:
        raise unknown_run(run_id)
    ended: datetime = row[0]
    return ended
