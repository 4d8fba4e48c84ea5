"""Values of series out of a file: one column for each series, or for each vintage of one, or a row for each value.

Dates and numbers are read as those of prices are; a month, a quarter or another period is dated by its first day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prometheus.errors import DataCheckError
from prometheus.files.columns import ColumnMap, NumberColumn, list_names, match_columns, read_numbers, read_texts
from prometheus.files.instants import DateReader, TimeColumn
from prometheus.files.layouts import Layout
from prometheus.files.opening import open_table
from prometheus.files.price_tables import PriceQuestion, Styles, below_names, find_styles, translate
from prometheus.files.tables import Faults, RawBatch, Reason, TableFile
from prometheus.ingest.checks import FIRST_DATE, mark_reasons, mark_texts, text_fault
from prometheus.market.frames import Field, FieldKind

SERIES_COLUMNS = ("series_id", "observation_date", "release_date", "value")
SERIES, DATE, RELEASED, VALUE = SERIES_COLUMNS
END = "realtime_end"
_FIELDS = (
    Field.of(SERIES, "text", "seriesid", "series", "symbol", "id", "key", "serieskey", "seriescode"),
    Field.of(
        DATE, "date", "date", "obsdate", "datetime", "day", "timeperiod",
        rare=("time", "period", "month", "quarter", "year", "unnamed:0", "indexlevel0", ""),
    ),
    Field.of(RELEASED, "date", "realtimestart", "releasedate", "releasedat", "released", "knownat", "vintagedate"),
    Field.of(VALUE, "number", "obsvalue", "level"),
    Field.of(END, "date"),
)  # fmt: skip
_VINTAGE = re.compile(r"(.+)_(\d{8})", re.ASCII)
_YEAR = re.compile(r"(?:1[89]|20)\d\d(?: \[YR\d{4}\])?", re.ASCII)
_FLAGS = "_FLAGS"
_TITLE_ROWS = 10
_PERIOD = re.compile(
    r"(?P<year>\d{4})(?:[- ]?Q(?P<quarter>[1-4])|(?:-|-?M)(?P<month>\d{2})|-?[SH](?P<half>[12])|-?W(?P<week>\d{2}))?"
    r"|Q(?P<first>[1-4])[ -](?P<last>\d{4})",
    re.ASCII,
)
_DAY_ZERO = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Observation:
    """What a series was on a day; `released` is the day it became known on where the file says it."""

    series: str
    day: date
    value: Decimal
    released: date | None = None


@dataclass(frozen=True, slots=True)
class ValueColumn:
    """A column of values: whose, None where another column says it, and of a vintage, when that was released."""

    name: str
    series: str | None
    vintage: date | None = None


def first_day(text: str) -> str:
    """Return the first day of a period as YYYY-MM-DD; any other text as it is.

    >>> first_day("2018-Q3"), first_day("2018-02"), first_day("2018-W01"), first_day("2018-02-03")
    ('2018-07-01', '2018-02-01', '2018-01-01', '2018-02-03')
    """
    match = _PERIOD.fullmatch(text.strip())
    if match is None:
        return text
    part = match.groupdict()
    year = int(part["year"] or part["last"])
    quarter, month = part["quarter"] or part["first"], int(part["month"] or 1)
    if quarter:
        month = 3 * int(quarter) - 2
    elif part["half"]:
        month = 6 * int(part["half"]) - 5
    try:
        day = date.fromisocalendar(year, int(part["week"]), 1) if part["week"] else date(year, month, 1)
    except ValueError:
        return text
    return day.isoformat()


def open_series(path: Path, question: PriceQuestion) -> SeriesTable:
    """Open a file of series ready to be read; `question` names the one series of a file by `instrument_id`.

    Raises
    ------
    DataCheckError
        No column of dates, no column of values, or none that tells whose they are; or two readings of a cell are left.
    """
    raw = open_table(path, (), (), question.written)
    names = _short_names(raw.columns.ignored)
    values, columns = _find_columns(path, names, question)
    fields = [Field(name, _kind_of(name), frozenset()) for name in columns.position]
    table = raw.select(columns, fields)
    n_titles = _count_titles(raw.head(_TITLE_ROWS), columns)
    styles = find_styles(table, fields, Layout((), n_titles), question)
    said = [f"{n_titles} lines below the header are titles"] if n_titles else []
    said += [styles.remark] if styles.remark else []
    if END in columns.position:
        said.append(f"{columns.source[END]} is checked; a value counts until a newer one is known")
    vintages = [each for each in values if each.vintage is not None]
    if vintages:
        said.append(f"{len(vintages)} columns are vintages, known from the day in their names on")
    return SeriesTable(
        path, columns, table, values, styles, n_titles, question.date_format is None, remarks=tuple(said)
    )


def _kind_of(name: str) -> FieldKind:
    return next((field.kind for field in _FIELDS if field.name == name), "number")


def _short_names(names: Sequence[str]) -> list[str]:
    """Return the names of columns, of ``TIME_PERIOD:Time period`` and its like the code alone."""
    is_labelled = any(name.startswith("TIME_PERIOD:") for name in names)
    return [name.partition(":")[0] for name in names] if is_labelled else list(names)


def _find_columns(path: Path, names: list[str], question: PriceQuestion) -> tuple[tuple[ValueColumn, ...], ColumnMap]:
    """Return the columns of values, and where these and the others stand."""
    known = match_columns(str(path), names, _FIELDS, {DATE}, question.columns or {})
    if VALUE in known.position:
        if question.instrument_id is None and SERIES not in known.position:
            raise DataCheckError(
                f"{path}: a column {known.source[VALUE]} names no series; name it with --series, such as DGS10, or the "
                "column that says it with --column series_id=NAME"
            )
        return (ValueColumn(VALUE, question.instrument_id),), known
    years = [name for name in known.ignored if _YEAR.fullmatch(name)]
    if len(years) > 1:
        raise DataCheckError(
            f"{path}: columns {years[0]} to {years[-1]} are years; write a row for each value, in Python: "
            "pandas.read_csv(FILE).melt(NAMES, var_name='date').to_csv(NEW, index=False)"
        )
    found = [at for at, name in enumerate(names) if at not in known.position.values() and not _is_flag(name, names)]
    if not found:
        raise DataCheckError(f"{path}: no column of values; found {list_names(names)}")
    if question.instrument_id is not None and len(found) > 1:
        raise DataCheckError(f"{path}: {len(found)} columns of values, and --series names one; leave it out")
    columns = {at: _value_column(names[at], at, question.instrument_id) for at in found}
    values = sorted(columns.values(), key=lambda each: (each.series or "", each.vintage or date.min))
    position = {**known.position, **{each.name: at for at, each in columns.items()}}
    ignored = tuple(name for at, name in enumerate(names) if at not in position.values())
    return tuple(values), ColumnMap({name: names[at] for name, at in position.items()}, position, ignored)


def _is_flag(name: str, names: Sequence[str]) -> bool:
    return not name.strip() or (name.endswith(_FLAGS) and name.removesuffix(_FLAGS) in names)


def _value_column(name: str, at: int, series: str | None) -> ValueColumn:
    match = _VINTAGE.fullmatch(name)
    if match is not None:
        try:
            vintage = datetime.strptime(match[2], "%Y%m%d").date()  # noqa: DTZ007 -- a date has no zone
        except ValueError:
            pass
        else:
            return ValueColumn(f"{VALUE} {at}", series or match[1], vintage)
    return ValueColumn(f"{VALUE} {at}", series or name)


def _count_titles(rows: Sequence[Sequence[str | None]], columns: ColumnMap) -> int:
    """Return how many rows below the header are titles, without a date and a number, before the first with a date."""
    numbers = [at for name, at in columns.position.items() if _kind_of(name) == "number"]
    for count, row in enumerate(rows):
        if any(map(str.isdigit, row[columns.position[DATE]] or "")):
            return count
        cells = [row[at] or "" for at in numbers]
        if any(cell.strip()[:1].isdigit() and not re.search("[a-z:]", cell) for cell in cells):
            return 0
    return 0


@dataclass(frozen=True, slots=True)
class SeriesTable(TableFile):
    """A file of series as rows of `SERIES_COLUMNS`: of each row one for every value, of vintages where it changes."""

    inner: TableFile
    values: tuple[ValueColumn, ...]
    styles: Styles
    n_titles: int
    has_periods: bool

    @property
    def date_style(self) -> str:
        """How dates are written."""
        return str(self.styles.dates) if self.styles.dates.kind != "iso" else self.inner.date_style

    @property
    def number_style(self) -> str:
        """How numbers are written."""
        return "; ".join(self.styles.about_numbers) or "decimal point"

    def row_of(self, number: int) -> int:
        """Return the row of the file that a number of `RawBatch.rows` means."""
        return number // len(self.values)

    def batches(self) -> Iterator[RawBatch]:
        """Yield the values by row, then by column; the number of one is its row's times the columns, plus its own."""
        for batch in below_names(self.inner, self.n_titles):
            yield self._melt(batch)

    def _melt(self, batch: RawBatch) -> RawBatch:
        cells = [self.styles.plain(each.name, "number", batch.columns[each.name]) for each in self.values]
        is_told = np.array(self._which(cells)).reshape(len(self.values), len(batch.rows))
        rows, places = np.nonzero(is_told.T)
        texts = pa.concat_arrays([cell.cast(pa.large_string()) for cell in cells])
        columns = {VALUE: texts.take(pa.array(places * len(batch.rows) + rows))}
        for name in (DATE, RELEASED, END):
            if name in batch.columns:
                columns[name] = self._dates(name, batch.columns[name]).take(pa.array(rows))
        if any(each.vintage is not None for each in self.values):
            columns[RELEASED] = pa.array([each.vintage for each in self.values], pa.date32()).take(pa.array(places))
        named = [each.series for each in self.values]
        columns[SERIES] = (
            pa.array(named, pa.large_string()).take(pa.array(places)) if named != [None] else
            batch.columns[SERIES].take(pa.array(rows))
        )  # fmt: skip
        return RawBatch(batch.rows[rows] * len(self.values) + places, columns, batch.malformed, remarks=batch.remarks)

    def _which(self, cells: Sequence[pa.Array]) -> list[NDArray[np.bool_]]:
        """Return of each column which cells hold a value, and one that the vintage before did not have."""
        found: list[NDArray[np.bool_]] = []
        newest = np.full(0, np.nan)
        for at, (column, cell) in enumerate(zip(self.values, cells, strict=True)):
            number = read_numbers(cell)
            is_value = ~np.isnan(number.values) | number.is_unreadable
            is_later = column.vintage is not None and at > 0 and self.values[at - 1].series == column.series
            newest = newest if is_later else np.full(len(cell), np.nan)
            found.append(is_value & ((number.values != newest) | number.is_unreadable))
            newest = np.where(np.isnan(number.values), newest, number.values)
        return found

    def _dates(self, name: str, column: pa.Array) -> pa.Array:
        plain = self.styles.plain(name, "date", column)
        if not self.has_periods or pa.types.is_temporal(plain.type):
            return plain
        return translate(plain.cast(pa.large_string()), first_day)


