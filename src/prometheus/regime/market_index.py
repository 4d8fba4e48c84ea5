"""What its market adds to an instrument's chance of high volatility: whether ranges rose more in the index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from prometheus.arrays import DateVector, Float32Matrix, Float64Vector, Int64Vector
from prometheus.collaborators import require_methods
from prometheus.encoders.numeric.scale_free import raw_descriptors
from prometheus.protocols import HashedWindows, RegimeWindowSource

if TYPE_CHECKING:
    from prometheus.encoders.numeric.encoder import NumericWindowEncoder

RISE_WEIGHT = 2.1
"""Log odds per unit of the log of ranges, pooled over US stocks (`python -m benchmarks.market_index`, ADR-0025)."""
MAX_AGE = np.timedelta64(7, "D")
"""What was last known longer ago than this says nothing of a day."""


@dataclass(frozen=True, slots=True)
class MarketIndex:
    """The index of a member's market, and how much its rise of ranges, less the member's own, weighs in log odds."""

    instrument_id: str
    weight: float = RISE_WEIGHT

    def log_odds(self, vectors: Float32Matrix, seen: IndexRises) -> Float64Vector:
        """Return what the index adds to the log odds of a member's vectors, shape (n,); 0 where it was not seen."""
        added = self.weight * (seen.rises - range_rises(vectors))
        return np.where(np.isnan(seen.rises), 0.0, added)

    def said(self, sessions: DateVector) -> dict[str, Any]:
        """Return JSON values for the metadata of states, shape (n,); a session that is not a time stands as None."""
        return {"instrument_id": self.instrument_id, "session": [day and str(day) for day in sessions.tolist()]}


@dataclass(frozen=True, slots=True, eq=False)
class IndexRises:
    """Sessions of an index and their `range_rises`, shape (n,) each; NaT and NaN where none was seen."""

    sessions: DateVector
    rises: Float64Vector

    @classmethod
    def of(cls, sessions: DateVector, vectors: Float32Matrix) -> IndexRises:
        """Return what vectors of the scale-free encoder, shape (n, 384), say of an index's sessions, ascending."""
        return cls(sessions, range_rises(vectors))

    @classmethod
    def nothing(cls, n: int) -> IndexRises:
        """Return `n` times that none was seen."""
        return cls(np.full(n, np.datetime64("NaT"), dtype="M8[D]"), np.full(n, np.nan))

    def on(self, days: DateVector) -> IndexRises:
        """Return what had been seen at the close of each day, by `newest_rows`."""
        rows = newest_rows(self.sessions, days)
        sessions, rises = np.append(self.sessions, np.datetime64("NaT")), np.append(self.rises, np.nan)
        return IndexRises(sessions[rows], rises[rows])


class IndexReader:
    """Reads an index through the builder and encoder of a member; `UsageError` if the builder has no `build_range`."""

    def __init__(self, instrument_id: str, encoder: NumericWindowEncoder, window_days: int) -> None:
        require_methods(encoder.builder, type(self).__name__, "builder", "build_range")
        self._builder, self._encoder = cast("RegimeWindowSource", encoder.builder), encoder
        self.instrument_id, self._window_days = instrument_id, window_days

    def windows(self, days: DateVector) -> HashedWindows:
        """Return the windows that tell what was known of the index on some days, ascending; perhaps none."""
        first, last = (days[0] - MAX_AGE).item(), days[-1].item()
        return self._builder.build_range([self.instrument_id], first, last, self._window_days, 0).windows

    def rises(self, windows: HashedWindows, days: DateVector) -> IndexRises:
        """Return what windows say of the index as it was known on some days."""
        rows = newest_rows(windows.as_of_dates, days)
        known = rows[rows >= 0]
        if not len(known):
            return IndexRises.nothing(len(days))
        read = windows.take(slice(int(known[0]), int(known[-1]) + 1))
        return IndexRises.of(read.as_of_dates, self._encoder.encode(read).vectors).on(days)

    def seen_on(self, days: DateVector) -> IndexRises:
        """Return what was known of the index on some days, ascending."""
        return self.rises(self.windows(days), days)


def range_rises(vectors: Float32Matrix) -> Float64Vector:
    """Return the log of the mean range of the last 4 sessions over that of the last 16, shape (n,)."""
    ranges = raw_descriptors(vectors, ("range_4", "range_16"))
    rises: Float64Vector = ranges[:, 0] - ranges[:, 1]
    return rises


def newest_rows(dates: DateVector, days: DateVector) -> Int64Vector:
    """Return for each day the row of the newest of some ascending dates, if at most a week old, shape (n,); else -1."""
    rows = np.searchsorted(dates, days, side="right") - 1
    newest = np.append(dates, np.datetime64("NaT"))[rows]
    return np.where(days - newest <= MAX_AGE, rows, -1)
