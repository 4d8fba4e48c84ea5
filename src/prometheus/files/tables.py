"""A file of rows as the rest of the package sees it, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from prometheus.arrays import Int64Vector
from prometheus.errors import FileAccessError
from prometheus.files.columns import ColumnMap
from prometheus.files.rejects import Reason

BATCH_ROWS = 65_536
MAX_RECORD_BYTES = 32 << 20
"""Longest row of a file of texts that is read at all; a text of a third of it is refused by name."""


@dataclass(frozen=True, slots=True)
class MalformedLine:
    """A line that is no row; `column` names the cell at fault where one can be told."""

    row: int
    reason: Reason
    text: str
    column: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class RawBatch:
    """Some rows of a file as they stand in it.

    `rows` has shape (n,): the line of each row in a CSV (the header is line 1) or in JSON lines, its number in a
    Parquet file (from 1). `columns` holds one Arrow array of n values per field that the file has.
    """

    rows: Int64Vector
    columns: Mapping[str, pa.Array]
    malformed: tuple[MalformedLine, ...] = ()

    @property
    def n_rows(self) -> int:
        """Rows and malformed lines together."""
        return len(self.rows) + len(self.malformed)


class TableFile(Protocol):
    """A file whose columns are known; every call of `batches` reads it from the start."""

    @property
    def path(self) -> Path:
        """As the user gave it."""

    @property
    def columns(self) -> ColumnMap:
        """Where the fields stand."""

    @property
    def row_word(self) -> str:
        """What a row number of this file counts: ``line`` or ``row``."""

    @property
    def n_rows(self) -> int | None:
        """How many rows the file says it has, None where it says nothing; not to be relied on."""

    def batches(self) -> Iterator[RawBatch]:
        """Yield the rows in order."""


def row_numbers(first: int, n_rows: int) -> Int64Vector:
    """Return consecutive row numbers, shape (n_rows,)."""
    return np.arange(first, first + n_rows, dtype=np.int64)


def access_error(path: Path, error: OSError | ValueError) -> FileAccessError:
    """Return the one-line form of what the operating system says about a file."""
    return FileAccessError(str(path), f"cannot be read ({getattr(error, 'strerror', None) or error})")
