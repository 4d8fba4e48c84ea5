"""One market's past as arrays: what a labeller is shown."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float64Matrix, Float64Vector, Int64Vector
from prometheus.encoders.numeric.features import log_returns
from prometheus.errors import InputRefusedError
from prometheus.market.bars import PriceBars

_OPTIONAL = ("high_over_close", "low_over_close", "volumes", "is_held")


@dataclass(frozen=True, slots=True, eq=False)
class MarketHistory:
    """The sessions of one instrument, oldest first, each column of shape (n,).

    Dates (datetime64[D]) strictly increase; closes are adjusted, positive and finite; highs and lows are over the
    unadjusted close of the same session, NaN where unknown; volumes are not negative. A session `is_held` where its bar
    was suspect on its day: what was said then is what was said of the session before. A column unknown throughout is
    None. InputRefusedError for columns of different length, dates out of order, or such a close.
    """

    instrument_id: str
    dates: DateVector
    closes: Float64Vector
    high_over_close: Float64Vector | None = None
    low_over_close: Float64Vector | None = None
    volumes: Float64Vector | None = None
    is_held: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        columns = (self.closes, *(getattr(self, name) for name in _OPTIONAL))
        if any(column is not None and column.shape != self.dates.shape for column in columns):
            raise InputRefusedError(f"{self.instrument_id}: the columns of a history differ in length")
        if not (np.isfinite(self.closes).all() and (self.closes > 0).all()):
            raise InputRefusedError(f"{self.instrument_id}: a close is not positive and finite")
        if not (self.dates[1:] > self.dates[:-1]).all():
            raise InputRefusedError(f"{self.instrument_id}: dates are not strictly increasing")

    @classmethod
    def from_bars(cls, bars: PriceBars) -> MarketHistory:
        """Return the history of the one instrument of `bars`: adjusted closes, and what else there is of them."""
        if len(bars.instrument_ids) != 1:
            raise InputRefusedError(f"a history is of one instrument, not of {len(bars.instrument_ids)}")
        has = set(bars.fields)
        return cls(
            instrument_id=bars.instrument_ids[0],
            dates=bars.dates,
            closes=bars.column("adjusted_close" if "adjusted_close" in has else "close"),
            high_over_close=bars.column("high") / bars.column("close") if {"high", "close"} <= has else None,
            low_over_close=bars.column("low") / bars.column("close") if {"low", "close"} <= has else None,
            volumes=bars.column("volume") if "volume" in has else None,
        )

    def __len__(self) -> int:
        return len(self.dates)

    @property
    def log_returns(self) -> Float64Vector:
        """ln(close / previous close), shape (n,), 0 first."""
        return log_returns(self.closes)

    def speaking_rows(self, n_last: int) -> Int64Vector:
        """Return for each of the last sessions the row whose label it has, shape (n_last,): its own unless held."""
        rows = np.arange(len(self))
        if self.is_held is not None:
            rows = np.maximum.accumulate(np.where(self.is_held, 0, rows))
        speaking: Int64Vector = rows[len(self) - n_last :]
        return speaking

    def until(self, n: int) -> MarketHistory:
        """Return the first `n` sessions."""
        return self._rows(slice(0, max(n, 0)))

    def last(self, n: int) -> MarketHistory:
        """Return the last `n` sessions, or all if there are fewer."""
        return self._rows(slice(max(len(self) - n, 0), len(self)))

    def since(self, day: np.datetime64) -> MarketHistory:
        """Return the sessions from `day` on."""
        return self._rows(slice(self.position_of(day), len(self)))

    def position_of(self, day: np.datetime64) -> int:
        """Return how many sessions lie before `day`."""
        return int(np.searchsorted(self.dates, day))

    def _rows(self, rows: slice) -> MarketHistory:
        known = {name: column[rows] for name in _OPTIONAL if (column := getattr(self, name)) is not None}
        return replace(self, dates=self.dates[rows], closes=self.closes[rows], **known)


def trailing_windows(values: Float64Vector, n_last: int, width: int) -> Float64Matrix:
    """Return the window that ends at each of the last values, one per row in memory; NaN before the first."""
    reach = values[max(len(values) - n_last - width + 1, 0) :]
    padding = np.full(max(n_last + width - 1 - len(reach), 0), np.nan)
    windows: Float64Matrix = np.ascontiguousarray(sliding_window_view(np.concatenate([padding, reach]), width))
    return windows
