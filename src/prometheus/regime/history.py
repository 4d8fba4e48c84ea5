"""Regime histories as columns, for those who look at many dates at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float32Matrix, Float32Vector, Float64Vector, Int64Vector
from prometheus.errors import NoRegimesError, PrototypeError
from prometheus.regime.types import RegimeLabel, RegimeState

LABELS: tuple[RegimeLabel, ...] = tuple(RegimeLabel)
"""What the numbers of `RegimeTimeline.labels` mean."""


@dataclass(frozen=True, slots=True)
class RegimeHistory:
    """What is stored of one region under one regime model."""

    region: str
    model_id: str
    encoder_model_id: str
    n_dates: int
    first: date
    last: date

    @property
    def has_prototypes(self) -> bool:
        """Whether the labels were compared with prototypes; without them every label is NEUTRAL."""
        return self.model_id != self.encoder_model_id


class DatedLabel(NamedTuple):
    """A date and its regime, as a picture needs them of a `RegimeState`."""

    as_of_date: date
    regime_label: RegimeLabel


@dataclass(frozen=True, slots=True, eq=False)
class RegimeTimeline:
    """Labels and confidences of one region and regime model, shape (n,) each, dates strictly ascending.

    `labels` are positions in `LABELS`; `high_volatilities` are probabilities of high volatility in the next 21
    sessions, NaN where the model says none; `is_held` are dates whose label is that of the session before.
    """

    region: str
    model_id: str
    dates: DateVector
    labels: Int64Vector
    confidences: Float64Vector
    high_volatilities: Float64Vector
    is_held: NDArray[np.bool_]

    def until(self, day: date) -> RegimeTimeline:
        """Return the part up to a date."""
        known = slice(int(np.searchsorted(self.dates, np.datetime64(day, "D"), side="right")))
        return replace(
            self,
            dates=self.dates[known],
            labels=self.labels[known],
            confidences=self.confidences[known],
            high_volatilities=self.high_volatilities[known],
            is_held=self.is_held[known],
        )

    def labelled_dates(self) -> list[DatedLabel]:
        """Return date and label of each row."""
        return [
            DatedLabel(day, LABELS[number])
            for day, number in zip(self.dates.tolist(), self.labels.tolist(), strict=True)
        ]

    def label_names(self) -> list[str]:
        """Return the name of each label."""
        names = [label.name for label in LABELS]
        return [names[number] for number in self.labels.tolist()]


@dataclass(frozen=True, slots=True)
class NewestState:
    """The newest state of a history, without its vector, and its last change of label, None before the first one."""

    region: str
    model_id: str
    as_of_date: date
    label: RegimeLabel
    confidence: float
    metadata: Mapping[str, Any]
    changed_on: date | None
    previous_label: RegimeLabel | None


@dataclass(frozen=True, slots=True)
class LabelChange:
    """The first session of a new label, and both labels."""

    region: str
    model_id: str
    as_of_date: date
    before: RegimeLabel
    label: RegimeLabel

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "region": self.region, "model_id": self.model_id, "as_of_date": str(self.as_of_date),
            "from_label": self.before.name, "to_label": self.label.name,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class VectorSource:
    """What vectors of one region and encoder were made of; None where the states do not say."""

    instrument_id: str | None
    window_days: int | None
    dim: int


@dataclass(frozen=True, slots=True, eq=False)
class DatedVectors:
    """One vector per date, ascending; shapes (n,) and (n, dim)."""

    dates: DateVector
    vectors: Float32Matrix


def preferred_history(histories: Sequence[RegimeHistory]) -> RegimeHistory:
    """Return the history that answers for a region unless another is named.

    One with prototypes before one without; then the one that reaches furthest, the longest, and the last by name.
    """
    return max(histories, key=lambda each: (each.has_prototypes, each.last, each.n_dates, each.model_id))


@dataclass(frozen=True, slots=True, eq=False)
class StoredEmbeddings:
    """Embeddings of one source, shape (n_dates, dim), ascending in time; None where states do not say which."""

    instrument_id: str | None
    window_days: int | None
    dates: tuple[date, ...]
    vectors: Float32Matrix


@dataclass(frozen=True, slots=True, eq=False)
class StoredVector:
    """One state's embedding, shape (dim,), and what it was made of; None where the state does not say."""

    as_of_date: date
    vector: Float32Vector
    instrument_id: str | None
    window_days: int | None

    @classmethod
    def of_state(cls, state: RegimeState) -> StoredVector:
        """Return the embedding of a state."""
        instrument_id, window_days = (state.metadata.get(name) for name in ("instrument_id", "window_days"))
        return cls(
            state.as_of_date,
            state.regime_embedding,
            None if instrument_id is None else str(instrument_id),
            None if window_days is None else int(window_days),
        )


def join_embeddings(
    region: str, encoder_model_id: str, span: tuple[date, date], found: Sequence[StoredVector]
) -> StoredEmbeddings:
    """Return embeddings, oldest first, as one matrix.

    `NoRegimesError` without embeddings, `PrototypeError` if they come from several instruments or window lengths: such
    embeddings have no common mean.
    """
    start, end = span
    if not found:
        raise NoRegimesError(region, f"of {encoder_model_id} from {start} to {end}")
    sources = sorted({(each.instrument_id, each.window_days, each.vector.size) for each in found}, key=str)
    if len(sources) > 1:
        listed = " and ".join(f"{name} ({days} sessions, {dim} values)" for name, days, dim in sources)
        raise PrototypeError(f"region {region}", f"its embeddings of {encoder_model_id} in {start}..{end} mix {listed}")
    dates = tuple(each.as_of_date for each in found)
    return StoredEmbeddings(*sources[0][:2], dates, np.stack([each.vector for each in found]))
