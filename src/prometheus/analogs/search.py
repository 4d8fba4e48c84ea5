"""Past dates whose vectors are nearest to that of a date, and the report of them: arrays in, a report out."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal, get_args

import numpy as np

from prometheus.analogs.bounds import BoundedRows, count_near_pairs
from prometheus.analogs.nearness import Nearness, SpaceParts
from prometheus.arrays import DateVector, Float32Matrix, Float64Matrix, Float64Vector, Int64Vector, require_finite
from prometheus.encoders.joint.models import unit_rows
from prometheus.errors import UsageError, VectorError, WindowShapeError, no_embedding
from prometheus.market.outcomes import ForwardReturn, ForwardReturns, Quantiles
from prometheus.regime.decoding import euclidean_distances
from prometheus.regime.types import RegimeLabel

Metric = Literal["euclidean", "cosine"]
METRICS: tuple[Metric, ...] = get_args(Metric)
MAX_ANALOGS = 1_000
MAX_EXCLUDED_SESSIONS = 100_000
_FIRST_MEASURED = 512
"""Dates that are measured exactly at first; more are only where a bound of another one says that it may be chosen."""
PAIRED_DATES = 1_000  # dates whose pairs a percentile is taken of; more are thinned out evenly (docs/how-to/analogs.md)


class AnalogSearch:
    """The nearest dates of a date's own past, by exact distance; the metric ``cosine`` is 1 less the cosine, in [0, 2].

    With `least` it is the most distant ones, the most distant first.

    Examples
    --------
    >>> dates = np.arange("2024-01-01", "2024-01-07", dtype="M8[D]")
    >>> vectors = np.array([[0.0], [5.0], [1.0], [4.0], [9.0], [4.5]], dtype=np.float32)
    >>> found, distances = AnalogSearch(exclude_sessions=1).fit(dates, vectors).predict(date(2024, 1, 6), k=2)
    >>> found.astype(str).tolist(), distances.tolist()
    (['2024-01-02', '2024-01-04'], [0.5, 0.5])
    """

    def __init__(self, *, metric: Metric = "euclidean", exclude_sessions: int = 63, least: bool = False) -> None:
        if metric not in METRICS:
            raise UsageError(f"unknown metric {metric!r}; choose from {', '.join(METRICS)}")
        if not 0 <= exclude_sessions <= MAX_EXCLUDED_SESSIONS:
            raise UsageError(f"--exclude-sessions {exclude_sessions}: name a number from 0 to {MAX_EXCLUDED_SESSIONS}")
        self.metric = metric
        self.exclude_sessions = exclude_sessions
        self.least = least
        self._dates: DateVector = np.empty(0, dtype="M8[D]")
        self._sessions: Int64Vector = np.empty(0, dtype=np.int64)
        self._vectors: Float32Matrix | Float64Matrix = np.empty((0, 0), dtype=np.float32)
        self._rows = BoundedRows.of(self._vectors)

    def fit(self, dates: DateVector, vectors: Float32Matrix, session_dates: DateVector | None = None) -> AnalogSearch:
        """Take the vectors to search in, shape (n, dim), finite, one per date; dates are strictly ascending.

        Gaps between dates are counted in `session_dates`, ascending; without them in the dates themselves.
        """
        if vectors.ndim != 2 or len(vectors) != len(dates):
            raise WindowShapeError("vectors", vectors.shape, (len(dates), "dim"))
        if (np.diff(dates) <= np.timedelta64(0, "D")).any():
            raise VectorError("dates", "each must be later than the one before")
        require_finite(vectors, "vectors")
        counted = dates if session_dates is None else session_dates
        self._dates = dates
        self._sessions = np.searchsorted(counted, dates, side="right").astype(np.int64)
        self._vectors = _unit_rows(vectors) if self.metric == "cosine" else vectors
        self._rows = BoundedRows.of(self._vectors)
        return self

    def predict(self, as_of_date: date, k: int = 10) -> tuple[DateVector, Float64Vector]:
        """Return up to `k` dates and their distances, best first; of equally good ones the earlier comes first."""
        if not 1 <= k <= MAX_ANALOGS:
            raise UsageError(f"--k {k}: name a number from 1 to {MAX_ANALOGS}")
        vector, n_candidates = self._vectors[self._position(as_of_date)], self.n_candidates(as_of_date)
        before = self._rows[:n_candidates]
        bounds = -before.at_most(vector) if self.least else before.at_least(vector)
        n_measured = _FIRST_MEASURED
        while True:
            rows, rest = _smallest(bounds, n_measured)
            measured = euclidean_distances(self._vectors[rows], vector[np.newaxis])[:, 0]
            distances = 0.5 * measured**2 if self.metric == "cosine" else measured
            order = np.argsort(-distances if self.least else distances, kind="stable")
            chosen = order[self._spread_out(rows[order], k)]
            if len(rows) == n_candidates or (len(chosen) == k and self._is_before(measured[chosen[-1]], rest)):
                return self._dates[rows[chosen]], distances[chosen]
            n_measured *= 4

    def n_candidates(self, as_of_date: date) -> int:
        """Return how many dates `predict` chooses from."""
        at = self._position(as_of_date)
        return int(np.searchsorted(self._sessions, self._sessions[at] - self.exclude_sessions))

    def percentiles(self, as_of_date: date, distances: Float64Vector) -> Float64Vector:
        """Return the share of all pairs of dates that are at least as near as each distance; NaN without any.

        Pairs up to `as_of_date` with the minimum gap count, of up to 1,000 dates spread evenly over them.
        """
        n_known = self._position(as_of_date) + 1
        rows = np.unique(np.linspace(0, n_known - 1, min(n_known, PAIRED_DATES)).round().astype(np.int64))
        sessions = self._sessions[rows]
        n_paired = np.searchsorted(sessions, sessions - self.exclude_sessions)  # each pair once, of the later date
        n_pairs = int(n_paired.sum())
        if not n_pairs:
            return np.full(len(distances), np.nan)
        limits = 2.0 * distances if self.metric == "cosine" else distances**2
        return count_near_pairs(self._vectors[rows], n_paired, limits) / n_pairs

    def _position(self, as_of_date: date) -> int:
        at = int(np.searchsorted(self._dates, np.datetime64(as_of_date, "D")))
        if at == len(self._dates) or self._dates[at].item() != as_of_date:
            known = (self._dates[0].item(), self._dates[-1].item()) if len(self._dates) else None
            raise no_embedding("the space searched", as_of_date, known)
        return at

    def _is_before(self, distance: float, bound: float) -> bool:
        """Whether a distance comes before all that are, by a bound of their squares, not measured."""
        return (-(distance**2) if self.least else distance**2) < bound

    def _spread_out(self, ranked: Int64Vector, k: int) -> Int64Vector:
        """Return the places of the first `k` ranked rows that are no neighbours of one before."""
        chosen: list[int] = []
        is_free = np.ones(len(self._sessions), dtype=bool)
        for place, row in enumerate(ranked.tolist()):
            if len(chosen) == k:
                break
            if is_free[row]:
                chosen.append(place)
                session = self._sessions[row]
                first = np.searchsorted(self._sessions, session - self.exclude_sessions)
                is_free[first : np.searchsorted(self._sessions, session + self.exclude_sessions, side="right")] = False
        return np.array(chosen, dtype=np.int64)


def _unit_rows(vectors: Float32Matrix) -> Float64Matrix:
    units = unit_rows(vectors.astype(np.float64))
    if not units.any(axis=1).all():
        raise VectorError("vectors", "one of them is zero, which has no direction; use the euclidean metric")
    return units


def _smallest(bounds: Float64Vector, n_wanted: int) -> tuple[Int64Vector, float]:
    """Return the rows of the smallest bounds, ascending, and the smallest bound of the rest, inf without any."""
    if n_wanted >= len(bounds):
        return np.arange(len(bounds)), math.inf
    order = np.argpartition(bounds, n_wanted)
    return np.sort(order[:n_wanted]), float(bounds[order[n_wanted]])


logger = logging.getLogger(__name__)

MAX_DAYS_BACK = 7  # a date without a vector is answered by the newest date with one, at most this many days before it

Space = Literal["numeric", "joint", "text"]
SPACES: tuple[Space, ...] = get_args(Space)
TextSource = Literal["macro", "news"]
TEXT_SOURCES: tuple[TextSource, ...] = get_args(TextSource)


@dataclass(frozen=True, slots=True)
class AnalogRequest:
    """Analogs of a date wanted; None for a model or an instrument means the one that stands for the region.

    A space of None is prices and macro numbers (``joint-regime-core-v3``) where the date has such a row and no model is
    named, else prices. With `least` it is the dates least like it.
    """

    region: str
    as_of: date
    space: Space | None = None
    k: int = 10
    exclude_sessions: int = 63
    metric: Metric = "euclidean"
    model_id: str | None = None
    regime_model_id: str | None = None
    instrument_id: str | None = None
    source: TextSource = "macro"
    country: str | None = None
    least: bool = False

    def __post_init__(self) -> None:
        if self.space not in (None, *SPACES):
            raise UsageError(f"unknown space {self.space!r}; choose from {', '.join(SPACES)}")
        if self.source not in TEXT_SOURCES:
            raise UsageError(f"unknown source {self.source!r}; choose from {', '.join(TEXT_SOURCES)}")
        if self.country is not None and (self.space != "text" or self.source != "macro"):
            raise UsageError("--country selects macro texts: use it with --space text --source macro")


@dataclass(frozen=True, slots=True, eq=False)
class Analog:
    """One past date that looked like the date asked about, with the regime model's label where it has one.

    `percentile` is the share of pairs of dates at least as near, None without pairs; `path` holds closes around the
    date as shares of its own close, `n_before` of them before it. `nearness` says why it is near, in a space of prices
    and macro numbers.
    """

    as_of_date: date
    distance: float
    percentile: float | None
    regime_label: str | None
    confidence: float | None
    outcomes: tuple[ForwardReturn, ...]
    n_before: int
    path: Float64Vector
    nearness: Nearness | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, without the path."""
        return {
            "as_of_date": str(self.as_of_date),
            "distance": self.distance,
            "percentile": self.percentile,
            "regime_label": self.regime_label,
            "confidence": self.confidence,
            "followed_by": [outcome.to_dict() for outcome in self.outcomes],
            "nearness": None if self.nearness is None else self.nearness.to_dict(),
        }


