"""The log of nights: each is noted as it begins and as it ends, however it ends."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date
from typing import TYPE_CHECKING

from prometheus.app.wiring import UseCase
from prometheus.core.logs import take_run_id
from prometheus.data.nightly_runs import NightlyRun, NightlyRuns, RunOutcome, RunResult
from prometheus.errors import (
    DatabaseError,
    DatabaseUnreachableError,
    InputRefusedError,
    PrometheusError,
    RetryableError,
    UsageError,
)
from prometheus.market.standings import Standing, count

if TYPE_CHECKING:
    from prometheus.app.night_reports import NightlyReport
    from prometheus.app.prices import RegionPlan

__all__ = ["KeepRuns", "NightlyRun", "RecordedRun", "RunResult"]

logger = logging.getLogger(__name__)

COMMAND = "nightly"
UNEXPECTED, INTERRUPTED = 1, 130
MOST_TOLD = 200
"""Of what is skipped, and of failures, in one row; a market may have thousands of members."""
REFUSALS = (InputRefusedError, UsageError, RetryableError)


class RecordedRun:
    """One run while it is under way."""

    def __init__(self, log: NightlyRuns) -> None:
        self._log, self.run_id = log, take_run_id()
        self._since = time.monotonic()
        self._as_of: date | None = None
        self._sessions: dict[str, str] = {}
        self._ended: RunOutcome | None = None

    def begin(self, as_of: date | None) -> None:
        """Note that it runs; the caller holds the lock of nights."""
        self._log.begin(self.run_id, COMMAND, as_of)

    def planned(self, plans: Sequence[RegionPlan]) -> None:
        """Keep the newest session asked of each market, and of all."""
        self._as_of = max((plan.as_of_date for plan in plans), default=None)
        for plan in sorted(plans, key=lambda each: each.as_of_date):
            self._sessions[plan.market] = str(plan.as_of_date)

    def end(self, report: NightlyReport) -> None:
        """Note what it did; again once alerts are sent, if they failed."""
        result = RunResult.INCOMPLETE if report.failures or report.waiting else RunResult.COMPLETED
        self._end(
            RunOutcome(
                result, report.exit_code, self._seconds(), None, self._as_of, self._sessions,
                _rows_of(report), _standings_of(report), _bounded(_skipped_of(report)),
                _bounded(_failures_of(report.failures)), _findings_of(report), report.run_ids,
            )
        )  # fmt: skip

    def fail(self, error: BaseException) -> None:
        """Note the error that ends it; without a database the log of the process alone has it."""
        if isinstance(error, DatabaseUnreachableError):
            return
        result, exit_code, message = _how(error)
        done = self._ended or RunOutcome(result, exit_code, 0.0, None, self._as_of, self._sessions)
        try:
            self._end(replace(done, result=result, exit_code=exit_code, seconds=self._seconds(), message=message))
        except DatabaseError as lost:
            logger.warning("the end of this run could not be noted: %s", lost)

    def _end(self, outcome: RunOutcome) -> None:
        self._log.end(self.run_id, COMMAND, outcome)
        self._ended = outcome

    def _seconds(self) -> float:
        return time.monotonic() - self._since


class KeepRuns(UseCase):
    """Writes and reads the log of nights."""

    @contextmanager
    def recording(self) -> Iterator[RecordedRun]:
        """Yield a run to be begun and ended; an error that leaves the block ends it, and is raised."""
        run = RecordedRun(self._log)
        try:
            yield run
        except BaseException as error:
            run.fail(error)
            raise

    def newest(self, limit: int, before: str | None = None) -> list[NightlyRun]:
        """Return at most `limit` nights, newest first; only those that began `before` one, if given."""
        return self._log.newest(limit, before)

    def find(self, run_id: str) -> NightlyRun:
        """Return a night by its id, or an unmistakable beginning of it; NotFoundError without one."""
        return self._log.find(run_id)

    def newest_that_ended(self) -> NightlyRun | None:
        """Return the newest night that did its work, in whole or in part."""
        return self._log.newest_that_ended()

    def told_by(self, day: date) -> NightlyRun | None:
        """Return the newest night that did its work, None without one or if that began after a date, in UTC."""
        night = self._log.newest_that_ended()
        return night if night is not None and night.started_at.astimezone(UTC).date() <= day else None

    def why_left_out(self, region: str) -> str:
        """Return why the newest night did not simply bring a region up to date; empty if it did, or without a night."""
        night = self._log.newest_that_ended()
        told = () if night is None else (*night.failures, *(each for each in night.skipped if each["kind"] == "region"))
        return next((each["why"] for each in told if each["name"] == region), "")

    @property
    def _log(self) -> NightlyRuns:
        return NightlyRuns(self._wired.db_manager)


def _how(error: BaseException) -> tuple[RunResult, int, str]:
    if isinstance(error, PrometheusError):
        result = RunResult.REFUSED if isinstance(error, REFUSALS) else RunResult.FAILED
        return result, error.exit_code, str(error)
    if isinstance(error, KeyboardInterrupt):  # the command tells a signal from Ctrl-C
        return RunResult.INTERRUPTED, int(getattr(error, "exit_code", INTERRUPTED)), "interrupted"
    return RunResult.FAILED, UNEXPECTED, f"unexpected {type(error).__name__}: {error}"


def _rows_of(report: NightlyReport) -> dict[str, int]:
    rows: Counter[str] = Counter()
    for night in report.regions:
        rows["numeric_window_embeddings"] += night.n_embeddings
        rows["regimes"] += night.n_added + night.n_rewritten
        rows["joint_embeddings"] += night.n_joint_rows
    rows["text_embeddings"] += sum(night.n_written for night in report.texts)
    rows["text_stances"] += sum(night.n_written for night in report.stances)
    return {table: count for table, count in rows.items() if count}


def _standings_of(report: NightlyReport) -> dict[str, dict[str, int]]:
    of_each = {"regions": report.region_standings, "instruments": report.instrument_standings}
    return {kind: {each.value: n for each, n in count(stands).items()} for kind, stands in of_each.items()}


def _skipped_of(report: NightlyReport) -> Iterator[Mapping[str, str]]:
    """Yield what was left out: by where it stands, and of what says nothing of that, by the end of its history."""
    told = set()
    for kind, stands in (("region", report.region_standings), ("instrument", report.instrument_standings)):
        for each in stands:
            if not each.standing.is_usual and each.standing is not Standing.FAILED:
                told.add((kind, each.name))
                yield {"name": each.name, "kind": kind, "why": each.why or each.standing.value}
    for kind, skipped in (("region", report.skipped_regions), ("instrument", report.skipped_instruments)):
        ended = ((name, f"its history ended on {day}") for name, day in sorted(skipped.ended.items()))
        not_begun = sorted(skipped.not_begun.items())
        begun = ((name, f"its history begins on {day}, too late for a window") for name, day in not_begun)
        for name, why in (*ended, *begun):
            if (kind, name) not in told:
                yield {"name": name, "kind": kind, "why": why}


def _failures_of(failures: Mapping[str, Sequence[str]]) -> Iterator[Mapping[str, str]]:
    for name, reasons in failures.items():
        yield from ({"name": name, "why": reason} for reason in reasons)


def _bounded(told: Iterable[Mapping[str, str]]) -> tuple[Mapping[str, str], ...]:
    """Return the first of what is told, and how many more there are; the standings count all."""
    found = tuple(told)
    if len(found) <= MOST_TOLD:
        return found
    more = {**dict.fromkeys(found[-1], "…"), "why": f"and {len(found) - MOST_TOLD:,} more"}
    return (*found[:MOST_TOLD], more)


def _findings_of(report: NightlyReport) -> dict[str, int]:
    still_open = {each for night in report.regions for each in night.findings}
    return {"open": len(still_open), "new": len(report.new_findings)}
