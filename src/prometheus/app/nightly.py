"""Everything that is missing up to a date, for every configured region, in one run that may be run again."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np

from prometheus.app.backfills import EngineChoice
from prometheus.app.databases import DatabaseManager
from prometheus.app.encoding import EncoderWiring
from prometheus.app.joint import JointModelChoice, JointTasks
from prometheus.app.nightly_plan import NightlyPlanner, NightlyRequest, RegionPlan, first_date_wanted
from prometheus.app.nightly_report import NewestLabel, NightlyReport, RegionNight, TextNight
from prometheus.app.regimes import RegimeRequest, RegimeTasks
from prometheus.app.text_work import TextRequest
from prometheus.app.texts import TextTasks
from prometheus.arrays import DateVector
from prometheus.backfill.joint import JointRequest
from prometheus.backfill.plan import DateSpan
from prometheus.core.config import PrometheusConfig
from prometheus.data.models import ModelRegistry
from prometheus.data.postgres.locks import only_run
from prometheus.data.text_reader import load_text_backlog
from prometheus.encoders.identity import NUM_REGIME_CORE_V2
from prometheus.encoders.joint.centred import FAMILY as CENTRED_FAMILY
from prometheus.encoders.joint.centred import BranchCentres
from prometheus.encoders.joint.examples import REGIME_MACRO, REGIME_NEWS, JointSpace
from prometheus.encoders.texts.documents import TextSourceType
from prometheus.errors import DatabaseError, NoRegionsError, PrometheusError, StalePricesError, UsageError
from prometheus.files.prototypes import read_prototypes

KIND = "nightly"
RECENT = timedelta(days=31)
"""Far enough back to find the label before the newest one."""


@dataclass(frozen=True, slots=True, eq=False)
class _WantedRegion:
    """The dates of a region, and the models of its rows.

    Attributes
    ----------
    stored
        Ascending dates that have a regime of that model already.
    """

    plan: RegionPlan
    encoder_model_id: str
    model_id: str
    span: DateSpan
    stored: DateVector


@dataclass(frozen=True, slots=True)
class _TextBranch:
    """A joint space, the models that fill it for a region, and the texts that do."""

    space: JointSpace
    text_model_id: str
    joint_model_id: str
    filters: Mapping[str, str | None]


class NightlyTasks:
    """What is done each night, by the tasks that do it at any other time.

    Parameters
    ----------
    db_manager
        The databases; their configuration names the regions and the models of texts.
    regimes, texts, joint
        Who does the work.
    """

    def __init__(self, db_manager: DatabaseManager, regimes: RegimeTasks, texts: TextTasks, joint: JointTasks) -> None:
        self._db = db_manager
        self._config = db_manager.config
        self._wiring = EncoderWiring(db_manager)
        self._regimes = regimes
        self._texts = texts
        self._joint = joint

    def run(self, request: NightlyRequest) -> NightlyReport:
        """Bring every configured region and every text up to date; a dry run says what would be written.

        Raises
        ------
        NoRegionsError
            None is configured.
        RunUnderWayError
            Another run is at it.
        StalePricesError
            Prices lack the newest bars; nothing was written.
        DatabaseError
            The database cannot be used; what was stored before stays.
        """
        if not self._config.regions:
            raise NoRegionsError
        begin = time.monotonic()
        with nullcontext() if request.dry_run else only_run(self._db, KIND, request.now_utc):
            plans = NightlyPlanner(self._db).plan(self._config.regions, request)
            _require_fresh(plans, request)
            end = max(plan.as_of_date for plan in plans)
            texts = (self._embed("MACRO", end, request), self._embed("NEWS", end, request))
            joinable = {night.source_type for night in texts if night.is_joinable}
            regions = tuple(self._bring_up(plan, joinable, request) for plan in plans)
        return NightlyReport(regions, texts, time.monotonic() - begin, request.dry_run)

    def _embed(self, source_type: TextSourceType, end: date, request: NightlyRequest) -> TextNight:
        """Embed the texts up to a date that have no embedding; where all have one, no model is opened."""
        config, is_macro = self._config, source_type == "MACRO"
        model_id = config.text_model_id if is_macro else config.news_text_model_id
        backlog = load_text_backlog(self._db, source_type, model_id, end)
        night = TextNight(source_type, model_id, backlog.n_texts)
        if backlog.first_missing is None:
            return night
        if request.dry_run:
            return replace(night, n_written=backlog.n_missing)
        wanted = TextRequest(DateSpan.of_range(backlog.first_missing, end), model_id, config.hf_model_name)
        embed = self._texts.embed_macro if is_macro else self._texts.embed_news
        begin, failures = time.monotonic(), list[str]()
        with _noting(failures):
            done = embed(wanted, EngineChoice(workers=1))
            night = replace(night, n_written=done.report.written, run_ids=(done.run_id,))
            failures += map(str, done.failures)
        return replace(night, seconds=time.monotonic() - begin, failures=tuple(failures))

    def _bring_up(self, plan: RegionPlan, joinable: Collection[TextSourceType], request: NightlyRequest) -> RegionNight:
        """Compute what is missing of one region; what fails is noted, and stops no other region."""
        night = RegionNight(plan.region, plan.as_of_date)
        if plan.stale:
            return replace(night, failures=(f"left out, it lacks {', '.join(plan.stale)}",))
        begin, failures = time.monotonic(), list[str]()
        with _noting(failures):
            wanted = self._wanted(plan, request)
            night = self._label(night, wanted, dry_run=request.dry_run)
            for branch in _text_branches(self._config, plan):
                if branch.space.text_source in joinable and night.newest is not None:
                    with _noting(failures):
                        night = self._join(night, wanted, branch, dry_run=request.dry_run)
        return replace(night, seconds=time.monotonic() - begin, failures=tuple(failures))

    def _wanted(self, plan: RegionPlan, request: NightlyRequest) -> _WantedRegion:
        path = plan.definition.prototypes
        prototypes = None if path is None else read_prototypes(path)
        subject = self._wiring.subject_of(plan.region, None, None, None, NUM_REGIME_CORE_V2)
        encoder_model_id = subject.encoder.model_id
        model_id = encoder_model_id if prototypes is None else prototypes.regime_model_id(encoder_model_id)
        calibration = None if prototypes is None else prototypes.calibration
        stored = self._stored_dates(plan, model_id)
        start = first_date_wanted(
            since=request.since,
            first_stored=stored[0].item() if len(stored) else None,
            calibrated_until=None if calibration is None else calibration.end,
            first_bar=plan.first_bar or plan.as_of_date,
        )
        if start > plan.as_of_date:
            reason = f"--since {start}" if request.since else f"{path}, which labels sessions from {start} on,"
            raise UsageError(f"{reason} leaves nothing up to {plan.as_of_date}; give an earlier --since DATE")
        return _WantedRegion(plan, encoder_model_id, model_id, DateSpan.of_range(start, plan.as_of_date), stored)

    def _label(self, night: RegionNight, wanted: _WantedRegion, *, dry_run: bool) -> RegionNight:
        """Compute the regimes of a region, and rewrite what rests on those that changed."""
        plan, model_id, end = wanted.plan, wanted.model_id, wanted.span.end
        instrument_id = plan.definition.instrument_id
        encoder_model_id = None if instrument_id is None else wanted.encoder_model_id
        request = RegimeRequest(
            plan.region, instrument_id, wanted.span, None, encoder_model_id, plan.definition.prototypes
        )
        done = self._regimes.run(request, dry_run=dry_run)
        report = done.report
        if dry_run:
            n_before = int(np.sum(wanted.stored >= np.datetime64(wanted.span.start)))
            n_added = max(0, report.planned - n_before)
        else:
            n_added = len(np.setdiff1d(self._stored_dates(plan, model_id), wanted.stored))
        return replace(
            night,
            model_id=model_id,
            n_embeddings=report.embeddings.written,
            n_added=n_added,
            n_rewritten=max(0, report.regimes.written - n_added),
            newest=NewestLabel.of_history(self._regimes.storage.get_history(plan.region, end - RECENT, end, model_id)),
            n_joint_rows=sum(report.joined_anew.values()),
            run_ids=() if dry_run else (done.run_id,),  # of a dry run the log knows nothing
        )

    def _join(self, night: RegionNight, wanted: _WantedRegion, branch: _TextBranch, *, dry_run: bool) -> RegionNight:
        """Join the dates of a region that have texts, and write what is new or changed."""
        span = self._joinable_span(wanted.span, branch.joint_model_id)
        if span is None:
            return night
        request = JointRequest(
            branch.space, wanted.plan.region, span, wanted.encoder_model_id, branch.text_model_id, branch.filters
        )
        models = JointModelChoice(wanted.encoder_model_id, branch.text_model_id, branch.joint_model_id)
        done = self._joint.backfill([request], models, dry_run=dry_run)
        night = replace(night, n_joint_rows=night.n_joint_rows + done.report.written)
        return night if dry_run else replace(night, run_ids=(*night.run_ids, done.run_id))

    def _joinable_span(self, span: DateSpan, joint_model_id: str) -> DateSpan | None:
        """Return the dates of a span that a joint model may join: those after its frozen means, if it has any."""
        config = ModelRegistry(self._db).load_config(joint_model_id)
        if config is None or config.get("family") != CENTRED_FAMILY:
            return span
        start = max(span.start, BranchCentres.from_config(config["centres"]).until + timedelta(days=1))
        return DateSpan.of_range(start, span.end) if start <= span.end else None

    def _stored_dates(self, plan: RegionPlan, model_id: str) -> DateVector:
        """Return the dates up to the plan's that have a regime, ascending."""
        reach = np.array([date.min, plan.as_of_date], dtype="M8[D]")
        stored = self._regimes.storage.load_input_hashes(plan.region, model_id, reach)
        return np.sort(stored["as_of_date"])


def _require_fresh(plans: Sequence[RegionPlan], request: NightlyRequest) -> None:
    stale = [str(plan) for plan in plans if plan.stale]
    if stale and not request.skip_stale:
        raise StalePricesError(stale)


def _text_branches(config: PrometheusConfig, plan: RegionPlan) -> tuple[_TextBranch, _TextBranch]:
    """Return what a region is joined with; ``{region}`` in the name of a joint model stands for the region."""
    macro, news = (
        name.replace("{region}", plan.region) for name in (config.joint_model_id, config.news_joint_model_id)
    )
    region = plan.definition
    return (
        _TextBranch(REGIME_MACRO, config.text_model_id, macro, {"country": region.country, "event_type": None}),
        _TextBranch(REGIME_NEWS, config.news_text_model_id, news, {"language": region.language}),
    )


@contextmanager
def _noting(failures: list[str]) -> Iterator[None]:
    """Note what cannot be done and go on, unless the database itself is out of reach."""
    try:
        yield
    except DatabaseError:
        raise
    except PrometheusError as error:
        failures.append(" ".join(str(error).split()))
