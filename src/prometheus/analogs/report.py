"""What is asked of analogs, what is answered, and the answer itself: arrays in, a report out."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal, get_args

import numpy as np

from prometheus.analogs.search import AnalogSearch, Metric
from prometheus.arrays import DateVector, Float32Matrix, Float64Vector
from prometheus.errors import UsageError, no_embedding
from prometheus.market.outcomes import FollowedCloses, Outcome, Spread
from prometheus.regime.types import RegimeLabel

logger = logging.getLogger(__name__)

MAX_DAYS_BACK = 7
"""A date without a vector is answered by the newest date with one, at most this number of days before it."""

Space = Literal["numeric", "joint", "text"]
SPACES: tuple[Space, ...] = get_args(Space)
TextSource = Literal["macro", "news"]
TEXT_SOURCES: tuple[TextSource, ...] = get_args(TextSource)


@dataclass(frozen=True, slots=True)
class AnalogRequest:
    """Analogs of a date wanted.

    Attributes
    ----------
    exclude_sessions
        Minimum gap to the date asked about and between analogs, in sessions.
    model_id
        Whose vectors are compared; None for the only ones there are, or those of the regimes shown by default.
    regime_model_id
        Whose labels the analogs carry; None for the history that answers for the region.
    instrument_id
        Whose closes say what followed; None for what stands for the region.
    source
        Of the texts, in the joint and the text space.
    country
        Only macro texts of that country, in the text space.
    """

    region: str
    as_of: date
    space: Space = "numeric"
    k: int = 10
    exclude_sessions: int = 63
    metric: Metric = "euclidean"
    model_id: str | None = None
    regime_model_id: str | None = None
    instrument_id: str | None = None
    source: TextSource = "macro"
    country: str | None = None

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise UsageError(f"unknown space {self.space!r}; choose from {', '.join(SPACES)}")
        if self.source not in TEXT_SOURCES:
            raise UsageError(f"unknown source {self.source!r}; choose from {', '.join(TEXT_SOURCES)}")
        if self.country is not None and (self.space != "text" or self.source != "macro"):
            raise UsageError("--country selects macro texts: use it with --space text --source macro")


@dataclass(frozen=True, slots=True, eq=False)
class Analog:
    """One past date that looked like the date asked about.

    Attributes
    ----------
    percentile
        Share of all pairs of dates that are as near or nearer; in [0, 1]; None where there is no pair.
    regime_label, confidence
        What the regime model says of the date; None where it says nothing.
    path, n_before
        Closes around the date as shares of the close on it, and how many of them come before it.
    """

    as_of_date: date
    distance: float
    percentile: float | None
    regime_label: str | None
    confidence: float | None
    outcomes: tuple[Outcome, ...]
    n_before: int
    path: Float64Vector

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, without the path."""
        return {
            "as_of_date": str(self.as_of_date),
            "distance": self.distance,
            "percentile": self.percentile,
            "regime_label": self.regime_label,
            "confidence": self.confidence,
            "followed_by": [outcome.to_dict() for outcome in self.outcomes],
        }


@dataclass(frozen=True, slots=True, eq=False)
class AnalogReport:
    """The analogs of one date, nearest first, and how what followed them is spread against all dates.

    Attributes
    ----------
    as_of_date
        The date whose vector was compared: the one asked about, or the last before it that has one.
    model_id
        Whose vectors were compared.
    regime_model_id
        Whose labels the analogs carry; None where none was known on the date.
    n_candidates
        Dates that the analogs were chosen from.
    n_before, path
        As in `Analog`, of the date itself.
    """

    request: AnalogRequest
    as_of_date: date
    model_id: str
    regime_model_id: str | None
    instrument_id: str
    n_candidates: int
    analogs: tuple[Analog, ...]
    spreads: tuple[Spread, ...]
    base_spreads: tuple[Spread, ...]
    n_before: int
    path: Float64Vector

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, without the paths."""
        asked = self.request
        return {
            "region": asked.region,
            "as_of_date": str(self.as_of_date),
            "space": asked.space,
            "metric": asked.metric,
            "exclude_sessions": asked.exclude_sessions,
            "model_id": self.model_id,
            "regime_model_id": self.regime_model_id,
            "instrument_id": self.instrument_id,
            "n_candidates": self.n_candidates,
            "analogs": [analog.to_dict() for analog in self.analogs],
            "spread_over_analogs": [spread.to_dict() for spread in self.spreads],
            "spread_over_all_dates": [spread.to_dict() for spread in self.base_spreads],
        }


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The dates found, their distances, and the shares of nearer pairs; shape (k,) each."""

    dates: DateVector
    distances: Float64Vector
    percentiles: Float64Vector
    n_candidates: int


def find_nearest(
    search: AnalogSearch, dates: DateVector, vectors: Float32Matrix, sessions: DateVector, as_of_date: date, k: int
) -> Nearest:
    """Return the dates most like one of `dates`; `sessions` are counted between them."""
    search.fit(dates, vectors, sessions)
    found, distances = search.predict(as_of_date, k)
    shares = search.percentiles(as_of_date, distances)
    return Nearest(found, distances, shares, search.n_candidates(as_of_date))


def date_with_vector(request: AnalogRequest, dates: DateVector) -> date:
    """Return the newest date with a vector: the one asked about, or one of the week before it.

    Raises
    ------
    NotFoundError
        There is no such date.
    """
    n_known = int(np.searchsorted(dates, np.datetime64(request.as_of, "D"), side="right"))
    found: date | None = dates[n_known - 1].item() if n_known else None
    if found is None or request.as_of - found > timedelta(days=MAX_DAYS_BACK):
        known = (dates[0].item(), dates[-1].item()) if len(dates) else None
        raise no_embedding(f"region {request.region!r} in the {request.space} space", request.as_of, known)
    if found != request.as_of:
        logger.warning("%s has no embedding on %s; using the last one, of %s", request.region, request.as_of, found)
    return found


def build_report(  # noqa: PLR0913 -- every part of an answer, by name
    request: AnalogRequest,
    *,
    as_of_date: date,
    model_id: str,
    regime_model_id: str | None,
    instrument_id: str,
    dates: DateVector,
    nearest: Nearest,
    labels: Mapping[date, tuple[RegimeLabel, float]],
    followed: FollowedCloses,
) -> AnalogReport:
    """Return the answer; `dates` are those of all vectors that were searched."""
    n_before, path = followed.path(as_of_date)
    return AnalogReport(
        request=request,
        as_of_date=as_of_date,
        model_id=model_id,
        regime_model_id=regime_model_id,
        instrument_id=instrument_id,
        n_candidates=nearest.n_candidates,
        analogs=_analogs(nearest, labels, followed),
        spreads=followed.spreads(nearest.dates),
        base_spreads=followed.spreads(dates[: nearest.n_candidates]),
        n_before=n_before,
        path=path,
    )


def _analogs(
    nearest: Nearest, labels: Mapping[date, tuple[RegimeLabel, float]], followed: FollowedCloses
) -> tuple[Analog, ...]:
    columns = (nearest.dates.tolist(), nearest.distances.tolist(), nearest.percentiles.tolist())
    found = []
    for day, distance, percentile in zip(*columns, strict=True):
        label, confidence = labels.get(day, (None, None))
        n_before, path = followed.path(day)
        found.append(
            Analog(
                as_of_date=day,
                distance=distance,
                percentile=None if math.isnan(percentile) else percentile,
                regime_label=None if label is None else label.name,
                confidence=confidence,
                outcomes=followed.outcomes(day),
                n_before=n_before,
                path=path,
            )
        )
    return tuple(found)
