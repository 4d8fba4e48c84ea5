"""Row checks of prices, and of the short texts that every table has: pure, one verdict per row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float64Vector, Int64Vector
from prometheus.data.staging import CodedTexts, PriceColumns
from prometheus.files.columns import NumberColumn, TextColumn, read_numbers, read_ratios, read_texts
from prometheus.files.instants import DateReader, TimeColumn
from prometheus.files.tables import Faults, RawBatch, Reason

PRICE_NAMES = ("open", "high", "low", "close", "adjusted_close")
NUMBER_NAMES = (*PRICE_NAMES, "volume")
PRICE_COLUMNS = ("instrument_id", "trade_date", *NUMBER_NAMES, "currency")
SPLIT_RATIO = "split_ratio"
MAY_BE_MISSING = ("open", "high", "low", "volume")
"""What a bar need not have: an index has a close alone, a currency no volume."""
FIRST_DATE = date(1800, 1, 1)
MAX_TEXT_LENGTH = 128
_EPOCH = date(1970, 1, 1)

TextCheck = Callable[[str], Reason]


@dataclass(frozen=True, slots=True, eq=False)
class PriceRows:
    """Rows of one file, read but not yet judged; a column that the file may lack, and does, is None.

    `is_bar` tells which rows hold any number, shape (n,): one without is a day on which there was no bar. `n_blank`
    says how many bars have an empty cell in each column of `MAY_BE_MISSING` that the file has.
    """

    rows: Int64Vector
    instruments: TextColumn
    dates: TimeColumn
    numbers: Mapping[str, NumberColumn]
    currency: TextColumn | None
    split_ratios: NumberColumn | None
    is_bar: NDArray[np.bool_]
    n_blank: Mapping[str, int]

    def bars(self) -> PriceRows:
        """Return the rows that are bars."""
        kept = self.is_bar
        if kept.all():
            return self
        splits, currency = self.split_ratios, self.currency
        return replace(
            self,
            rows=self.rows[kept],
            instruments=replace(self.instruments, codes=self.instruments.codes[kept]),
            dates=TimeColumn(self.dates.values[kept], self.dates.reasons[kept]),
            numbers={name: column.keep(kept) for name, column in self.numbers.items()},
            currency=None if currency is None else replace(currency, codes=currency.codes[kept]),
            split_ratios=None if splits is None else splits.keep(kept),
            is_bar=kept[kept],
        )

    @property
    def trade_dates(self) -> DateVector:
        """Their sessions."""
        return self.dates.values.astype("M8[D]")

    def values(self, name: str) -> Float64Vector:
        """Return a numeric column, NaN where a value is missing."""
        return self.numbers[name].values

    def accepted(self, is_good: NDArray[np.bool_], currency_of: Sequence[str]) -> PriceColumns:
        """Return the good rows as they are staged; `currency_of` each distinct instrument counts without a column.

        A volume that is not known is 0, as the table stores it and the judge of prices reads it.
        """
        codes, numbers = self.instruments.codes[is_good], {name: self.values(name)[is_good] for name in NUMBER_NAMES}
        numbers["volume"] = np.nan_to_num(numbers["volume"], copy=False)
        currencies = CodedTexts(codes, currency_of)
        if self.currency is not None:
            currencies = CodedTexts(self.currency.codes[is_good], self.currency.values)
        instruments = CodedTexts(codes, self.instruments.values)
        return PriceColumns(self.rows[is_good], instruments, self.trade_dates[is_good], numbers, currencies)


def read_price_rows(
    batch: RawBatch, dates: DateReader, instrument_id: str | None, zero_as_missing: frozenset[str]
) -> PriceRows:
    """Return the rows of a batch; zeros of the prices in `zero_as_missing` mean "not recorded" and become NaN.

    `instrument_id` is that of every row in a file without such a column.
    """
    columns, n_rows = batch.columns, len(batch.rows)
    numbers = {name: read_numbers(columns[name]) for name in NUMBER_NAMES if name in columns}
    is_bar = _has_numbers(numbers)
    n_blank = {name: _count_blank(numbers[name], is_bar) for name in MAY_BE_MISSING if name in numbers}
    for name in zero_as_missing & numbers.keys():
        given = numbers[name]
        numbers[name] = NumberColumn(np.where(given.values == 0, np.nan, given.values), given.is_unreadable)
    absent = NumberColumn(np.full(n_rows, np.nan), np.zeros(n_rows, dtype=bool))
    for name in MAY_BE_MISSING:
        numbers.setdefault(name, absent)
    numbers.setdefault("adjusted_close", numbers["close"])
    if "instrument_id" in columns:
        instruments = read_texts(columns["instrument_id"])
    else:
        instruments = TextColumn(np.zeros(n_rows, np.int64), (instrument_id or "",))
    currency = read_texts(columns["currency"]) if "currency" in columns else None
    splits = read_ratios(columns[SPLIT_RATIO]) if SPLIT_RATIO in columns else None
    days = dates.read(columns["trade_date"])
    return PriceRows(batch.rows, instruments, days, numbers, currency, splits, is_bar, n_blank)


def _has_numbers(numbers: Mapping[str, NumberColumn]) -> NDArray[np.bool_]:
    """Return which rows hold any price or volume, or something that should be one: shape (n,)."""
    close = numbers["close"]
    has_number: NDArray[np.bool_] = ~np.isnan(close.values) | close.is_unreadable
    if not has_number.all():
        for column in numbers.values():
            has_number = has_number | ~np.isnan(column.values) | column.is_unreadable
    return has_number


def _count_blank(column: NumberColumn, is_bar: NDArray[np.bool_]) -> int:
    is_blank = np.isnan(column.values)
    return int((is_blank & ~column.is_unreadable & is_bar).sum()) if is_blank.any() else 0


def check_prices(rows: PriceRows, last_date: date) -> Faults:
    """Return the verdict on each row: the first fault from left to right, high against low last.

    An open, a high, a low and a volume may be missing. Opens and closes outside the day's range are accepted: adjusted
    histories hold many, off by rounding.
    """
    faults = Faults.none_of(len(rows.rows), (*PRICE_COLUMNS, SPLIT_RATIO))
    mark_texts(faults, "instrument_id", rows.instruments, text_fault)
    _mark_dates(faults, rows.dates, last_date)
    for name in NUMBER_NAMES:
        _mark_numbers(faults, name, rows.numbers[name], may_lack=name in MAY_BE_MISSING)
    if rows.currency is not None:
        mark_texts(faults, "currency", rows.currency, currency_fault)
    if rows.split_ratios is not None:
        _mark_numbers(faults, SPLIT_RATIO, rows.split_ratios, may_lack=True)
    faults.mark(rows.values("high") < rows.values("low"), "high", Reason.HIGH_BELOW_LOW)
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
    """Record the reasons that reading a column gave."""
    for reason in np.unique(reasons[reasons != Reason.NONE]):
        faults.mark(reasons == reason, name, Reason(reason))


def _mark_dates(faults: Faults, dates: TimeColumn, last_date: date) -> None:
    mark_reasons(faults, "trade_date", dates.reasons)
    faults.mark(dates.values < (FIRST_DATE - _EPOCH).days, "trade_date", Reason.DATE_BEFORE_1800)
    faults.mark(dates.values > (last_date - _EPOCH).days, "trade_date", Reason.FUTURE_DATE)


def _mark_numbers(faults: Faults, name: str, column: NumberColumn, *, may_lack: bool) -> None:
    values = column.values
    faults.mark(column.is_unreadable, name, Reason.NOT_A_NUMBER)
    if not may_lack:
        faults.mark(np.isnan(values), name, Reason.MISSING_VALUE)
    faults.mark(np.isinf(values), name, Reason.INFINITE_VALUE)
    if name == SPLIT_RATIO:
        faults.mark(values < 0, name, Reason.NEGATIVE_SPLIT_RATIO)
    elif name == "volume":
        faults.mark(values < 0, name, Reason.NEGATIVE_VOLUME)
    else:
        faults.mark(values == 0, name, Reason.ZERO_PRICE)
        faults.mark(values < 0, name, Reason.NEGATIVE_PRICE)
