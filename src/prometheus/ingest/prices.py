"""Files of prices and of instruments into the databases.

Prices go through one transaction of the historical database; before it is committed, the reference rows of new
instruments are committed to the runtime database. A run that fails on the way leaves the prices as they were, and at
most reference rows and a file of refused rows that the next run writes again just so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from prometheus.data import instruments as reference
from prometheus.data.instruments import InstrumentDefaults, InstrumentRow, StoredInstrument
from prometheus.data.postgres.connections import Databases
from prometheus.data.staging import PriceColumns, PriceStaging, StagedInstrument
from prometheus.errors import DataCheckError, NotFoundError, UsageError
from prometheus.files.columns import INSTRUMENT_FIELDS, read_texts
from prometheus.files.instants import DateReader
from prometheus.files.opening import open_table
from prometheus.files.price_tables import PriceQuestion, open_prices
from prometheus.files.tables import Faults, RawBatch, Reason, TableFile, Written
from prometheus.ingest import checks
from prometheus.ingest.checks import MAY_BE_MISSING, PRICE_COLUMNS, SPLIT_RATIO, PriceRows
from prometheus.ingest.conversions import StatedSplits, in_major_units
from prometheus.ingest.histories import HistoryChecks, check_histories, stored_findings, withdrawn
from prometheus.ingest.previews import N_ROWS, describe_cells, describe_columns, first_rows
from prometheus.ingest.report import DEFAULT_CLASS, IngestOptions, IngestReport, IngestRun, Progress, require_files
from prometheus.market.calendar import calendar_code, market_zone
from prometheus.market.currencies import MINOR_PER_MAJOR, major_currency

INSTRUMENT_COLUMNS = tuple(field.name for field in INSTRUMENT_FIELDS)
MAX_ROWS = 1_000_000
NO_BAR = ""
VOLUME_NOT_KNOWN = "stored as 0, not known (num-regime-core-v1 reads volumes, num-regime-core-v2 none)"


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
        question = PriceQuestion(
            options.instrument_id, options.columns, options.decimal_mark, options.date_format, _written(options)
        )
        files = [open_prices(path, question) for path in paths]
        calendar_code(options.market_id)
        calendar_code(options.calendar or options.market_id)
        return _PriceRun(files, options, self._db).ingest(self._db.get_historical_connection, self._progress)

    def ingest_instruments(self, path: Path, options: IngestOptions) -> IngestReport:
        """Load reference rows from a CSV or Parquet file into `instruments`; missing markets are created.

        Cells the file leaves empty, and columns it does not have, keep what is stored.
        """
        run = _InstrumentRun(open_table(path, INSTRUMENT_FIELDS, {"instrument_id"}, _written(options)), options)
        return run.ingest(self._db.get_runtime_connection, self._progress)


def _written(options: IngestOptions) -> Written:
    return Written(options.encoding, options.header_line)


def _defaults(options: IngestOptions) -> InstrumentDefaults:
    return InstrumentDefaults(options.market_id, options.asset_class, options.currency)


class _PriceRun(IngestRun):
    _staging: PriceStaging
    _histories: HistoryChecks
    _staged: tuple[StagedInstrument, ...]

    def __init__(self, files: Sequence[TableFile], options: IngestOptions, db: Databases) -> None:
        states_splits = any(SPLIT_RATIO in file.columns.source for file in files)
        super().__init__(files, (*PRICE_COLUMNS, SPLIT_RATIO) if states_splits else PRICE_COLUMNS, options)
        self._splits = StatedSplits()
        self._db, self._options = db, options
        self._currency_of: dict[str, str] = {}
        self._n_shown = 0

    def begin(self, connection: psycopg.Connection[Any]) -> None:
        self._staging = PriceStaging(connection)

    def read_file(self, file: TableFile) -> Iterator[RawBatch]:
        self._note_columns(file)
        zero_as_missing = frozenset(self._options.zero_as_missing)
        zone = market_zone(self._options.market_id)
        dates = DateReader(self._options.date_format, zone)
        converted: Counter[str] = Counter()
        blank: Counter[str] = Counter()
        for whole in file.batches():
            read = checks.read_price_rows(whole, dates, self._options.instrument_id, zero_as_missing)
            blank.update({**read.n_blank, NO_BAR: int((~read.is_bar).sum())})
            batch, rows = whole.keep(read.is_bar), read.bars()
            faults = checks.check_prices(rows, self._options.today)
            self.rejects.take(file, batch, faults)
            self._splits.take(file.columns, rows, faults.is_good)
            accepted = rows.accepted(faults.is_good, self._currencies(rows))
            if self._options.convert_minor_units:
                accepted, n_converted = in_major_units(accepted)
                converted += n_converted
            if self._options.dry_run:
                self._show(accepted)
            self._staging.append(self.file_no, accepted)
            yield batch
        self._note_blanks(file, blank)
        for unit, n_rows in converted.items():
            stored = f"divided by {MINOR_PER_MAJOR}, stored in {major_currency(unit)}"
            self.notes.add(f"prices of {n_rows:,} rows in {unit} are {stored}", str(file.path))
        if zone is not None and dates.n_dated_by_zone:
            self.notes.add(f"stamps with a time and a zone are dated by the clock of {zone.key}", str(file.path))

    def compare(self) -> None:
        if self._staging.count_conflicts():
            self._set_aside(self._staging.conflicting_rows(), "trade_date", Reason.CONFLICTING_DUPLICATE)
            self._staging.drop_conflicts()
        if self._staging.has_steps_back:
            self.notes.add("rows are not in order of date; they are stored all the same")
        calendar = self._options.calendar or self._options.market_id
        self._staged = self._staging.summarize()
        for remark in self._splits.settle(self._staging, self._staged):
            self.notes.add(remark)
        self._histories = check_histories(self._staging, self._staged, calendar)
        for remark in self._histories.remarks:
            self.notes.add(remark)
        refused = self._histories.faults
        if refused and self._options.on_error == "quarantine":
            for name, fault in refused.items():
                self.notes.add(f"{name}: left out, {fault}")
            self._set_aside(self._staging.rows_of(list(refused)), "instrument_id", Reason.REFUSED_HISTORY)
            self._staging.drop(list(refused))
            self._staged = tuple(item for item in self._staged if item.instrument_id not in refused)

    def _set_aside(self, found: NDArray[Any], column: str, reason: Reason) -> None:
        for file_no in np.unique(found["file_no"]):
            rows = found["row_no"][found["file_no"] == file_no]
            self.rejects.take_rows(self.files[file_no], rows, column, reason)

    def store(self) -> dict[str, Any]:
        if self._options.on_error == "abort":
            self._histories.require_sound()
        staging, staged = self._staging, self._staged
        remarks, incomplete = withdrawn(staging, staged, replace=self._options.replace) if staged else ([], frozenset())
        n_written = staging.upsert() if staged else 0
        joined = self._histories.continued | incomplete
        remarks += stored_findings(staging, staged, joined, self._options.calendar or self._options.market_id)
        for remark in remarks:
            self.notes.add(remark)
        duplicates = staging.n_duplicates
        return {
            "rows_written": n_written,
            "rows_unchanged": sum(item.n_rows for item in staged) - duplicates - n_written,
            "duplicates": duplicates,
            "first_date": min((item.first_date for item in staged), default=None),
            "last_date": max((item.last_date for item in staged), default=None),
            "instruments": len(staged),
            "instrument_ids": tuple(item.instrument_id for item in staged),
            "instruments_created": self._register(staged),
        }

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
            known = {row.instrument_id: row.currency for row in reference.load_instruments(connection, instrument_ids)}
            market_currency = reference.load_market_currency(connection, self._options.market_id)
        if market_currency is None and len(known) < len(instrument_ids):
            raise UsageError(f"the currency of market {self._options.market_id} is not known; name it with --currency")
        return {item: known.get(item) or market_currency or "" for item in instrument_ids}

    def _register(self, staged: Sequence[StagedInstrument]) -> int:
        currency_of, options = {item.instrument_id: item.currency for item in staged}, self._options
        with self._db.get_runtime_connection() as connection:
            n_created = reference.register_instruments(connection, currency_of, _defaults(options))
            stored = reference.load_instruments(connection, list(currency_of))
            if options.dry_run:
                connection.rollback()
        for remark in _kept_references(stored, currency_of, options):
            self.notes.add(remark)
        return n_created

    def _note_columns(self, file: TableFile) -> None:
        columns, path = file.columns, str(file.path)
        for remark in file.remarks:
            self.notes.add(remark, path)
        if self._options.dry_run:
            self.notes.add(describe_columns(file), path)
            self.notes.add(describe_cells(file, self._options, market_zone(self._options.market_id)), path)
        if "adjusted_close" not in columns.source:
            self.notes.add("no adjusted close; the close is taken for it", path)
        absent = [name for name in MAY_BE_MISSING if name not in columns.source]
        prices = [name for name in absent if name != "volume"]
        if prices:
            self.notes.add(f"no {', '.join(prices)}; stored without", path)
        if "volume" in absent:
            self.notes.add(f"no volume; {VOLUME_NOT_KNOWN}", path)
        for field, given in (("instrument_id", self._options.instrument_id), ("currency", self._options.currency)):
            if given is not None and field in columns.source:
                self.notes.add(f"has a column {columns.source[field]}; {given} is not used", path)

    def _show(self, rows: PriceColumns) -> None:
        for row in first_rows(rows, N_ROWS - self._n_shown):
            self.notes.add(row)
            self._n_shown += 1

    def _note_blanks(self, file: TableFile, blank: Mapping[str, int]) -> None:
        path = str(file.path)
        counted = [f"{n:,} of {name}" for name, n in blank.items() if n and name not in {NO_BAR, "volume"}]
        if counted:
            self.notes.add(f"cells without a value, stored without: {', '.join(counted)}", path)
        if blank.get("volume"):
            self.notes.add(f"{blank['volume']:,} bars without a volume; {VOLUME_NOT_KNOWN}", path)
        if blank.get(NO_BAR):
            self.notes.add(f"{blank[NO_BAR]:,} cells or rows without any number are days without a bar", path)


def _kept_references(
    stored: Sequence[StoredInstrument], currency_of: Mapping[str, str], options: IngestOptions
) -> Iterator[str]:
    """Yield what the reference rows of known instruments say otherwise than this load; a load of prices keeps them."""
    differing: dict[tuple[str, str, str], list[str]] = {}
    for row in stored:
        currency, asset_class = currency_of[row.instrument_id], options.asset_class
        stated = {
            "market_id": options.market_id,
            "asset_class": row.asset_class if asset_class == DEFAULT_CLASS else asset_class,
            "currency": row.currency if major_currency(currency) == major_currency(row.currency) else currency,
        }
        for column, said in stated.items():
            if said != getattr(row, column):
                differing.setdefault((column, getattr(row, column), said), []).append(row.instrument_id)
    for (column, kept, said), names in differing.items():
        those = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1:,} more"
        goes_by = ", by which it dated and checked them" if column == "market_id" else ""
        yield (
            f"{those}: stored with {column} {kept}, which stays, though this load says {said}{goes_by}; where {kept} "
            f"is wrong: python -m prometheus ingest instruments FILE, with columns instrument_id,{column}"
        )


def market_fault(market_id: str) -> Reason:
    """Return what is wrong with a market id."""
    try:
        calendar_code(market_id)
    except NotFoundError:
        return Reason.UNKNOWN_MARKET
    return Reason.NONE


_CHECKS: Mapping[str, Callable[[str], Reason]] = {"market_id": market_fault, "currency": checks.currency_fault}


class _InstrumentRun(IngestRun):
    _connection: psycopg.Connection[Any]

    def __init__(self, file: TableFile, options: IngestOptions) -> None:
        super().__init__((file,), INSTRUMENT_COLUMNS, options)
        self._defaults = _defaults(options)
        self._rows: list[tuple[int, InstrumentRow]] = []  # few enough to wait in memory, with their numbers

    def begin(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def read_file(self, file: TableFile) -> Iterator[RawBatch]:
        for batch in file.batches():
            faults, read = _read_batch(batch)
            self.rejects.take(file, batch, faults)
            self._rows += read
            if len(self._rows) > MAX_ROWS:
                raise DataCheckError(f"{file.path}: more than {MAX_ROWS} instruments; split the file")
            yield batch

    def compare(self) -> None:
        first: dict[str, InstrumentRow] = {}
        conflicting = {row.instrument_id for _, row in self._rows if first.setdefault(row.instrument_id, row) != row}
        if conflicting:
            numbers = sorted(number for number, row in self._rows if row.instrument_id in conflicting)
            self.rejects.take_rows(self.files[0], np.array(numbers, np.int64), column="instrument_id")
            self._rows = [item for item in self._rows if item[1].instrument_id not in conflicting]

    def store(self) -> dict[str, Any]:
        distinct = list(dict.fromkeys(row for _, row in self._rows))
        n_written, n_created = reference.upsert_instruments(self._connection, distinct, self._defaults)
        return {
            "rows_written": n_written,
            "rows_unchanged": len(distinct) - n_written,
            "duplicates": len(self._rows) - len(distinct),
            "instruments": len(distinct),
            "instruments_created": n_created,
        }


def _read_batch(batch: RawBatch) -> tuple[Faults, list[tuple[int, InstrumentRow]]]:
    columns = {name: read_texts(batch.columns[name]) for name in INSTRUMENT_COLUMNS if name in batch.columns}
    faults = Faults.none_of(len(batch.rows), tuple(columns))
    for name, column in columns.items():
        checks.mark_texts(faults, name, column, _CHECKS.get(name, checks.text_fault), may_lack=name != "instrument_id")
    cells = {name: column.cells() for name, column in columns.items()}
    absent = [None] * len(batch.rows)
    records = zip(*(cells.get(name, absent) for name in INSTRUMENT_COLUMNS), strict=True)
    read = [
        (int(number), InstrumentRow(**dict(zip(INSTRUMENT_COLUMNS, record, strict=True))))
        for number, record, is_good in zip(batch.rows, records, faults.is_good, strict=True)
        if is_good
    ]
    return faults, read
