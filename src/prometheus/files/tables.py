"""A file of rows as the rest of the package sees it, whatever its format, and the verdict on each row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prometheus.arrays import Int64Vector
from prometheus.errors import FileAccessError
from prometheus.files.columns import ColumnMap
from prometheus.market.frames import Field

BATCH_ROWS = 65_536
MAX_RECORD_BYTES = 32 << 20
"""Longest row of a file of texts that is read at all; a text of a third of it is refused by name."""


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
    REFUSED_HISTORY = 33
    NEGATIVE_SPLIT_RATIO = 34
    CUT_IN_ITS_LAST_LINE = 35
    DATE_BEFORE_ITS_START = 36

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
class Written:
    """What the user says of how a file is written.

    `encoding` is that of a text without a mark of its own. `header_line` is the line that holds the names of the
    columns, 0 where none does: they are called 1, 2, 3 then.
    """

    encoding: str | None = None
    header_line: int | None = None


AS_FOUND = Written()


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
    Parquet file (from 1). `columns` holds one Arrow array of n values per field that the file has, `remarks` what a
    user should hear of these rows.
    """

    rows: Int64Vector
    columns: Mapping[str, pa.Array]
    malformed: tuple[MalformedLine, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def n_rows(self) -> int:
        """Rows and malformed lines together."""
        return len(self.rows) + len(self.malformed)

    def keep(self, is_kept: NDArray[np.bool_]) -> RawBatch:
        """Return some of the rows, and all malformed lines."""
        if is_kept.all():
            return self
        columns = {name: column.filter(pa.array(is_kept)) for name, column in self.columns.items()}
        return replace(self, rows=self.rows[is_kept], columns=columns)


@dataclass(frozen=True, slots=True)
class TableFile(ABC):
    """A file whose columns are known.

    `row_word` is what its row numbers count, `n_rows` how many rows it says it has, which is not to be relied on;
    `remarks` is what a user should hear of how it was read.
    """

    row_word: ClassVar[str] = "line"

    path: Path
    columns: ColumnMap
    n_rows: int | None = field(default=None, kw_only=True)
    remarks: tuple[str, ...] = field(default=(), kw_only=True)

    def select(self, columns: ColumnMap, fields: Sequence[Field]) -> TableFile:
        """Return the same file with other columns as its fields; `DataCheckError` for types that cannot hold them."""
        del fields
        return replace(self, columns=columns)

    def first_lines(self, n_lines: int) -> list[str]:
        """Return the first lines of a file of text, none of any other."""
        del n_lines
        return []

    def settled(self) -> TableFile:
        """Return the same file without what was kept of its start to look at."""
        return self

    def row_of(self, number: int) -> int:
        """Return the row of the file that one of the numbers in `RawBatch.rows` means."""
        return number

    def type_of(self, field: str) -> pa.DataType:
        """Return the type of a field's column; text where the format of the file has no types."""
        del field
        return pa.string()

    @property
    def prefers_point(self) -> bool:
        """Whether 1.234 is a number with decimals where nothing else tells."""
        return True

    @property
    def date_style(self) -> str:
        """How dates are written."""
        return "as YYYY-MM-DD, YYYY/MM/DD or YYYYMMDD"

    @property
    def number_style(self) -> str:
        """How numbers are written."""
        return "decimal point"

    def sample(self) -> RawBatch | None:
        """Return rows from the start that show how cells are written, None of an empty file."""
        return next(iter(self.batches()), None)

    def head(self, n_rows: int) -> list[list[str | None]]:
        """Return the texts of the first rows, none where the format of the file has types."""
        names = self.columns.ignored
        whole = ColumnMap(
            {str(at): name for at, name in enumerate(names)}, {str(at): at for at in range(len(names))}, ()
        )
        first = next(iter(self.select(whole, ()).batches()), None)
        if first is None:
            return []
        rows = zip(*(first.columns[str(at)][:n_rows].to_pylist() for at in range(len(names))), strict=True)
        return [[None if cell is None else str(cell) for cell in row] for row in rows]

    @abstractmethod
    def batches(self) -> Iterator[RawBatch]:
        """Yield the rows in order; every call reads the file from the start."""


def row_numbers(first: int, n_rows: int) -> Int64Vector:
    """Return consecutive row numbers, shape (n_rows,)."""
    return np.arange(first, first + n_rows, dtype=np.int64)


def access_error(path: Path, error: OSError | ValueError) -> FileAccessError:
    """Return the one-line form of what the operating system says about a file."""
    return FileAccessError(str(path), f"cannot be read ({getattr(error, 'strerror', None) or error})")
