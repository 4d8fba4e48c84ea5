"""A file of reference rows into `instruments`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import psycopg

from prometheus.data.instruments import InstrumentDefaults, InstrumentRow, upsert_instruments
from prometheus.errors import DataCheckError, UnknownMarketError
from prometheus.files.columns import INSTRUMENT_FIELDS
from prometheus.files.convert import read_texts
from prometheus.files.rejects import RejectLog
from prometheus.files.tables import Faults, RawBatch, Reason, TableFile
from prometheus.ingest.checks import currency_fault, mark_texts, text_fault
from prometheus.ingest.run import IngestRun, Stored
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


class InstrumentRun(IngestRun):
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
