"""A file of rows, whatever its format: how it is opened, which its first bytes say, its rows, and the verdict on each.

Nothing allocates by what a file claims about itself: it is read in blocks of fixed size or batches of fixed length.
"""

from __future__ import annotations

import stat
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prometheus.arrays import Int64Vector
from prometheus.errors import FileAccessError
from prometheus.files.columns import ColumnMap
from prometheus.market.columns import Field

BATCH_ROWS = 65_536
MAX_RECORD_BYTES = 32 << 20
"""Longest row of a file of texts that is read at all; a text of a third of it is refused by name."""
_SNIFF_BYTES = 256
_PARQUET_MAGIC, GZIP_MAGIC, _ZIP_MAGIC = b"PAR1", b"\x1f\x8b", b"PK\x03\x04"
_JSON_SUFFIXES = {".jsonl", ".ndjson", ".json"}
_LEADING = b"\xef\xbb\xbf \t\r\n"
FileKind = Literal["csv", "csv.gz", "jsonl", "jsonl.gz", "parquet"]


class Reason(IntEnum):
    """Why a row is refused; of several reasons the first found counts."""

    NONE = 0
    WRONG_NUMBER_OF_CELLS = 1
    BROKEN_QUOTES = 2
    STRAY_CARRIAGE_RETURN = 3
    MISSING_VALUE = 4
    EMPTY_TEXT = 5
    TEXT_WITH_OUTER_SPACES = 6
    TEXT_WITH_CONTROL_CHARACTERS = 7
    TEXT_TOO_LONG = 8
    NOT_A_DATE = 9
    AMBIGUOUS_DATE = 10
    DATE_IN_ANOTHER_FORMAT = 11
    DATE_BEFORE_1800 = 12
    FUTURE_DATE = 13
    NOT_A_NUMBER = 14
    INFINITE_VALUE = 15
    ZERO_PRICE = 16
    NEGATIVE_PRICE = 17
    NEGATIVE_VOLUME = 18
    HIGH_BELOW_LOW = 19
    CURRENCY_NOT_THREE_LETTERS = 20
    UNKNOWN_MARKET = 21
    CONFLICTING_DUPLICATE = 22
    TEXT_WITH_NUL = 23
    LONE_SURROGATE = 24
    TIMESTAMP_WITHOUT_ZONE = 25
    TIME_THAT_DOES_NOT_EXIST = 26
    AMBIGUOUS_TIME = 27
    NOT_A_TEXT = 28
    NOT_A_JSON_OBJECT = 29
    BROKEN_JSON = 30
    REPEATED_KEY = 31
    JSON_NESTED_TOO_DEEPLY = 32

    @property
    def label(self) -> str:
        """The reason in words."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True, eq=False)
class Faults:
    """The verdict on each row of a batch: `Reason` values and indices into `fields`, shape (n,) each."""

    reasons: NDArray[np.int8]
    columns: NDArray[np.int8]
    fields: tuple[str, ...]

    @property
    def is_good(self) -> NDArray[np.bool_]:
        """Shape (n,)."""
        return np.equal(self.reasons, Reason.NONE)

    @property
    def bad_positions(self) -> Int64Vector:
        """Positions of the refused rows, ascending."""
        return np.flatnonzero(self.reasons).astype(np.int64)

    def mark(self, is_bad: NDArray[np.bool_], field: str, reason: Reason) -> None:
        """Record a reason for the rows that have none yet."""
        if is_bad.any():
            new = is_bad & self.is_good
            self.reasons[new] = reason
            self.columns[new] = self.fields.index(field)

    def counts(self) -> Counter[Reason]:
        """Return how many rows were refused for each reason."""
        found, counts = np.unique(self.reasons[self.bad_positions], return_counts=True)
        return Counter({Reason(reason): int(count) for reason, count in zip(found, counts, strict=True)})

    @classmethod
    def none_of(cls, n_rows: int, fields: tuple[str, ...]) -> Faults:
        """Return a verdict that finds nothing wrong with `n_rows` rows."""
        return cls(np.zeros(n_rows, np.int8), np.zeros(n_rows, np.int8), fields)


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


@dataclass(frozen=True, slots=True)
class TableFile(ABC):
    """A file whose columns are known.

    `row_word` is what its row numbers count, `n_rows` how many rows it says it has, which is not to be relied on.
    """

    row_word: ClassVar[str] = "line"

    path: Path
    columns: ColumnMap
    n_rows: int | None = field(default=None, kw_only=True)

    @abstractmethod
    def batches(self) -> Iterator[RawBatch]:
        """Yield the rows in order; every call reads the file from the start."""


def row_numbers(first: int, n_rows: int) -> Int64Vector:
    """Return consecutive row numbers, shape (n_rows,)."""
    return np.arange(first, first + n_rows, dtype=np.int64)


def access_error(path: Path, error: OSError | ValueError) -> FileAccessError:
    """Return the one-line form of what the operating system says about a file."""
    return FileAccessError(str(path), f"cannot be read ({getattr(error, 'strerror', None) or error})")


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
