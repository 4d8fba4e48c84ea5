"""One region's part of a night: what it lacks up to its last session, computed and stored."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np

from prometheus import errors
from prometheus.app.backfills import noting
from prometheus.app.joint import JoinTexts, JointModelChoice, TextBranch, text_branches
from prometheus.app.night_reports import NewestLabel, RegionNight
from prometheus.app.prices import NightlyPlanner, NightlyRequest, RegionPlan, first_date_wanted, stands_skipped
from prometheus.app.regimes import LabelRegimes, RegimeRequest
from prometheus.arrays import DateVector
from prometheus.backfill.joint import JointRequest
from prometheus.backfill.plan import DateSpan
from prometheus.encoders.identity import NUM_REGIME_CORE_V2
from prometheus.encoders.texts.documents import TextSourceType
from prometheus.errors import InsufficientHistoryError, RegionMembersError
from prometheus.files.prototypes import read_prototypes
from prometheus.market.standings import Standing

if TYPE_CHECKING:
    from prometheus.app import App
    from prometheus.app.alerts import NightAlerts
    from prometheus.app.settled_nights import NightNotes

RECENT = timedelta(days=31)
"""Far enough back to find the label before the newest one."""


@dataclass(frozen=True, slots=True, eq=False)
class _WantedRegion:
    """The dates of a region and its models; `stored`: ascending dates with a regime of that model."""

    plan: RegionPlan
    n_sessions: int
    encoder_model_id: str
    model_id: str
    span: DateSpan
    stored: DateVector

    @property
    def first_new(self) -> date:
        """The first date that no night has come to yet."""
        newest: date | None = self.stored[-1].item() if len(self.stored) else None
        return self.span.start if newest is None else newest + timedelta(days=1)


class BringUp:
    """Brings regions up to date, one after the other."""

    def __init__(
        self, app: App, planner: NightlyPlanner, told: NightAlerts, joinable: Collection[TextSourceType],
        request: NightlyRequest,
    ) -> None:  # fmt: skip
        self._app, self._planner, self._told = app, planner, told
        self._joinable, self._request = joinable, request
        self._wired = app.wired.reading_texts_once()  # those of this night are embedded
        self._joint = JoinTexts(self._wired)

    def region(self, plan: RegionPlan, notes: NightNotes) -> RegionNight:
        """Compute what one region lacks; a failure is noted and stops no other region."""
        night = RegionNight(plan.region, plan.as_of_date, skipped=plan.skipped, members=plan.members)
        if plan.stood is not None:
            return _left_out(night, plan, self._request)
        begin, failures = time.monotonic(), list[str]()
        with noting(failures):
            wanted = self._wanted(plan, notes)
            checked = self._app.findings.check_known(plan.instruments, until=plan.as_of_date)
            failures += [f"{name}: {reason}" for name, reason in checked.failures.items()]
            news = tuple(each for each in checked.findings if each.last >= wanted.first_new)
            night = replace(night, findings=tuple(checked.findings), new_findings=news)
            self._told.found(plan.region, news)
            try:
                night = self._label(night, wanted, notes)
            except (InsufficientHistoryError, RegionMembersError) as error:
                needed = error.needed if isinstance(error, InsufficientHistoryError) else wanted.n_sessions
                begun = dict.fromkeys(plan.skipped.rest(plan.instruments), (plan.as_of_date, needed))
                skipped = plan.skipped + self._planner.too_short(begun, plan.market)
                if not plan.stands_on(skipped):
                    raise
                night = replace(night, skipped=skipped, is_skipped=True, stood=stands_skipped(plan.region, skipped))
            for branch in self._branches(wanted) if night.newest is not None else ():
                with noting(failures):
                    night = self._join(night, wanted, branch, notes)
        return replace(night, seconds=time.monotonic() - begin, failures=tuple(failures))

    def _wanted(self, plan: RegionPlan, notes: NightNotes) -> _WantedRegion:
        path = plan.definition.prototypes
        prototypes = None if path is None else read_prototypes(path)
        subject = self._app.wired.subject_of(plan.region, None, None, None, NUM_REGIME_CORE_V2)
        encoder_model_id = subject.encoder.model_id
        model_id = encoder_model_id if prototypes is None else prototypes.regime_model_id(encoder_model_id)
        calibration = None if prototypes is None else prototypes.calibration
        if calibration is not None and calibration.market_index is not None:
            notes.instruments.add(calibration.market_index.instrument_id)
        stored = self._stored_dates(plan, model_id)
        first_stored = stored[0].item() if len(stored) else None
        calibrated_until = None if calibration is None else calibration.end
        first_bar = plan.first_bar or plan.as_of_date
        start = first_date_wanted(self._request.since, first_stored, calibrated_until, first_bar)
        if start > plan.as_of_date:
            reason = f"--since {start}" if self._request.since else f"{path}, which labels sessions from {start} on,"
            raise errors.UsageError(f"{reason} leaves nothing up to {plan.as_of_date}; give an earlier --since DATE")
        span = DateSpan.of_range(start, plan.as_of_date)
        return _WantedRegion(plan, subject.window_days, encoder_model_id, model_id, span, stored)

    def _label(self, night: RegionNight, wanted: _WantedRegion, notes: NightNotes) -> RegionNight:
        dry_run = self._request.dry_run
        plan, model_id, end = wanted.plan, wanted.model_id, wanted.span.end
        instrument_id = plan.definition.instrument_id
        encoder_model_id = None if instrument_id is None else wanted.encoder_model_id
        prototypes = plan.definition.prototypes
        request = RegimeRequest(plan.region, instrument_id, wanted.span, None, encoder_model_id, prototypes)
        wired = self._wired.storing_in(self._told.storage(plan.region, model_id, end))
        done = LabelRegimes(wired).run(request, dry_run=dry_run)
        report = done.report
        notes.runs.append((LabelRegimes.kind, model_id, report.planned))
        if dry_run:
            n_added = max(0, report.planned - int(np.sum(wanted.stored >= np.datetime64(wanted.span.start))))
        else:
            n_added = len(np.setdiff1d(self._stored_dates(plan, model_id), wanted.stored))
        newest = self._app.wired.storage.get_history(plan.region, end - RECENT, end, model_id)
        if newest and not dry_run:
            self._app.drift.keep_norms(plan.region, model_id, end)
        return replace(
            night,
            model_id=model_id,
            n_embeddings=report.embeddings.written,
            n_added=n_added,
            n_rewritten=max(0, report.regimes.written - n_added),
            newest=NewestLabel.of_history(newest),
            n_joint_rows=sum(report.joined_anew.values()),
            run_ids=() if dry_run else (done.run_id,),  # of a dry run the log knows nothing
            changes=self._told.changes(plan.region, model_id),
            drift=self._app.drift.on(plan.region, end, model_id) if newest else None,
            closed=plan.closed,
        )

    def _branches(self, wanted: _WantedRegion) -> list[TextBranch]:
        """Return what a region is joined with: its texts, and macro numbers where rows of them are stored."""
        of_texts = text_branches(self._app.wired.config, wanted.plan.region, wanted.plan.definition)
        branches = [each for each in of_texts if each.space.text_source in self._joinable]
        named = {each.joint_model_id for each in branches}
        numbers = self._joint.with_numbers(wanted.plan.region, wanted.encoder_model_id, wanted.span.end)
        return [*branches, *(each for each in numbers if each.joint_model_id not in named)]

    def _join(self, night: RegionNight, wanted: _WantedRegion, branch: TextBranch, notes: NightNotes) -> RegionNight:
        dry_run = self._request.dry_run
        span = self._joint.joinable(wanted.span, branch.joint_model_id)
        if span is None:
            return night
        request = JointRequest(
            branch.space, wanted.plan.region, span, wanted.encoder_model_id, branch.text_model_id, branch.filters
        )
        models = JointModelChoice(wanted.encoder_model_id, branch.text_model_id, branch.joint_model_id)
        done = self._joint.backfill([request], models, dry_run=dry_run)
        notes.runs.append((JoinTexts.kind, branch.joint_model_id, done.report.planned))
        night = replace(night, n_joint_rows=night.n_joint_rows + done.report.written)
        return night if dry_run else replace(night, run_ids=(*night.run_ids, done.run_id))

    def _stored_dates(self, plan: RegionPlan, model_id: str) -> DateVector:
        reach = np.array([date.min, plan.as_of_date], dtype="M8[D]")
        stored = self._app.wired.storage.load_input_hashes(plan.region, model_id, reach)
        return np.sort(stored["as_of_date"])


def _left_out(night: RegionNight, plan: RegionPlan, request: NightlyRequest) -> RegionNight:
    """Return the night of a region of which nothing is computed: it failed, is skipped, or waits for its prices."""
    night = replace(night, stood=plan.stood)
    if plan.stands_on(plan.skipped):
        return replace(night, is_skipped=True)
    if plan.stale and request.skip_stale:
        return replace(night, failures=(f"left out, it lacks {', '.join(plan.stale)}",))
    if plan.stood is not None and plan.stood.standing is Standing.MISSING:
        return replace(night, failures=(f"left out, {plan.stood.why}; load them, or correct the region",))
    return night
