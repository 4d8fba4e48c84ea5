"""Rows that fail a check: why, how many, the first of them, and the file they are set aside in."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Int64Vector
from prometheus.errors import DataCheckError, FileAccessError, UsageError


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
    """The verdict on each row of a batch.

    `reasons` has shape (n,), int8, `Reason` values; `columns` has shape (n,), int8, indices into `fields`.
    """

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

    @classmethod
    def none_of(cls, n_rows: int, fields: tuple[str, ...]) -> Faults:
        """Return a verdict that finds nothing wrong with `n_rows` rows."""
        return cls(np.zeros(n_rows, np.int8), np.zeros(n_rows, np.int8), fields)


@dataclass(frozen=True, slots=True)
class Rejection:
    """One refused row: where it stands, why, and its values as the file wrote them.

    `values` follow the fields of the table; `line` holds the whole line where it could not be split into cells, or
    where one of them is none that a table can hold.
    """

    file: str
    row: int
    column: str
    reason: Reason
    values: tuple[str, ...]
    line: str = ""

    def offending(self, fields: Sequence[str]) -> str:
        """Return the text to show for the row: the bad cell, or the line."""
        return self.line or (self.values[fields.index(self.column)] if self.column in fields else "")


class RejectTally:
    """Counts refused rows by reason and remembers the first."""

    def __init__(self) -> None:
        self.by_reason: Counter[Reason] = Counter()
        self.files: set[str] = set()
        self.first: Rejection | None = None

    @property
    def n_rejected(self) -> int:
        """How many rows were refused."""
        return self.by_reason.total()

    def add(self, rejection: Rejection, n_by_reason: Counter[Reason]) -> None:
        """Count refused rows of one file; `rejection` is the first of them."""
        self.first = self.first or rejection
        self.files.add(rejection.file)
        self.by_reason.update(n_by_reason)

    def counts(self) -> tuple[tuple[str, int], ...]:
        """Return (reason, number of rows), most frequent first, then by name."""
        named = ((reason.label, count) for reason, count in self.by_reason.items() if count)
        return tuple(sorted(named, key=lambda item: (-item[1], item[0])))


def describe_refusal(tally: RejectTally, n_rows: int, row_word: str, fields: Sequence[str]) -> DataCheckError:
    """Return the error for a run that stops at bad rows: how many, why, the first, and the way out."""
    first = tally.first
    if first is None:
        raise ValueError("no row was refused")
    where = first.file if len(tally.files) == 1 else f"{first.file} and {len(tally.files) - 1} more"
    reasons = ", ".join(f"{count} {label}" for label, count in tally.counts())
    cell = f", column {first.column}" if first.column else ""
    return DataCheckError(
        f"{where}: {tally.n_rejected} of {n_rows} rows refused ({reasons}); first: {row_word} {first.row}{cell}: "
        f"{shorten(first.offending(fields))} is refused as {first.reason.label}; nothing was written; {_way_out(tally)}"
    )


def shorten(text: str, limit: int = 60) -> str:
    r"""Return a cell fit for one line of a message: quoted, escaped, cut.

    Examples
    --------
    >>> shorten("a\nb")
    "'a\\nb'"
    """
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


def _way_out(tally: RejectTally) -> str:
    ways = ["set such rows aside with --on-error quarantine"]
    if tally.by_reason[Reason.ZERO_PRICE]:
        column = tally.first.column if tally.first and tally.first.reason is Reason.ZERO_PRICE else "open"
        if column in {"open", "high", "low"}:
            ways.append(f"read zeros as missing with --zero-as-missing {column}")
    if tally.by_reason[Reason.AMBIGUOUS_DATE] or tally.by_reason[Reason.DATE_IN_ANOTHER_FORMAT]:
        ways.append("name the format with --date-format, such as %d/%m/%Y or %m/%d/%Y")
    if tally.by_reason[Reason.TIMESTAMP_WITHOUT_ZONE]:
        ways.append("name their zone with --assume-timezone, such as UTC or America/New_York")
    return ", or ".join(ways)


def choose_quarantine_path(paths: Sequence[Path], chosen: Path | None) -> Path:
    """Return where refused rows go: by default the name of the first file + ``.rejected.csv``, here.

    Raises
    ------
    UsageError
        It is one of the files to read.
    """
    target = chosen or Path(f"{paths[0].name}.rejected.csv")
    if any(target.resolve() == path.resolve() for path in paths):
        raise UsageError(f"{target} is one of the files to read; choose another --quarantine-path")
    return target


class QuarantineFile:
    """A CSV of refused rows that appears complete or not at all.

    Rows go to a temporary sibling; `publish` moves it into place, leaving the block without it removes it. The columns
    file, row, column and reason are ignored by an ingest, so a corrected file can be loaded as it is.
    """

    def __init__(self, path: Path, fields: Sequence[str]) -> None:
        self.path, self._fields = path, tuple(fields)
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._file: IO[str] | None = None
        self._writer: Any = None

    def __enter__(self) -> QuarantineFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            with suppress(OSError):
                self._temporary.unlink(missing_ok=True)

    def add(self, rejections: Iterable[Rejection]) -> None:
        """Append rows.

        Raises
        ------
        FileAccessError
            The file cannot be written.
        """
        try:
            if self._file is None:
                self._file = self._temporary.open("w", encoding="utf-8", newline="")
                self._writer = csv.writer(self._file, lineterminator="\n")
                self._writer.writerow(("file", "row", "column", "reason", *self._fields, "line"))
            self._writer.writerows(
                (item.file, item.row, item.column, item.reason.label, *item.values, item.line) for item in rejections
            )
        except OSError as error:
            raise FileAccessError(str(self.path), f"cannot be written ({error.strerror or error})") from error

    def publish(self) -> Path | None:
        """Move the finished file into place; return its path, or None where no row was added."""
        if self._file is None:
            return None
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.replace(self.path)
        except OSError as error:
            raise FileAccessError(str(self.path), f"cannot be written ({error.strerror or error})") from error
        return self.path
