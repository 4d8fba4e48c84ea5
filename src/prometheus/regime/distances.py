"""Distances between vectors and centres, the same bytes for one vector and for many."""

from __future__ import annotations

import numpy as np

from prometheus.arrays import Float32Matrix, Float64Matrix

_ROWS_AT_ONCE = 512


def euclidean_distances(
    vectors: Float32Matrix | Float64Matrix, centers: Float32Matrix | Float64Matrix
) -> Float64Matrix:
    """Return the distance of each vector to each centre, shape (n_vectors, n_centers), float64.

    Differences are squared and added row by row, so a vector's distances do not depend on how many others there are;
    a matrix product may add in another order for another number of rows.
    """
    distances = np.empty((len(vectors), len(centers)))
    wide_centers = centers.astype(np.float64)
    for first in range(0, len(vectors), _ROWS_AT_ONCE):  # as many as a core's cache holds
        rows = slice(first, first + _ROWS_AT_ONCE)
        wide = np.ascontiguousarray(vectors[rows], dtype=np.float64)  # a sum's order follows the layout in memory
        for column, center in enumerate(wide_centers):
            differences = wide - center
            differences *= differences
            distances[rows, column] = np.sqrt(differences.sum(axis=1))
    return distances
