"""The stores of vectors, and what all of them read rows with."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from prometheus.arrays import DateVector, Float32Matrix
from prometheus.data.postgres.binary_copy import fetch_packed


def fetch_vectors(cursor: psycopg.Cursor[Any], query: sql.Composable, dim: int) -> tuple[DateVector, Float32Matrix]:
    """Return the dates, ascending, and the vectors, shape (n, dim), of a query of both columns."""
    rows = fetch_packed(cursor, query, [("as_of_date", "M8[D]"), ("vector", f"V{4 * dim}")])
    rows = rows[np.argsort(rows["as_of_date"])]
    vectors = np.ascontiguousarray(rows["vector"]).view("<f4").reshape(len(rows), dim)
    return np.ascontiguousarray(rows["as_of_date"]), vectors
