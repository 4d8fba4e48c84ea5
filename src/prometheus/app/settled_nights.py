"""Regions of which a night found nothing to do: told again, and not done again, while all they stand on is the same."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from prometheus.app.night_reports import NewestLabel, RegionNight
from prometheus.app.saying import Said, say_again
from prometheus.core.config import PrometheusConfig, RegionDefinition
from prometheus.core.files import read_small
from prometheus.data.models import LoggedRun
from prometheus.data.settled import EVERY_PERIOD, Marks, Settled, SettledWork, digest_of
from prometheus.errors import FileAccessError
from prometheus.market.findings import Finding
from prometheus.regime.drift import Drift, DriftNorm, WatchedFigure

if TYPE_CHECKING:
    from prometheus.app.alerts import NightAlerts
    from prometheus.app.prices import NightlyRequest, RegionPlan
    from prometheus.app.wiring import Wiring

KIND = "region night"
_OF_ALL = ("macro_events", "news_articles", "series_values", "models", "instruments", "markets", "outside_writes")


@dataclass(slots=True)
class NightNotes:
    """What a region's night notes for the next: its backfills (kind, model, rows planned), and whose bars it read."""

    runs: list[tuple[str, str, int]] = field(default_factory=list)
    instruments: set[str] = field(default_factory=set)


class SettledNights:
    """The regions of one night that the digests of what they stand on settle."""

    def __init__(self, wired: Wiring, request: NightlyRequest, plans: Sequence[RegionPlan]) -> None:
        self._wired, self._request = wired, request
        self._work = SettledWork(wired.db_manager)
        regions = [] if request.dry_run else [plan.region for plan in plans]
        self._known = self._work.load(KIND, regions)
        self.instruments = {name for plan in plans for name in plan.instruments}.union(
            *(each.account["instruments"] for each in self._known.values())
        )
        self._files: dict[str, str] = {}
        self._settled: dict[tuple[str, int], Settled] = {}
        self._runs: list[LoggedRun] = []

    def begin(self, marks: Marks, joinable: Collection[str], told: Collection[tuple[str, str]]) -> None:
        """Take the marks before the first region, which kinds of text are joined, and of whom all changes are told."""
        self._marks, self._joinable, self._told = marks, sorted(joinable), told

    def find(self, plan: RegionPlan, told: NightAlerts) -> RegionNight | None:
        """Return the night of a region that has nothing to do, and say what it said; None of another one."""
        found = self._known.get((plan.region, EVERY_PERIOD))
        if found is None or plan.stood is not None or (plan.region, found.account["model_id"]) not in self._told:
            return None
        begin = time.monotonic()
        if self._digest(plan, found.account["instruments"]) != found.sources:
            return None
        say_again(found.account["said"])
        night = _night_of(plan, found.account)
        told.found(plan.region, night.new_findings)
        runs = [
            LoggedRun(uuid.uuid4().hex, kind, model_id, planned, 0, 0, 0, 0.0)
            for kind, model_id, planned in found.account["runs"]
        ]
        self._runs += runs
        return replace(night, run_ids=tuple(run.run_id for run in runs), seconds=time.monotonic() - begin)

    def note(self, plan: RegionPlan, night: RegionNight, notes: NightNotes, said: Sequence[Said]) -> None:
        """Settle a region whose night wrote nothing, failed at nothing and told of no change."""
        if self._request.dry_run or night.n_written or night.failures or night.changes or night.newest is None:
            return
        also = sorted(notes.instruments - self.instruments)
        if also:  # their bars have no mark yet: the next night has
            self._settled[plan.region, EVERY_PERIOD] = Settled(b"", _account_of(night, notes, said))
            return
        digest = self._digest(plan, sorted(notes.instruments))
        self._settled[plan.region, EVERY_PERIOD] = Settled(digest, _account_of(night, notes, said))

    def end(self) -> None:
        """Store what was settled, and log the backfills that need not be run."""
        self._work.save(KIND, self._settled)
        self._wired.runs.record_all(self._runs)

    def _digest(self, plan: RegionPlan, instruments: Collection[str]) -> bytes:
        """Return the digest of all that the night of a region reads, and of the rows that it wants."""
        config, marks = self._wired.config, self._marks
        names = {*plan.instruments, *instruments}
        stands_on = [
            *marks.of_sources(_OF_ALL),
            *((name, marks.of("prices_daily", name), marks.of("price_decisions", name)) for name in sorted(names)),
            marks.of("regimes", plan.region), marks.of("regime_transitions", plan.region),
            marks.of("joint_embeddings", plan.region),
            marks.of("text_embeddings", f"MACRO {config.text_model_id}"),
            marks.of("text_embeddings", f"NEWS {config.news_text_model_id}"),
        ]  # fmt: skip
        wanted = [
            plan.region, plan.definition.model_dump(mode="json"), plan.market, plan.as_of_date, plan.first_bar,
            plan.stale, plan.skipped.to_dict(), dict(plan.present), self._request.since, self._joinable,
            _models_of(config), self._file(plan.definition),
        ]  # fmt: skip
        return digest_of(wanted, stands_on)

    def _file(self, definition: RegionDefinition) -> str:
        """Return a digest of a region's prototypes; empty without any, or where the file cannot be read."""
        path = definition.prototypes
        if path is None:
            return ""
        try:
            return hashlib.blake2b(read_small(path)).hexdigest()
        except FileAccessError:  # the work that reads it says so
            return ""


def _models_of(config: PrometheusConfig) -> list[str]:
    return [config.text_model_id, config.news_text_model_id, config.joint_model_id, config.news_joint_model_id]


def _account_of(night: RegionNight, notes: NightNotes, said: Sequence[Said]) -> dict[str, Any]:
    newest = night.newest
    return {
        "model_id": night.model_id, "runs": notes.runs, "instruments": sorted(notes.instruments), "said": list(said),
        "newest": None if newest is None else {**asdict(newest), "as_of_date": str(newest.as_of_date)},
        "findings": [_dated(asdict(each), "first", "last") for each in night.findings],
        "new_findings": [night.findings.index(each) for each in night.new_findings],
        "drift": None if night.drift is None else _dated(asdict(night.drift), "as_of_date", "calibrated_until"),
    }  # fmt: skip


def _night_of(plan: RegionPlan, account: Mapping[str, Any]) -> RegionNight:
    newest, drift = account["newest"], account["drift"]
    findings = tuple(Finding(**_with_dates(each, "first", "last")) for each in account["findings"])
    return RegionNight(
        plan.region, plan.as_of_date, model_id=account["model_id"], skipped=plan.skipped,
        newest=NewestLabel(**_with_dates(newest, "as_of_date")), findings=findings,
        new_findings=tuple(findings[at] for at in account["new_findings"]), members=plan.members, closed=plan.closed,
        drift=None if drift is None else _drift_of(drift),
    )  # fmt: skip


def _drift_of(kept: Mapping[str, Any]) -> Drift:
    figures = tuple(WatchedFigure(DriftNorm(**each["norm"]), each["value"]) for each in kept["figures"])
    return Drift(**_with_dates({**kept, "figures": figures}, "as_of_date", "calibrated_until"))


def _dated(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {**values, **{name: str(values[name]) for name in names}}


def _with_dates(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {**values, **{name: date.fromisoformat(values[name]) for name in names}}
