"""Every missing row up to a date, for every configured region, in one repeatable run."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING

from prometheus import errors
from prometheus.app.alerts import NightAlerts
from prometheus.app.backfills import EngineChoice, noting
from prometheus.app.night_reports import NightlyReport, RegionNight, TextNight
from prometheus.app.prices import NightlyPlanner, NightlyRequest, RegionPlan
from prometheus.app.saying import listening
from prometheus.app.settled_nights import NightNotes, SettledNights
from prometheus.app.text_backlog import find_backlog
from prometheus.backfill.plan import DateSpan
from prometheus.data.postgres.locks import only_run
from prometheus.data.record import ForwardRecord
from prometheus.data.settled import Marks, load_marks
from prometheus.encoders.texts.documents import TextSourceType

if TYPE_CHECKING:
    from prometheus.app import App
    from prometheus.app.region_nights import BringUp
    from prometheus.app.run_log import RecordedRun

KIND = "nightly"


class RunNight:
    """Runs the use cases for every configured region."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._config = app.db_manager.config
        self._planner = NightlyPlanner(app.wired)

    def run(self, request: NightlyRequest) -> NightlyReport:
        """Bring every configured region and every text up to date; a dry run reports the expected writes.

        UsageError without a configured region; RetryableError while another nightly run holds the lock;
        InputRefusedError, before anything is written, if no region has its newest bars; DatabaseError if the database
        cannot be used, rows stored before remain.
        """
        if not self._config.regions:
            raise errors.no_regions()
        begin = time.monotonic()
        told = NightAlerts(self._app.alerts, request)
        if request.dry_run:
            return replace(self._run(told, request, None), alerts=told.send(), seconds=time.monotonic() - begin)
        with self._app.runs.recording() as run:
            with told.of_failure():
                with only_run(self._app.db_manager, KIND, request.now_utc):
                    run.begin(request.as_of_date)
                    report = self._run(told, request, run)
                    run.end(report)
                told.failed(report.failures)
            report = replace(report, alerts=told.send(), seconds=time.monotonic() - begin)
            if report.alerts.failures:
                run.end(report)
        return report

    def _run(self, told: NightAlerts, request: NightlyRequest, run: RecordedRun | None) -> NightlyReport:
        plans = self._planner.plan(self._config.regions, request)
        if run is not None:
            run.planned(plans)
        told.late(plans)
        stale = [str(plan) for plan in plans if plan.stale]
        if stale and not request.skip_stale and all(plan.stood is not None for plan in plans):
            raise errors.stale_prices(stale)
        end = max(plan.as_of_date for plan in plans)
        settled = SettledNights(self._app.wired, request, plans)
        marks = load_marks(self._app.db_manager, settled.instruments)
        texts = (self._embed("MACRO", end, request, marks), self._embed("NEWS", end, request, marks))
        stances = self._app.stance.nightly(end, dry_run=request.dry_run) if marks.of("stance_heads") else ()
        if sum(night.n_written for night in texts) + sum(night.n_written for night in stances):
            marks = load_marks(self._app.db_manager, settled.instruments)
        joinable = {night.source_type for night in texts if night.is_joinable}
        settled.begin(marks, joinable, self._app.alerts.outbox.told())
        left = _Left(self._app, self._planner, told, joinable, request)
        regions = tuple(settled.find(plan, told) or left.region(plan, settled) for plan in plans)
        settled.end()
        told.end()
        return NightlyReport(
            regions, texts, 0.0, request.dry_run, ForwardRecord(self._app.db_manager).head(), stances=stances,
            is_strict=request.is_strict,
        )  # fmt: skip

    def _embed(self, source_type: TextSourceType, end: date, request: NightlyRequest, marks: Marks) -> TextNight:
        """Embed the texts up to a date that lack an embedding; if all have one, no model is opened."""
        config = self._config
        model_id = config.text_model_id if source_type == "MACRO" else config.news_text_model_id
        backlog = find_backlog(self._app.db_manager, source_type, model_id, end, marks, dry_run=request.dry_run)
        night = TextNight(source_type, model_id, backlog.n_texts)
        if backlog.first_missing is None:
            return night
        if request.dry_run:
            return replace(night, n_written=backlog.n_missing)
        from prometheus.app.texts import TextRequest  # noqa: PLC0415 -- only where there is something to embed

        runtime = self._app.texts.runtime_of(model_id)
        span = DateSpan.of_range(backlog.first_missing, end)
        wanted = TextRequest(span, model_id, config.hf_model_name, runtime=runtime)
        begin, failures = time.monotonic(), list[str]()
        with noting(failures):
            done = self._app.texts.embed(source_type, wanted, EngineChoice(workers=1))
            night = replace(night, n_written=done.report.written, run_ids=(done.run_id,))
            failures += map(str, done.failures)
        return replace(night, seconds=time.monotonic() - begin, failures=tuple(failures))


class _Left:
    """The regions that are not settled; a night without any imports nothing of what computes them."""

    def __init__(
        self, app: App, planner: NightlyPlanner, told: NightAlerts, joinable: Collection[TextSourceType],
        request: NightlyRequest,
    ) -> None:  # fmt: skip
        self._given = (app, planner, told, joinable, request)

    @cached_property
    def _work(self) -> BringUp:
        from prometheus.app.region_nights import BringUp  # noqa: PLC0415 -- only where there is something to do

        return BringUp(*self._given)

    def region(self, plan: RegionPlan, settled: SettledNights) -> RegionNight:
        """Bring one region up to date, and settle it if there was nothing to do."""
        notes = NightNotes()
        with listening() as said:
            night = self._work.region(plan, notes)
        settled.note(plan, night, notes, said)
        return night
