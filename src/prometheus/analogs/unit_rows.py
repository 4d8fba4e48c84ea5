"""Vectors of unit length in memory, at full length or at a quarter of it, and their cosines with a question's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from prometheus.analogs.ranking import ROWS_IN_CACHE, cosines, directions
from prometheus.arrays import Float32Matrix, Float32Vector, Float64Vector, Int64Vector

_LARGEST = np.float32(127)
_EXACT_BELOW = 2**24
"""Single precision holds every integer up to here."""
_VALUES_AT_ONCE = 196_608
"""Fit the cache, and are too few for BLAS to start threads of its own."""
ROWS_OF_TWO_THREADS = 100_000
"""From this number on two threads share the rows."""


class UnitRows(Protocol):
    """Rows that are put in once and compared often; the cosine of one does not depend on the others."""

    @classmethod
    def empty(cls, n_rows: int, dim: int) -> Self:
        """Return room for a number of rows."""

    def put(self, first: int, vectors: Float32Matrix) -> None:
        """Put vectors of unit length, shape (n, dim), in from a place on."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Int64Vector | slice) -> Self: ...

    def cosines(self, vector: Float32Vector) -> Float64Vector:
        """Return the cosine of each row with a vector, shape (n,)."""


@dataclass(frozen=True, slots=True, eq=False)
class ExactRows:
    """The `vectors` as they are, shape (n, dim)."""

    vectors: Float32Matrix

    @classmethod
    def empty(cls, n_rows: int, dim: int) -> ExactRows:
        """Return room for a number of rows."""
        return cls(np.empty((n_rows, dim), np.float32))

    def put(self, first: int, vectors: Float32Matrix) -> None:
        """Put vectors of unit length, shape (n, dim), in from a place on."""
        self.vectors[first : first + len(vectors)] = vectors

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: Int64Vector | slice) -> ExactRows:
        return ExactRows(self.vectors[rows])

    def cosines(self, vector: Float32Vector) -> Float64Vector:
        """Return the cosine of each row with a vector, shape (n,)."""
        return cosines(self.vectors, vector)


@dataclass(frozen=True, slots=True, eq=False)
class CompactRows:
    """A `code` of one byte for each value, shape (n, dim), and a scale for each row, shape (n,).

    A value is about its code times the scale, and the largest of a row is 127 scales: none is off by more than half a
    scale. The question is brought to integers, too, so small that no sum of products leaves those that single precision
    holds (by Cauchy and Schwarz): sums are exact in whichever order they are made, so the cosine of a row does not
    depend on the others.

    Examples
    --------
    >>> rows = CompactRows.empty(1, 2)
    >>> rows.put(0, np.array([[0.6, -0.8]], dtype=np.float32))
    >>> rows.codes.tolist(), rows.cosines(np.array([1.0, 0.0], dtype=np.float32)).round(3).tolist()
    ([[95, -127]], [0.598])
    """

    codes: NDArray[np.int8]
    scales: Float32Vector

    @classmethod
    def empty(cls, n_rows: int, dim: int) -> CompactRows:
        """Return room for a number of rows."""
        return cls(np.empty((n_rows, dim), np.int8), np.empty(n_rows, np.float32))

    def put(self, first: int, vectors: Float32Matrix) -> None:
        """Put vectors of unit length, shape (n, dim), in from a place on; zeros stay zeros, and NaN NaN."""
        for start in range(0, len(vectors), ROWS_IN_CACHE):
            part = vectors[start : start + ROWS_IN_CACHE]
            place = slice(first + start, first + start + len(part))
            largest = np.abs(part).max(axis=1, initial=0.0)
            factors = np.divide(_LARGEST, largest, out=np.zeros_like(largest), where=largest > 0)
            with np.errstate(invalid="ignore"):  # of NaN, which the scale keeps
                self.codes[place] = np.rint(part * factors[:, np.newaxis])
            self.scales[place] = largest / _LARGEST

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Int64Vector | slice) -> CompactRows:
        return CompactRows(self.codes[rows], self.scales[rows])

    def cosines(self, vector: Float32Vector) -> Float64Vector:
        """Return about the cosine of each row with a vector, shape (n,)."""
        (direction,) = directions(vector[np.newaxis])
        root = np.sqrt(len(direction))
        n_steps = np.float32(_EXACT_BELOW // ((_LARGEST + 1) * root) - root)
        steps = np.rint(direction * n_steps)
        found = np.empty(len(self), np.float32)
        if len(self) < ROWS_OF_TWO_THREADS:
            self._multiply(steps, found, 0, len(self))
        else:
            half = len(self) // 2
            with ThreadPoolExecutor(1, thread_name_prefix="prometheus-cosines") as pool:
                other = pool.submit(self._multiply, steps, found, half, len(self))
                self._multiply(steps, found, 0, half)
                other.result()
        return (found * (self.scales / n_steps)).astype(np.float64)

    def _multiply(self, steps: Float32Vector, found: Float32Vector, start: int, end: int) -> None:
        """Put the sum of products of each row from one place up to another with integers into those found."""
        n_rows = max(1, _VALUES_AT_ONCE // len(steps))
        wide = np.empty((n_rows, len(steps)), np.float32)
        for first in range(start, end, n_rows):
            codes = self.codes[first : min(end, first + n_rows)]
            part = wide[: len(codes)]
            part[:] = codes
            np.dot(part, steps, out=found[first : first + len(codes)])
