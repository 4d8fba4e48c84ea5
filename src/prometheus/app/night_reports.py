"""What a night tells: of each region, of texts and stance, of alerts, and in all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from prometheus.app.alerts import AlertReport
from prometheus.backfill.plan import Skipped
from prometheus.encoders.texts.documents import TextSourceType
from prometheus.errors import InputRefusedError
from prometheus.market.findings import Finding
from prometheus.market.standings import Standing, Stands, count
from prometheus.regime.alerts import RegimeChange
from prometheus.regime.record import Head

if TYPE_CHECKING:
    from prometheus.app.stance import StanceNight
    from prometheus.regime.drift import Drift
    from prometheus.regime.types import RegimeState

WAITING = InputRefusedError("").exit_code
"""The exit code of a night that should be run again later."""


@dataclass(frozen=True, slots=True)
class NewestLabel:
    """A region's newest state and the label before it, None for a first state; `held` is why it is that, if it is."""

    as_of_date: date
    label: str
    confidence: float
    previous_label: str | None
    held: str | None = None

    @classmethod
    def of_history(cls, states: list[RegimeState]) -> NewestLabel | None:
        """Return the newest of some states, oldest first; None for no states."""
        if not states:
            return None
        newest, previous = states[-1], states[-2].regime_label.name if len(states) > 1 else None
        held = newest.metadata.get("held")
        return cls(newest.as_of_date, newest.regime_label.name, newest.confidence, previous, held)

    @property
    def is_changed(self) -> bool:
        """Whether the label differs from the one before."""
        return self.previous_label not in (None, self.label)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "as_of_date": str(self.as_of_date), "regime_label": self.label, "confidence": self.confidence,
            "previous_label": self.previous_label, "is_changed": self.is_changed, "held": self.held,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class RegionNight:
    """The result of one region up to `as_of_date`; of a dry run, the expected one.

    Sessions are `n_added` if their regime is new, `n_rewritten` if it changed; rows of embeddings and of both joint
    spaces are counted if either. `skipped` are the instruments whose history has ended, or has not begun; if the region
    depends on one of them it `is_skipped`, and nothing was computed. `findings` are the open ones in the prices of its
    instruments, `new_findings` those of sessions that the night came to first. `changes` are those of label since the
    last night that ended, oldest first; the first night of a model has none. `drift` is that of its last sessions away
    from the calibration span, None where it is not watched. `members` say where its instruments
    stand, `stood` where the region stands if it was not computed, `closed` if its market had no session on the day
    asked for.
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
    members: tuple[Stands, ...] = ()
    stood: Stands | None = None
    closed: Stands | None = None

    @property
    def n_written(self) -> int:
        """Rows of all tables."""
        return self.n_embeddings + self.n_added + self.n_rewritten + self.n_joint_rows

    @property
    def stands(self) -> Stands:
        """Where the region stands after the night."""
        if self.stood is not None:
            return self.stood
        if self.failures:
            return Stands(self.region, Standing.FAILED, self.as_of_date, self.failures[0])
        if self.closed is not None:
            return self.closed
        if self.newest is not None and self.newest.held is not None:
            why = f"its label is that of the session before, {self.newest.held}"
            return Stands(self.region, Standing.HELD, self.newest.as_of_date, why)
        return Stands(self.region, Standing.WRITTEN if self.n_written else Standing.SETTLED, self.as_of_date)

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
            "standing": self.stands.to_dict(), "members": [each.to_dict() for each in self.members],
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
    is_strict: bool = False

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
    def region_standings(self) -> tuple[Stands, ...]:
        """Where each region stands, in order."""
        return tuple(night.stands for night in self.regions)

    @property
    def instrument_standings(self) -> tuple[Stands, ...]:
        """Where each instrument of the regions stands, each once, in order of their ids."""
        found = {each.name: each for night in self.regions for each in night.members}
        return tuple(found[name] for name in sorted(found))

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
    def waiting(self) -> tuple[RegionNight, ...]:
        """The regions that wait for their prices; a night after these have come brings them up to date."""
        return tuple(night for night in self.regions if night.stands.standing is Standing.LATE and not night.failures)

    @property
    def unusual(self) -> tuple[Stands, ...]:
        """Every region and instrument of which more is to be said than that it is up to date, each once."""
        found = (*self.region_standings, *self.instrument_standings)
        return tuple(each for each in found if not each.standing.is_usual)

    @property
    def exit_code(self) -> int:
        """0; 5 if a region waits for its prices; else 3 for failures, new findings and, if strict, what is unusual."""
        if self.waiting:
            return WAITING
        return 3 if self.failures or self.new_findings or (self.is_strict and self.unusual) else 0

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
            "standings": {
                "regions": dict(count(self.region_standings)), "instruments": dict(count(self.instrument_standings)),
                "named": [each.to_dict() for each in self.unusual],
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
