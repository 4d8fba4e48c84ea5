"""How the regimes of a region follow each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from prometheus.app.regimes import TransitionReport
from prometheus.arrays import Float64Matrix
from prometheus.regime.transitions import HORIZONS, ChangeRisk
from prometheus.regime.types import RegimeLabel
from prometheus.results.columns import Column, labels, numbers
from prometheus.results.figures import draw_matrix, require_rows
from prometheus.results.table import ResultTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class TransitionRow(NamedTuple):
    """What follows one regime.

    Attributes
    ----------
    probabilities
        By the regime of the next session, the same one included; empty where none ever followed.
    mean_duration
        Of unbroken spells, in sessions.
    change_risks
        Of leaving it within 5, 21 and 63 sessions, each with its interval.
    """

    from_label: RegimeLabel
    probabilities: Mapping[RegimeLabel, float]
    mean_duration: float
    change_risks: tuple[ChangeRisk, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Transitions(ResultTable[TransitionRow]):
    """The transition matrix of one region and regime model, a row per regime that was seen."""

    report: TransitionReport

    _index: ClassVar[str] = "from_label"

    @property
    def region(self) -> str:
        """The region."""
        return self.report.region

    @property
    def model_id(self) -> str:
        """The regime model."""
        return self.report.model_id

    @property
    def labels(self) -> list[RegimeLabel]:
        """The regimes seen: the rows and the columns of the matrix."""
        return list(self.report.counts)

    def __len__(self) -> int:
        return len(self.report.counts)

    def __iter__(self) -> Iterator[TransitionRow]:
        report = self.report
        for label in self.labels:
            shares = report.matrix.get(label, {})
            yield TransitionRow(label, shares, report.mean_durations[label], report.change_risks[label])

    def to_numpy(self) -> Float64Matrix:
        """Return the probability of each next regime, shape (n_labels, n_labels), float64, rows in order of `labels`.

        A row is NaN where no date ever followed.
        """
        return np.array([[row.probabilities.get(label, np.nan) for label in self.labels] for row in self])

    def plot(self) -> Figure:
        """Return the matrix as a heat map, the probabilities written in.

        Raises
        ------
        MissingExtraError
            matplotlib is not installed.
        """
        require_rows(len(self), "transitions")
        title = f"{self.region}, {self.model_id}: next session's regime"
        return draw_matrix(title, [label.name for label in self.labels], self.to_numpy())

    def _columns(self) -> Sequence[Column]:
        matrix = self.to_numpy()
        rows = list(self)
        return (
            labels("from_label", [row.from_label.name for row in rows]),
            *(Column(label.name, matrix[:, at], ".4f") for at, label in enumerate(self.labels)),
            Column("mean_duration", numbers([row.mean_duration for row in rows]), ",.1f"),
            *(
                Column(f"left_in_{horizon}", numbers([row.change_risks[at].probability for row in rows]), ".3f")
                for at, horizon in enumerate(HORIZONS)
            ),
        )

    def _headline(self) -> str:
        return f"Transitions of {self.region} by {self.model_id}: {self.report.n_dates:,} sessions"

    def _named(self) -> Mapping[str, str]:
        return {"region": self.region, "model_id": self.model_id}
