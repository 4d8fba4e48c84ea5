"""What is read of the stored regimes: regions, transitions, embeddings, prices; and texts found by their meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from prometheus.arrays import DateVector, Float32Matrix, Float32Vector, Float64Matrix
from prometheus.encoders.stance.shares import DESCRIBES, DocumentStance
from prometheus.market.bars import PriceBars
from prometheus.regime.history import DatedVectors, RegimeHistory
from prometheus.regime.transitions import HORIZONS, ExitHazard
from prometheus.regime.types import RegimeLabel
from prometheus.results import figures
from prometheus.results.table import Column, Kind, ResultTable, columns_of, describe_span

if TYPE_CHECKING:
    import pandas as pd

    from prometheus.app.histories import TransitionReport
    from prometheus.app.run_log import NightlyRun
    from prometheus.app.stance import StanceSeries
    from prometheus.app.text_search import TextHit, TextSearchReport
    from prometheus.regime.drift import WatchedFigure

_REGION_COLUMNS: dict[str, Kind] = {
    "region": "text", "model_id": "text", "encoder_model_id": "text", "n_dates": "count", "first": "date",
    "last": "date",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Regions(ResultTable[RegimeHistory]):
    """What is stored, a row per region and regime model; `defaults` answer for their regions unless one is named."""

    histories: tuple[RegimeHistory, ...]
    defaults: frozenset[tuple[str, str]]

    _index: ClassVar[None] = None

    @property
    def names(self) -> list[str]:
        """The regions."""
        return list(dict.fromkeys(each.region for each in self))

    def __len__(self) -> int:
        return len(self.histories)

    def __iter__(self) -> Iterator[RegimeHistory]:
        return iter(self.histories)

    def _columns(self) -> Sequence[Column]:
        is_default = [(each.region, each.model_id) in self.defaults for each in self]
        return [*columns_of(self, _REGION_COLUMNS), Column("is_default", "flag", is_default)]

    def _headline(self) -> str:
        return f"Regions with regimes: {len(self.names)}"


class TransitionRow(NamedTuple):
    """What follows one regime.

    `probabilities` are those of the next session's regime, the same one included, and empty where none ever followed;
    `mean_duration` is in sessions; `exit_hazards` are those of leaving it within 5, 21 and 63 sessions.
    """

    from_label: RegimeLabel
    probabilities: Mapping[RegimeLabel, float]
    mean_duration: float
    exit_hazards: tuple[ExitHazard, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Transitions(ResultTable[TransitionRow]):
    """The transition matrix of one region and regime model, a row per regime that was seen."""

    report: TransitionReport

    _names: ClassVar[tuple[str, ...]] = ("region", "model_id")
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
            yield TransitionRow(label, shares, report.mean_durations[label], report.exit_hazards[label])

    def to_numpy(self) -> Float64Matrix:
        """Return the probability of each next regime, shape (n_labels, n_labels), float64, rows in order of `labels`.

        A row is NaN where no date ever followed.
        """
        return np.array([[row.probabilities.get(label, np.nan) for label in self.labels] for row in self])

    def plot(self, *, interactive: bool | None = None) -> figures.Picture:
        """Return the matrix as a heat map; `interactive` and errors as for `Regimes.plot`."""
        figures.require_rows(len(self), "transitions")
        title = f"{self.region}, {self.model_id}: next session's regime"
        names = [label.name for label in self.labels]
        return figures.draw_matrix(title, names, self.to_numpy(), interactive=interactive)

    def _columns(self) -> Sequence[Column]:
        matrix, rows = self.to_numpy(), list(self)
        return (
            Column("from_label", "label", self.labels),
            *(Column(label.name, "number", matrix[:, at], ".4f") for at, label in enumerate(self.labels)),
            Column("mean_duration", "number", [row.mean_duration for row in rows], ",.1f"),
            *(
                Column(f"left_in_{horizon}", "number", [row.exit_hazards[at].probability for row in rows])
                for at, horizon in enumerate(HORIZONS)
            ),
        )

    def _headline(self) -> str:
        return f"Transitions of {self.region} by {self.model_id}: {self.report.n_dates:,} sessions"


class EmbeddingRow(NamedTuple):
    """The vector of one date, shape (dim,), float32, read-only."""

    as_of_date: date
    embedding: Float32Vector


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Embeddings(ResultTable[EmbeddingRow]):
    """Vectors of one region or instrument and encoder, all made of the same source, oldest first."""

    region: str
    encoder_model_id: str
    rows: DatedVectors
    unit: str = "sessions"

    _names: ClassVar[tuple[str, ...]] = ("region", "encoder_model_id")

    @property
    def dates(self) -> DateVector:
        """Shape (n,), ascending."""
        return self.rows.dates

    def __len__(self) -> int:
        return len(self.rows.dates)

    def __iter__(self) -> Iterator[EmbeddingRow]:
        for day, vector in zip(self.dates.tolist(), self.to_numpy(), strict=True):
            yield EmbeddingRow(day, vector)

    def to_numpy(self) -> Float32Matrix:
        """Return the vectors, shape (n, dim), float32, C-contiguous.

        Nothing is copied, so the array is read-only; ``to_numpy().copy()`` may be written to.
        """
        vectors = self.rows.vectors.view()
        vectors.flags.writeable = False
        return vectors

    def to_pandas(self) -> pd.DataFrame:
        """Return a frame of one column per value, named 0 to dim - 1, indexed by date."""
        import pandas as pd  # noqa: PLC0415 -- slow to import

        index = pd.DatetimeIndex(self.dates.astype("M8[ms]"), name="as_of_date")  # as Arrow's dates become
        frame = pd.DataFrame(self.to_numpy().copy(), index=index)
        frame.attrs.update(self._named())
        return frame

    def plot(self, *, interactive: bool | None = None) -> figures.Picture:
        """Return the first two principal components by date; `interactive` and errors as for `Regimes.plot`."""
        figures.require_rows(len(self), "embeddings")
        title = f"{self.region}, {self.encoder_model_id}"
        return figures.draw_components(title, self.dates, self.to_numpy(), interactive=interactive)

    def _columns(self) -> Sequence[Column]:
        return Column("as_of_date", "date", self.dates), Column("embedding", "vector", self.rows.vectors)

    def _headline(self) -> str:
        made = f"{self.encoder_model_id}, {self.rows.vectors.shape[1]} values each"
        return f"Embeddings of {self.region} by {made}: {describe_span(self.unit, self.dates)}"


class DriftRow(NamedTuple):
    """The mean of one figure over its last sessions, None where too few are known, against the calibration span.

    `mean` and `deviation` are those of single sessions there; outside of `low` and `high` it is time to calibrate
    again, and `text` says why.
    """

    figure: str
    n_sessions: int
    value: float | None
    mean: float
    deviation: float
    low: float
    high: float
    is_out: bool
    text: str

    @classmethod
    def of(cls, watched: WatchedFigure) -> DriftRow:
        """Return the row of a figure."""
        norm = watched.norm
        return cls(
            norm.figure, norm.n_sessions, watched.value, norm.mean, norm.deviation, norm.low, norm.high,
            watched.is_out, watched.text,
        )  # fmt: skip


class RunRow(NamedTuple):
    """One night: how it ended, and how much it wrote, failed at, skipped, and left of open faults in prices.

    `result` is one of ``running``, ``completed``, ``incomplete``, ``refused``, ``failed``, ``interrupted`` and
    ``did not end``; `why` the first reason of what failed or was skipped, or the error that ended it.
    """

    run_id: str
    started_at: datetime
    result: str
    as_of_date: date | None
    seconds: float | None
    written: int
    failed: int
    skipped: int
    findings: int
    why: str | None

    @classmethod
    def of(cls, run: NightlyRun) -> RunRow:
        """Return the row of a night."""
        reasons = [f"{each['name']}: {each['why']}" for each in (*run.failures, *run.skipped)]
        return cls(
            run.run_id, run.started_at, run.result.words, run.as_of_date, run.seconds, run.n_written,
            len(run.failures), len(run.skipped), run.findings.get("open", 0), run.message or next(iter(reasons), None),
        )  # fmt: skip


class PriceRow(NamedTuple):
    """One session; an open, high or low that is not stored is NaN."""

    trade_date: date
    open: float
    high: float
    low: float
    close: float
    adjusted_close: float
    volume: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Prices(ResultTable[PriceRow]):
    """Daily bars of one instrument, oldest first; `RegimeClassifier`, `embed` and `analogs` read them as they are."""

    bars: PriceBars

    _names: ClassVar[tuple[str, ...]] = ("instrument_id",)
    _index: ClassVar[str] = "trade_date"

    @property
    def instrument_id(self) -> str:
        """The instrument."""
        return self.bars.instrument_ids[0]

    @property
    def dates(self) -> DateVector:
        """Shape (n,), ascending."""
        return self.bars.dates

    def __len__(self) -> int:
        return len(self.bars)

    def __iter__(self) -> Iterator[PriceRow]:
        numbers = (self.bars.column(name).tolist() for name in PriceRow._fields[1:])
        return map(PriceRow, self.bars.dates.tolist(), *numbers)

    def _columns(self) -> Sequence[Column]:
        forms = dict.fromkeys(PriceRow._fields[1:], ",.2f") | {"volume": ",.0f"}
        numbers = (Column(name, "number", self.bars.column(name), form) for name, form in forms.items())
        return [Column("trade_date", "date", self.dates), *numbers]

    def _headline(self) -> str:
        return f"Prices of {self.instrument_id}: {describe_span('sessions', self.bars.dates)}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Texts(ResultTable["TextHit"]):
    """The texts most like a question, the best first; all of them known on the date asked about."""

    query: str
    report: TextSearchReport

    _index: ClassVar[None] = None

    @property
    def model_id(self) -> str | None:
        """Whose vectors were compared; None for a search by words."""
        return self.report.model_id

    def __len__(self) -> int:
        return len(self.report.hits)

    def __iter__(self) -> Iterator[TextHit]:
        return iter(self.report.hits)

    def _columns(self) -> Sequence[Column]:
        found = [hit.text for hit in self]
        return (
            *(
                Column(name, "number", [getattr(hit, name) for hit in self])
                for name in ("score", "similarity", "words", "rank")
            ),
            Column("timestamp", "instant", [text.timestamp for text in found]),
            Column("source", "text", [text.source_type.lower() for text in found]),
            Column("n_copies", "count", [hit.n_copies for hit in self], ",d"),
            Column("passage", "text", [hit.passage_text() for hit in self]),
            *columns_of(found, {"kind": "text", "place": "text", "origin": "text", "text": "text"}),
        )

    def _headline(self) -> str:
        found = f"{len(self)} of {self.report.n_texts:,}"
        return f"Texts like {self.query!r} known on {self.report.as_of_date}, by {self.report.means}: {found}"

    def _named(self) -> Mapping[str, str]:
        return {"query": self.query, "as_of_date": str(self.report.as_of_date), "model_id": self.model_id or ""}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Stances(ResultTable[DocumentStance]):
    """The stance of texts, the oldest first; it describes what they say and does not forecast."""

    series: StanceSeries

    _index: ClassVar[None] = None

    def __len__(self) -> int:
        return len(self.series.rows)

    def __iter__(self) -> Iterator[DocumentStance]:
        return iter(self.series.rows)

    def _columns(self) -> Sequence[Column]:
        rows = [row.to_dict() for row in self]
        shares = ("hawkish", "dovish", "neutral", "not_sure", "net")
        return (
            Column("date", "date", [row.day for row in self]),
            Column("source_id", "count", [row.source_id for row in self], "d"),
            *columns_of(self, {"kind": "text", "place": "text", "origin": "text"}),
            Column("sentences", "count", [row["sentences"] for row in rows], ",d"),
            *(Column(name, "number", [row[name] for row in rows]) for name in shares),
            Column("main", "text", [row["main"] for row in rows]),
            Column("in_sample", "flag", [self.series.is_in_sample(row) for row in self]),
        )

    def _headline(self) -> str:
        return f"Stance of {len(self)} texts known on {self.series.as_of_date}, by {self.series.model_id}. {DESCRIBES}"

    def _named(self) -> Mapping[str, str]:
        return {"model_id": self.series.model_id, "as_of_date": str(self.series.as_of_date), "note": DESCRIBES}
