"""The texts of each date as one vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float32Matrix, Int64Vector


@dataclass(frozen=True, slots=True, eq=False)
class DailyTexts:
    """One mean vector, shape (dim,), per date that has texts, and over how many of them; dates ascend."""

    dates: DateVector
    vectors: Float32Matrix
    n_texts: Int64Vector


def daily_means(rows: NDArray[Any]) -> DailyTexts:
    """Return the mean vector of each date, in float64, of rows of ``day``, ascending, and ``vector``, float32 bytes."""
    vectors = np.ascontiguousarray(rows["vector"]).view("<f4").reshape(len(rows), -1)
    dates, starts, n_texts = np.unique(rows["day"], return_index=True, return_counts=True)
    sums = np.add.reduceat(vectors, starts, axis=0, dtype=np.float64)
    means = (sums / n_texts[:, np.newaxis]).astype(np.float32)
    return DailyTexts(dates, means, n_texts.astype(np.int64))
