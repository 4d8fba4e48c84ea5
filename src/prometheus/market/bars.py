"""Daily bars as arrays: what the reader hands to the windows."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus.arrays import DateVector, Float64Matrix, Float64Vector, Int64Vector


@dataclass(frozen=True, slots=True, eq=False)
class PriceBars:
    """Daily bars of many instruments in one table, sorted by instrument, then by date.

    Attributes
    ----------
    instrument_ids
        The instruments asked for, in the order asked, with or without bars.
    offsets
        Shape (n_instruments + 1,): instrument ``i`` has the rows ``offsets[i]:offsets[i + 1]``.
    dates
        Shape (n_rows,), datetime64[D], strictly increasing within an instrument.
    fields
        Names of the columns of `values`.
    values
        Shape (n_fields, n_rows), float64.
    """

    instrument_ids: tuple[str, ...]
    offsets: Int64Vector
    dates: DateVector
    fields: tuple[str, ...]
    values: Float64Matrix

    def column(self, field: str) -> Float64Vector:
        """Return one column of all instruments, shape (n_rows,)."""
        column: Float64Vector = self.values[self.fields.index(field)]
        return column
