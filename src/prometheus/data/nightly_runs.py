"""The table ``nightly_runs``: what each night did, and how it ended (ADR-0042)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from psycopg.types.json import Jsonb

from prometheus import __version__
from prometheus.data.postgres.connections import Query, RuntimeDatabase, Transactions
from prometheus.data.postgres.locks import holds_run
from prometheus.errors import unknown_run

MOST_KEPT = 1_000
"""Nights that are kept, four years of them; a night that begins removes older ones."""

_COLUMNS = """
    run_id, command, as_of_date, sessions, started_at, ended_at, seconds, result, exit_code, message, rows_written,
    standings, skipped, failures, findings, backfills, version
"""
# the caller holds the lock of nights: whatever else still says that it runs has died
_BEGIN = """
    WITH lost AS (UPDATE nightly_runs SET result = 'LOST' WHERE result = 'RUNNING'),
    removed AS (
        DELETE FROM nightly_runs WHERE started_at < (
            SELECT started_at FROM nightly_runs ORDER BY started_at DESC, run_id DESC OFFSET %(kept)s - 2 LIMIT 1
        )
    )
    INSERT INTO nightly_runs (run_id, command, as_of_date, result, version)
    VALUES (%(run_id)s, %(command)s, %(as_of)s, 'RUNNING', %(version)s)
"""
_END = """
    INSERT INTO nightly_runs AS stored (
        run_id, command, as_of_date, sessions, started_at, ended_at, seconds, result, exit_code, message, rows_written,
        standings, skipped, failures, findings, backfills, version
    ) VALUES (
        %(run_id)s, %(command)s, %(as_of_date)s, %(sessions)s, clock_timestamp() - make_interval(secs => %(seconds)s),
        clock_timestamp(), %(seconds)s, %(result)s, %(exit_code)s, %(message)s, %(rows_written)s, %(standings)s,
        %(skipped)s, %(failures)s, %(findings)s, %(backfills)s, %(version)s
    ) ON CONFLICT (run_id) DO UPDATE
    SET as_of_date = coalesce(excluded.as_of_date, stored.as_of_date), sessions = excluded.sessions,
        ended_at = excluded.ended_at, seconds = excluded.seconds, result = excluded.result,
        exit_code = excluded.exit_code, message = excluded.message, rows_written = excluded.rows_written,
        standings = excluded.standings, skipped = excluded.skipped, failures = excluded.failures,
        findings = excluded.findings, backfills = excluded.backfills
"""
_NEWEST = f"""
    SELECT {_COLUMNS} FROM nightly_runs
    WHERE %(before)s::text IS NULL
       OR (started_at, run_id) < (SELECT started_at, run_id FROM nightly_runs WHERE run_id = %(before)s)
    ORDER BY started_at DESC, run_id DESC LIMIT %(limit)s
"""  # noqa: S608 -- of constants
_NEWEST_THAT_ENDED = f"""
    SELECT {_COLUMNS} FROM nightly_runs WHERE result IN ('COMPLETED', 'INCOMPLETE')
    ORDER BY started_at DESC, run_id DESC LIMIT 1
"""  # noqa: S608 -- of constants
_FOUND = f"SELECT {_COLUMNS} FROM nightly_runs WHERE starts_with(run_id, %s) LIMIT 2"  # noqa: S608 -- of constants


class RunResult(StrEnum):
    """How a night ended. `LOST` ones were killed; of `INCOMPLETE` ones a part failed, and the rest is stored."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    INCOMPLETE = "INCOMPLETE"
    REFUSED = "REFUSED"
    FAILED = "FAILED"
    INTERRUPTED = "INTERRUPTED"
    LOST = "LOST"

    @property
    def words(self) -> str:
        """The result for people."""
        return "did not end" if self is RunResult.LOST else self.value.lower()


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended and what it did; `exit_code` and `message` are those that its command ended with.

    Attributes
    ----------
    as_of_date
        The newest session that was asked for; None if the run ended before it was known.
    sessions
        That of each market, ISO dates by market id.
    rows_written
        Rows by table.
    standings
        How many ``regions`` and ``instruments`` have each standing.
    skipped
        What was left out: ``name``, ``kind`` and ``why`` of each.
    failures
        What failed: ``name`` and ``why`` of each.
    findings
        ``open`` and ``new`` faults in prices.
    backfills
        Ids of the backfills it ran, in the table ``backfill_runs``.
    """

    result: RunResult
    exit_code: int
    seconds: float
    message: str | None = None
    as_of_date: date | None = None
    sessions: Mapping[str, str] = field(default_factory=dict)
    rows_written: Mapping[str, int] = field(default_factory=dict)
    standings: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    skipped: tuple[Mapping[str, str], ...] = ()
    failures: tuple[Mapping[str, str], ...] = ()
    findings: Mapping[str, int] = field(default_factory=dict)
    backfills: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NightlyRun:
    """One row of the log; the fields are those of `RunOutcome`, None and empty while the run has not ended."""

    run_id: str
    command: str
    as_of_date: date | None
    sessions: Mapping[str, str]
    started_at: datetime
    ended_at: datetime | None
    seconds: float | None
    result: RunResult
    exit_code: int | None
    message: str | None
    rows_written: Mapping[str, int]
    standings: Mapping[str, Mapping[str, int]]
    skipped: tuple[Mapping[str, str], ...]
    failures: tuple[Mapping[str, str], ...]
    findings: Mapping[str, int]
    backfills: tuple[str, ...]
    version: str

    @property
    def needs_a_look(self) -> bool:
        """Whether it neither runs nor has done all its work."""
        return self.result not in (RunResult.RUNNING, RunResult.COMPLETED)

    @property
    def n_written(self) -> int:
        """Rows of all tables."""
        return sum(self.rows_written.values())

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, instants in ISO form with their zone."""
        return {
            "run_id": self.run_id, "command": self.command, "result": self.result.words,
            "exit_code": self.exit_code, "message": self.message,
            "as_of_date": None if self.as_of_date is None else str(self.as_of_date), "sessions": dict(self.sessions),
            "started_at": self.started_at.isoformat(),
            "ended_at": None if self.ended_at is None else self.ended_at.isoformat(),
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "written": self.n_written, "rows_written": dict(self.rows_written), "standings": dict(self.standings),
            "skipped": list(self.skipped), "failures": list(self.failures), "findings": dict(self.findings),
            "backfills": list(self.backfills), "version": self.version,
        }  # fmt: skip


