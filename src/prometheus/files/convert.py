"""From Arrow columns of any accepted type to numpy: texts, dates, numbers. A cell that cannot be read gets a reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from prometheus.arrays import Float64Vector, Int64Vector
from prometheus.files.column_types import is_text, plain_type
from prometheus.files.rejects import Reason

MISSING_CODE = -1
_MAX_REMEMBERED_DATES = 200_000
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_NOT_FINITE = {"nan": np.nan, "inf": np.inf, "infinity": np.inf}
_CLOCK = (
    r"(?:[T ](?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.(?P<fraction>\d+))?)?"
    r"(?: ?(?P<zone>Z|UTC|[+-]\d{2}(?::?\d{2})?))?)?"
)
DATE_FORMATS = {
    "YYYY-MM-DD": re.compile(r"(\d{4})-(\d{2})-(\d{2})" + _CLOCK, re.ASCII),
    "YYYY/MM/DD": re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})" + _CLOCK, re.ASCII),
    "YYYYMMDD": re.compile(r"(\d{4})(\d{2})(\d{2})", re.ASCII),
}
AMBIGUOUS_DATE = re.compile(r"\d{1,2}[-/. ]\d{1,2}[-/. ](?:\d{4}|\d{2})" + _CLOCK, re.ASCII)
_EPOCH = date(1970, 1, 1).toordinal()
UNITS_PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


@dataclass(frozen=True, slots=True, eq=False)
class TextColumn:
    """Texts as codes into their distinct values: `codes` of shape (n,), `MISSING_CODE` where there is none."""

    codes: Int64Vector
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class DateColumn:
    """Dates as days since 1970-01-01, shape (n,), with a `Reason` for each that could not be read (its day is 0)."""

    days: Int64Vector
    reasons: NDArray[np.int8]


@dataclass(frozen=True, slots=True, eq=False)
class NumberColumn:
    """Numbers, shape (n,): NaN where there is none, and `is_unreadable` where there is something else."""

    values: Float64Vector
    is_unreadable: NDArray[np.bool_]


def read_texts(column: pa.Array) -> TextColumn:
    """Return a text column as codes; only values that occur are kept, in order of first appearance."""
    codes, values = distinct_values(column)
    texts = values.to_pylist()
    if None in texts:  # a dictionary may hold a null
        is_null = np.array([text is None for text in texts] + [True])
        codes = np.where(is_null[codes], MISSING_CODE, codes)
    return TextColumn(codes, tuple(text or "" for text in texts))


def distinct_values(column: pa.Array) -> tuple[Int64Vector, pa.Array]:
    """Return each row's position among the values that occur, `MISSING_CODE` for null, and those values.

    The values stand in order of first appearance. A dictionary is never written out row by row: its longest text may
    stand in every row.
    """
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    codes = pc.fill_null(encoded.indices.cast(pa.int64()), MISSING_CODE).to_numpy(zero_copy_only=False)
    present, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    order = order[present[order] != MISSING_CODE]
    new_codes = np.full(len(present), MISSING_CODE, np.int64)
    new_codes[order] = np.arange(len(order))
    return new_codes[inverse], encoded.dictionary.take(pa.array(present[order]))


def read_numbers(column: pa.Array) -> NumberColumn:
    """Return a numeric or text column as float64; float32 is widened exactly (17.66 becomes 17.659999847…).

    A text is a number when it is written in digits with a point, with or without sign and exponent, spaces around it
    aside; ``nan`` counts as missing, ``inf`` as infinite, all else (``1,234.5``, ``$12``, ``n/a``) as unreadable.
    """
    if pa.types.is_dictionary(column.type):
        codes, values = distinct_values(column)
        distinct = read_numbers(values)
        return NumberColumn(np.append(distinct.values, np.nan)[codes], np.append(distinct.is_unreadable, False)[codes])
    if pa.types.is_null(column.type):
        return NumberColumn(np.full(len(column), np.nan), np.zeros(len(column), dtype=bool))
    if is_text(column.type):
        return _read_written_numbers(column.cast(pa.large_string()))
    return NumberColumn(_to_float64(column), np.zeros(len(column), dtype=bool))


def _read_written_numbers(texts: pa.Array) -> NumberColumn:
    try:
        values = _to_float64(texts)
    except pa.ArrowInvalid:
        pass
    else:
        if np.isfinite(values).all():
            return NumberColumn(values, np.zeros(len(values), dtype=bool))
    trimmed = pc.ascii_trim_whitespace(texts)
    is_number = pc.match_substring_regex(trimmed, _NUMBER)
    values = _to_float64(pc.if_else(is_number, trimmed, None))
    is_other = pc.fill_null(pc.invert(is_number), False).to_numpy(zero_copy_only=False)
    is_unreadable = np.zeros(len(values), dtype=bool)
    for position in np.flatnonzero(is_other):
        text = trimmed[int(position)].as_py()
        word = text.removeprefix("-").removeprefix("+").lower()
        values[position] = _NOT_FINITE.get(word, np.nan)
        is_unreadable[position] = bool(text) and word not in _NOT_FINITE
    return NumberColumn(values, is_unreadable)


def _to_float64(column: pa.Array) -> Float64Vector:
    floats = pc.cast(column, pa.float64(), safe=False)
    values: Float64Vector = np.array(pc.fill_null(floats, np.nan).to_numpy(zero_copy_only=False), dtype=np.float64)
    return values


class DateReader:
    """Reads the dates of one file; the first date read decides in which form all of them are written.

    Parameters
    ----------
    date_format
        As of `datetime.strptime`, for texts in another form than YYYY-MM-DD (a clock time may follow), YYYY/MM/DD and
        YYYYMMDD.
    """

    def __init__(self, date_format: str | None = None) -> None:
        self._date_format = date_format
        self._established: str | None = None
        self._remembered: dict[str, tuple[int, Reason]] = {}

    def read(self, column: pa.Array) -> DateColumn:
        """Return the calendar dates of a column.

        Timestamps with a time zone give the date their own zone's clock shows, as texts with an offset do.
        """
        kind = plain_type(column.type)
        if pa.types.is_null(kind):
            return DateColumn(np.zeros(len(column), np.int64), np.full(len(column), Reason.MISSING_VALUE, np.int8))
        if is_text(kind):
            return self._read_texts(read_texts(column))
        plain = column if column.type == kind else column.dictionary_decode()
        if pa.types.is_integer(kind):
            return self._read_texts(read_texts(plain.cast(pa.string())))
        return _read_typed_dates(plain)

    def _read_texts(self, texts: TextColumn) -> DateColumn:
        if len(self._remembered) > _MAX_REMEMBERED_DATES:
            self._remembered.clear()
        read = [self._read_text(text) for text in texts.values]
        days = np.array([day for day, _ in read] + [0], np.int64)
        reasons = np.array([reason for _, reason in read] + [Reason.MISSING_VALUE], np.int8)
        return DateColumn(days[texts.codes], reasons[texts.codes])

    def _read_text(self, text: str) -> tuple[int, Reason]:
        known = self._remembered.get(text)
        if known is not None:
            return known
        result, form = parse_date(text, self._date_format)
        if isinstance(result, Reason):
            self._remembered[text] = 0, result
        elif form != (self._established or form):
            self._remembered[text] = 0, Reason.DATE_IN_ANOTHER_FORMAT
        else:
            self._established = form
            self._remembered[text] = result.toordinal() - _EPOCH, Reason.NONE
        return self._remembered[text]


def parse_date(text: str, date_format: str | None = None) -> tuple[date | Reason, str]:
    """Return the date a text names, or why it names none, and the form it is written in.

    Examples
    --------
    >>> parse_date("2022-01-03 00:00:00+08:00")
    (datetime.date(2022, 1, 3), 'YYYY-MM-DD')
    >>> parse_date("03/04/2021")[0].label
    'ambiguous date'
    """
    text = text.strip()
    if not text:
        return Reason.MISSING_VALUE, ""
    if date_format is not None:
        try:
            return datetime.strptime(text, date_format).date(), date_format  # noqa: DTZ007 -- a calendar date has no zone
        except ValueError:
            return Reason.NOT_A_DATE, ""
    for form, pattern in DATE_FORMATS.items():
        match = pattern.fullmatch(text)
        if match is not None:
            try:
                return date(*map(int, match.group(1, 2, 3))), form
            except ValueError:
                return Reason.NOT_A_DATE, ""
    return (Reason.AMBIGUOUS_DATE if AMBIGUOUS_DATE.fullmatch(text) else Reason.NOT_A_DATE), ""


def _read_typed_dates(column: pa.Array) -> DateColumn:
    reasons = np.where(column.is_null().to_numpy(zero_copy_only=False), Reason.MISSING_VALUE, Reason.NONE)
    ticks, per_day = read_ticks(column)
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        in_range = (ticks >= tick_of_year(1, per_day)) & (ticks < tick_of_year(9999, per_day))
        shown = pc.if_else(pa.array(in_range), column, None)
        ticks, per_day = read_ticks(pc.local_timestamp(shown))
        ticks = np.where(in_range, ticks, np.iinfo(np.int64).max)
    days = ticks // per_day
    is_calendar_date = (days >= tick_of_year(1, 1)) & (days < tick_of_year(9999, 1))
    reasons = np.where(is_calendar_date | (reasons != Reason.NONE), reasons, Reason.NOT_A_DATE).astype(np.int8)
    return DateColumn(np.where(reasons == Reason.NONE, days, 0), reasons)


def read_ticks(column: pa.Array) -> tuple[Int64Vector, int]:
    """Return the integers behind dates or timestamps, and how many of them make a day."""
    if pa.types.is_date32(column.type):
        column, per_day = column.cast(pa.int32()), 1
    else:
        per_day = UNITS_PER_DAY["ms" if pa.types.is_date64(column.type) else column.type.unit]
    ticks = pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    return ticks.astype(np.int64), per_day


def tick_of_year(year: int, per_day: int) -> int:
    """Return the tick that begins a year, cut to what 64 bits hold."""
    ticks = (date(year, 1, 1).toordinal() - _EPOCH) * per_day
    return min(max(ticks, np.iinfo(np.int64).min), np.iinfo(np.int64).max)
