"""The log of backfills: what each one did, and how fast; nothing is planned by it."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus import __version__
from prometheus.core.connections import HistoricalDatabase

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


class RunLog:
    """The table ``backfill_runs``.

    Parameters
    ----------
    db_manager
        Where the historical database is.
    """

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

    def seconds_per_row(self, kind: str, model_id: str) -> float | None:
        """Return how long a row took in the newest run that mostly wrote; None where there was none."""
        query = """
            SELECT seconds / written FROM backfill_runs
            WHERE kind = %s AND model_id = %s AND written >= %s AND 2 * written > planned
            ORDER BY finished_at DESC LIMIT 1
        """
        with self._db.get_historical_connection() as connection:
            row = connection.execute(query, (kind, model_id, MINIMUM_ROWS)).fetchone()
        return None if row is None else float(row[0])
