"""CSV files, read in blocks of whole lines so that every row keeps its line number.

One line is one row: a line break inside quotes is refused, and with it a stray quote can never swallow the lines that
follow it.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from prometheus.arrays import Int64Vector
from prometheus.data.columns import ColumnMap, Field, match_columns
from prometheus.data.rejects import Reason
from prometheus.data.tables import MalformedLine, RawBatch, access_error
from prometheus.errors import DataCheckError, FileAccessError

BLOCK_BYTES = 4 << 20
MAX_LINE_BYTES = 1 << 20
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_CELL = rb'(?:"(?:[^"]|"")*"|[^",]*)'
_WELL_QUOTED = re.compile(_CELL + rb"(?:," + _CELL + rb")*")


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A CSV file whose columns are known."""

    row_word: ClassVar[str] = "line"

    path: Path
    columns: ColumnMap
    n_columns: int
    is_compressed: bool
    n_rows: None = None

    def batches(self) -> Iterator[RawBatch]:
        """Yield the rows in order, about `BLOCK_BYTES` of text at a time; every cell is text, an empty one null.

        Raises
        ------
        FileAccessError
            A line is no UTF-8 or longer than `MAX_LINE_BYTES`, or the compressed file is damaged.
        """
        next_line = 1
        with _refuse_damage(self.path), _open(self.path, is_compressed=self.is_compressed) as file:
            for block in _line_blocks(self.path, file):
                lines = _split(self.path, block, next_line)
                next_line += len(lines.numbers)
                data = lines.without_first() if lines.numbers[0] == 1 else lines
                if len(data.numbers):
                    yield self._parse(data)

    def _parse(self, lines: _Lines) -> RawBatch:
        good, malformed = _screen(lines)
        columns, ragged = self._read(good)
        if len(columns[0]) + len(ragged) != len(good.numbers):
            good, badly_quoted = _take_out(good, _badly_quoted(good), Reason.BROKEN_QUOTES)
            malformed += badly_quoted
            columns, ragged = self._read(good)
            if len(columns[0]) + len(ragged) != len(good.numbers):
                raise FileAccessError(str(self.path), f"cannot be split into rows near line {lines.numbers[0]}")
        rows = np.delete(good.numbers, [position for position, _ in ragged])
        malformed += tuple(
            MalformedLine(int(good.numbers[position]), Reason.WRONG_NUMBER_OF_CELLS, text) for position, text in ragged
        )
        arrays = dict(zip(self.columns.position, columns, strict=True))
        return RawBatch(rows, arrays, tuple(sorted(malformed, key=lambda line: line.row)))

    def _read(self, lines: _Lines) -> tuple[list[pa.Array], list[tuple[int, str]]]:
        """Return the columns of the fields, and the position and text of each line with too many or too few cells."""
        ragged: list[tuple[int, str]] = []

        def skip(row: Any) -> str:
            ragged.append((row.number - 1, row.text))
            return "skip"

        names = [str(index) for index in range(self.n_columns)]
        wanted = [names[index] for index in self.columns.position.values()]
        if not len(lines.numbers):
            return [pa.array([], pa.string()) for _ in wanted], ragged
        try:
            table = pyarrow.csv.read_csv(
                pa.BufferReader(lines.text),
                _read_options(names, len(lines.text)),
                pyarrow.csv.ParseOptions(invalid_row_handler=skip, ignore_empty_lines=False),
                _convert_options(wanted),
            )
        except pa.ArrowInvalid:  # an unclosed quote; the caller looks for it
            return [pa.array([], pa.string()) for _ in wanted], []
        return [table.column(name).combine_chunks() for name in wanted], ragged


@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """Whole lines of a file: their bytes, their numbers, and where each ends (after its line feed)."""

    text: bytes
    numbers: Int64Vector
    ends: Int64Vector

    @property
    def starts(self) -> Int64Vector:
        return np.concatenate([np.zeros(1, np.int64), self.ends[:-1]])

    def line(self, position: int) -> bytes:
        start = self.ends[position - 1] if position else 0
        return self.text[start : self.ends[position]].rstrip(b"\r\n")

    def keep(self, is_kept: NDArray[np.bool_]) -> _Lines:
        lengths = np.diff(self.ends, prepend=0)
        text = np.frombuffer(self.text, np.uint8)[np.repeat(is_kept, lengths)].tobytes()
        return _Lines(text, self.numbers[is_kept], np.cumsum(lengths[is_kept]))

    def without_first(self) -> _Lines:
        return _Lines(self.text[self.ends[0] :], self.numbers[1:], self.ends[1:] - self.ends[0])