@dataclass(frozen=True, slots=True, eq=False)
class AnalogReport:
    """The analogs of one date, nearest or least alike first, and how what followed them is spread against all dates.

    `as_of_date` is the date whose vector was compared: the one asked about, or the last before it that has one. `parts`
    say how much prices and macro numbers hold of the distances between the dates that could be chosen, where both are
    compared; `prices_alone` is why the numbers are not, where the space was left open. `left_out` are dates up to then
    whose stored vectors cannot be compared.
    """

    request: AnalogRequest
    as_of_date: date
    model_id: str
    regime_model_id: str | None
    instrument_id: str
    n_candidates: int
    analogs: tuple[Analog, ...]
    spreads: tuple[Quantiles, ...]
    base_spreads: tuple[Quantiles, ...]
    n_before: int
    path: Float64Vector
    parts: SpaceParts | None = None
    prices_alone: str = ""
    left_out: tuple[date, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, without the paths."""
        asked = self.request
        return {
            "region": asked.region,
            "as_of_date": str(self.as_of_date),
            "space": asked.space,
            "metric": asked.metric,
            "exclude_sessions": asked.exclude_sessions,
            **({"least": True} if asked.least else {}),
            **({"left_out": [str(day) for day in self.left_out]} if self.left_out else {}),
            "model_id": self.model_id,
            "parts": None if self.parts is None else self.parts.to_dict(),
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
    return nearest_of(search.fit(dates, vectors, sessions), as_of_date, k)


def nearest_of(search: AnalogSearch, as_of_date: date, k: int) -> Nearest:
    """Return the dates most like one of those that were fitted; later ones change nothing."""
    found, distances = search.predict(as_of_date, k)
    shares = search.percentiles(as_of_date, distances)
    return Nearest(found, distances, shares, search.n_candidates(as_of_date))


def date_with_vector(request: AnalogRequest, dates: DateVector) -> date:
    """Return the newest date with a vector: the one asked about, or one of the week before it; else `NotFoundError`."""
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
    followed: ForwardReturns,
) -> AnalogReport:
    """Return the answer; `dates` are those of all vectors that were searched."""
    n_before, path = followed.path(as_of_date)
    columns = (nearest.dates.tolist(), nearest.distances.tolist(), nearest.percentiles.tolist())
    analogs = [_analog(*each, labels, followed) for each in zip(*columns, strict=True)]
    return AnalogReport(
        request=request,
        as_of_date=as_of_date,
        model_id=model_id,
        regime_model_id=regime_model_id,
        instrument_id=instrument_id,
        n_candidates=nearest.n_candidates,
        analogs=tuple(analogs),
        spreads=followed.spreads(nearest.dates),
        base_spreads=followed.spreads(dates[: nearest.n_candidates]),
        n_before=n_before,
        path=path,
    )


def _analog(
    day: date,
    distance: float,
    percentile: float,
    labels: Mapping[date, tuple[RegimeLabel, float]],
    followed: ForwardReturns,
) -> Analog:
    label, confidence = labels.get(day, (None, None))
    share = None if math.isnan(percentile) else percentile
    name = None if label is None else label.name
    return Analog(day, distance, share, name, confidence, followed.outcomes(day), *followed.path(day))
