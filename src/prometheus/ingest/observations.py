"""Values of series out of a file: one column for each series, or a row for each value with the name of its series."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from prometheus.errors import DataCheckError
from prometheus.files.columns import metadata_field
from prometheus.files.instants import DateReader
from prometheus.files.opening import open_text_table
from prometheus.files.rejects import shorten
from prometheus.files.tables import RawBatch, Reason, TableFile
from prometheus.market.frames import Field, normalize_name

_DAY_ZERO = date(1970, 1, 1)
_MISSING = frozenset({"", ".", "nan", "na", "n/a", "#n/a", "null", "nd"})
_DATE = Field.of("observation_date", "date", "date", "obsdate", "datetime", "day", "timeperiod")
_RELEASED = Field.of(
    "release_date", "date", "realtimestart", "releasedate", "releasedat", "released", "knownat", "vintagedate"
)
T = TypeVar("T")

_NUMBER_WAY_OUT = "write it in digits with a point, and a missing value as . or nothing"
_MISSING_WAY_OUT = "fill it in, or take the row out"
_DATE_WAY_OUT = "name the format with --date-format, such as %d/%m/%Y"
_NO_SERIES = frozenset({"", "realtimeend"})
_SERIES = Field.of("series_id", "text", "seriesid", "series", "symbol", "id")
_VALUE = Field.of("value", "scalar", "obsvalue", "level")


@dataclass(frozen=True, slots=True)
class Observation:
    """What a series was on a day; `released` is the day it became known on where the file says it."""

    series: str
    day: date
    value: Decimal
    released: date | None = None


@dataclass(frozen=True, slots=True)
class SeriesFile:
    """A file of values whose columns are known; in the long form `series` is empty."""

    table: TableFile
    series: tuple[str, ...]

    def observations(self, date_format: str | None) -> Iterator[Observation]:
        """Yield the values, empty cells left out; `DataCheckError` names the first cell that cannot be read."""
        reader = DateReader(date_format)
        for batch in self.table.batches():
            for line in batch.malformed:
                raise DataCheckError(f"{self.table.path}: {self.table.row_word} {line.row}: {line.reason.label}")
            days = _days(self.table, batch, _DATE.name, reader)
            released = _days(self.table, batch, _RELEASED.name, reader)
            columns = self.series or (_VALUE.name,)
            names = _texts(batch, _SERIES.name)
            for column in columns:
                for at, text in enumerate(_texts(batch, column)):
                    value = self._number(batch, at, column, text)
                    if value is not None:
                        day = self._required(batch, at, _DATE.name, days[at])
                        name = column if self.series else self._required(batch, at, _SERIES.name, names[at])
                        yield Observation(name, day, value, released[at])

    def _required(self, batch: RawBatch, at: int, column: str, found: T | None) -> T:
        if not found:
            raise _refused(self.table, batch, at, column, Reason.MISSING_VALUE, _MISSING_WAY_OUT)
        return found

    def _number(self, batch: RawBatch, at: int, column: str, text: str) -> Decimal | None:
        if text.strip().lower() in _MISSING:
            return None
        try:
            number = Decimal(text.strip())
        except InvalidOperation:
            number = Decimal("nan")
        if not number.is_finite():
            raise _refused(self.table, batch, at, column, Reason.NOT_A_NUMBER, _NUMBER_WAY_OUT)
        return number


def open_series(path: Path, series: str | None = None) -> SeriesFile:
    """Open a file of series ready to be read; `series` names the one of a file whose only column is ``value``.

    Raises
    ------
    DataCheckError
        No column of dates, or no column of values.
    """
    found = open_text_table(path, (), (), {}).columns.ignored
    if _SERIES.find(list(found)) and _VALUE.find(list(found)):
        return SeriesFile(open_text_table(path, (_DATE, _RELEASED, _SERIES, _VALUE), {_DATE.name}, {}), ())
    columns = [name for name in found if not any(field.find([name]) for field in (_DATE, _RELEASED))]
    columns = [name for name in columns if normalize_name(name) not in _NO_SERIES]
    if not columns:
        raise DataCheckError(f"{path}: no column of values; found {', '.join(map(repr, found[:9])) or 'no column'}")
    if series is None and _VALUE.find(columns):
        raise DataCheckError(f"{path}: a column {_VALUE.name} names no series; name it with --series, such as DGS10")
    if series is not None and len(columns) > 1:
        raise DataCheckError(f"{path}: {len(columns)} columns of values, and --series names one; leave it out")
    by_hand = {series or columns[0]: columns[0], **{name: name for name in columns[1:]}}
    table = open_text_table(path, (_DATE, _RELEASED, *map(metadata_field, by_hand)), {_DATE.name}, by_hand)
    return SeriesFile(table, tuple(by_hand))


def _texts(batch: RawBatch, column: str) -> list[str]:
    if column not in batch.columns:
        return [""] * len(batch.rows)
    return [text or "" for text in batch.columns[column].cast(pa.string()).to_pylist()]


def _days(table: TableFile, batch: RawBatch, column: str, reader: DateReader) -> Sequence[date | None]:
    if column not in batch.columns:
        return [None] * len(batch.rows)
    read = reader.read(batch.columns[column])
    for at, reason in enumerate(map(Reason, read.reasons.tolist())):
        if reason not in {Reason.NONE, Reason.MISSING_VALUE}:
            raise _refused(table, batch, at, column, reason, _DATE_WAY_OUT)
    missing = read.reasons == Reason.MISSING_VALUE
    days = [_DAY_ZERO + timedelta(days=day) for day in read.values.tolist()]
    return [None if is_missing else day for day, is_missing in zip(days, missing.tolist(), strict=True)]


def _refused(table: TableFile, batch: RawBatch, at: int, column: str, reason: Reason, way_out: str) -> DataCheckError:
    where = f"{table.path}: {table.row_word} {batch.rows[at]}, column {column}"
    return DataCheckError(f"{where}: {shorten(_texts(batch, column)[at])} is refused as {reason.label}; {way_out}")
