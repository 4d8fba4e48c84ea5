"""Row checks of macro events and news: pure, one verdict per row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prometheus.arrays import Int64Vector
from prometheus.data.checks import FIRST_DATE, MAX_CELL_LENGTH, mark_reasons, mark_texts, text_fault
from prometheus.data.convert import MISSING_CODE, TextColumn, read_texts
from prometheus.data.instants import EPOCH, InstantColumn, InstantReader, to_microseconds
from prometheus.data.rejects import Faults, Reason
from prometheus.data.tables import RawBatch
from prometheus.data.text_tables import TextTable

MAX_TEXT_BYTES = 10_000_000
"""A text of so many bytes is refused; the longest real one we know, a speech, has 90,000 characters."""
MAX_BATCH_BYTES = 1 << 30
"""A few thousand rows that hold more text than this are no texts but a file made to fill a disk."""

# tab, line feed, vertical tab, form feed and carriage return lay out a text. The controls from 0x80 on are letters of a
# Windows code page read as Latin-1: they stand in real statements of the Federal Reserve and harm nothing.
_CONTROL = re.compile(r"[\x01-\x08\x0e-\x1f\x7f]")
_FIRST_INSTANT = to_microseconds(EPOCH.replace(year=FIRST_DATE.year))


@dataclass(frozen=True, slots=True)
class TextReaders:
    """What reads the two timestamps of one file."""

    timestamp: InstantReader
    known_at: InstantReader


@dataclass(frozen=True, slots=True, eq=False)
class TextRows:
    """Rows of one file, read but not yet judged.

    `rows` has shape (n,); `names`, `texts` and `metadata` hold one column per field of the table, whether the file has
    it or not; `known_at` is None where the file has no such column.
    """

    rows: Int64Vector
    timestamps: InstantColumn
    known_at: InstantColumn | None
    names: Mapping[str, TextColumn]
    texts: Mapping[str, TextColumn]
    metadata: Mapping[str, TextColumn]

    @property
    def n_letters(self) -> int:
        """How long all texts are together; one that a Parquet file holds once may stand in every row."""
        return sum(
            int(np.array([*map(len, column.values), 0], np.int64)[column.codes].sum()) for column in self.texts.values()
        )

    @property
    def says_known_at(self) -> NDArray[np.bool_]:
        """Which rows say when they became known; shape (n,)."""
        if self.known_at is None:
            return np.zeros(len(self.rows), dtype=bool)
        return np.not_equal(self.known_at.reasons, Reason.MISSING_VALUE)


def read_text_rows(
    batch: RawBatch,
    table: TextTable,
    readers: TextReaders,
    defaults: Mapping[str, str | None],
    metadata: Sequence[str] = (),
) -> TextRows:
    """Return the rows of a batch as instants and texts.

    Parameters
    ----------
    defaults
        What a name is where the file, or the row, says none.
    metadata
        The columns kept beside the text.
    """
    columns, n_rows = batch.columns, len(batch.rows)
    read = {name: _read(columns, name, n_rows) for name in (*table.names, *table.texts, *metadata)}
    return TextRows(
        rows=batch.rows,
        timestamps=readers.timestamp.read(columns[table.timestamp]),
        known_at=readers.known_at.read(columns["known_at"]) if "known_at" in columns else None,
        names={name: _fill(read[name], defaults.get(name)) for name in table.names},
        texts={name: read[name] for name in table.texts},
        metadata={name: read[name] for name in metadata},
    )


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
    happened = rows.timestamps.microseconds
    mark_reasons(faults, timestamp, rows.timestamps.reasons)
    faults.mark(happened < _FIRST_INSTANT, timestamp, Reason.DATE_BEFORE_1800)
    if rows.known_at is not None:
        is_said = rows.says_known_at
        mark_reasons(faults, "known_at", np.where(is_said, rows.known_at.reasons, Reason.NONE).astype(np.int8))
        faults.mark(is_said & (rows.known_at.microseconds < _FIRST_INSTANT), "known_at", Reason.DATE_BEFORE_1800)
        faults.mark(rows.known_at.microseconds > now, "known_at", Reason.FUTURE_DATE)
    faults.mark((happened > now) & ~rows.says_known_at, timestamp, Reason.FUTURE_DATE)


def _mark_bodies(faults: Faults, texts: Mapping[str, TextColumn]) -> None:
    """Record what is wrong with the texts; of several, one that is not blank is enough."""
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
