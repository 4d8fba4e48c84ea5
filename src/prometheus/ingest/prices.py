"""Files of prices and of instruments into the databases.

Prices go through one transaction of the historical database; before it is committed, the reference rows of new
instruments are committed to the runtime database. A run that fails on the way leaves the prices as they were, and at
most reference rows and a file of refused rows that the next run writes again just so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from prometheus.data.instruments import (
    InstrumentDefaults,
    InstrumentRow,
    load_currencies,
    load_market_currency,
    register_instruments,
    upsert_instruments,
)
from prometheus.data.postgres.connections import Databases
from prometheus.data.staging import PriceStaging, StagedInstrument
from prometheus.errors import DataCheckError, NotFoundError, UsageError
from prometheus.files.columns import INSTRUMENT_FIELDS, PRICE_FIELDS
from prometheus.files.convert import read_texts
from prometheus.files.instants import DateReader
from prometheus.files.opening import open_table
from prometheus.files.rejects import QuarantineFile, RejectLog
from prometheus.files.tables import Faults, RawBatch, Reason, TableFile
from prometheus.ingest.checks import (
    PRICE_COLUMNS,
    PriceRows,
    check_prices,
    currency_fault,
    mark_texts,
    read_price_rows,
    text_fault,
)
from prometheus.ingest.report import IngestOptions, IngestReport
from prometheus.ingest.run import IngestRun, Progress, Stored, require_files, run_ingest
from prometheus.market.calendar import calendar_code

INSTRUMENT_COLUMNS = tuple(field.name for field in INSTRUMENT_FIELDS)
MAX_ROWS = 1_000_000


class PriceIngest:
    """Loads files of prices and of instruments; see `Progress` for what is told meanwhile."""

    def __init__(self, db_manager: Databases, progress: Progress | None = None) -> None:
        self._db, self._progress = db_manager, progress

    def ingest_prices(self, paths: Sequence[Path], options: IngestOptions) -> IngestReport:
        """Load daily prices from CSV or Parquet files into `prices_daily`.

        Raises
        ------
        DataCheckError
            Columns that do not fit, or, under ``abort``, rows that fail a check.
        FileAccessError
            A file that cannot be read, or a quarantine file that cannot be written.
        """
        require_files(paths)
        optional = {"adjusted_close", "currency", *options.zero_as_missing}
        if options.instrument_id is not None:
            optional.add("instrument_id")
        files = [open_table(path, PRICE_FIELDS, set(PRICE_COLUMNS) - optional) for path in paths]
        calendar_code(options.market_id)

        def begin(connection: psycopg.Connection[Any], quarantine: QuarantineFile | None) -> IngestRun:
            rejects = RejectLog(PRICE_COLUMNS, quarantine)
            return _PriceRun(files, rejects, PriceStaging(connection), self._db, options)

        connect = self._db.get_historical_connection
        return _report(*run_ingest(connect, files, PRICE_COLUMNS, options, begin, self._progress))

    def ingest_instruments(self, path: Path, options: IngestOptions) -> IngestReport:
        """Load reference rows from a CSV or Parquet file into `instruments`; missing markets are created.

        Cells the file leaves empty, and columns it does not have, keep what is stored.
        """
        file = open_table(path, INSTRUMENT_FIELDS, {"instrument_id"})

        def begin(connection: psycopg.Connection[Any], quarantine: QuarantineFile | None) -> IngestRun:
            return _InstrumentRun(file, RejectLog(INSTRUMENT_COLUMNS, quarantine), connection, _defaults(options))

        connect = self._db.get_runtime_connection
        return _report(*run_ingest(connect, [file], INSTRUMENT_COLUMNS, options, begin, self._progress))


def _report(stored: Stored, facts: dict[str, Any]) -> IngestReport:
    return IngestReport(**facts, instruments=stored.n_instruments, instruments_created=stored.n_created)


def _defaults(options: IngestOptions) -> InstrumentDefaults:
    return InstrumentDefaults(options.market_id, options.asset_class, options.currency)


class _PriceRun(IngestRun):
    """Files of prices on their way."""

    def __init__(
        self,
        files: Sequence[TableFile],
        rejects: RejectLog,
        staging: PriceStaging,
        db: Databases,
        options: IngestOptions,
    ) -> None:
        super().__init__(files, rejects)
        self._staging, self._db, self._options = staging, db, options
        self._currency_of: dict[str, str] = {}

    def read_file(self, file: TableFile) -> Iterator[RawBatch]:
        """Check and stage the rows of a file."""
        self._note_columns(file)
        may_be_missing = frozenset(self._options.zero_as_missing)
        dates = DateReader(self._options.date_format)
        for batch in file.batches():
            rows = read_price_rows(batch, dates, self._options.instrument_id, may_be_missing)
            faults = check_prices(rows, self._options.today, may_be_missing)
            self.rejects.take(file, batch, faults)
            self._staging.append(self.file_no, rows.accepted(faults.is_good, self._currencies(rows)))
            yield batch

    def compare(self) -> None:
        """Set aside the rows that give one instrument two prices on one date."""
        if self._staging.count_conflicts():
            conflicts = self._staging.conflicting_rows()
            for file_no in np.unique(conflicts["file_no"]):
                rows = conflicts["row_no"][conflicts["file_no"] == file_no]
                self.rejects.take_conflicts(self.files[file_no], rows, column="trade_date")
            self._staging.drop_conflicts()
        if self._staging.has_steps_back:
            self.notes.add("rows are not in order of date; they are stored all the same")

    def store(self) -> Stored:
        """Write the prices, and commit the reference rows of new instruments."""
        staged = self._staging.summarize()
        n_written = self._staging.upsert() if staged else 0
        duplicates = self._staging.n_duplicates
        return Stored(
            n_written=n_written,
            n_unchanged=sum(item.n_rows for item in staged) - duplicates - n_written,
            n_duplicates=duplicates,
            first_date=min((item.first_date for item in staged), default=None),
            last_date=max((item.last_date for item in staged), default=None),
            n_instruments=len(staged),
            n_created=self._register(staged),
        )

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

    def _register(self, staged: Sequence[StagedInstrument]) -> int:
        currency_of = {item.instrument_id: item.currency for item in staged}
        with self._db.get_runtime_connection() as connection:
            n_created = register_instruments(connection, currency_of, _defaults(self._options))
            if self._options.dry_run:
                connection.rollback()
        return n_created

    def _note_columns(self, file: TableFile) -> None:
        columns, path = file.columns, str(file.path)
        if "adjusted_close" not in columns.source:
            self.notes.add("no adjusted close; the close is taken for it", path)
        for field, given in (("instrument_id", self._options.instrument_id), ("currency", self._options.currency)):
            if given is not None and field in columns.source:
                self.notes.add(f"has a column {columns.source[field]}; {given} is not used", path)


def market_fault(market_id: str) -> Reason:
    """Return what is wrong with a market id."""
    try:
        calendar_code(market_id)
    except NotFoundError:
        return Reason.UNKNOWN_MARKET
    return Reason.NONE


_CHECKS: Mapping[str, Callable[[str], Reason]] = {"market_id": market_fault, "currency": currency_fault}


class _InstrumentRun(IngestRun):
    """One file of instruments on its way; the rows are few and wait in memory."""

    def __init__(
        self,
        file: TableFile,
        rejects: RejectLog,
        connection: psycopg.Connection[Any],
        defaults: InstrumentDefaults,
    ) -> None:
        super().__init__((file,), rejects)
        self._connection, self._defaults = connection, defaults
        self._rows: list[tuple[int, InstrumentRow]] = []

    def read_file(self, file: TableFile) -> Iterator[RawBatch]:
        """Check the rows and keep the good ones with their numbers."""
        for batch in file.batches():
            faults, read = _read_batch(batch)
            self.rejects.take(file, batch, faults)
            self._rows += read
            if len(self._rows) > MAX_ROWS:
                raise DataCheckError(f"{file.path}: more than {MAX_ROWS} instruments; split the file")
            yield batch

    def compare(self) -> None:
        """Set aside the instruments that two rows describe differently."""
        first: dict[str, InstrumentRow] = {}
        conflicting = {row.instrument_id for _, row in self._rows if first.setdefault(row.instrument_id, row) != row}
        if conflicting:
            numbers = sorted(number for number, row in self._rows if row.instrument_id in conflicting)
            self.rejects.take_conflicts(self.files[0], np.array(numbers, np.int64), column="instrument_id")
            self._rows = [item for item in self._rows if item[1].instrument_id not in conflicting]

    def store(self) -> Stored:
        """Write the reference rows; missing markets are created."""
        distinct = list(dict.fromkeys(row for _, row in self._rows))
        n_written, n_created = upsert_instruments(self._connection, distinct, self._defaults)
        return Stored(
            n_written=n_written,
            n_unchanged=len(distinct) - n_written,
            n_duplicates=len(self._rows) - len(distinct),
            n_instruments=len(distinct),
            n_created=n_created,
        )


def _read_batch(batch: RawBatch) -> tuple[Faults, list[tuple[int, InstrumentRow]]]:
    """Return the verdict on each row, and the good rows with their numbers."""
    columns = {name: read_texts(batch.columns[name]) for name in INSTRUMENT_COLUMNS if name in batch.columns}
    faults = Faults.none_of(len(batch.rows), tuple(columns))
    for name, column in columns.items():
        mark_texts(faults, name, column, _CHECKS.get(name, text_fault), may_lack=name != "instrument_id")
    cells = {name: [(*column.values, None)[code] or None for code in column.codes] for name, column in columns.items()}
    absent = [None] * len(batch.rows)
    records = zip(*(cells.get(name, absent) for name in INSTRUMENT_COLUMNS), strict=True)
    read = [
        (int(number), InstrumentRow(**dict(zip(INSTRUMENT_COLUMNS, record, strict=True))))
        for number, record, is_good in zip(batch.rows, records, faults.is_good, strict=True)
        if is_good
    ]
    return faults, read
