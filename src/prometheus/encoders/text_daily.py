"""Daily text vectors: the mean of all texts of a calendar date that were known on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float32Matrix, Int64Vector
from prometheus.core.connections import HistoricalDatabase
from prometheus.encoders.joint import TextSourceType
from prometheus.encoders.text_vectors import TextSelection, TextVectorReader


@dataclass(frozen=True, slots=True, eq=False)
class DailyTexts:
    """One mean vector per date that has texts.

    Attributes
    ----------
    dates
        Shape (n_dates,), ascending.
    vectors
        Shape (n_dates, dim), float32; (0, 0) without dates.
    n_texts
        Shape (n_dates,): how many texts each mean is over.
    """

    dates: DateVector
    vectors: Float32Matrix
    n_texts: Int64Vector


class DailyTextReader:
    """Averages stored text embeddings by calendar date, set-wise.

    Parameters
    ----------
    db_manager
        Where the historical database is.
    """

    def __init__(self, db_manager: HistoricalDatabase) -> None:
        self._reader = TextVectorReader(db_manager)

    def load(
        self,
        source: TextSourceType,
        model_id: str,
        start: date,
        end: date,
        filters: Mapping[str, str | None],
        timezone: str = "UTC",
    ) -> DailyTexts:
        """Return the mean of each date's texts from `start` to `end`, both included.

        A text belongs to the calendar date of its timestamp in `timezone`, whatever the session's time zone is, and
        counts only if it was known on that date. Vectors are added in float64 in order of the texts' ids.

        Raises
        ------
        UsageError
            `timezone` is no IANA name; a filter the source does not have.
        """
        wanted = TextSelection(source, model_id, filters, timezone)
        found = [_means(rows) for rows in self._reader.iter_rows(wanted, start, end)]
        if not found:
            return DailyTexts(
                np.empty(0, dtype="M8[D]"), np.empty((0, 0), dtype=np.float32), np.empty(0, dtype=np.int64)
            )
        return DailyTexts(
            np.concatenate([part.dates for part in found]),
            np.concatenate([part.vectors for part in found]),
            np.concatenate([part.n_texts for part in found]),
        )


def _means(rows: NDArray[Any]) -> DailyTexts:
    vectors = np.ascontiguousarray(rows["vector"]).view("<f4").reshape(len(rows), -1)
    dates, starts, n_texts = np.unique(rows["day"], return_index=True, return_counts=True)
    sums = np.add.reduceat(vectors, starts, axis=0, dtype=np.float64)
    means = (sums / n_texts[:, np.newaxis]).astype(np.float32)
    return DailyTexts(dates, means, n_texts.astype(np.int64))
