"""The regimes of a region over a span of dates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from prometheus.app.region_prices import Closes
from prometheus.arrays import DateVector
from prometheus.errors import UnknownInstrumentError, UsageError
from prometheus.regime.history import LABELS, RegimeTimeline
from prometheus.regime.picture import paint_regimes
from prometheus.regime.types import RegimeLabel
from prometheus.results.columns import Column, labels
from prometheus.results.figures import new_figure, require_rows
from prometheus.results.table import ResultTable, describe_span

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class RegimeRow(NamedTuple):
    """The regime of one date.

    `high_volatility` is the probability of high volatility in the next 21 sessions, None where the model says none.
    """

    as_of_date: date
    regime_label: RegimeLabel
    confidence: float
    high_volatility: float | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Regimes(ResultTable[RegimeRow]):
    """Labels and confidences of one region and regime model, oldest first.

    Attributes
    ----------
    timeline
        The columns as arrays.
    closes
        What `plot` draws them over.
    """

    timeline: RegimeTimeline
    closes: Closes

    @property
    def region(self) -> str:
        """The region."""
        return self.timeline.region

    @property
    def model_id(self) -> str:
        """The regime model."""
        return self.timeline.model_id

    @property
    def dates(self) -> DateVector:
        """Shape (n,), ascending."""
        return self.timeline.dates

    def __len__(self) -> int:
        return len(self.timeline.dates)

    def __iter__(self) -> Iterator[RegimeRow]:
        found = self.timeline
        columns = (found.dates.tolist(), found.labels.tolist(), found.confidences.tolist())
        for day, label, confidence, high in zip(*columns, found.high_volatilities.tolist(), strict=True):
            yield RegimeRow(day, LABELS[label], confidence, None if np.isnan(high) else high)

    def to_numpy(self) -> np.ndarray[Any, np.dtype[np.str_]]:
        """Return the labels, shape (n,), so that ``regimes.to_numpy() == "CRISIS"`` selects dates and vectors."""
        return np.array([label.name for label in LABELS])[self.timeline.labels]

    def plot(self) -> Figure:
        """Return a picture of the closes (log scale) over the regimes.

        Raises
        ------
        MissingExtraError
            matplotlib is not installed.
        UnknownInstrumentError, UsageError
            There are no closes, or no dates, to draw.
        """
        require_rows(len(self), "regimes")
        instrument_id = self.closes.instrument_id
        if instrument_id is None:
            raise UsageError(
                f"no state of region {self.region} says whose closes it follows, so there are none to draw"
            )
        if not len(self.closes.dates):
            raise UnknownInstrumentError(instrument_id)
        figure = new_figure(11, 4.5)
        title = f"{instrument_id}, regimes of {self.region} by {self.model_id}"
        paint_regimes(figure, title, self.closes.dates, self.closes.values, list(self))
        return figure

    def _columns(self) -> Sequence[Column]:
        found = self.timeline
        return (
            Column("as_of_date", found.dates),
            labels("regime_label", found.label_names()),
            Column("confidence", found.confidences),
            Column("high_volatility", found.high_volatilities),
        )

    def _headline(self) -> str:
        days = self.dates
        span = describe_span(len(self), "sessions", *(days[[0, -1]] if len(days) else ("", "")))
        return f"Regimes of {self.region} by {self.model_id}: {span}"

    def _named(self) -> Mapping[str, str]:
        return {"region": self.region, "model_id": self.model_id}
