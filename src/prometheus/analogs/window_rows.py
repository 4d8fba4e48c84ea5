"""The nearest of many windows, which come block by block: all are compared, few are measured exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from prometheus.analogs.bounds import BoundedRows
from prometheus.arrays import DateVector, Float32Matrix, Float32Vector, Float64Vector, Int64Vector
from prometheus.regime.decoding import euclidean_distances

_ROWS_AT_ONCE = 16_384
_SPARE = 1.25
"""Times as many as are wanted may be held before they are sorted."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowRows:
    """Windows of several entities: `entities` are places in `names`, which ascend; shapes (n,), (n,) and (n, dim)."""

    names: tuple[str, ...]
    entities: Int64Vector
    dates: DateVector
    rows: BoundedRows

    @classmethod
    def of(cls, names: tuple[str, ...], entities: Int64Vector, dates: DateVector, vectors: Float32Matrix) -> WindowRows:
        """Return windows with what bounds their distances."""
        return cls(names, entities, dates, BoundedRows.of(vectors))

    def __len__(self) -> int:
        return len(self.dates)

    def parts(self) -> list[WindowRows]:
        """Return the windows in parts that take little memory to compare."""
        cuts = [slice(first, first + _ROWS_AT_ONCE) for first in range(0, len(self), _ROWS_AT_ONCE)]
        return [WindowRows(self.names, self.entities[cut], self.dates[cut], self.rows[cut]) for cut in cuts]


@dataclass(frozen=True, slots=True, eq=False)
class WindowQuery:
    """A vector, shape (dim,), and the date before which like ones are wanted."""

    vector: Float32Vector
    before: date


@dataclass(frozen=True, slots=True, order=True)
class NearWindow:
    """One window found, and its Euclidean distance; they are ordered by distance, entity and date."""

    distance: float
    entity_id: str
    as_of_date: date


class NearestWindows:
    """Takes windows block by block, and keeps the `n_rows` nearest to each query dated before its date."""

    def __init__(self, queries: Sequence[WindowQuery], n_rows: int) -> None:
        self._asked = np.stack([query.vector for query in queries])
        self._kept = [_Nearest(query, n_rows) for query in queries]
        self._names: tuple[str, ...] = ()

    def offer(self, windows: WindowRows) -> None:
        """Compare some windows, all of one list of names."""
        self._names = windows.names
        for part in windows.parts():
            bounds = part.rows.all_at_least(self._asked)
            for number, kept in enumerate(self._kept):
                kept.offer(part, bounds[:, number])

    def found(self) -> list[list[NearWindow]]:
        """Return for each query the nearest windows, nearest first."""
        return [kept.found(self._names) for kept in self._kept]


class _Nearest:
    """The windows nearest to one query, by exact distance."""

    def __init__(self, query: WindowQuery, n_rows: int) -> None:
        self._vector, self._before, self._n_rows = query.vector, np.datetime64(query.before, "D"), n_rows
        self._distances: Float64Vector = np.empty(0)
        self._entities: Int64Vector = np.empty(0, dtype=np.int64)
        self._dates: DateVector = np.empty(0, dtype="M8[D]")
        self._farthest = np.inf

    def offer(self, windows: WindowRows, bounds: Float64Vector) -> None:
        rows = np.flatnonzero((bounds <= self._farthest**2) & (windows.dates < self._before))
        if len(rows) > self._n_rows:  # the most promising first: few of the others are measured
            order = np.argpartition(bounds[rows], self._n_rows)
            self._keep(windows, rows[order[: self._n_rows]])
            rows = rows[order[self._n_rows :]]
            rows = rows[bounds[rows] <= self._farthest**2]
        if len(rows):
            self._keep(windows, rows)

    def _keep(self, windows: WindowRows, rows: Int64Vector) -> None:
        distances = euclidean_distances(windows.rows.vectors[rows], self._vector[np.newaxis])[:, 0]
        self._distances = np.concatenate([self._distances, distances])
        self._entities = np.concatenate([self._entities, windows.entities[rows]])
        self._dates = np.concatenate([self._dates, windows.dates[rows]])
        if len(self._distances) >= self._n_rows * (1.0 if np.isinf(self._farthest) else _SPARE):
            self._select(np.lexsort((self._dates, self._entities, self._distances))[: self._n_rows])
            self._farthest = float(self._distances[-1])

    def _select(self, rows: Int64Vector) -> None:
        self._distances, self._entities, self._dates = self._distances[rows], self._entities[rows], self._dates[rows]

    def found(self, names: Sequence[str]) -> list[NearWindow]:
        self._select(np.lexsort((self._dates, self._entities, self._distances))[: self._n_rows])
        columns = (self._distances.tolist(), self._entities.tolist(), self._dates.tolist())
        return [NearWindow(distance, names[entity], day) for distance, entity, day in zip(*columns, strict=True)]
