"""Daily text vectors: the mean of all texts of a calendar date that were known on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float32Matrix, Int64Vector
from prometheus.encoders.texts.documents import TEXT_TABLES, TextSourceType
from prometheus.errors import UsageError


@dataclass(frozen=True, slots=True)
class TextSelection:
    """Which texts' vectors are wanted; `UsageError` for a zone that is no IANA name, or a filter the source lacks.

    `filters` maps a column to its value, None for any. A text belongs to the calendar date of its timestamp in
    `timezone`, and counts if it was known on `known_by`; None stands for the text's own date.
    """

    source: TextSourceType
    model_id: str
    filters: Mapping[str, str | None]
    timezone: str = "UTC"
    known_by: date | None = None

    def __post_init__(self) -> None:
        require_timezone(self.timezone)
        unknown = sorted(set(self.filters) - set(TEXT_TABLES[self.source].filters))
        if unknown:
            raise UsageError(f"{self.source} texts have no filter {unknown[0]!r}")


@dataclass(frozen=True, slots=True, eq=False)
class DailyTexts:
    """One mean vector per date that has texts.

    `dates`, shape (n_dates,), ascend; `vectors` have shape (n_dates, dim), (0, 0) without dates; `n_texts`, shape
    (n_dates,), says how many texts each mean is over.
    """

    dates: DateVector
    vectors: Float32Matrix
    n_texts: Int64Vector


def daily_means(rows: NDArray[Any]) -> DailyTexts:
    """Return the mean vector of each date, added in float64 in the order of the rows.

    Parameters
    ----------
    rows
        Structured, shape (n,): ``day`` (M8[D]), ascending, and ``vector`` (little-endian float32 bytes).
    """
    vectors = np.ascontiguousarray(rows["vector"]).view("<f4").reshape(len(rows), -1)
    dates, starts, n_texts = np.unique(rows["day"], return_index=True, return_counts=True)
    sums = np.add.reduceat(vectors, starts, axis=0, dtype=np.float64)
    means = (sums / n_texts[:, np.newaxis]).astype(np.float32)
    return DailyTexts(dates, means, n_texts.astype(np.int64))


def require_timezone(name: str) -> str:
    """Return `name` if it is an IANA time zone, else raise `UsageError`."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise UsageError(f"unknown time zone {name!r}; write an IANA name such as America/New_York") from None
    return name
