"""Files into the databases: prices and instruments, checked row by row, all or nothing.

Prices go through one transaction of the historical database. Order of a run: every file is read, checked and staged;
then, if nothing forbids it, the prices are upserted, the reference rows of new instruments are committed to the runtime
database, the file of refused rows is put into place, and the prices are committed. A run that fails on the way leaves
the prices as they were, and at most reference rows and a file that the next run writes again just so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from prometheus.data.instruments import (
    InstrumentDefaults,
    load_currencies,
    load_market_currency,
    register_instruments,
)
from prometheus.data.postgres.connections import Databases
from prometheus.data.staging import PriceStaging, StagedInstrument
from prometheus.errors import UsageError
from prometheus.files.columns import PRICE_FIELDS
from prometheus.files.convert import DateReader
from prometheus.files.opening import open_table
from prometheus.files.rejects import QuarantineFile, choose_quarantine_path
from prometheus.files.tables import TableFile
from prometheus.ingest.checks import PRICE_COLUMNS, PriceRows, check_prices, read_price_rows
from prometheus.ingest.instruments import INSTRUMENT_COLUMNS, ingest_instruments
from prometheus.ingest.reject_log import RejectLog
from prometheus.ingest.report import IngestOptions, IngestReport, Notes
from prometheus.market.calendar import calendar_code

Progress = Callable[[int, int | None], None]
"""Receives the number of rows read so far, and how many there are if the files say so."""

logger = logging.getLogger(__name__)


class PriceIngest:
    """Loads files of prices and of instruments.

    Parameters
    ----------
    db_manager
        Where the rows go.
    progress
        Called after each batch with the number of rows read and their total, None where a file does not say.
    """

    def __init__(self, db_manager: Databases, progress: Progress | None = None) -> None:
        self._db = db_manager
        self._progress = progress or (lambda _done, _total: None)

    def ingest_prices(self, paths: Sequence[Path], options: IngestOptions) -> IngestReport:
        """Load daily prices from CSV or Parquet files into `prices_daily`.

        Raises
        ------
        DataCheckError
            Columns that do not fit, or, under ``abort``, rows that fail a check.
        FileAccessError
            A file that cannot be read, or a quarantine file that cannot be written.
        """
        files = _open_price_files(paths, options)
        calendar_code(options.market_id)
        with ExitStack() as stack:
            quarantine = None
            if options.on_error == "quarantine":
                target = choose_quarantine_path(paths, options.quarantine_path)
                quarantine = stack.enter_context(QuarantineFile(target, PRICE_COLUMNS))
            connection = stack.enter_context(self._db.get_historical_connection())
            run = _PriceRun(self._db, files, options, RejectLog(PRICE_COLUMNS, quarantine), PriceStaging(connection))
            run.read(self._progress)
            report = run.store(quarantine)
            if options.dry_run:
                connection.rollback()
        logger.debug("ingested %d rows of %d files, %d written", report.rows_read, len(files), report.rows_written)
        return report

    def ingest_instruments(self, path: Path, options: IngestOptions) -> IngestReport:
        """Load reference rows from a CSV or Parquet file into `instruments`; missing markets are created.

        Cells the file leaves empty, and columns it does not have, keep what is stored.

        Raises
        ------
        DataCheckError, FileAccessError
            As for prices.
        """
        with ExitStack() as stack:
            quarantine = None
            if options.on_error == "quarantine":
                target = choose_quarantine_path([path], options.quarantine_path)
                quarantine = stack.enter_context(QuarantineFile(target, INSTRUMENT_COLUMNS))
            connection = stack.enter_context(self._db.get_runtime_connection())
            return ingest_instruments(connection, path, options, quarantine, self._progress)


def _open_price_files(paths: Sequence[Path], options: IngestOptions) -> tuple[TableFile, ...]:
    if not paths:
        raise UsageError("no file named")
    optional = {"adjusted_close", "currency", *options.zero_as_missing}
    if options.instrument_id is not None:
        optional.add("instrument_id")
    required = set(PRICE_COLUMNS) - optional
    return tuple(open_table(path, PRICE_FIELDS, required) for path in paths)


class _PriceRun:
    """One call of `ingest_prices`, inside its transaction."""

    def __init__(
        self,
        db: Databases,
        files: Sequence[TableFile],
        options: IngestOptions,
        rejects: RejectLog,
        staging: PriceStaging,
    ) -> None:
        self._db, self._files, self._options = db, files, options
        self._rejects, self._staging = rejects, staging
        self._notes = Notes()
        self._n_read = 0
        self._currency_of: dict[str, str] = {}

    def read(self, progress: Progress) -> None:
        """Check and stage every row; raise if one of them forbids to go on."""
        sizes = [file.n_rows for file in self._files]
        total = sum(size for size in sizes if size is not None) if None not in sizes else None
        for file_no, file in enumerate(self._files):
            self._note_columns(file)
            n_before = self._n_read
            self._read_file(file_no, file, lambda: progress(self._n_read, total))
            if self._n_read == n_before:
                self._notes.add("holds no rows", str(file.path))
        if self._staging.count_conflicts():
            self._set_conflicts_aside()
        if self._rejects.stops_the_run:
            raise self._rejects.refusal(self._n_read)
        if self._staging.has_steps_back:
            self._notes.add("rows are not in order of date; they are stored all the same")

    def store(self, quarantine: QuarantineFile | None) -> IngestReport:
        """Write what was staged, reference rows and refused rows included; the caller commits the prices."""
        staged = self._staging.summarize()
        n_written = self._staging.upsert() if staged else 0
        n_created = self._register(staged)
        published = None if quarantine is None or self._options.dry_run else quarantine.publish()
        return self._report(staged, n_written, n_created, published)

    def _read_file(self, file_no: int, file: TableFile, report_progress: Callable[[], None]) -> None:
        may_be_missing = frozenset(self._options.zero_as_missing)
        dates = DateReader(self._options.date_format)
        for batch in file.batches():
            rows = read_price_rows(batch, dates, self._options.instrument_id, may_be_missing)
            faults = check_prices(rows, self._options.today, may_be_missing)
            self._rejects.take(file, batch, faults)
            self._staging.append(file_no, rows.accepted(faults.is_good, self._currencies(rows)))
            self._n_read += batch.n_rows
            report_progress()

    def _currencies(self, rows: PriceRows) -> list[str]:
        """Return the currency of each instrument of a batch, none where the rows themselves say it."""
        if rows.currency is not None:
            return []
        if self._options.currency is not None:
            return [self._options.currency] * len(rows.instruments.values)
        unknown = [item for item in rows.instruments.values if item not in self._currency_of and "\0" not in item]
        if unknown:
            self._currency_of.update(self._load_currencies(unknown))
        return [self._currency_of.get(item, "") for item in rows.instruments.values]

    def _load_currencies(self, instrument_ids: Sequence[str]) -> dict[str, str]:
        with self._db.get_runtime_connection() as connection:
            known = load_currencies(connection, instrument_ids)
            market_currency = load_market_currency(connection, self._options.market_id)
        if market_currency is None and len(known) < len(instrument_ids):
            raise UsageError(f"the currency of market {self._options.market_id} is not known; name it with --currency")
        return {item: known.get(item) or market_currency or "" for item in instrument_ids}

    def _set_conflicts_aside(self) -> None:
        conflicts = self._staging.conflicting_rows()
        for file_no in np.unique(conflicts["file_no"]):
            rows = conflicts["row_no"][conflicts["file_no"] == file_no]
            self._rejects.take_conflicts(self._files[file_no], rows, column="trade_date")
        self._staging.drop_conflicts()

    def _register(self, staged: Sequence[StagedInstrument]) -> int:
        options = self._options
        defaults = InstrumentDefaults(options.market_id, options.asset_class, options.currency)
        with self._db.get_runtime_connection() as connection:
            n_created = register_instruments(
                connection, {item.instrument_id: item.currency for item in staged}, defaults
            )
            if options.dry_run:
                connection.rollback()
        return n_created

    def _note_columns(self, file: TableFile) -> None:
        columns, path = file.columns, str(file.path)
        self._notes.add_ignored(file)
        if "adjusted_close" not in columns.source:
            self._notes.add("no adjusted close; the close is taken for it", path)
        for field, given in (("instrument_id", self._options.instrument_id), ("currency", self._options.currency)):
            if given is not None and field in columns.source:
                self._notes.add(f"has a column {columns.source[field]}; {given} is not used", path)

    def _report(
        self, staged: Sequence[StagedInstrument], n_written: int, n_created: int, published: Path | None
    ) -> IngestReport:
        tally, duplicates = self._rejects.tally, self._staging.n_duplicates
        return IngestReport(
            files=tuple(str(file.path) for file in self._files),
            rows_read=self._n_read,
            rows_written=n_written,
            rows_unchanged=sum(item.n_rows for item in staged) - duplicates - n_written,
            duplicates=duplicates,
            rejected=tally.n_rejected,
            rejected_by_reason=tally.counts(),
            instruments=len(staged),
            instruments_created=n_created,
            first_date=min((item.first_date for item in staged), default=None),
            last_date=max((item.last_date for item in staged), default=None),
            quarantine_path=published,
            notes=self._notes.lines(),
            dry_run=self._options.dry_run,
        )
