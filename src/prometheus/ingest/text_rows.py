"""Rows of macro events and news as they are read from a file, what is wrong with each, and as they are stored."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prometheus.arrays import Int64Vector
from prometheus.encoders.texts.documents import INSTRUMENT, VERSION, TextTable
from prometheus.files.columns import MAX_CELL_LENGTH, MISSING_CODE, TextColumn, read_texts
from prometheus.files.instants import (
    DAY,
    EPOCH,
    InstantReader,
    ReleaseReader,
    TimeColumn,
    from_microseconds,
    to_microseconds,
)
from prometheus.files.tables import Faults, RawBatch, Reason
from prometheus.ingest.checks import FIRST_DATE, mark_reasons, mark_texts, text_fault

MAX_TEXT_BYTES = 10_000_000
"""A longer text, in bytes, is refused; the longest real one we know, a speech, has 90,000 characters."""

# tab, line feed, vertical tab, form feed and carriage return lay out a text. The controls from 0x80 on are letters of a
# Windows code page read as Latin-1: they stand in real statements of the Federal Reserve and harm nothing.
_CONTROL = re.compile(r"[\x01-\x08\x0e-\x1f\x7f]")
_FIRST_INSTANT = to_microseconds(EPOCH.replace(year=FIRST_DATE.year))


@dataclass(frozen=True, slots=True, eq=False)
class TextRows:
    """Rows of one file, read but not yet judged; fields that the file lacks have a column, too.

    `are_versions` says that rows of one event are its versions, of which the newest known counts. `concerned` is what
    each row calls the instruments it concerns.
    """

    rows: Int64Vector
    timestamps: TimeColumn
    known_at: TimeColumn
    names: Mapping[str, TextColumn]
    texts: Mapping[str, TextColumn]
    metadata: Mapping[str, TextColumn]
    concerned: TextColumn
    are_versions: bool = False

    @property
    def n_letters(self) -> int:
        """How long all texts are together; one that a Parquet file holds once may stand in every row."""
        lengths = [np.array([*map(len, each.values), 0], np.int64)[each.codes] for each in self.texts.values()]
        return int(np.sum(lengths))

    @property
    def says_known_at(self) -> NDArray[np.bool_]:
        """Which rows say when they became known."""
        return np.not_equal(self.known_at.reasons, Reason.MISSING_VALUE)


def read_text_rows(
    batch: RawBatch,
    table: TextTable,
    readers: Mapping[str, InstantReader],
    defaults: Mapping[str, str | None],
    metadata: Sequence[str] = (),
) -> TextRows:
    """Return the rows of a batch; `defaults` say what a name is where the file, or the row, says none."""
    columns, n_rows = batch.columns, len(batch.rows)
    read = {name: _read(columns, name, n_rows) for name in (*table.names, *table.texts, *metadata)}
    happened = readers[table.timestamp].read(columns[table.timestamp])
    known = readers["known_at"].read(columns.get("known_at", pa.nulls(n_rows)))
    are_versions = isinstance(readers["known_at"], ReleaseReader)
    return TextRows(
        batch.rows,
        happened,
        _not_before(known, happened) if are_versions else known,
        {name: _fill(read[name], defaults.get(name)) for name in table.names},
        {name: read[name] for name in table.texts},
        {name: read[name] for name in metadata},
        _fill(_read(columns, INSTRUMENT, n_rows), defaults.get(INSTRUMENT)),
        are_versions,
    )


def _not_before(known: TimeColumn, happened: TimeColumn) -> TimeColumn:
    """Return when versions became known: on the date of the event itself, whose hour is open, not before it."""
    is_early = (known.values // DAY == happened.values // DAY) & (known.values < happened.values)
    return TimeColumn(np.where(is_early, happened.values, known.values), known.reasons)


def _read(columns: Mapping[str, pa.Array], name: str, n_rows: int) -> TextColumn:
    if name not in columns:
        return TextColumn(np.full(n_rows, MISSING_CODE, np.int64), ())
    column = columns[name]
    is_texts = pa.types.is_dictionary(column.type) or pa.types.is_large_string(column.type)
    return read_texts(column if is_texts else column.cast(pa.large_string()))


def _fill(column: TextColumn, default: str | None) -> TextColumn:
    if default is None:
        return column
    values = tuple(text or default for text in column.values)
    return TextColumn(np.where(column.codes == MISSING_CODE, len(values), column.codes), (*values, default))


def check_text_rows(rows: TextRows, table: TextTable, now: datetime) -> Faults:
    """Return the verdict on each row: the first fault, timestamps first, then names, texts, metadata."""
    faults = Faults.none_of(len(rows.rows), (*table.columns, *rows.metadata))
    _mark_instants(faults, rows, table.timestamp, to_microseconds(now))
    for name, column in rows.names.items():
        mark_texts(faults, name, column, text_fault, may_lack=name not in table.required)
    _mark_bodies(faults, rows.texts)
    for name, column in rows.metadata.items():
        mark_texts(faults, name, column, metadata_fault, may_lack=True)
    return faults


def _mark_instants(faults: Faults, rows: TextRows, timestamp: str, now: int) -> None:
    happened = rows.timestamps.values
    mark_reasons(faults, timestamp, rows.timestamps.reasons)
    faults.mark(happened < _FIRST_INSTANT, timestamp, Reason.DATE_BEFORE_1800)
    known, is_said = rows.known_at, rows.says_known_at
    mark_reasons(faults, "known_at", np.where(is_said, known.reasons, Reason.NONE).astype(np.int8))
    faults.mark(is_said & (known.values < _FIRST_INSTANT), "known_at", Reason.DATE_BEFORE_1800)
    faults.mark(known.values > now, "known_at", Reason.FUTURE_DATE)
    faults.mark((happened > now) & ~is_said, timestamp, Reason.FUTURE_DATE)


def _mark_bodies(faults: Faults, texts: Mapping[str, TextColumn]) -> None:
    is_blank = np.ones(len(faults.reasons), dtype=bool)
    for name, column in texts.items():
        verdicts = np.array([*map(body_fault, column.values), Reason.EMPTY_TEXT], np.int8)[column.codes]
        is_blank &= verdicts == Reason.EMPTY_TEXT
        mark_reasons(faults, name, np.where(verdicts == Reason.EMPTY_TEXT, Reason.NONE, verdicts).astype(np.int8))
    faults.mark(is_blank, list(texts)[-1], Reason.EMPTY_TEXT)


def body_fault(text: str) -> Reason:
    """Return what is wrong with a text, `Reason.NONE` if nothing."""
    if "\0" in text:
        return Reason.TEXT_WITH_NUL
    if _CONTROL.search(text):
        return Reason.TEXT_WITH_CONTROL_CHARACTERS
    if is_blank(text):
        return Reason.EMPTY_TEXT
    is_long = len(text) >= MAX_TEXT_BYTES or (4 * len(text) >= MAX_TEXT_BYTES and len(text.encode()) >= MAX_TEXT_BYTES)
    return Reason.TEXT_TOO_LONG if is_long else Reason.NONE


def is_blank(text: str) -> bool:
    r"""Return whether a text shows nothing.

    Examples
    --------
    >>> is_blank(" \n\u200b"), is_blank(" a")
    (True, False)
    """
    return not any(letter.isprintable() and not letter.isspace() for letter in text)


def metadata_fault(text: str) -> Reason:
    """Return what is wrong with a value kept beside a text."""
    if "\0" in text:
        return Reason.TEXT_WITH_NUL
    return Reason.TEXT_TOO_LONG if len(text) > MAX_CELL_LENGTH else Reason.NONE


def text_records(rows: TextRows, table: TextTable, is_good: NDArray[np.bool_]) -> Iterator[tuple[Any, ...]]:
    """Yield the good rows as `prometheus.data.text_staging.TextStaging.append` takes them.

    An instant a text became known that equals its timestamp is None, which means just that.
    """
    happened, known = _instants(rows.timestamps), _instants(rows.known_at)
    by_name: dict[str, list[Any]] = {
        table.timestamp: happened,
        "known_at": [None if then == when else then for then, when in zip(known, happened, strict=True)],
        **{name: column.cells("" if name in table.required else None) for name, column in rows.names.items()},
        **{
            name: TextColumn(column.codes, tuple("" if is_blank(text) else text for text in column.values)).cells("")
            for name, column in rows.texts.items()
        },
    }
    columns = [by_name[name] for name in table.columns]
    metadata = _metadata(rows)
    for position in np.flatnonzero(is_good).tolist():
        cells = [column[position] for column in columns]
        yield int(rows.rows[position]), *cells, metadata[position]


def text_links(
    rows: TextRows, is_good: NDArray[np.bool_], find: Callable[[str, int], Sequence[str]]
) -> Iterator[tuple[int, str]]:
    """Yield number and instrument of each link of the good rows; `find` gives the instruments of a cell, once each."""
    column = rows.concerned
    codes, numbers = column.codes[is_good], rows.rows[is_good]
    is_named = codes != MISSING_CODE
    n_rows = np.bincount(codes[is_named], minlength=len(column.values)).tolist()
    found = [find(cell, n) if n else () for cell, n in zip(column.values, n_rows, strict=True)]
    for number, code in zip(numbers[is_named].tolist(), codes[is_named].tolist(), strict=True):
        for instrument_id in found[code]:
            yield number, instrument_id


def _instants(column: TimeColumn) -> list[Any]:
    is_said = column.reasons != Reason.MISSING_VALUE
    return [
        from_microseconds(value) if said else None
        for value, said in zip(column.values.tolist(), is_said.tolist(), strict=True)
    ]


def _metadata(rows: TextRows) -> list[str]:
    marks = {VERSION: True} if rows.are_versions else {}
    if not rows.metadata:
        return [json.dumps(marks)] * len(rows.rows)
    columns = [column.cells() for column in rows.metadata.values()]
    return [
        json.dumps(marks | {name: cell for name, cell in zip(rows.metadata, cells, strict=True) if cell is not None})
        for cells in zip(*columns, strict=True)
    ]
