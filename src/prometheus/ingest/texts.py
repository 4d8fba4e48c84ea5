"""Files of macro events and news into the historical database, and which instruments they concern."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from prometheus.data.instruments import InstrumentCatalog
from prometheus.data.postgres.connections import Databases
from prometheus.data.text_staging import TextStaging
from prometheus.encoders.texts.cleaning import mend
from prometheus.encoders.texts.codes import load_zone
from prometheus.encoders.texts.documents import INSTRUMENT, MACRO, NEWS, TextTable
from prometheus.errors import DataCheckError, FileAccessError, UsageError, unknown_instrument
from prometheus.files.columns import metadata_field
from prometheus.files.composed import compose, is_calendar
from prometheus.files.instant_styles import find_instant_style
from prometheus.files.instants import (
    InstantReader,
    ReleaseReader,
)
from prometheus.files.opening import open_text_table
from prometheus.files.rejects import shorten
from prometheus.files.tables import RawBatch, TableFile
from prometheus.files.vintages import MACRO_TEXT_FIELDS, NEWS_TEXT_FIELDS, is_vintage, unread_vintages
from prometheus.ingest.concerned import ConcernedInstruments
from prometheus.ingest.previews import N_ROWS, describe_columns
from prometheus.ingest.report import IngestReport, IngestRun, Progress, TextIngestOptions, require_files
from prometheus.ingest.text_rows import TextRows, check_text_rows, read_text_rows, text_links, text_records
from prometheus.market.written import DateStyle
from prometheus.spelling import spell_instant

_FIELDS = {MACRO.name: MACRO_TEXT_FIELDS, NEWS.name: NEWS_TEXT_FIELDS}

MAX_BATCH_BYTES = 1 << 30
"""A few thousand rows that hold more text than this are no texts but a file made to fill a disk."""


class TextIngest:
    """Loads files of macro events and of news: CSV, JSON lines (both also compressed) and Parquet.

    The natural key of a text is its content: everything but `known_at` and metadata; a language, country or source that
    one report lacks is that of the other. Reported again, a text is stored once, and what was lacking is filled in; the
    earliest `known_at` ever reported for it stays, and a report without one says that it was known at its timestamp.
    Metadata that is stored stays, further names are added, and so are links to the stored instruments it concerns.
    """

    def __init__(self, db_manager: Databases, progress: Progress | None = None) -> None:
        self._db, self._progress = db_manager, progress
        self._catalog = InstrumentCatalog(db_manager)

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
        stored = [each.instrument_id for each in self._catalog.describe()] if options.instrument_id else []
        if options.instrument_id is not None and options.instrument_id not in stored:
            raise unknown_instrument(options.instrument_id, stored)
        run = _TextRun(_open_files(table, paths, options), table, options, self._catalog)
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

    def __init__(
        self, files: Sequence[TableFile], table: TextTable, options: TextIngestOptions, catalog: InstrumentCatalog
    ) -> None:
        concerned = [INSTRUMENT] if any(INSTRUMENT in file.columns.source for file in files) else []
        names = dict.fromkeys((*table.columns, *concerned, *options.metadata_columns))
        super().__init__(files, tuple(names), options)
        self._table, self._options, self._catalog = table, options, catalog
        self._names_instruments = bool(concerned) or options.instrument_id is not None
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
                if self._names_instruments:
                    self._staging.link(self.file_no, text_links(rows, faults.is_good, self._concerned.find))
            yield batch
        if n_garbled:
            remark = (
                "texts with HTML entities such as &amp;, or letters such as Ã¼ for ü, are stored so and read mended"
            )
            self.notes.add(f"{n_garbled:,} {remark}", str(file.path))
        if any(reader.has_earlier_midnights for reader in readers.values()):
            remark = f"midnights in {options.assume_timezone} are of the day before in UTC; where they stand for dates"
            self.notes.add(f"{remark} alone, --assume-timezone UTC keeps the dates", str(file.path))

    @cached_property
    def _concerned(self) -> ConcernedInstruments:
        return ConcernedInstruments(self._catalog.describe())

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
        n_written, n_links = self._staging.upsert() if staged.n_rows else (0, 0)
        for note in self._concerned.notes() if self._names_instruments else ():
            self.notes.add(note)
        return {
            "links": n_links,
            "rows_written": n_written,
            "rows_unchanged": staged.n_distinct - n_written,
            "duplicates": staged.n_rows - staged.n_distinct,
            "first_date": staged.first_date,
            "last_date": staged.last_date,
        }


def _shown(cell: str | datetime) -> str:
    return spell_instant(cell, "seconds") if isinstance(cell, datetime) else shorten(cell)