def open_csv(path: Path, fields: Sequence[Field], required: Collection[str], *, is_compressed: bool) -> CsvTable:
    """Return a CSV file ready to be read; see `prometheus.data.files.open_table`."""
    with _refuse_damage(path), _open(path, is_compressed=is_compressed) as file:
        block = next(_line_blocks(path, file), b"")
    if not block:
        raise FileAccessError(str(path), "is empty")
    header = _split(path, block, 1).line(0)
    if b"\r" in header:
        raise FileAccessError(str(path), "has line ends of carriage return alone; save it with LF or CRLF line ends")
    try:
        found = next(csv.reader([header.decode()], strict=True), [])
    except csv.Error as error:
        raise DataCheckError(f"{path}: line 1, the header, cannot be split into columns ({error})") from error
    return CsvTable(path, match_columns(str(path), found, fields, required), len(found), is_compressed)


def _read_options(names: Sequence[str], n_bytes: int) -> Any:
    return pyarrow.csv.ReadOptions(use_threads=False, block_size=n_bytes + 1, column_names=list(names))


def _convert_options(wanted: Sequence[str]) -> Any:
    return pyarrow.csv.ConvertOptions(
        check_utf8=False,
        column_types=dict.fromkeys(wanted, pa.string()),
        include_columns=list(wanted),
        null_values=[""],
        strings_can_be_null=True,
    )


def _open(path: Path, *, is_compressed: bool) -> IO[bytes]:
    return gzip.open(path, "rb") if is_compressed else path.open("rb")  # type: ignore[return-value]


def _line_blocks(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a file in blocks that end with a line feed, the mark of UTF-8 left out."""
    rest = file.read(len(_UTF8_MARK)).removeprefix(_UTF8_MARK)
    if rest.startswith(_UTF16_MARKS):
        raise FileAccessError(str(path), "is UTF-16 text; save it as UTF-8")
    while chunk := file.read(BLOCK_BYTES):
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            rest += chunk
            if len(rest) > MAX_LINE_BYTES:
                raise FileAccessError(str(path), f"has a line of more than {MAX_LINE_BYTES} bytes, or is no text file")
            continue
        block, rest = rest + chunk[:cut], chunk[cut:]
        yield block
    if rest:
        yield rest + b"\n"


def _split(path: Path, block: bytes, first_line: int) -> _Lines:
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")).astype(np.int64) + 1
    numbers = first_line + np.arange(len(ends), dtype=np.int64)
    too_long = np.flatnonzero(np.diff(ends, prepend=0) > MAX_LINE_BYTES)
    if len(too_long):
        raise FileAccessError(str(path), f"line {numbers[too_long[0]]} is longer than {MAX_LINE_BYTES} bytes")
    try:
        block.decode()
    except UnicodeDecodeError as error:
        line = first_line + block.count(b"\n", 0, error.start)
        reason = f"line {line} is not UTF-8 text (byte 0x{block[error.start]:02x}); save the file as UTF-8"
        raise FileAccessError(str(path), reason) from error
    if first_line == 1 and b"\0" in block[: ends[0]]:
        raise FileAccessError(str(path), "holds NUL bytes in its first line; it is UTF-16 or no text file")
    return _Lines(block, numbers, ends)


def _screen(lines: _Lines) -> tuple[_Lines, tuple[MalformedLine, ...]]:
    """Leave out empty lines, and take out those that a lone carriage return would split in two."""
    text = np.frombuffer(lines.text, np.uint8)
    is_empty = np.diff(lines.ends, prepend=0) == 1
    if lines.text.find(b"\r") < 0:
        return (lines.keep(~is_empty) if is_empty.any() else lines), ()
    returns = np.flatnonzero(text == ord("\r"))
    is_stray = np.zeros(len(lines.ends), dtype=bool)
    strays = returns[text[returns + 1] != ord("\n")]
    is_stray[np.searchsorted(lines.ends, strays, side="right")] = True
    is_empty |= (np.diff(lines.ends, prepend=0) == 2) & (text[lines.starts] == ord("\r"))
    if is_empty.any():
        lines, is_stray = lines.keep(~is_empty), is_stray[~is_empty]
    return _take_out(lines, is_stray, Reason.STRAY_CARRIAGE_RETURN)


def _take_out(lines: _Lines, is_bad: NDArray[np.bool_], reason: Reason) -> tuple[_Lines, tuple[MalformedLine, ...]]:
    if not is_bad.any():
        return lines, ()
    bad = tuple(
        MalformedLine(int(lines.numbers[position]), reason, lines.line(position).decode())
        for position in np.flatnonzero(is_bad).tolist()
    )
    return lines.keep(~is_bad), bad


def _badly_quoted(lines: _Lines) -> NDArray[np.bool_]:
    """Return which lines are not cells by RFC 4180: shape (n,)."""
    return np.array(
        [b'"' in line and not _WELL_QUOTED.fullmatch(line) for line in map(lines.line, range(len(lines.ends)))]
    )


@contextmanager
def _refuse_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FileAccessError(str(path), f"is a damaged gzip file ({error})") from error
    except FileAccessError:
        raise
    except OSError as error:
        raise access_error(path, error) from error
