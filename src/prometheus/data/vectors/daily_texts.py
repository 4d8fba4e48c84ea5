"""Daily text vectors: the mean of all texts of a calendar date that were known on it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np

from prometheus.data.postgres.connections import HistoricalDatabase
from prometheus.data.vectors.dated_texts import TextVectorReader
from prometheus.encoders.texts.daily import DailyTexts, TextSelection, daily_means
from prometheus.encoders.texts.documents import TextSourceType


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
        found = [daily_means(rows) for rows in self._reader.iter_rows(wanted, start, end)]
        if not found:
            return DailyTexts(
                np.empty(0, dtype="M8[D]"), np.empty((0, 0), dtype=np.float32), np.empty(0, dtype=np.int64)
            )
        return DailyTexts(
            np.concatenate([part.dates for part in found]),
            np.concatenate([part.vectors for part in found]),
            np.concatenate([part.n_texts for part in found]),
        )
