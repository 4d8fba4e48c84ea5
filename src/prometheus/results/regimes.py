"""The regimes of a region or a frame over a span of dates: their probabilities, spells, changes and reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

import numpy as np

from prometheus.arrays import DateVector, Float64Vector
from prometheus.errors import UsageError, no_regime_on_date, unknown_instrument
from prometheus.market.bars import Closes, PriceBars
from prometheus.regime.explanation import EVIDENCE_LABELS, Evidence, Reason
from prometheus.regime.exposure import EXPOSURES, exposures_of
from prometheus.regime.history import LABELS, RegimeTimeline
from prometheus.regime.prototypes import PrototypeSet
from prometheus.regime.types import RegimeLabel
from prometheus.results import figures
from prometheus.results.table import Column, Listing, ResultTable, describe_span
from prometheus.spelling import spell_chance

if TYPE_CHECKING:
    import pandas as pd


DateLike: TypeAlias = date | str | np.datetime64
"""A date, or ``YYYY-MM-DD``; of a point in time its calendar date."""


def as_date(name: str, given: DateLike | None, default: date | None = None) -> date:
    """Return the calendar date that is given; `UsageError` for what is no date."""
    value = given.astype("M8[D]").item() if isinstance(given, np.datetime64) else default if given is None else given
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise UsageError(f"{name}: {given!r} is no date; write YYYY-MM-DD") from None


class RegimeRow(NamedTuple):
    """The regime of one date.

    `high_volatility` is the probability of high volatility in the next 21 sessions, `probabilities` those of the
    labels; each is None where the model gives none.
    """

    as_of_date: date
    regime_label: RegimeLabel
    confidence: float
    high_volatility: float | None
    probabilities: Mapping[str, float] | None = None

    @property
    def exposure(self) -> float:
        """What `prometheus.regime.exposure` leaves in the market under the label, in [0, 1]: a rule, no advice."""
        return EXPOSURES[self.regime_label]


class Spell(NamedTuple):
    """Sessions in a row with one label; `end` is the last of them."""

    regime_label: RegimeLabel
    start: date
    end: date
    n_sessions: int


class Change(NamedTuple):
    """The first session of a new label."""

    as_of_date: date
    from_label: RegimeLabel
    to_label: RegimeLabel
    confidence: float


@dataclass(frozen=True, slots=True)
class WarmUp:
    """The sessions that labels looked back on and that have none themselves."""

    n_from_fit: int
    """Sessions of the fit before the first one given."""
    first: date | None
    """The first of them."""
    n_left_out: int
    """Sessions given that have no label for want of history."""
    until: date | None
    """The last of them."""
    calibrated_until: date
    """Labels of dates up to it are in-sample."""
    fault: str = ""
    """Why no session of the fit was used, where some could have been."""

    def __str__(self) -> str:
        used = f"{self.n_from_fit} sessions of the fit from {self.first}" if self.first else "no session of the fit"
        left = f"; the {self.n_left_out} sessions up to {self.until} are left out" if self.n_left_out else ""
        return f"warm-up: {used}{f' ({self.fault})' if self.fault else ''}{left}"


class LabelSource(NamedTuple):
    """What labels were made of without a database, and what it takes to store them: bars, warm-up included."""

    bars: PriceBars
    prototype_set: PrototypeSet


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Regimes(ResultTable[RegimeRow]):
    """Labels and confidences of one region and regime model, oldest first.

    ``regimes["2020-03-16"]`` is the row of a date, ``regimes["2020-01-01":"2020-12-31"]`` the regimes of a span.
    `timeline` has the columns as arrays, `plot` draws `closes`, and `warm_up` and `source` belong to labels that were
    made without a database.
    """

    timeline: RegimeTimeline
    closes: Closes
    evidence: Evidence
    warm_up: WarmUp | None = None
    source: LabelSource | None = None

    _names: ClassVar[tuple[str, ...]] = ("region", "model_id")

    @property
    def region(self) -> str:
        """The region, or of a frame the instrument."""
        return self.timeline.region

    @property
    def model_id(self) -> str:
        """The regime model."""
        return self.timeline.model_id

    @property
    def dates(self) -> DateVector:
        """Shape (n,), ascending."""
        return self.timeline.dates

    @property
    def probabilities(self) -> pd.DataFrame:
        """The probability of each label, indexed by date; rows add to 1, NaN where the model gives none."""
        import pandas as pd  # noqa: PLC0415 -- slow to import

        index = pd.DatetimeIndex(self.dates.astype("M8[ms]"), name="as_of_date")
        return pd.DataFrame(self.evidence.probabilities.copy(), index=index, columns=list(EVIDENCE_LABELS))

    @property
    def exposure(self) -> Float64Vector:
        """What `prometheus.regime.exposure` leaves in the market on each date, shape (n,), in [0, 1]."""
        return exposures_of(self.timeline)

    def __len__(self) -> int:
        return len(self.timeline.dates)

    def __iter__(self) -> Iterator[RegimeRow]:
        return map(self._row, range(len(self)))

    def __getitem__(self, chosen: DateLike | slice) -> Any:
        if not isinstance(chosen, slice):
            return self._row(self._position(chosen))
        first, last = as_date("start", chosen.start, date.min), as_date("end", chosen.stop, date.max)
        begin = int(np.searchsorted(self.dates, np.datetime64(first), side="left"))
        rows = slice(begin, int(np.searchsorted(self.dates, np.datetime64(last), side="right")))
        closes = self.closes
        is_near = (closes.dates >= np.datetime64(first)) & (closes.dates <= np.datetime64(last))
        return replace(
            self,
            timeline=self.timeline.take(rows),
            closes=replace(closes, dates=closes.dates[is_near], values=closes.values[is_near]),
            evidence=self.evidence.take(rows),
        )

    def to_numpy(self) -> np.ndarray[Any, np.dtype[np.str_]]:
        """Return the labels, shape (n,), so that ``regimes.to_numpy() == "CRISIS"`` selects dates and vectors."""
        return np.array([label.name for label in LABELS])[self.timeline.labels]

    def spells(self) -> Listing[Spell]:
        """Return the unbroken spells of one label, oldest first; the last one may go on."""
        pairs = zip(self.timeline.labels.tolist(), self.dates.tolist(), strict=True)
        runs = [(LABELS[label], [day for _, day in run]) for label, run in groupby(pairs, key=itemgetter(0))]
        rows = tuple(Spell(label, days[0], days[-1], len(days)) for label, days in runs)
        return Listing(Spell, rows, f"Spells of {self.region} by {self.model_id}: {len(rows):,}", self._named())

    def changes(self) -> Listing[Change]:
        """Return the sessions whose label is another than that of the session before, oldest first."""
        found, days = self.timeline, self.dates.tolist()
        rows = tuple(
            Change(days[at], LABELS[found.labels[at - 1]], LABELS[found.labels[at]], float(found.confidences[at]))
            for at in (np.flatnonzero(np.diff(found.labels)) + 1).tolist()
        )
        return Listing(Change, rows, f"Changes of {self.region} by {self.model_id}: {len(rows):,}", self._named())

    def explain(self, as_of: DateLike) -> Listing[Reason]:
        """Return why a date has its label: what was seen, against its norm, and how much each part moved the label.

        `NotFoundError` for a date without a label, `InputRefusedError` for a model that was not calibrated.
        """
        at = self._position(as_of)
        row = self._row(at)
        reasons = self.evidence.explain(at, row.regime_label.name, is_held=bool(self.timeline.is_held[at]))
        shares = {name: value for name, value in (row.probabilities or {}).items() if name != row.regime_label.name}
        second = max(shares, key=lambda name: shares[name])
        title = (
            f"{row.regime_label.name} on {row.as_of_date} with probability {spell_chance(row.confidence, 1)}; "
            f"next {second} with {spell_chance(shares[second], 1)}"
        )
        named = {**self._named(), "as_of_date": str(row.as_of_date)}
        return Listing(Reason, tuple(reasons), title, named, {"share": "+.1%"})

    def plot(self, *, interactive: bool | None = None) -> figures.Picture:
        """Return a picture of the adjusted closes (log scale) over the regimes.

        It is a figure of Plotly where `interactive`, by default in notebooks where Plotly is installed, else of
        matplotlib. `MissingExtraError` where that is not installed; `NotFoundError` or `UsageError` without closes or
        dates to draw.
        """
        figures.require_rows(len(self), "regimes")
        instrument_id = self.closes.instrument_id
        if instrument_id is None:
            raise UsageError(
                f"no state of region {self.region} says whose closes it follows, so no closes can be drawn"
            )
        if not len(self.closes.dates):
            raise unknown_instrument(instrument_id)
        title = f"{instrument_id}, regimes of {self.region} by {self.model_id}"
        return figures.draw_regimes(title, self.closes, list(self), interactive=interactive)

    def _position(self, day: DateLike) -> int:
        wanted = as_date("as_of", day)
        at = int(np.searchsorted(self.dates, np.datetime64(wanted)))
        if at == len(self) or self.dates[at].item() != wanted:
            first, last = self.dates[[0, -1]].tolist() if len(self) else (wanted, wanted)
            raise no_regime_on_date(self.region, self.model_id, wanted, first, last)
        return at

    def _row(self, at: int) -> RegimeRow:
        found, shares = self.timeline, self.evidence.probabilities[at]
        high = float(found.high_volatilities[at])
        return RegimeRow(
            found.dates[at].item(),
            LABELS[found.labels[at]],
            float(found.confidences[at]),
            None if np.isnan(high) else high,
            None if np.isnan(shares).any() else dict(zip(EVIDENCE_LABELS, shares.tolist(), strict=True)),
        )

    def _columns(self) -> Sequence[Column]:
        found = self.timeline
        return (
            Column("as_of_date", "date", found.dates),
            Column("regime_label", "label", found.label_names()),
            Column("confidence", "number", found.confidences),
            Column("high_volatility", "number", found.high_volatilities),
            Column("exposure", "number", self.exposure, is_shown=False),
        )

    def _headline(self) -> str:
        return f"Regimes of {self.region} by {self.model_id}: {describe_span('sessions', self.dates)}"

    def _notes(self) -> Sequence[str]:
        if self.warm_up is None:
            return ()
        until = self.warm_up.calibrated_until
        is_own = len(self) and self.dates[0] <= np.datetime64(until)
        return (str(self.warm_up), *([f"labels of dates up to {until} are in-sample"] if is_own else []))
