"""Opens a file of rows; what it is, its first bytes say.

Nothing allocates by what a file claims about itself: CSV is read in blocks of fixed size, Parquet through a small
buffer and in batches of fixed length.
"""

from __future__ import annotations

import stat
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from prometheus.data.columns import Field
from prometheus.data.tables import TableFile, access_error
from prometheus.errors import FileAccessError

_SNIFF_BYTES = 4
_PARQUET_MAGIC, _GZIP_MAGIC, _ZIP_MAGIC = b"PAR1", b"\x1f\x8b", b"PK\x03\x04"

FileKind = Literal["csv", "csv.gz", "parquet"]


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
