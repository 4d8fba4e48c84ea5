"""What is read and never computed, in dicts: bars and dated texts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prometheus.arrays import DateVector
from prometheus.encoders.texts.codes import is_alike
from prometheus.encoders.texts.daily import DailyTexts, daily_means
from prometheus.encoders.texts.documents import (
    INSTRUMENT,
    SourceText,
    TextSelection,
    TextSourceType,
    no_vectors,
)
from prometheus.errors import WindowShapeError
from prometheus.market.bars import PriceBars
from prometheus.memory.stores import MemoryTextStore


class MemoryBars:
    """Bars by instrument; a `prometheus.protocols.BarSource` and `InstrumentSource`."""

    def __init__(self) -> None:
        self._dates: dict[str, DateVector] = {}
        self._columns: dict[str, dict[str, NDArray[np.float64]]] = {}

    def add(self, instrument_id: str, dates: ArrayLike, **columns: ArrayLike) -> None:
        """Keep the bars of one instrument in place of those kept before; columns are ``close``, ``volume`` and so on.

        `WindowShapeError` for a column of another length, or a date that stands there twice.
        """
        days = np.asarray(dates, dtype="M8[D]")
        order = np.argsort(days)
        if len(np.unique(days)) < len(days):
            raise WindowShapeError(f"{instrument_id} dates", (len(days),), (f"{len(np.unique(days))} different",))
        values = {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}
        for name, column in values.items():
            if column.shape != days.shape:
                raise WindowShapeError(f"{instrument_id} {name}", column.shape, days.shape)
        self._columns[instrument_id] = {name: column[order] for name, column in values.items()}
        self._dates[instrument_id] = days[order]

    def load_bars(
        self, instrument_ids: Sequence[str], first: date, last: date, n_before: int, fields: Sequence[str]
    ) -> PriceBars:
        """Return bars from `first` to `last` and those that windows ending there reach back to; absent fields: NaN."""
        ids = tuple(dict.fromkeys(instrument_ids))
        dates, values = [np.empty(0, dtype="M8[D]")], [np.empty((len(fields), 0))]
        for instrument_id in ids:
            days = self._dates.get(instrument_id, dates[0])
            stop = int(np.searchsorted(days, np.datetime64(last, "D"), side="right"))
            newest = int(np.searchsorted(days, np.datetime64(first, "D"), side="right"))
            rows = slice(max(min(newest, stop) - n_before, 0), stop)
            columns = self._columns.get(instrument_id, {})
            missing = np.full(len(days), np.nan)
            dates.append(days[rows])
            values.append(np.array([columns.get(name, missing)[rows] for name in fields]))
        offsets = np.cumsum([len(days) for days in dates]).astype(np.int64)
        return PriceBars(ids, offsets, np.concatenate(dates), tuple(fields), np.concatenate(values, axis=1))

    def known_instruments(self, instrument_ids: Sequence[str]) -> set[str]:
        """Return those that have at least one bar."""
        return {name for name in instrument_ids if len(self._dates.get(name, ()))}


@dataclass(frozen=True, slots=True)
class DatedText:
    """One text, its instants in UTC and the instruments it concerns; `known_at` None where it was known at once."""

    text: SourceText
    timestamp: datetime
    known_at: datetime | None = None
    filters: Mapping[str, str | None] = field(default_factory=dict)
    instrument_ids: Collection[str] = ()

    def passes(self, filters: Mapping[str, str | None]) -> bool:
        """Return whether the text is one of those that filters choose; None chooses any."""
        return all(
            value in self.instrument_ids if name == INSTRUMENT else is_alike(name, self.filters.get(name), value)
            for name, value in filters.items()
            if value is not None
        )


class MemoryTexts:
    """Macro events and news, with vectors in a store; a `prometheus.protocols.TextSource` and `DailyTextSource`."""

    def __init__(self, store: MemoryTextStore, texts: Iterable[DatedText] = ()) -> None:
        self._store = store
        self._texts: dict[tuple[str, int], DatedText] = {}
        self.add(texts)

    def add(self, texts: Iterable[DatedText]) -> None:
        """Keep texts under their source ids, which are whole numbers."""
        self._texts |= {(each.text.source_type, int(each.text.source_id)): each for each in texts}

    def load_texts(self, source_type: TextSourceType, source_ids: Sequence[int], /) -> list[SourceText]:
        """Return the texts of these rows, in that order; unknown ones are left out."""
        keys = [(source_type, source_id) for source_id in source_ids]
        return [self._texts[key].text for key in keys if key in self._texts]

    def load(self, wanted: TextSelection, start: date, end: date) -> DailyTexts:
        """Return the mean of each date's texts from `start` to `end`, both included, that were known on it."""
        zone = ZoneInfo(wanted.timezone)
        found = []
        for (source_type, source_id), each in sorted(self._texts.items()):
            day = each.timestamp.astimezone(zone).date()
            is_known = (each.known_at or each.timestamp).astimezone(zone).date() <= day
            is_wanted = source_type == wanted.source and start <= day <= end and is_known
            if is_wanted and each.passes(wanted.filters):
                vector = self._store.load_embedding(wanted.source, str(source_id), wanted.model_id)
                if vector is not None:
                    found.append((day, source_id, vector.tobytes()))
        if not found:
            return DailyTexts(np.empty(0, dtype="M8[D]"), no_vectors(), np.empty(0, dtype=np.int64))
        rows = np.array(sorted(found), dtype=[("day", "M8[D]"), ("text_id", "i8"), ("vector", f"V{len(found[0][2])}")])
        return daily_means(rows)
