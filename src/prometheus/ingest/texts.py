"""Files of macro events and news into the historical database: checked row by row, all or nothing.

One call is one transaction: every file is read, checked and staged; then, if nothing forbids it, the texts are
upserted, the file of refused rows is put into place, and the transaction is committed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from prometheus.core.zones import load_zone
from prometheus.data.postgres.connections import HistoricalDatabase
from prometheus.data.text_staging import TextStaging
from prometheus.data.text_tables import MACRO, NEWS, TextTable
from prometheus.errors import DataCheckError, FileAccessError, UsageError
from prometheus.files.columns import MACRO_FIELDS, NEWS_FIELDS, metadata_field
from prometheus.files.instants import InstantReader
from prometheus.files.opening import open_text_table
from prometheus.files.rejects import QuarantineFile, choose_quarantine_path
from prometheus.files.tables import TableFile
from prometheus.ingest.reject_log import RejectLog
from prometheus.ingest.report import Notes
from prometheus.ingest.text_checks import MAX_BATCH_BYTES, TextReaders, check_text_rows, read_text_rows, text_records
from prometheus.ingest.text_options import TextIngestOptions, TextIngestReport

Progress = Callable[[int, int | None], None]
"""Receives the number of rows read so far, and how many there are if the files say so."""

logger = logging.getLogger(__name__)

_FIELDS = {MACRO.name: MACRO_FIELDS, NEWS.name: NEWS_FIELDS}


class TextIngest:
    """Loads files of macro events and of news: CSV, JSON lines (both also compressed) and Parquet.

    The natural key of a text is its content: everything but `known_at` and metadata. Reported again, it is stored once;
    the earliest `known_at` ever reported for it stays, and a report without one says that it was known at its
    timestamp. Metadata that is stored stays, further names are added.

    Parameters
    ----------
    db_manager
        Where the rows go.
    progress
        Called after each batch with the number of rows read and their total, None where a file does not say.
    """

    def __init__(self, db_manager: HistoricalDatabase, progress: Progress | None = None) -> None:
        self._db = db_manager
        self._progress = progress or (lambda _done, _total: None)

    def ingest_macro(self, paths: Sequence[Path], options: TextIngestOptions) -> TextIngestReport:
        """Load macro events into `macro_events`.

        Raises
        ------
        DataCheckError
            Columns that do not fit, or, under ``abort``, rows that fail a check.
        FileAccessError
            A file that cannot be read, or a quarantine file that cannot be written.
        """
        if options.language is not None:
            raise UsageError("--language belongs to news; a macro event has no language")
        return self._ingest(MACRO, paths, options)

    def ingest_news(self, paths: Sequence[Path], options: TextIngestOptions) -> TextIngestReport:
        """Load news into `news_articles`.

        Raises
        ------
        DataCheckError, FileAccessError
            As for macro events.
        """
        for option, value in (("--event-type", options.event_type), ("--country", options.country)):
            if value is not None:
                raise UsageError(f"{option} belongs to macro events; an article has none")
        return self._ingest(NEWS, paths, options)

    def _ingest(self, table: TextTable, paths: Sequence[Path], options: TextIngestOptions) -> TextIngestReport:
        files = _open_files(table, paths, options)
        fields = (*table.columns, *options.metadata_columns)
        with ExitStack() as stack:
            quarantine = None
            if options.on_error == "quarantine":
                target = choose_quarantine_path(paths, options.quarantine_path)
                quarantine = stack.enter_context(QuarantineFile(target, fields))
            connection = stack.enter_context(self._db.get_historical_connection())
            rejects = RejectLog(fields, quarantine, max_cell_length=None)
            run = _TextRun(table, files, options, rejects, TextStaging(connection, table))
            run.read(self._progress)
            report = run.store(quarantine)
            if options.dry_run:
                connection.rollback()
        logger.debug("ingested %d rows of %d files, %d written", report.rows_read, len(files), report.rows_written)
        return report


def _open_files(table: TextTable, paths: Sequence[Path], options: TextIngestOptions) -> tuple[TableFile, ...]:
    if not paths:
        raise UsageError("no file named")
    unknown = [name for name in options.columns if name not in table.columns]
    if unknown:
        raise UsageError(f"--column {unknown[0]}: no such field; known: {', '.join(table.columns)}")
    clashing = [name for name in options.metadata_columns if name in table.columns]
    if clashing:
        raise UsageError(f"--metadata-column {clashing[0]}: is a field of its own; name its column with --column")
    by_hand = {**options.columns, **{name: name for name in options.metadata_columns}}
    fields = (*_FIELDS[table.name], *map(metadata_field, options.metadata_columns))
    required = set(table.required)
    if options.event_type is not None:
        required -= {"event_type"}
    files = tuple(open_text_table(path, fields, required, by_hand) for path in paths)
    for file in files:
        if file.columns.source and not any(name in file.columns.source for name in table.texts):
            first = table.texts[0]
            raise DataCheckError(
                f"{file.path}: no column {' or '.join(table.texts)}; name the column with --column {first}=NAME"
            )
    return files


class _TextRun:
    """One call, inside its transaction."""

    def __init__(
        self,
        table: TextTable,
        files: Sequence[TableFile],
        options: TextIngestOptions,
        rejects: RejectLog,
        staging: TextStaging,
    ) -> None:
        self._table, self._files, self._options = table, files, options
        self._rejects, self._staging = rejects, staging
        self._notes = Notes()
        self._n_read = 0
        self._zone = load_zone("--assume-timezone", options.assume_timezone) if options.assume_timezone else None

    def read(self, progress: Progress) -> None:
        """Check and stage every row; raise if one of them forbids to go on."""
        sizes = [file.n_rows for file in self._files]
        total = sum(size for size in sizes if size is not None) if None not in sizes else None
        for file_no, file in enumerate(self._files):
            self._notes.add_ignored(file)
            n_before = self._n_read
            self._read_file(file_no, file, lambda: progress(self._n_read, total))
            if self._n_read == n_before:
                self._notes.add("holds no rows", str(file.path))
        if self._rejects.stops_the_run:
            raise self._rejects.refusal(self._n_read)

    def _read_file(self, file_no: int, file: TableFile, report_progress: Callable[[], None]) -> None:
        options, table = self._options, self._table
        readers = TextReaders(*(InstantReader(self._zone, options.date_format) for _ in range(2)))
        for batch in file.batches():
            rows = read_text_rows(batch, table, readers, self._defaults, options.metadata_columns)
            if rows.n_letters > MAX_BATCH_BYTES:
                raise FileAccessError(
                    str(file.path), f"holds more than {MAX_BATCH_BYTES} bytes of text in {len(rows.rows)} rows"
                )
            faults = check_text_rows(rows, table, options.now)
            self._rejects.take(file, batch, faults)
            if not self._rejects.stops_the_run:
                self._staging.append(file_no, text_records(rows, table, faults.is_good))
            self._n_read += batch.n_rows
            report_progress()
        if readers.timestamp.has_earlier_midnights:
            remark = f"midnights in {options.assume_timezone} are of the day before in UTC; where they stand for dates"
            self._notes.add(f"{remark} alone, --assume-timezone UTC keeps the dates", str(file.path))

    @property
    def _defaults(self) -> Mapping[str, str | None]:
        options = self._options
        return {
            "event_type": options.event_type,
            "country": options.country,
            "language": options.language,
            "source": options.source,
        }

    def store(self, quarantine: QuarantineFile | None) -> TextIngestReport:
        """Write what was staged and the file of refused rows; the caller commits."""
        staged = self._staging.summarize()
        n_written = self._staging.upsert() if staged.n_rows else 0
        published = None if quarantine is None or self._options.dry_run else quarantine.publish()
        tally = self._rejects.tally
        return TextIngestReport(
            files=tuple(str(file.path) for file in self._files),
            rows_read=self._n_read,
            rows_written=n_written,
            rows_unchanged=staged.n_distinct - n_written,
            duplicates=staged.n_rows - staged.n_distinct,
            rejected=tally.n_rejected,
            rejected_by_reason=tally.counts(),
            first_date=staged.first_date,
            last_date=staged.last_date,
            quarantine_path=published,
            notes=self._notes.lines(),
            dry_run=self._options.dry_run,
        )
