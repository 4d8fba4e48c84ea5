"""What a night did: per region, per kind of text, and together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from prometheus.encoders.texts.documents import TextSourceType
from prometheus.regime.types import RegimeState


@dataclass(frozen=True, slots=True)
class NewestLabel:
    """The newest state of a region and the label of the one before it, None where there is none."""

    as_of_date: date
    label: str
    confidence: float
    previous_label: str | None

    @classmethod
    def of_history(cls, states: list[RegimeState]) -> NewestLabel | None:
        """Return what the last two of some states say, oldest first; None without any."""
        if not states:
            return None
        newest, previous = states[-1], states[-2].regime_label.name if len(states) > 1 else None
        return cls(newest.as_of_date, newest.regime_label.name, newest.confidence, previous)

    @property
    def is_changed(self) -> bool:
        """Whether the label differs from the one before."""
        return self.previous_label not in (None, self.label)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "as_of_date": str(self.as_of_date), "regime_label": self.label, "confidence": self.confidence,
            "previous_label": self.previous_label, "is_changed": self.is_changed,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class RegionNight:
    """What became of one region; of a dry run, what would.

    Attributes
    ----------
    as_of_date
        The session it was brought up to.
    n_embeddings
        Rows of ``numeric_window_embeddings`` that were new or changed.
    n_added, n_rewritten
        Sessions with a regime that had none, or another one.
    n_joint_rows
        Of both joint spaces, new or changed.
    failures
        One line for each thing that could not be done.
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

    @property
    def n_written(self) -> int:
        """Rows of all tables."""
        return self.n_embeddings + self.n_added + self.n_rewritten + self.n_joint_rows

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "region": self.region,
            "as_of_date": str(self.as_of_date),
            "model_id": self.model_id,
            "embeddings_written": self.n_embeddings,
            "sessions_added": self.n_added,
            "sessions_rewritten": self.n_rewritten,
            "newest": None if self.newest is None else self.newest.to_dict(),
            "joint_rows_written": self.n_joint_rows,
            "seconds": round(self.seconds, 3),
            "run_ids": list(self.run_ids),
            "failures": list(self.failures),
        }


@dataclass(frozen=True, slots=True)
class TextNight:
    """What became of the texts of one kind; of a dry run, what would.

    Attributes
    ----------
    n_texts
        Stored texts up to the date.
    n_written
        Embeddings that were new or changed.
    """

    source_type: TextSourceType
    model_id: str
    n_texts: int
    n_written: int = 0
    seconds: float = 0.0
    run_ids: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def is_joinable(self) -> bool:
        """Whether there are texts, and their model could be used; single texts that it refused do not count."""
        return self.n_texts > 0 and (not self.failures or bool(self.run_ids))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "source_type": self.source_type,
            "model_id": self.model_id,
            "texts": self.n_texts,
            "embeddings_written": self.n_written,
            "seconds": round(self.seconds, 3),
            "run_ids": list(self.run_ids),
            "failures": list(self.failures),
        }


@dataclass(frozen=True, slots=True)
class NightlyReport:
    """The summary of a run."""

    regions: tuple[RegionNight, ...]
    texts: tuple[TextNight, ...]
    seconds: float
    is_dry: bool

    @property
    def n_written(self) -> int:
        """Rows that were new or changed, or would be."""
        return sum(night.n_written for night in self.regions) + sum(night.n_written for night in self.texts)

    @property
    def failures(self) -> Mapping[str, tuple[str, ...]]:
        """What could not be done, by region or kind of text; the others are done."""
        named = [(night.region, night.failures) for night in self.regions]
        named += [(f"{night.source_type} texts", night.failures) for night in self.texts]
        return {name: failures for name, failures in named if failures}

    @property
    def run_ids(self) -> tuple[str, ...]:
        """Of every backfill, in the order in which they were run."""
        of_texts = [run_id for night in self.texts for run_id in night.run_ids]
        return (*of_texts, *(run_id for night in self.regions for run_id in night.run_ids))

    @property
    def exit_code(self) -> int:
        """0, or 3 when something could not be done."""
        return 3 if self.failures else 0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "written": self.n_written,
            "regions": [night.to_dict() for night in self.regions],
            "texts": [night.to_dict() for night in self.texts],
            "failed": len(self.failures),
            "seconds": round(self.seconds, 3),
            "dry_run": self.is_dry,
        }