class ObservationReader:
    """Reads and judges the rows of one file; values of days after `today` are refused."""

    def __init__(self, date_format: str | None, today: date) -> None:
        self._dates = {name: DateReader(date_format) for name in (DATE, RELEASED, END)}
        self._today = today

    def read(self, batch: RawBatch) -> tuple[Faults, list[Observation]]:
        """Return the verdict on each row, and the good ones."""
        n_rows = len(batch.rows)
        dates = {name: self._dates[name].read(batch.columns.get(name, pa.nulls(n_rows))) for name in self._dates}
        names, numbers = read_texts(batch.columns[SERIES]), read_numbers(batch.columns[VALUE])
        faults = Faults.none_of(n_rows, (*SERIES_COLUMNS, END))
        mark_texts(faults, SERIES, names, lambda text: text_fault(text) if text else Reason.MISSING_VALUE)
        self._mark_dates(faults, dates)
        _mark_values(faults, numbers)
        days, released = (_as_days(dates[name]) for name in (DATE, RELEASED))
        cells = zip(names.cells(""), days, batch.columns[VALUE].to_pylist(), released, strict=True)
        good = [
            Observation(name or "", day, Decimal(text.strip()), release)
            for (name, day, text, release), is_good in zip(cells, faults.is_good.tolist(), strict=True)
            if is_good and day is not None
        ]
        return faults, good

    def _mark_dates(self, faults: Faults, dates: Mapping[str, TimeColumn]) -> None:
        days, released, ends = dates[DATE], dates[RELEASED], dates[END]
        mark_reasons(faults, DATE, days.reasons)
        faults.mark(days.values < (FIRST_DATE - _DAY_ZERO).days, DATE, Reason.DATE_BEFORE_1800)
        faults.mark(days.values > (self._today - _DAY_ZERO).days, DATE, Reason.FUTURE_DATE)
        for name, column, start in ((RELEASED, released, days), (END, ends, released)):
            is_said = np.not_equal(column.reasons, Reason.MISSING_VALUE)
            mark_reasons(faults, name, np.where(is_said, column.reasons, Reason.NONE).astype(np.int8))
            has_start = np.not_equal(start.reasons, Reason.MISSING_VALUE)
            faults.mark(is_said & has_start & (column.values < start.values), name, Reason.DATE_BEFORE_ITS_START)


def _mark_values(faults: Faults, numbers: NumberColumn) -> None:
    faults.mark(numbers.is_unreadable, VALUE, Reason.NOT_A_NUMBER)
    faults.mark(np.isinf(numbers.values), VALUE, Reason.INFINITE_VALUE)


def _as_days(column: TimeColumn) -> list[date | None]:
    is_missing_day = np.equal(column.reasons, Reason.MISSING_VALUE).tolist()
    days = zip(column.values.tolist(), is_missing_day, strict=True)
    return [None if is_absent else _DAY_ZERO + timedelta(days=day) for day, is_absent in days]
