"""Row checks of prices and instruments: pure, one verdict per row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float64Vector, Int64Vector
from prometheus.data.staging import CodedTexts, PriceColumns
from prometheus.files.convert import (
    DateColumn,
    DateReader,
    NumberColumn,
    TextColumn,
    distinct_values,
    read_numbers,
    read_texts,
)
from prometheus.files.rejects import Faults, Reason
from prometheus.files.tables import RawBatch

PRICE_NAMES = ("open", "high", "low", "close", "adjusted_close")
NUMBER_NAMES = (*PRICE_NAMES, "volume")
PRICE_COLUMNS = ("instrument_id", "trade_date", *NUMBER_NAMES, "currency")
FIRST_DATE = date(1800, 1, 1)
MAX_TEXT_LENGTH = 128
MAX_CELL_LENGTH = 1_000
_EPOCH = date(1970, 1, 1)

TextCheck = Callable[[str], Reason]


@dataclass(frozen=True, slots=True, eq=False)
class PriceRows:
    """Rows of one file, read but not yet judged.

    `rows` has shape (n,); `numbers` holds one column per name of `NUMBER_NAMES`; `currency` is None where the file has
    no such column.
    """

    rows: Int64Vector
    instruments: TextColumn
    dates: DateColumn
    numbers: Mapping[str, NumberColumn]
    currency: TextColumn | None

    @property
    def trade_dates(self) -> DateVector:
        """Shape (n,)."""
        return self.dates.days.astype("M8[D]")

    def values(self, name: str) -> Float64Vector:
        """Return a numeric column, shape (n,), NaN where a value is missing."""
        return self.numbers[name].values

    def accepted(self, is_good: NDArray[np.bool_], currency_of: Sequence[str]) -> PriceColumns:
        """Return the good rows as they are staged.

        Parameters
        ----------
        currency_of
            Currency of each distinct instrument, used where the file has no currency column.
        """
        codes = self.instruments.codes[is_good]
        currencies = CodedTexts(codes, currency_of)
        if self.currency is not None:
            currencies = CodedTexts(self.currency.codes[is_good], self.currency.values)
        return PriceColumns(
            row_numbers=self.rows[is_good],
            instruments=CodedTexts(codes, self.instruments.values),
            trade_dates=self.trade_dates[is_good],
            numbers={name: self.values(name)[is_good] for name in NUMBER_NAMES},
            currencies=currencies,
        )


def read_price_rows(
    batch: RawBatch, dates: DateReader, instrument_id: str | None, may_be_missing: frozenset[str]
) -> PriceRows:
    """Return the rows of a batch as numbers, dates and texts.

    Parameters
    ----------
    instrument_id
        The instrument of every row, for a file without such a column.
    may_be_missing
        Prices whose zeros mean "not recorded"; they become NaN.
    """
    columns, n_rows = batch.columns, len(batch.rows)
    numbers = {name: read_numbers(columns[name]) for name in NUMBER_NAMES if name in columns}
    absent = NumberColumn(np.full(n_rows, np.nan), np.zeros(n_rows, dtype=bool))
    for name in may_be_missing:
        numbers[name] = _zeros_as_missing(numbers.get(name, absent))
    numbers.setdefault("adjusted_close", numbers["close"])
    if "instrument_id" in columns:
        instruments = read_texts(columns["instrument_id"])
    else:
        instruments = TextColumn(np.zeros(n_rows, np.int64), (instrument_id or "",))
    currency = read_texts(columns["currency"]) if "currency" in columns else None
    return PriceRows(batch.rows, instruments, dates.read(columns["trade_date"]), numbers, currency)


def _zeros_as_missing(column: NumberColumn) -> NumberColumn:
    return NumberColumn(np.where(column.values == 0, np.nan, column.values), column.is_unreadable)


def check_prices(rows: PriceRows, last_date: date, may_be_missing: frozenset[str]) -> Faults:
    """Return the verdict on each row: the first fault from left to right, high against low last.

    Opens and closes outside the day's range are accepted: adjusted histories hold many, off by rounding.

    Parameters
    ----------
    last_date
        The last date that is not in the future.
    may_be_missing
        Prices a row may lack.
    """
    faults = Faults.none_of(len(rows.rows), PRICE_COLUMNS)
    mark_texts(faults, "instrument_id", rows.instruments, text_fault)
    _mark_dates(faults, rows.dates, last_date)
    for name in NUMBER_NAMES:
        _mark_numbers(faults, name, rows.numbers[name], may_lack=name in may_be_missing)
    if rows.currency is not None:
        mark_texts(faults, "currency", rows.currency, currency_fault)
    faults.mark(rows.values("high") < rows.values("low"), "high", Reason.HIGH_BELOW_LOW)
    return faults


def check_texts(
    n_rows: int, columns: Mapping[str, TextColumn], checks: Mapping[str, TextCheck], required: Collection[str]
) -> Faults:
    """Return the verdict on rows of texts alone, as instruments are; columns not required may have empty cells."""
    faults = Faults.none_of(n_rows, tuple(columns))
    for name, column in columns.items():
        mark_texts(faults, name, column, checks[name], may_lack=name not in required)
    return faults


def text_fault(text: str) -> Reason:
    """Return what is wrong with a name or an id, `Reason.NONE` if nothing."""
    if not text:
        return Reason.EMPTY_TEXT
    if not text.isprintable():
        return Reason.TEXT_WITH_CONTROL_CHARACTERS
    if text != text.strip():
        return Reason.TEXT_WITH_OUTER_SPACES
    return Reason.TEXT_TOO_LONG if len(text) > MAX_TEXT_LENGTH else Reason.NONE


def currency_fault(text: str) -> Reason:
    """Return what is wrong with a currency; case is left alone, for GBp (pence) is not GBP."""
    is_code = len(text) == 3 and text.isascii() and text.isalpha()
    return Reason.NONE if is_code else Reason.CURRENCY_NOT_THREE_LETTERS


def mark_texts(faults: Faults, name: str, column: TextColumn, check: TextCheck, *, may_lack: bool = False) -> None:
    """Record what is wrong with the texts of a column; those it may lack are not missed."""
    missing = Reason.NONE if may_lack else check("")
    by_value = [missing if may_lack and not text else check(text) for text in column.values]
    verdicts = np.array([*by_value, missing], np.int8)  # MISSING_CODE, -1, is the last one
    mark_reasons(faults, name, verdicts[column.codes])


def mark_reasons(faults: Faults, name: str, reasons: NDArray[np.int8]) -> None:
    """Record the reasons that reading a column gave, shape (n,)."""
    for reason in np.unique(reasons[reasons != Reason.NONE]):
        faults.mark(reasons == reason, name, Reason(reason))


def _mark_dates(faults: Faults, dates: DateColumn, last_date: date) -> None:
    mark_reasons(faults, "trade_date", dates.reasons)
    faults.mark(dates.days < (FIRST_DATE - _EPOCH).days, "trade_date", Reason.DATE_BEFORE_1800)
    faults.mark(dates.days > (last_date - _EPOCH).days, "trade_date", Reason.FUTURE_DATE)


def _mark_numbers(faults: Faults, name: str, column: NumberColumn, *, may_lack: bool) -> None:
    values = column.values
    faults.mark(column.is_unreadable, name, Reason.NOT_A_NUMBER)
    if not may_lack:
        faults.mark(np.isnan(values), name, Reason.MISSING_VALUE)
    faults.mark(np.isinf(values), name, Reason.INFINITE_VALUE)
    if name == "volume":
        faults.mark(values < 0, name, Reason.NEGATIVE_VOLUME)
    else:
        faults.mark(values == 0, name, Reason.ZERO_PRICE)
        faults.mark(values < 0, name, Reason.NEGATIVE_PRICE)


def cells_as_text(
    columns: Mapping[str, pa.Array],
    names: Sequence[str],
    positions: Int64Vector,
    max_length: int | None = MAX_CELL_LENGTH,
) -> list[tuple[str, ...]]:
    """Return the cells of some rows as their file wrote them, cut after `max_length`; "" for a missing one."""
    taken = {name: _as_texts(columns[name].take(pa.array(positions)), max_length) for name in names if name in columns}
    blank = [""] * len(positions)
    return list(zip(*(taken.get(name, blank) for name in names), strict=True))


def _as_texts(column: pa.Array, max_length: int | None) -> list[str]:
    codes, values = distinct_values(column)
    try:
        texts = values.cast(pa.large_string()).to_pylist()
    except pa.ArrowException:  # a timestamp no calendar can show
        texts = values.cast(pa.int64(), safe=False).cast(pa.string()).to_pylist()
    cut = ["" if text is None else text[:max_length] for text in texts]
    cut.append("")
    return [cut[code] for code in codes.tolist()]


def count_by_reason(reasons: NDArray[np.int8]) -> dict[Reason, int]:
    """Return how many rows were refused for each reason."""
    found, counts = np.unique(reasons[reasons != Reason.NONE], return_counts=True)
    return {Reason(reason): int(count) for reason, count in zip(found, counts, strict=True)}
