"""Squared distances by one product: bounds of them, so that fewer are measured exactly, and pairs that are near.

A sum of n products in floating point is off by at most n u / (1 - n u) times the sum of their sizes, in whichever order
it is made (u is half the distance from 1 to the next number). Source: Higham, "Accuracy and Stability of Numerical
Algorithms", 2002, section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prometheus.arrays import Float32Matrix, Float64Matrix, Float64Vector, Int64Vector

_SAFETY = 4.0
"""Above the 2 of the bound itself: pays for the roundings of the exact distances that bounds are compared with."""
_ROWS_AT_ONCE = 128


@dataclass(frozen=True, slots=True, eq=False)
class BoundedRows:
    """Vectors, shape (n, dim), and the `squares` of their lengths, shape (n,).

    Examples
    --------
    >>> rows = BoundedRows.of(np.array([[3.0, 4.0], [0.0, 1.0]], dtype=np.float32))
    >>> (rows.at_least(np.zeros(2, dtype=np.float32)) <= [25.0, 1.0]).all()
    np.True_
    """

    vectors: Float32Matrix | Float64Matrix
    squares: Float64Vector

    @classmethod
    def of(cls, vectors: Float32Matrix | Float64Matrix) -> BoundedRows:
        """Return vectors with the squares of their lengths."""
        with np.errstate(over="ignore"):
            return cls(vectors, np.einsum("ij,ij->i", vectors, vectors).astype(np.float64))

    def __getitem__(self, rows: slice) -> BoundedRows:
        return BoundedRows(self.vectors[rows], self.squares[rows])

    def at_least(self, vector: Float32Matrix | Float64Matrix) -> Float64Vector:
        """Return what the squared distance of each row to a vector is at least; -inf where that is not known."""
        return self._bounds(vector[np.newaxis], -1.0)[:, 0]

    def at_most(self, vector: Float32Matrix | Float64Matrix) -> Float64Vector:
        """Return what the squared distance of each row to a vector is at most; inf where that is not known."""
        return self._bounds(vector[np.newaxis], 1.0)[:, 0]

    def all_at_least(self, vectors: Float32Matrix | Float64Matrix) -> Float64Matrix:
        """Return what `at_least` does for each of some vectors, shape (n, n_vectors)."""
        return self._bounds(vectors, -1.0)

    def _bounds(self, vectors: Float32Matrix | Float64Matrix, sign: float) -> Float64Matrix:
        with np.errstate(over="ignore", invalid="ignore"):
            sums = self.squares[:, np.newaxis] + np.einsum("ij,ij->i", vectors, vectors)
            sums *= 1.0 + sign * error_share(vectors)
            bounds: Float64Matrix = sums - 2.0 * self._products(vectors)
        bounds[~np.isfinite(bounds)] = sign * np.inf
        return bounds

    def _products(self, vectors: Float32Matrix | Float64Matrix) -> Float32Matrix | Float64Matrix:
        products: Float32Matrix | Float64Matrix
        if len(vectors) > 1:
            products = self.vectors @ vectors.T
        else:  # memory is the limit of one: threads that BLAS starts would wait for each other
            products = np.einsum("ij,j->i", self.vectors, vectors[0])[:, np.newaxis]
        return products


def error_share(vectors: Float32Matrix | Float64Matrix) -> float:
    """Return by which part of the sum of two squared lengths a squared distance may be off; shape (..., dim)."""
    off: float = vectors.shape[-1] * float(np.finfo(vectors.dtype).eps) / 2.0
    return _SAFETY * off / (1.0 - off)


def count_near_pairs(
    vectors: Float32Matrix | Float64Matrix, n_paired: Int64Vector, limits: Float64Vector
) -> Int64Vector:
    """Return how many pairs have a squared distance of at most each limit, which is not negative; shape (k,).

    Row i of `vectors`, shape (n, dim), makes a pair with each of the first ``n_paired[i]`` rows, which ascends.
    Distances are those of one product in double precision: squared lengths, less twice the product.
    """
    wide = vectors.astype(np.float64)
    lengths, products = (wide * wide).sum(axis=1), wide @ wide.T
    counts, largest = np.zeros(len(limits), dtype=np.int64), limits.max(initial=0.0)
    for first in range(0, len(wide), _ROWS_AT_ONCE):  # as many as a core's cache holds
        block = slice(first, first + _ROWS_AT_ONCE)
        n_common, n_columns = int(n_paired[first]), int(n_paired[block][-1])
        squares = lengths[block, np.newaxis] + lengths[:n_columns]
        squares -= 2.0 * products[block, :n_columns]
        is_near = squares <= largest
        is_near[:, n_common:] &= np.arange(n_common, n_columns) < n_paired[block, np.newaxis]
        near = squares[is_near]
        counts += [np.count_nonzero(near <= limit) for limit in limits]
    return counts
