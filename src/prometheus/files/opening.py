"""Opens a file of rows; its first bytes say what it is.

Nothing allocates by what a file claims about itself: it is read in blocks of fixed size or batches of fixed length.
"""

from __future__ import annotations

import stat
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

from prometheus.errors import FileAccessError
from prometheus.files.tables import TableFile, access_error
from prometheus.files.text_lines import GZIP_MAGIC
from prometheus.market.frames import Field

_SNIFF_BYTES = 256
_PARQUET_MAGIC, _ZIP_MAGIC = b"PAR1", b"PK\x03\x04"
_JSON_SUFFIXES = {".jsonl", ".ndjson", ".json"}
_LEADING = b"\xef\xbb\xbf \t\r\n"

FileKind = Literal["csv", "csv.gz", "jsonl", "jsonl.gz", "parquet"]


def open_table(path: Path, fields: Sequence[Field], required: Collection[str]) -> TableFile:
    """Return a file of prices or instruments, CSV or Parquet, ready to be read, its header matched to the fields."""
    kind = detect_kind(path)
    if kind in {"jsonl", "jsonl.gz"}:
        raise FileAccessError(str(path), "is a file of JSON lines; only macro events and news are read from one")
    return _open(path, kind, fields, required, None)


def open_text_table(
    path: Path, fields: Sequence[Field], required: Collection[str], by_hand: Mapping[str, str]
) -> TableFile:
    """Return a file of texts ready to be read: CSV whose quoted cells may hold line breaks, JSON lines or Parquet.

    `by_hand` says the column of some fields, named by the user.
    """
    return _open(path, detect_kind(path), fields, required, by_hand)


def _open(
    path: Path, kind: FileKind, fields: Sequence[Field], required: Collection[str], by_hand: Mapping[str, str] | None
) -> TableFile:
    if kind == "parquet":
        from prometheus.files.parquet import open_parquet  # noqa: PLC0415 -- each reader is slow to import

        return open_parquet(path, fields, required, by_hand)
    if kind in {"jsonl", "jsonl.gz"}:
        from prometheus.files.json_lines import open_json_lines  # noqa: PLC0415 -- each reader is slow to import

        return open_json_lines(path, fields, required, by_hand or {})
    from prometheus.files.csv_lines import open_csv  # noqa: PLC0415 -- each reader is slow to import

    return open_csv(path, fields, required, by_hand)


def detect_kind(path: Path) -> FileKind:
    """Return what a file is by its first bytes, and where they leave it open, by its name."""
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
    if start.startswith(_PARQUET_MAGIC):
        return "parquet"
    if start.startswith(GZIP_MAGIC):
        return "jsonl.gz" if _is_json(path, Path(path.stem).suffix, _unpack(start)) else "csv.gz"
    if start.startswith(_ZIP_MAGIC):
        raise FileAccessError(str(path), "is a zip or Excel file; unpack it or save it as CSV")
    if path.suffix.lower() in {".parquet", ".pq"}:
        raise FileAccessError(str(path), "is not a Parquet file, though its name says so")
    return "jsonl" if _is_json(path, path.suffix, start) else "csv"


def _is_json(path: Path, suffix: str, start: bytes) -> bool:
    first = start.lstrip(_LEADING)[:1]
    is_named_so = suffix.lower() in _JSON_SUFFIXES
    if is_named_so and first == b"[":
        raise FileAccessError(str(path), "is one JSON array; write one object per line instead")
    return is_named_so or first == b"{"


def _unpack(start: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(start, _SNIFF_BYTES)
    except zlib.error:  # its reader will refuse it
        return b""
