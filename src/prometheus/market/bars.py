"""Daily bars as arrays: of a database, of a frame, of anything that has dates and closes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from prometheus.arrays import DateVector, Float64Matrix, Float64Vector, Int64Vector
from prometheus.errors import InputRefusedError
from prometheus.market.daily import frequency_fault
from prometheus.market.frames import FIELDS, UNNAMED, read_instruments

if TYPE_CHECKING:
    from prometheus.market.frames import Prices

DECISION = "decision"
"""The field that holds what a user decided of a bar: 0 for nothing, else `ACCEPTED` or `REJECTED`; absent, it is 0."""
ACCEPTED, REJECTED = 1.0, 2.0


@dataclass(frozen=True, slots=True, eq=False)
class PriceBars:
    """Daily bars of many instruments in one table, sorted by instrument, then by date; a `BarSource` by itself.

    Attributes
    ----------
    instrument_ids
        The instruments asked for, in the order asked, with or without bars.
    offsets
        Shape (n_instruments + 1,): instrument ``i`` has the rows ``offsets[i]:offsets[i + 1]``.
    dates
        Shape (n_rows,), datetime64[D], strictly increasing within an instrument.
    fields, values
        Names of the columns; shape (n_fields, n_rows), float64.
    """

    instrument_ids: tuple[str, ...]
    offsets: Int64Vector
    dates: DateVector
    fields: tuple[str, ...]
    values: Float64Matrix
    keeps_decisions: ClassVar[bool] = True
    """Sources that have this know the field `DECISION`."""

    @classmethod
    def from_frame(cls, prices: Prices, instrument_id: str = UNNAMED) -> PriceBars:
        """Return the bars of a frame or series of pandas or polars, an Arrow table, or numpy arrays with dates.

        Closes alone, or any of open, high, low, close, adjusted close and volume, under the names that files may give
        them, or a column of closes for each ticker, in capitals; `instrument_id` is what to call prices that name no
        instrument themselves. A missing open, high or low is NaN, a missing adjusted close is the close. Texts are read
        as those of files: ``1.234,5`` or ``31/12/2020`` where the whole column tells.

        Raises
        ------
        InputRefusedError
            Closes that are missing, not positive or no numbers; dates that are missing, out of order, twice the same,
            instants within a day, or weekly. The message names column and row.

        Examples
        --------
        >>> days = np.array(["2024-01-02", "2024-01-03"], dtype="M8[D]")
        >>> PriceBars.from_frame({"Date": days, "Close": np.array([10.0, 11.0])}).column("adjusted_close")
        array([10., 11.])
        """
        held = getattr(prices, "bars", prices)  # the prices that `pm.open()` gives hold their bars
        if isinstance(held, PriceBars):
            return held

        parts = read_instruments(prices, instrument_id)
        for part in parts:
            fault = frequency_fault(part.days)
            if fault is not None:
                raise InputRefusedError(f"{part.name}: {fault}")
        return cls(
            instrument_ids=tuple(part.name for part in parts),
            offsets=np.cumsum([0, *(len(part.days) for part in parts)]),
            dates=np.concatenate([part.days for part in parts]),
            fields=FIELDS,
            values=np.concatenate([part.values for part in parts], axis=1),
        )

    def __len__(self) -> int:
        return len(self.dates)

    def column(self, field: str) -> Float64Vector:
        """Return one column of all instruments, shape (n_rows,)."""
        if field == DECISION and DECISION not in self.fields:
            return np.zeros(len(self))
        column: Float64Vector = self.values[self.fields.index(field)]
        return column

    def take(self, rows: slice) -> PriceBars:
        """Return consecutive rows; of instruments the names stay, with fewer bars."""
        start, stop, _ = rows.indices(len(self.dates))
        offsets = np.clip(self.offsets, start, max(start, stop)) - start
        return PriceBars(self.instrument_ids, offsets, self.dates[rows], self.fields, self.values[:, rows])

    def each(self) -> Iterator[PriceBars]:
        """Yield the bars of one instrument after the other."""
        for at, name in enumerate(self.instrument_ids):
            part = self.take(slice(int(self.offsets[at]), int(self.offsets[at + 1])))
            yield PriceBars((name,), np.array([0, len(part)]), part.dates, part.fields, part.values)

    def load_bars(
        self, instrument_ids: Sequence[str], first: date, last: date, n_before: int, fields: Sequence[str]
    ) -> PriceBars:
        """Return the bars from `first` to `last` and what windows ending there reach back to, as a database would."""
        ids = tuple(dict.fromkeys(instrument_ids))
        rows = [self._rows_of(name, first, last, n_before) for name in ids]
        chosen = np.concatenate([np.empty(0, dtype=np.int64), *rows])
        offsets = np.cumsum([0, *map(len, rows)])
        values = np.stack([self.column(field)[chosen] for field in fields])
        return PriceBars(ids, offsets, self.dates[chosen], tuple(fields), values)

    def known_instruments(self, instrument_ids: Sequence[str]) -> set[str]:
        """Return those of the instruments that have at least one bar."""
        sizes = dict(zip(self.instrument_ids, np.diff(self.offsets).tolist(), strict=True))
        return {name for name in instrument_ids if sizes.get(name)}

    def _rows_of(self, instrument_id: str, first: date, last: date, n_before: int) -> Int64Vector:
        if instrument_id not in self.instrument_ids:
            return np.empty(0, dtype=np.int64)
        at = self.instrument_ids.index(instrument_id)
        begin, end = int(self.offsets[at]), int(self.offsets[at + 1])
        dates = self.dates[begin:end]
        n_until_first, n_until_last = (
            int(np.searchsorted(dates, np.datetime64(day), "right")) for day in (first, last)
        )
        return np.arange(begin + max(n_until_first - n_before, 0), begin + n_until_last)


@dataclass(frozen=True, slots=True, eq=False)
class Closes:
    """Adjusted closes of one instrument, shape (n,), dates ascending; empty where `instrument_id` is None."""

    instrument_id: str | None
    dates: DateVector
    values: Float64Vector
