"""Rows that fail a check: why, how many, the first of them, and the file they are set aside in."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prometheus.arrays import Int64Vector
from prometheus.core.files import FileKind, OutputFile, require_writable
from prometheus.errors import DataCheckError, UsageError
from prometheus.files.columns import MAX_CELL_LENGTH, cells_as_text
from prometheus.files.tables import Faults, RawBatch, Reason, TableFile
from prometheus.files.written_times import formats_of
from prometheus.spelling import guarded

_OF_FORMATS = (Reason.NOT_A_DATE, Reason.AMBIGUOUS_DATE, Reason.DATE_IN_ANOTHER_FORMAT)
_FORMATS = ("%d/%m/%Y", "%m/%d/%Y")

MAX_SHARE_TO_SET_ASIDE = 0.1
"""Where more of the rows are at fault it is the reading of the file that is; of `FEW_ROWS` that cannot be told."""
FEW_ROWS = 5
OPTION = "--quarantine-path"
OWN_COLUMNS = ("file", "row", "column", "reason")
QUARANTINE = FileKind("a file of rows set aside", lambda content: content.startswith(",".join(OWN_COLUMNS).encode()))


@dataclass(frozen=True, slots=True)
class Rejection:
    """One refused row, and what its file wrote: a value for each field, or the whole `line` if it is no row."""

    file: str
    row: int
    column: str
    reason: Reason
    values: tuple[str, ...]
    line: str = ""

    def offending(self, fields: Sequence[str]) -> str:
        """Return the text to show for the row: the bad cell, or the line."""
        return self.line or (self.values[fields.index(self.column)] if self.column in fields else "")


def choose_quarantine_path(paths: Sequence[Path], chosen: Path | None) -> Path:
    """Return where refused rows go: by default the name of the first file + ``.rejected.csv``, here."""
    target = chosen or Path(f"{paths[0].name}.rejected.csv")
    if any(target.resolve() == path.resolve() for path in paths):
        raise UsageError(f"{target} is one of the files to read; choose another --quarantine-path")
    return target


class QuarantineFile(AbstractContextManager["QuarantineFile"]):
    """A CSV of refused rows that appears complete, by `publish`, or not at all.

    An ingest ignores the columns file, row, column and reason, so a corrected file can be loaded as it is, less the
    apostrophe before what a spreadsheet would compute. A file that
    is there is replaced if it is such a CSV; `FileAccessError` for any other.
    """

    def __init__(self, path: Path, fields: Sequence[str]) -> None:
        self.path, self._fields = path, tuple(fields)
        self._output: OutputFile | None = None
        self._text = io.StringIO(newline="")
        self._writer = csv.writer(self._text, lineterminator="\n")

    def __exit__(self, *exception: object) -> None:
        if self._output is not None:
            self._output.__exit__(*exception)

    def add(self, rejections: Iterable[Rejection]) -> None:
        """Append rows."""
        if self._output is None:
            require_writable(self.path, QUARANTINE, option=OPTION)
            self._output = OutputFile(self.path, OPTION)
            self._writer.writerow((*OWN_COLUMNS, *self._fields, "line"))
        self._writer.writerows(
            (
                guarded(item.file),
                item.row,
                item.column,
                item.reason.label,
                *map(guarded, item.values),
                guarded(item.line),
            )
            for item in rejections
        )
        self._output.write(self._text.getvalue().encode("utf-8"))
        self._text.seek(0)
        self._text.truncate()

    def publish(self) -> Path | None:
        """Move the finished file into place; return its path, or None where no row was added."""
        if self._output is None:
            return None
        self._output.publish()
        return self.path


class RejectLog:
    """The refused rows of one run: counted always, written out where they are set aside, else only the first kept."""

    def __init__(
        self, fields: Sequence[str], quarantine: QuarantineFile | None, max_cell_length: int | None = MAX_CELL_LENGTH
    ) -> None:
        self._fields, self._quarantine, self._max_cell_length = tuple(fields), quarantine, max_cell_length
        self._by_reason: Counter[Reason] = Counter()
        self._files: set[str] = set()
        self._first: Rejection | None = None
        self._first_row_word = "row"

    @property
    def n_rejected(self) -> int:
        """How many rows were refused."""
        return self._by_reason.total()

    @property
    def stops_the_run(self) -> bool:
        """Whether there are refused rows and nowhere to put them."""
        return self._quarantine is None and self.n_rejected > 0

    def counts(self) -> tuple[tuple[str, int], ...]:
        """Return (reason, number of rows), most frequent first, then by name."""
        named = ((reason.label, count) for reason, count in self._by_reason.items() if count)
        return tuple(sorted(named, key=lambda item: (-item[1], item[0])))

    def refusal(self, n_rows: int) -> DataCheckError:
        """Return the error that ends a run of `n_rows` rows: how many are bad, why, the first, and the way out."""
        first = self._first
        if first is None:
            raise ValueError("no row was refused")
        where = first.file if len(self._files) == 1 else f"{first.file} and {len(self._files) - 1} more"
        reasons = ", ".join(f"{count} {label}" for label, count in self.counts())
        cell, shown = f", column {first.column}" if first.column else "", first.offending(self._fields)
        return DataCheckError(
            f"{where}: {self.n_rejected} of {n_rows} rows refused ({reasons}); first: {self._first_row_word} "
            f"{first.row}{cell}: {shorten(shown)} is refused as {first.reason.label}; nothing "
            f"was written; {_way_out(first, shown, self._by_reason, n_rows)}"
        )

    def take(self, file: TableFile, batch: RawBatch, faults: Faults) -> None:
        """Take the refused rows and malformed lines of a batch."""
        positions = faults.bad_positions
        if not len(positions) and not batch.malformed:
            return
        counts = faults.counts()
        counts.update(line.reason for line in batch.malformed)
        if self._quarantine is None:
            positions = positions[:1]
        rejections = self._malformed(file, batch) + self._faulty(file, batch, faults, positions)
        self._keep(file, sorted(rejections, key=lambda item: item.row), counts)

    def take_rows(
        self, file: TableFile, rows: Int64Vector, column: str, reason: Reason = Reason.CONFLICTING_DUPLICATE
    ) -> None:
        """Take rows found wrong beside others, by ascending number; the file is read again for what they said."""
        left = Counter({reason: len(rows)})
        wanted = rows if self._quarantine is not None else rows[:1]
        for batch in file.batches():
            is_wanted = np.isin(batch.rows, wanted)
            if is_wanted.any():
                faults = Faults.none_of(len(batch.rows), self._fields)
                faults.mark(is_wanted, column, reason)
                self._keep(file, self._faulty(file, batch, faults, np.flatnonzero(is_wanted)), left)
                left = Counter()
            if len(batch.rows) and batch.rows[-1] >= wanted[-1]:
                return

    def _keep(self, file: TableFile, rejections: Sequence[Rejection], counts: Counter[Reason]) -> None:
        if self._first is None:
            self._first, self._first_row_word = rejections[0], file.row_word
        self._files.add(rejections[0].file)
        self._by_reason.update(counts)
        if self._quarantine is not None:
            self._quarantine.add(rejections)

    def _malformed(self, file: TableFile, batch: RawBatch) -> list[Rejection]:
        blank = ("",) * len(self._fields)
        path = str(file.path)
        return [Rejection(path, line.row, line.column, line.reason, blank, line.text) for line in batch.malformed]

    def _faulty(self, file: TableFile, batch: RawBatch, faults: Faults, positions: Int64Vector) -> list[Rejection]:
        cells = cells_as_text(batch.columns, self._fields, positions, self._max_cell_length)
        columns = [faults.fields[index] for index in faults.columns[positions]]
        rows = map(file.row_of, batch.rows[positions].tolist())
        facts = zip(rows, columns, map(Reason, faults.reasons[positions]), cells, strict=True)
        return [Rejection(str(file.path), *fact) for fact in facts]


def _way_out(first: Rejection, shown: str, by_reason: Counter[Reason], n_rows: int) -> str:
    ways = ["set such rows aside with --on-error quarantine"] if _are_few(by_reason.total(), n_rows) else []
    if by_reason[Reason.ZERO_PRICE]:
        column = first.column if first.reason is Reason.ZERO_PRICE else "open"
        if column in {"open", "high", "low"}:
            ways.append(f"read zeros as missing with --zero-as-missing {column}")
    if any(by_reason[reason] for reason in _OF_FORMATS):
        found = formats_of(shown) if first.reason in _OF_FORMATS else []
        ways.append(f"name the format with --date-format, such as {' or '.join(map(_quote, found or _FORMATS))}")
    if by_reason[Reason.TIMESTAMP_WITHOUT_ZONE]:
        ways.append("name their zone with --assume-timezone, such as UTC or America/New_York")
    if by_reason[Reason.AMBIGUOUS_TIME]:
        ways.append("write the offset behind a time that the clock shows twice, as in 2024-11-03 01:30-04:00")
    if by_reason[Reason.TIME_THAT_DOES_NOT_EXIST]:
        ways.append("name the zone whose clock shows such a time with --assume-timezone")
    if not ways:
        ways.append(f"correct {first.column or 'these rows'}, or name another column with --column FIELD=NAME")
    return ", or ".join(ways)


def _quote(date_format: str) -> str:
    return f"'{date_format}'" if " " in date_format else date_format


def _are_few(n_rejected: int, n_rows: int) -> bool:
    return n_rejected <= MAX_SHARE_TO_SET_ASIDE * n_rows or n_rejected <= min(FEW_ROWS, n_rows - 1)


def shorten(text: str, limit: int = 60) -> str:
    r"""Return a cell fit for one line of a message: quoted, escaped, cut.

    Examples
    --------
    >>> shorten("a\nb")
    "'a\\nb'"
    """
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")