class NightlyRuns:
    """Reads and writes the log."""

    def __init__(self, db_manager: RuntimeDatabase) -> None:
        self._db = Transactions(db_manager.get_runtime_connection)

    def begin(self, run_id: str, command: str, as_of: date | None) -> None:
        """Note that a run begins, that none other of them runs any more, and forget the oldest.

        The caller holds the lock of such runs.
        """
        given = {"run_id": run_id, "command": command, "as_of": as_of, "version": __version__, "kept": MOST_KEPT}
        self._once(_BEGIN, given)

    def end(self, run_id: str, command: str, outcome: RunOutcome) -> None:
        """Note how a run ended; said twice, the second outcome counts."""
        mappings = ("sessions", "rows_written", "standings", "findings")
        lists = ("skipped", "failures", "backfills")
        plain = ("result", "exit_code", "seconds", "message", "as_of_date")
        given = {
            "run_id": run_id, "command": command, "version": __version__,
            **{name: getattr(outcome, name) for name in plain},
            **{name: Jsonb(dict(getattr(outcome, name))) for name in mappings},
            **{name: Jsonb(list(getattr(outcome, name))) for name in lists},
        }  # fmt: skip
        self._once(_END, given)

    def newest(self, limit: int, before: str | None = None) -> list[NightlyRun]:
        """Return at most `limit` runs, newest first; only those that began `before` a run, if given."""
        runs = self._read(_NEWEST, {"limit": limit, "before": before})
        if before is not None and not runs:
            self.find(before)
        return runs

    def newest_that_ended(self) -> NightlyRun | None:
        """Return the newest run that did its work, in whole or in part; None without one."""
        return next(iter(self._read(_NEWEST_THAT_ENDED)), None)

    def find(self, run_id: str) -> NightlyRun:
        """Return one run, by its id or an unmistakable beginning of it; `NotFoundError` without one."""
        found = self._read(_FOUND, (run_id,)) if run_id else []
        if len(found) != 1:
            raise unknown_run(run_id)
        return found[0]

    def _once(self, query: Query, given: Mapping[str, Any]) -> None:
        with self._db.connect() as connection:  # not tried for a minute: the log is not what the night is for
            connection.execute(query, given)

    def _read(self, query: Query, given: Any = None) -> list[NightlyRun]:
        """Return runs of the log; one that says it runs has died, unless its lock is held or it began since.

        The lock is looked at first: a run notes its end before it gives the lock up.
        """
        with self._db.connect() as connection:
            is_held, looked_at = holds_run(connection, "nightly")
            rows = connection.execute(query, given).fetchall()
        return [_to_run(row, is_held=is_held or row[4] > looked_at) for row in rows]


def _to_run(row: tuple[Any, ...], *, is_held: bool) -> NightlyRun:
    facts = dict(zip(_COLUMNS.replace(",", " ").split(), row, strict=True))
    said = RunResult(facts["result"])
    shown = RunResult.LOST if said is RunResult.RUNNING and not is_held else said
    lists = {name: tuple(facts[name]) for name in ("skipped", "failures", "backfills")}
    return NightlyRun(**{**facts, **lists, "result": shown})
