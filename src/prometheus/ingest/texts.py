"""Files of macro events and news into the historical database; what is wrong with a row of texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from numpy.typing import NDArray

from prometheus.arrays import Int64Vector
from prometheus.data.postgres.connections import HistoricalDatabase
from prometheus.data.text_staging import TextStaging
from prometheus.encoders.texts.cleaning import mend
from prometheus.encoders.texts.codes import load_zone
from prometheus.encoders.texts.documents import MACRO, NEWS, VERSION, TextTable
from prometheus.errors import DataCheckError, FileAccessError, UsageError
from prometheus.files.columns import MAX_CELL_LENGTH, MISSING_CODE, TextColumn, metadata_field, read_texts
from prometheus.files.composed import compose, is_calendar
from prometheus.files.instant_styles import find_instant_style
from prometheus.files.instants import (
    DAY,
    EPOCH,
    InstantReader,
    ReleaseReader,
    TimeColumn,
    from_microseconds,
    to_microseconds,
)
from prometheus.files.opening import open_text_table
from prometheus.files.rejects import shorten
from prometheus.files.tables import Faults, RawBatch, Reason, TableFile
from prometheus.files.vintages import MACRO_TEXT_FIELDS, NEWS_TEXT_FIELDS, is_vintage, unread_vintages
from prometheus.ingest.checks import FIRST_DATE, mark_reasons, mark_texts, text_fault
from prometheus.ingest.previews import N_ROWS, describe_columns
from prometheus.ingest.report import IngestReport, IngestRun, Progress, TextIngestOptions, require_files
from prometheus.market.written import DateStyle
from prometheus.spelling import spell_instant

_FIELDS = {MACRO.name: MACRO_TEXT_FIELDS, NEWS.name: NEWS_TEXT_FIELDS}

MAX_TEXT_BYTES = 10_000_000
"""A longer text, in bytes, is refused; the longest real one we know, a speech, has 90,000 characters."""
MAX_BATCH_BYTES = 1 << 30
"""A few thousand rows that hold more text than this are no texts but a file made to fill a disk."""

# tab, line feed, vertical tab, form feed and carriage return lay out a text. The controls from 0x80 on are letters of a
# Windows code page read as Latin-1: they stand in real statements of the Federal Reserve and harm nothing.
_CONTROL = re.compile(r"[\x01-\x08\x0e-\x1f\x7f]")
_FIRST_INSTANT = to_microseconds(EPOCH.replace(year=FIRST_DATE.year))


class TextIngest:
    """Loads files of macro events and of news: CSV, JSON lines (both also compressed) and Parquet.

    The natural key of a text is its content: everything but `known_at` and metadata; a language, country or source that
    one report lacks is that of the other. Reported again, a text is stored once, and what was lacking is filled in; the
    earliest `known_at` ever reported for it stays, and a report without one says that it was known at its timestamp.
    Metadata that is stored stays, further names are added.
    """

    def __init__(self, db_manager: HistoricalDatabase, progress: Progress | None = None) -> None:
        self._db, self._progress = db_manager, progress

    def ingest_macro(self, paths: Sequence[Path], options: TextIngestOptions) -> IngestReport:
        """Load macro events into `macro_events`; raises as `PriceIngest.ingest_prices` does."""
        if options.language is not None:
            raise UsageError("--language belongs to news; a macro event has no language")
        return self._ingest(MACRO, paths, options)

    def ingest_news(self, paths: Sequence[Path], options: TextIngestOptions) -> IngestReport:
        """Load news into `news_articles`."""
        for option, value in (("--event-type", options.event_type), ("--country", options.country)):
            if value is not None:
                raise UsageError(f"{option} belongs to macro events; an article has none")
        return self._ingest(NEWS, paths, options)

    def _ingest(self, table: TextTable, paths: Sequence[Path], options: TextIngestOptions) -> IngestReport:
        run = _TextRun(_open_files(table, paths, options), table, options)
        return run.ingest(self._db.get_historical_connection, self._progress)


def _open_files(table: TextTable, paths: Sequence[Path], options: TextIngestOptions) -> tuple[TableFile, ...]:
    require_files(paths)
    known = [field.name for field in _FIELDS[table.name]]
    unknown = [name for name in options.columns if name not in known]
    if unknown:
        raise UsageError(f"--column {unknown[0]}: no such field; known: {', '.join(known)}")
    clashing = [name for name in options.metadata_columns if name in table.columns]
    if clashing:
        raise UsageError(f"--metadata-column {clashing[0]}: is a field of its own; name its column with --column")
    by_hand = {**options.columns, **{name: name for name in options.metadata_columns}}
    fields = (*_FIELDS[table.name], *map(metadata_field, options.metadata_columns))
    required = set(table.required)
    if options.event_type is not None:
        required -= {"event_type"}
    files = tuple(open_text_table(path, fields, required, by_hand, options.encoding) for path in paths)
    for file in files:
        if file.columns.source and not any(name in file.columns.source for name in table.texts):
            first = table.texts[0]
            raise DataCheckError(
                f"{file.path}: no column {' or '.join(table.texts)}; name the column with --column {first}=NAME"
            )
        if is_calendar(file.columns) and "event_type" not in file.columns.source:
            raise DataCheckError(
                f"{file.path}: no column says which event each figure is of; name it with --column event_type=NAME"
            )
    return tuple(compose(file, table.timestamp, options.columns) for file in files)


class _TextRun(IngestRun):
    max_cell_length = None  # a text is corrected in the file of refused rows, so it stays whole there
    _staging: TextStaging

    def __init__(self, files: Sequence[TableFile], table: TextTable, options: TextIngestOptions) -> None:
        super().__init__(files, (*table.columns, *options.metadata_columns), options)
        self._table, self._options = table, options
        self._n_shown = 0
        self._zone = load_zone("--assume-timezone", options.assume_timezone) if options.assume_timezone else None

    def begin(self, connection: psycopg.Connection[Any]) -> None:
        self._staging = TextStaging(connection, self._table)

    def read_file(self, file: TableFile) -> Iterator[RawBatch]:
        options, table = self._options, self._table
        readers, n_garbled = self._readers(file), 0
        for batch in self._batches(file):
            rows = read_text_rows(batch, table, readers, options.defaults, options.metadata_columns)
            if rows.n_letters > MAX_BATCH_BYTES:
                raise FileAccessError(
                    str(file.path), f"holds more than {MAX_BATCH_BYTES} bytes of text in {len(rows.rows)} rows"
                )
            faults = check_text_rows(rows, table, options.now)
            n_garbled += sum(mend(text) != text for column in rows.texts.values() for text in column.values)
            self.rejects.take(file, batch, faults)
            self._show(rows, faults.is_good)
            if not self.rejects.stops_the_run:  # nothing is staged once a row forbids to store any
                self._staging.append(self.file_no, text_records(rows, table, faults.is_good))
            yield batch
        if n_garbled:
            remark = (
                "texts with HTML entities such as &amp;, or letters such as Ã¼ for ü, are stored so and read mended"
            )
            self.notes.add(f"{n_garbled:,} {remark}", str(file.path))
        if any(reader.has_earlier_midnights for reader in readers.values()):
            remark = f"midnights in {options.assume_timezone} are of the day before in UTC; where they stand for dates"
            self.notes.add(f"{remark} alone, --assume-timezone UTC keeps the dates", str(file.path))

    def _batches(self, file: TableFile) -> Iterator[RawBatch]:
        """Yield the rows of a file, of a calendar those that tell a fact."""
        n_open = 0
        for batch in file.batches():
            if is_calendar(file.columns):
                is_fact = batch.columns["description"].is_valid().to_numpy(zero_copy_only=False)
                n_open += int(np.sum(~is_fact))
                yield batch.keep(is_fact)
            else:
                yield batch
        if n_open:
            remark = f"{n_open:,} rows of events without an actual figure tell no fact and are left out"
            self.notes.add(remark, str(file.path))

    def _show(self, rows: TextRows, is_good: NDArray[np.bool_]) -> None:
        """Say of a dry run how its first sound rows would be stored."""
        n_left = N_ROWS - self._n_shown if self._options.dry_run else 0
        for _, *cells, _ in islice(text_records(rows, self._table, is_good), n_left):
            self._n_shown += 1
            self.notes.add(f"to be stored: {', '.join(map(_shown, filter(None, cells)))}")

    def _readers(self, file: TableFile) -> dict[str, InstantReader]:
        for name in unread_vintages(file.columns.ignored):
            remark = f"{name} may say when a text became known and is not read"
            self.notes.add(f"{remark}; choose it with --column known_at={name}", str(file.path))
        if self._options.dry_run:
            self.notes.add(describe_columns(file), str(file.path))
        source = file.columns.source
        is_release = is_vintage(source.get("known_at", "")) or ("known_at" in source and is_calendar(file.columns))
        kinds = {self._table.timestamp: InstantReader, "known_at": ReleaseReader if is_release else InstantReader}
        return {
            field: kind(self._zone, self._options.date_format, self._style(file, field))
            for field, kind in kinds.items()
        }

    def _style(self, file: TableFile, field: str) -> DateStyle | None:
        style = find_instant_style(file, field) if self._options.date_format is None else None
        if style is not None:
            self.notes.add(f"dates of {file.columns.source[field]} are read as {style}", str(file.path))
        return style

    def compare(self) -> None:
        """Refuse nothing: equal texts are one, and different ones never contradict each other."""

    def store(self) -> dict[str, Any]:
        staged = self._staging.summarize()
        n_written = self._staging.upsert() if staged.n_rows else 0
        return {
            "rows_written": n_written,
            "rows_unchanged": staged.n_distinct - n_written,
            "duplicates": staged.n_rows - staged.n_distinct,
            "first_date": staged.first_date,
            "last_date": staged.last_date,
        }


def _shown(cell: str | datetime) -> str:
    return spell_instant(cell, "seconds") if isinstance(cell, datetime) else shorten(cell)


@dataclass(frozen=True, slots=True, eq=False)
class TextRows:
    """Rows of one file, read but not yet judged; fields that the file lacks have a column, too.

    `are_versions` says that rows of one event are its versions, of which the newest known counts.
    """

    rows: Int64Vector
    timestamps: TimeColumn
    known_at: TimeColumn
    names: Mapping[str, TextColumn]
    texts: Mapping[str, TextColumn]
    metadata: Mapping[str, TextColumn]
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
