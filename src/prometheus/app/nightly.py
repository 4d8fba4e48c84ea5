"""Every missing row up to a date, for every configured region, in one repeatable run."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from prometheus import errors
from prometheus.app.alerts import AlertReport, NightAlerts
from prometheus.app.backfills import EngineChoice, noting
from prometheus.app.joint import JointModelChoice, TextBranch, text_branches
from prometheus.app.prices import NightlyPlanner, NightlyRequest, RegionPlan, first_date_wanted
from prometheus.app.regimes import LabelRegimes, NewestLabel, RegimeRequest
from prometheus.app.stance import StanceNight
from prometheus.app.texts import TextRequest
from prometheus.arrays import DateVector
from prometheus.backfill.joint import JointRequest
from prometheus.backfill.plan import DateSpan, Skipped
from prometheus.data.postgres.locks import only_run
from prometheus.data.text_reader import load_text_backlog
from prometheus.encoders.identity import NUM_REGIME_CORE_V2
from prometheus.encoders.texts.documents import TextSourceType
from prometheus.errors import InsufficientHistoryError, RegionMembersError
from prometheus.files.prototypes import read_prototypes
from prometheus.market.findings import Finding
from prometheus.regime.alerts import RegimeChange
from prometheus.regime.drift import Drift
from prometheus.regime.record import Head

if TYPE_CHECKING:
    from prometheus.app import App

logger = logging.getLogger(__name__)

KIND = "nightly"
RECENT = timedelta(days=31)
"""Far enough back to find the label before the newest one."""


@dataclass(frozen=True, slots=True)
class RegionNight:
    """The result of one region up to `as_of_date`; of a dry run, the expected one.

    Sessions are `n_added` if their regime is new, `n_rewritten` if it changed; rows of embeddings and of both joint
    spaces are counted if either. `skipped` are the instruments whose history has ended, or has not begun; if the region
    depends on one of them it `is_skipped`, and nothing was computed. `findings` are the open ones in the prices of its
    instruments, `new_findings` those of sessions that the night came to first. `changes` are those of label since the
    last night that ended, oldest first; the first night of a model has none. `drift` is that of its last sessions away
    from the calibration span, None where it is not watched.
    """

    region: str
    as_of_date: date
    seconds: float = 0.0
    model_id: str | None = None
    n_embeddings: int = 0
    n_added: int = 0
    n_rewritten: int = 0
    newest: NewestLabel | None = None
    n_joint_rows: int = 0
    run_ids: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    skipped: Skipped = field(default_factory=Skipped)
    is_skipped: bool = False
    findings: tuple[Finding, ...] = ()
    new_findings: tuple[Finding, ...] = ()
    changes: tuple[RegimeChange, ...] = ()
    drift: Drift | None = None

    @property
    def n_written(self) -> int:
        """Rows of all tables."""
        return self.n_embeddings + self.n_added + self.n_rewritten + self.n_joint_rows

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "region": self.region, "as_of_date": str(self.as_of_date), "model_id": self.model_id,
            "embeddings_written": self.n_embeddings, "sessions_added": self.n_added,
            "sessions_rewritten": self.n_rewritten,
            "newest": None if self.newest is None else self.newest.to_dict(),
            "joint_rows_written": self.n_joint_rows, "seconds": round(self.seconds, 3),
            "run_ids": list(self.run_ids), "failures": list(self.failures), "skipped": self.is_skipped,
            "open_findings": len(self.findings), "new_findings": [each.to_dict() for each in self.new_findings],
            "drift": None if self.drift is None else self.drift.to_dict(),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class TextNight:
    """The result of the texts of one kind, up to the date; of a dry run, the expected one."""

    source_type: TextSourceType
    model_id: str
    n_texts: int
    n_written: int = 0
    seconds: float = 0.0
    run_ids: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def is_joinable(self) -> bool:
        """Whether there are texts, and their model could be used; refused single texts do not count."""
        return self.n_texts > 0 and (not self.failures or bool(self.run_ids))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "source_type": self.source_type, "model_id": self.model_id, "texts": self.n_texts,
            "embeddings_written": self.n_written, "seconds": round(self.seconds, 3),
            "run_ids": list(self.run_ids), "failures": list(self.failures),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class NightlyReport:
    """The summary of a run, and the head of the forward record after it."""

    regions: tuple[RegionNight, ...]
    texts: tuple[TextNight, ...]
    seconds: float
    is_dry: bool
    record: Head
    alerts: AlertReport = field(default_factory=AlertReport)
    stances: tuple[StanceNight, ...] = ()

    @property
    def n_written(self) -> int:
        """Rows that were new or changed, or would be."""
        of_texts = sum(night.n_written for night in self.texts) + sum(night.n_written for night in self.stances)
        return sum(night.n_written for night in self.regions) + of_texts

    @property
    def failures(self) -> Mapping[str, tuple[str, ...]]:
        """Failures by region or kind of text, and of alerts."""
        named = [(night.region, night.failures) for night in self.regions]
        named += [(f"{night.source_type} texts", night.failures) for night in self.texts]
        named += [(f"stance of {night.source_type} texts", night.failures) for night in self.stances]
        named += [("alerts", self.alerts.failures)]
        return {name: failures for name, failures in named if failures}

    @property
    def skipped_regions(self) -> Skipped:
        """The regions that depend on a history that has ended, or has not begun."""
        return sum((_of_region(night) for night in self.regions if night.is_skipped), Skipped())

    @property
    def skipped_instruments(self) -> Skipped:
        """The other such instruments; their regions were computed without them."""
        return sum((night.skipped for night in self.regions if not night.is_skipped), Skipped())

    @property
    def run_ids(self) -> tuple[str, ...]:
        """Of every backfill, in order."""
        of_texts = [run_id for night in self.texts for run_id in night.run_ids]
        return (*of_texts, *(run_id for night in self.regions for run_id in night.run_ids))

    @property
    def new_findings(self) -> tuple[Finding, ...]:
        """Findings that no night has told yet, each once."""
        return tuple(dict.fromkeys(each for night in self.regions for each in night.new_findings))

    @property
    def changes(self) -> tuple[RegimeChange, ...]:
        """All changes of label since the last night that ended, by region and date."""
        return tuple(change for night in self.regions for change in night.changes)

    @property
    def exit_code(self) -> int:
        """0, or 3 if there are failures or new findings."""
        return 3 if self.failures or self.new_findings else 0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "written": self.n_written,
            "regions": [night.to_dict() for night in self.regions],
            "texts": [night.to_dict() for night in self.texts],
            "stances": [night.to_dict() for night in self.stances],
            "failed": len(self.failures),
            "skipped": {
                "regions": self.skipped_regions.to_dict(), "instruments": self.skipped_instruments.to_dict(),
            },
            "changes": [change.to_dict() for change in self.changes],
            "alerts": self.alerts.to_dict(),
            "seconds": round(self.seconds, 3),
            "dry_run": self.is_dry,
            "record": self.record.to_dict(),
        }  # fmt: skip


def _of_region(night: RegionNight) -> Skipped:
    ended, not_begun = night.skipped.ended, night.skipped.not_begun
    if ended:
        return Skipped({night.region: max(ended.values())}, {})
    return Skipped({}, {night.region: max(not_begun.values())})


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


class RunNight:
    """Runs the use cases for every configured region."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._config = app.db_manager.config
        self._planner = NightlyPlanner(app.wired)

    def run(self, request: NightlyRequest) -> NightlyReport:
        """Bring every configured region and every text up to date; a dry run reports the expected writes.

        UsageError without a configured region; RetryableError while another nightly run holds the lock;
        InputRefusedError, before anything is written, if prices lack the newest bars; DatabaseError if the database
        cannot be used, rows stored before remain.
        """
        if not self._config.regions:
            raise errors.no_regions()
        begin = time.monotonic()
        told = NightAlerts(self._app.alerts, request)
        with told.of_failure():
            with nullcontext() if request.dry_run else only_run(self._app.db_manager, KIND, request.now_utc):
                report = self._run(told, request)
            told.failed(report.failures)
        return replace(report, alerts=told.send(), seconds=time.monotonic() - begin)

    def _run(self, told: NightAlerts, request: NightlyRequest) -> NightlyReport:
        plans = self._planner.plan(self._config.regions, request)
        told.late(plans)
        stale = [str(plan) for plan in plans if plan.stale]
        if stale and not request.skip_stale:
            raise errors.stale_prices(stale)
        end = max(plan.as_of_date for plan in plans)
        texts = (self._embed("MACRO", end, request), self._embed("NEWS", end, request))
        stances = self._app.stance.nightly(end, dry_run=request.dry_run)
        joinable = {night.source_type for night in texts if night.is_joinable}
        regions = tuple(self._bring_up(plan, joinable, told, request) for plan in plans)
        told.end()
        return NightlyReport(regions, texts, 0.0, request.dry_run, self._app.statements.head(), stances=stances)

    def _embed(self, source_type: TextSourceType, end: date, request: NightlyRequest) -> TextNight:
        """Embed the texts up to a date that lack an embedding; if all have one, no model is opened."""
        config = self._config
        model_id = config.text_model_id if source_type == "MACRO" else config.news_text_model_id
        backlog = load_text_backlog(self._app.db_manager, source_type, model_id, end)
        night = TextNight(source_type, model_id, backlog.n_texts)
        if backlog.first_missing is None:
            return night
        if request.dry_run:
            return replace(night, n_written=backlog.n_missing)
        runtime = self._app.texts.runtime_of(model_id)
        span = DateSpan.of_range(backlog.first_missing, end)
        wanted = TextRequest(span, model_id, config.hf_model_name, runtime=runtime)
        begin, failures = time.monotonic(), list[str]()
        with noting(failures):
            done = self._app.texts.embed(source_type, wanted, EngineChoice(workers=1))
            night = replace(night, n_written=done.report.written, run_ids=(done.run_id,))
            failures += map(str, done.failures)
        return replace(night, seconds=time.monotonic() - begin, failures=tuple(failures))

    def _bring_up(
        self, plan: RegionPlan, joinable: Collection[TextSourceType], told: NightAlerts, request: NightlyRequest
    ) -> RegionNight:
        """Compute what one region lacks; a failure is noted and stops no other region."""
        night = RegionNight(plan.region, plan.as_of_date, skipped=plan.skipped)
        if plan.stale:
            return replace(night, failures=(f"left out, it lacks {', '.join(plan.stale)}",))
        if plan.stands_on(plan.skipped):
            return replace(night, is_skipped=True)
        begin, failures = time.monotonic(), list[str]()
        with noting(failures):
            wanted = self._wanted(plan, request)
            checked = self._app.findings.check_known(list(plan.definition.members), until=plan.as_of_date)
            failures += [f"{name}: {reason}" for name, reason in checked.failures.items()]
            news = tuple(each for each in checked.findings if each.last >= wanted.first_new)
            night = replace(night, findings=tuple(checked.findings), new_findings=news)
            told.found(plan.region, news)
            try:
                night = self._label(night, wanted, told, dry_run=request.dry_run)
            except (InsufficientHistoryError, RegionMembersError) as error:
                needed = error.needed if isinstance(error, InsufficientHistoryError) else wanted.n_sessions
                begun = dict.fromkeys(plan.skipped.rest(plan.definition.members), (plan.as_of_date, needed))
                skipped = plan.skipped + self._planner.young(begun, plan.market)
                if not plan.stands_on(skipped):
                    raise
                night = replace(night, skipped=skipped, is_skipped=True)
            for branch in self._branches(wanted, joinable) if night.newest is not None else ():
                with noting(failures):
                    night = self._join(night, wanted, branch, dry_run=request.dry_run)
        return replace(night, seconds=time.monotonic() - begin, failures=tuple(failures))

    def _wanted(self, plan: RegionPlan, request: NightlyRequest) -> _WantedRegion:
        path = plan.definition.prototypes
        prototypes = None if path is None else read_prototypes(path)
        subject = self._app.wired.subject_of(plan.region, None, None, None, NUM_REGIME_CORE_V2)
        encoder_model_id = subject.encoder.model_id
        model_id = encoder_model_id if prototypes is None else prototypes.regime_model_id(encoder_model_id)
        calibration = None if prototypes is None else prototypes.calibration
        stored = self._stored_dates(plan, model_id)
        first_stored = stored[0].item() if len(stored) else None
        calibrated_until = None if calibration is None else calibration.end
        first_bar = plan.first_bar or plan.as_of_date
        start = first_date_wanted(request.since, first_stored, calibrated_until, first_bar)
        if start > plan.as_of_date:
            reason = f"--since {start}" if request.since else f"{path}, which labels sessions from {start} on,"
            raise errors.UsageError(f"{reason} leaves nothing up to {plan.as_of_date}; give an earlier --since DATE")
        span = DateSpan.of_range(start, plan.as_of_date)
        return _WantedRegion(plan, subject.window_days, encoder_model_id, model_id, span, stored)

    def _label(self, night: RegionNight, wanted: _WantedRegion, told: NightAlerts, *, dry_run: bool) -> RegionNight:
        plan, model_id, end = wanted.plan, wanted.model_id, wanted.span.end
        instrument_id = plan.definition.instrument_id
        encoder_model_id = None if instrument_id is None else wanted.encoder_model_id
        prototypes = plan.definition.prototypes
        request = RegimeRequest(plan.region, instrument_id, wanted.span, None, encoder_model_id, prototypes)
        wired = self._app.wired.storing_in(told.storage(plan.region, model_id, end))
        done = LabelRegimes(wired).run(request, dry_run=dry_run)
        report = done.report
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
            changes=told.changes(plan.region, model_id),
            drift=self._app.drift.on(plan.region, end, model_id) if newest else None,
        )

    def _branches(self, wanted: _WantedRegion, joinable: Collection[TextSourceType]) -> list[TextBranch]:
        """Return what a region is joined with: its texts, and macro numbers where rows of them are stored."""
        of_texts = text_branches(self._config, wanted.plan.region, wanted.plan.definition)
        branches = [each for each in of_texts if each.space.text_source in joinable]
        named = {each.joint_model_id for each in branches}
        numbers = self._app.joint.with_numbers(wanted.plan.region, wanted.encoder_model_id, wanted.span.end)
        return [*branches, *(each for each in numbers if each.joint_model_id not in named)]

    def _join(self, night: RegionNight, wanted: _WantedRegion, branch: TextBranch, *, dry_run: bool) -> RegionNight:
        span = self._app.joint.joinable(wanted.span, branch.joint_model_id)
        if span is None:
            return night
        request = JointRequest(
            branch.space, wanted.plan.region, span, wanted.encoder_model_id, branch.text_model_id, branch.filters
        )
        models = JointModelChoice(wanted.encoder_model_id, branch.text_model_id, branch.joint_model_id)
        done = self._app.joint.backfill([request], models, dry_run=dry_run)
        night = replace(night, n_joint_rows=night.n_joint_rows + done.report.written)
        return night if dry_run else replace(night, run_ids=(*night.run_ids, done.run_id))

    def _stored_dates(self, plan: RegionPlan, model_id: str) -> DateVector:
        reach = np.array([date.min, plan.as_of_date], dtype="M8[D]")
        stored = self._app.wired.storage.load_input_hashes(plan.region, model_id, reach)
        return np.sort(stored["as_of_date"])
