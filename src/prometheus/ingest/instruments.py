"""A file of reference rows into `instruments`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from prometheus.data.instruments import InstrumentDefaults, InstrumentRow, upsert_instruments
from prometheus.errors import DataCheckError, UnknownMarketError
from prometheus.files.columns import INSTRUMENT_FIELDS
from prometheus.files.convert import read_texts
from prometheus.files.opening import open_table
from prometheus.files.rejects import Faults, QuarantineFile, Reason
from prometheus.files.tables import RawBatch, TableFile
from prometheus.ingest.checks import check_texts, currency_fault, text_fault
from prometheus.ingest.reject_log import RejectLog
from prometheus.ingest.report import IngestOptions, IngestReport, Notes
from prometheus.market.calendar import calendar_code

INSTRUMENT_COLUMNS = tuple(field.name for field in INSTRUMENT_FIELDS)
MAX_ROWS = 1_000_000


def market_fault(market_id: str) -> Reason:
    """Return what is wrong with a market id."""
    try:
        calendar_code(market_id)
    except UnknownMarketError:
        return Reason.UNKNOWN_MARKET
    return Reason.NONE


_CHECKS: Mapping[str, Callable[[str], Reason]] = {"market_id": market_fault, "currency": currency_fault}


def ingest_instruments(
    connection: psycopg.Connection[Any],
    path: Path,
    options: IngestOptions,
    quarantine: QuarantineFile | None,
    progress: Callable[[int, int | None], None],
) -> IngestReport:
    """Load reference rows inside the caller's transaction; see `prometheus.ingest.prices.PriceIngest`."""
    file = open_table(path, INSTRUMENT_FIELDS, {"instrument_id"})
    rejects = RejectLog(INSTRUMENT_COLUMNS, quarantine)
    rows, n_read = _read(file, rejects, progress)
    conflicting = _conflicting_ids(rows)
    if conflicting:
        numbers = sorted(number for number, row in rows if row.instrument_id in conflicting)
        rejects.take_conflicts(file, np.array(numbers, np.int64), column="instrument_id")
    if rejects.stops_the_run:
        raise rejects.refusal(n_read)
    accepted = [row for _, row in rows if row.instrument_id not in conflicting]
    distinct = list(dict.fromkeys(accepted))
    defaults = InstrumentDefaults(options.market_id, options.asset_class, options.currency)
    n_written, n_created = upsert_instruments(connection, distinct, defaults)
    if options.dry_run:
        connection.rollback()
    return IngestReport(
        files=(str(path),),
        rows_read=n_read,
        rows_written=n_written,
        rows_unchanged=len(distinct) - n_written,
        duplicates=len(accepted) - len(distinct),
        rejected=rejects.tally.n_rejected,
        rejected_by_reason=rejects.tally.counts(),
        instruments=len(distinct),
        instruments_created=n_created,
        first_date=None,
        last_date=None,
        quarantine_path=None if quarantine is None or options.dry_run else quarantine.publish(),
        notes=_notes(file, n_read),
        dry_run=options.dry_run,
    )


def _notes(file: TableFile, n_read: int) -> tuple[str, ...]:
    notes = Notes()
    notes.add_ignored(file)
    if not n_read:
        notes.add("holds no rows", str(file.path))
    return notes.lines()


def _read(
    file: TableFile, rejects: RejectLog, progress: Callable[[int, int | None], None]
) -> tuple[list[tuple[int, InstrumentRow]], int]:
    """Return the good rows with their numbers, and how many rows were read."""
    rows: list[tuple[int, InstrumentRow]] = []
    n_read = 0
    for batch in file.batches():
        faults, read = _read_batch(batch)
        rejects.take(file, batch, faults)
        rows += read
        n_read += batch.n_rows
        if len(rows) > MAX_ROWS:
            raise DataCheckError(f"{file.path}: more than {MAX_ROWS} instruments; split the file")
        progress(n_read, file.n_rows)
    return rows, n_read


def _read_batch(batch: RawBatch) -> tuple[Faults, list[tuple[int, InstrumentRow]]]:
    columns = {name: read_texts(batch.columns[name]) for name in INSTRUMENT_COLUMNS if name in batch.columns}
    checks = {name: _CHECKS.get(name, text_fault) for name in columns}
    faults = check_texts(len(batch.rows), columns, checks, required={"instrument_id"})
    cells = {name: [(*column.values, None)[code] or None for code in column.codes] for name, column in columns.items()}
    absent = [None] * len(batch.rows)
    records = zip(*(cells.get(name, absent) for name in INSTRUMENT_COLUMNS), strict=True)
    read = [
        (int(number), InstrumentRow(**dict(zip(INSTRUMENT_COLUMNS, record, strict=True))))
        for number, record, is_good in zip(batch.rows, records, faults.is_good, strict=True)
        if is_good
    ]
    return faults, read


def _conflicting_ids(rows: list[tuple[int, InstrumentRow]]) -> set[str]:
    """Return the instruments that two rows describe differently."""
    first: dict[str, InstrumentRow] = {}
    return {row.instrument_id for _, row in rows if first.setdefault(row.instrument_id, row) != row}
