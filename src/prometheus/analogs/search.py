"""Past dates whose vectors are nearest to that of a date."""

from __future__ import annotations

from datetime import date
from typing import Literal, get_args

import numpy as np

from prometheus.arrays import DateVector, Float32Matrix, Float64Matrix, Float64Vector, Int64Vector, require_finite
from prometheus.errors import UsageError, VectorError, WindowShapeError, no_embedding
from prometheus.regime.decoding import euclidean_distances

Metric = Literal["euclidean", "cosine"]
METRICS: tuple[Metric, ...] = get_args(Metric)
MAX_ANALOGS = 1_000
MAX_EXCLUDED_SESSIONS = 100_000
PAIRED_DATES = 1_000
"""Dates whose pairs a percentile is taken of; more are thinned out evenly (the error of it: docs/how-to/analogs.md)."""


class AnalogSearch:
    """The nearest dates of a date's own past, none of them a neighbour of the date or of another one.

    Exact: every candidate's distance is measured. The answer for a date depends on the rows up to it and on nothing
    after it.

    Parameters
    ----------
    metric
        ``euclidean``, or ``cosine`` for 1 less the cosine, in [0, 2].
    exclude_sessions
        Dates at most this number of sessions apart are neighbours.

    Raises
    ------
    UsageError
        An unknown metric, or a number of sessions that cannot be.

    Examples
    --------
    >>> dates = np.arange("2024-01-01", "2024-01-07", dtype="M8[D]")
    >>> vectors = np.array([[0.0], [5.0], [1.0], [4.0], [9.0], [4.5]], dtype=np.float32)
    >>> found, distances = AnalogSearch(exclude_sessions=1).fit(dates, vectors).predict(date(2024, 1, 6), k=2)
    >>> found.astype(str).tolist(), distances.tolist()
    (['2024-01-02', '2024-01-04'], [0.5, 0.5])
    """

    def __init__(self, *, metric: Metric = "euclidean", exclude_sessions: int = 63) -> None:
        if metric not in METRICS:
            raise UsageError(f"unknown metric {metric!r}; choose from {', '.join(METRICS)}")
        if not 0 <= exclude_sessions <= MAX_EXCLUDED_SESSIONS:
            raise UsageError(f"--exclude-sessions {exclude_sessions}: name a number from 0 to {MAX_EXCLUDED_SESSIONS}")
        self.metric = metric
        self.exclude_sessions = exclude_sessions
        self._dates: DateVector = np.empty(0, dtype="M8[D]")
        self._sessions: Int64Vector = np.empty(0, dtype=np.int64)
        self._vectors: Float32Matrix | Float64Matrix = np.empty((0, 0), dtype=np.float32)

    def fit(self, dates: DateVector, vectors: Float32Matrix, session_dates: DateVector | None = None) -> AnalogSearch:
        """Take the vectors to search in.

        Parameters
        ----------
        dates
            Shape (n,), strictly ascending.
        vectors
            Shape (n, dim), finite.
        session_dates
            The sessions that are counted between dates, ascending; without them the dates themselves are.

        Raises
        ------
        WindowShapeError, VectorError
            Not one vector per date, or dates out of order; a vector that is not finite, or of length zero under the
            cosine.
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
        return self

    def predict(self, as_of_date: date, k: int = 10) -> tuple[DateVector, Float64Vector]:
        """Return up to `k` dates and their distances, nearest first; of equally near ones the earlier counts first.

        Raises
        ------
        UsageError
            `k` is not between 1 and 1,000.
        NotFoundError
            The date has no vector.
        """
        if not 1 <= k <= MAX_ANALOGS:
            raise UsageError(f"--k {k}: name a number from 1 to {MAX_ANALOGS}")
        at = self._position(as_of_date)
        n_past = int(np.searchsorted(self._sessions, self._sessions[at] - self.exclude_sessions))
        distances = self._distances(self._vectors[:n_past], self._vectors[at])
        chosen = self._spread_out(np.argsort(distances, kind="stable"), k)
        return self._dates[chosen], distances[chosen]

    def n_candidates(self, as_of_date: date) -> int:
        """Return how many dates `predict` chooses from."""
        at = self._position(as_of_date)
        return int(np.searchsorted(self._sessions, self._sessions[at] - self.exclude_sessions))

    def percentiles(self, as_of_date: date, distances: Float64Vector) -> Float64Vector:
        """Return which share of all pairs of dates are as near as each distance, or nearer; in [0, 1], NaN without any.

        Pairs of dates up to `as_of_date` that are no neighbours count, of up to 1,000 dates spread evenly over them.
        """
        n_known = self._position(as_of_date) + 1
        rows = np.unique(np.linspace(0, n_known - 1, min(n_known, PAIRED_DATES)).round().astype(np.int64))
        sessions = self._sessions[rows].astype(np.int32)
        is_pair = sessions[:, np.newaxis] - sessions > self.exclude_sessions  # each pair once, the later date first
        pairs = _squared_distances(self._vectors[rows])[is_pair]
        if not len(pairs):
            return np.full(len(distances), np.nan)
        bounds = 2.0 * distances if self.metric == "cosine" else distances**2
        order = np.argsort(bounds, kind="stable")
        counts = np.bincount(np.searchsorted(bounds[order], pairs), minlength=len(bounds) + 1)
        shares = np.empty(len(distances))
        shares[order] = np.cumsum(counts[:-1]) / len(pairs)
        return shares

    def _position(self, as_of_date: date) -> int:
        at = int(np.searchsorted(self._dates, np.datetime64(as_of_date, "D")))
        if at == len(self._dates) or self._dates[at].item() != as_of_date:
            known = (self._dates[0].item(), self._dates[-1].item()) if len(self._dates) else None
            raise no_embedding("the space searched", as_of_date, known)
        return at

    def _distances(
        self, vectors: Float32Matrix | Float64Matrix, vector: Float32Matrix | Float64Matrix
    ) -> Float64Vector:
        distances: Float64Vector = euclidean_distances(vectors, vector[np.newaxis])[:, 0]
        return 0.5 * distances**2 if self.metric == "cosine" else distances

    def _spread_out(self, ranked: Int64Vector, k: int) -> Int64Vector:
        """Return the first `k` of ranked rows of which no two are neighbours."""
        chosen: list[int] = []
        is_free = np.ones(len(ranked), dtype=bool)
        for row in ranked.tolist():
            if len(chosen) == k:
                break
            if is_free[row]:
                chosen.append(row)
                session = self._sessions[row]
                first = np.searchsorted(self._sessions, session - self.exclude_sessions)
                is_free[first : np.searchsorted(self._sessions, session + self.exclude_sessions, side="right")] = False
        return np.array(chosen, dtype=np.int64)


def _unit_rows(vectors: Float32Matrix) -> Float64Matrix:
    wide = vectors.astype(np.float64)
    lengths = np.sqrt((wide * wide).sum(axis=1))
    if not lengths.all():
        raise VectorError("vectors", "one of them is zero, which has no direction; use the euclidean metric")
    units: Float64Matrix = wide / lengths[:, np.newaxis]
    return units


def _squared_distances(vectors: Float32Matrix | Float64Matrix) -> Float64Matrix:
    wide = vectors.astype(np.float64)
    lengths = (wide * wide).sum(axis=1)
    squares: Float64Matrix = lengths[:, np.newaxis] + lengths - 2.0 * (wide @ wide.T)
    return np.maximum(squares, 0.0)
