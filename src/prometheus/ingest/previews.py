"""What a dry run says of a file of prices: how it was understood, and its first rows as they would be stored."""

from __future__ import annotations

from collections.abc import Iterator
from zoneinfo import ZoneInfo

import numpy as np

from prometheus.data.staging import PriceColumns
from prometheus.files.tables import TableFile
from prometheus.ingest.report import RunOptions

N_ROWS = 3


def describe_columns(file: TableFile) -> str:
    """Return which column of a file holds each field."""
    return f"understood columns: {', '.join(f'{field} = {name!r}' for field, name in file.columns.source.items())}"


def describe_cells(file: TableFile, options: RunOptions, zone: ZoneInfo | None) -> str:
    """Return how the dates, zones and numbers of a file are read."""
    dates = options.date_format or file.date_style
    clock = f"; instants are dated by the clock of {zone.key}" if zone is not None else ""
    return f"understood cells: dates {dates}{clock}; numbers {file.number_style}"


def first_rows(rows: PriceColumns, n_rows: int = N_ROWS) -> Iterator[str]:
    """Yield the first of some sound rows as they would be stored; a price that is not recorded is ``null``."""
    for at in range(min(n_rows, len(rows.row_numbers))):
        numbers = (f"{name} {_shown(float(values[at]))}" for name, values in rows.numbers.items())
        instrument = rows.instruments.values[rows.instruments.codes[at]]
        currency = rows.currencies.values[rows.currencies.codes[at]]
        yield f"to be stored: {instrument} {rows.trade_dates[at]} {' '.join(numbers)} {currency}"


def _shown(number: float) -> str:
    return "null" if np.isnan(number) else f"{number:.15g}"
