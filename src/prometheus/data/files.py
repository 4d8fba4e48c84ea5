"""CSV and Parquet files as a stream of bounded batches; what a file is, its first bytes say.

Nothing here allocates by what a file claims about itself: CSV is read in blocks of fixed size, Parquet through a small
buffer and in batches of fixed length.
"""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa

from prometheus.arrays import Int64Vector
from prometheus.data.columns import ColumnMap, Field
from prometheus.data.rejects import Reason
from prometheus.errors import DataCheckError, FileAccessError

BATCH_ROWS = 65_536
_SNIFF_BYTES = 4
_PARQUET_MAGIC, _GZIP_MAGIC, _ZIP_MAGIC = b"PAR1", b"\x1f\x8b", b"PK\x03\x04"

FileKind = Literal["csv", "csv.gz", "parquet"]


@dataclass(frozen=True, slots=True)
class MalformedLine:
    """A line of a CSV that is no row."""

    row: int
    reason: Reason
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class RawBatch:
    """Some rows of a file as they stand in it.

    `rows` has shape (n,): the line of each row in a CSV (the header is line 1), its number in a Parquet file (from 1).
    `columns` holds one Arrow array of n values per field that the file has.
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


def open_table(path: Path, fields: Sequence[Field], required: Collection[str]) -> TableFile:
    """Return a file ready to be read, its header matched to the fields.

    Raises
    ------
    FileAccessError
        Missing, not a regular file, not readable, empty, or of another kind than CSV and Parquet.
    DataCheckError
        The columns are not the ones needed.
    """
    kind = detect_kind(path)
    if kind == "parquet":
        from prometheus.data.parquet import open_parquet  # noqa: PLC0415 -- each reader is slow to import

        return open_parquet(path, fields, required)
    from prometheus.data.csv_lines import open_csv  # noqa: PLC0415 -- each reader is slow to import

    return open_csv(path, fields, required, is_compressed=kind == "csv.gz")


def detect_kind(path: Path) -> FileKind:
    """Return what a file is by its first bytes."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            with path.open("rb") as file:
                return _kind_of(path, file.read(_SNIFF_BYTES))
    except FileAccessError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise access_error(path, error) from error
    what = "a directory; name the files in it" if stat.S_ISDIR(mode) else "not a regular file"
    raise FileAccessError(str(path), f"is {what}")


def access_error(path: Path, error: OSError | ValueError) -> FileAccessError:
    """Return the one-line form of what the operating system says about a file."""
    return FileAccessError(str(path), f"cannot be read ({getattr(error, 'strerror', None) or error})")


def _kind_of(path: Path, start: bytes) -> FileKind:
    if not start:
        raise FileAccessError(str(path), "is empty")
    if start == _PARQUET_MAGIC:
        return "parquet"
    if start.startswith(_GZIP_MAGIC):
        return "csv.gz"
    if start == _ZIP_MAGIC:
        raise FileAccessError(str(path), "is a zip or Excel file; unpack it or save it as CSV")
    if path.suffix.lower() in {".parquet", ".pq"}:
        raise FileAccessError(str(path), "is not a Parquet file, though its name says so")
    return "csv"


def require_kinds(path: Path, fields: Sequence[Field], types: Mapping[str, pa.DataType]) -> None:
    """Raise `DataCheckError` for a column whose type cannot hold its field."""
    accepts: dict[str, tuple[str, Any]] = {
        "text": ("text", is_text),
        "number": ("numbers", lambda kind: is_text(kind) or is_number(kind)),
        "date": ("dates", lambda kind: is_text(kind) or is_date(kind)),
    }
    for field in fields:
        if field.name not in types:
            continue
        wanted, accept = accepts[field.kind]
        found = types[field.name]
        if not pa.types.is_null(found) and not accept(plain_type(found)):
            raise DataCheckError(f"{path}: column {field.name} has type {shorten_type(found)}, expected {wanted}")


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the value type of a dictionary type, any other type as it is."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def shorten_type(kind: pa.DataType) -> str:
    """Return the name of a type, cut where it is nested deeply."""
    name = str(kind)
    return name if len(name) <= 60 else f"{name[:59]}…"


def is_text(kind: pa.DataType) -> bool:
    """Return whether a type holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_number(kind: pa.DataType) -> bool:
    """Return whether a type holds numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_date(kind: pa.DataType) -> bool:
    """Return whether a type holds dates, or integers that may be dates such as 20240131."""
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_integer(kind))


def row_numbers(first: int, n_rows: int) -> Int64Vector:
    """Return consecutive row numbers, shape (n_rows,)."""
    return np.arange(first, first + n_rows, dtype=np.int64)
