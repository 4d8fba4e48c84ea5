"""Files of prices as bars in memory: what a command can judge without a database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from prometheus.errors import DataCheckError
from prometheus.files.price_tables import PriceQuestion, open_prices
from prometheus.files.tables import TableFile
from prometheus.market.bars import PriceBars

_MAY_BE_UNKNOWN = ("open", "high", "low")


def read_price_bars(path: Path) -> Iterator[PriceBars]:
    """Yield the bars of each instrument of a file in any form that ``ingest prices`` reads.

    One that a file names nowhere is called as the file is; an open, high or low of 0 counts as not known.
    `FileAccessError`, `DataCheckError` or `InputRefusedError` for a file that cannot be read, a line that is no row, or
    a close that is missing or not positive.
    """
    batches = []
    for batch in _open(path).batches():
        if batch.malformed:
            first = batch.malformed[0]
            raise DataCheckError(f"{path}, line {first.row}: {first.reason.label}; correct it or leave the line out")
        batches.append(pa.table({name: _without_zeros(name, column) for name, column in batch.columns.items()}))
    if batches:
        yield from PriceBars.from_frame(pa.concat_tables(batches, promote_options="permissive"), path.stem).each()


def _open(path: Path) -> TableFile:
    try:
        return open_prices(path, PriceQuestion())
    except DataCheckError as error:  # it may only lack a name
        try:
            return open_prices(path, PriceQuestion(instrument_id=path.stem))
        except DataCheckError:
            raise error from None


def _without_zeros(name: str, column: pa.Array) -> pa.Array:
    if name not in _MAY_BE_UNKNOWN or not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        return column
    return pc.if_else(pc.equal(column, 0), None, column)
