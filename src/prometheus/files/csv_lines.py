"""CSV files, read in blocks of whole lines so that every row keeps its line number.

In a file of prices a line break inside quotes is refused, so that a stray quote never swallows the lines that follow.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from prometheus.errors import DataCheckError, FileAccessError
from prometheus.files import text_lines
from prometheus.files.columns import match_columns
from prometheus.files.encodings import open_bytes
from prometheus.files.tables import AS_FOUND, MAX_RECORD_BYTES, MalformedLine, RawBatch, Reason, TableFile, Written
from prometheus.files.text_lines import SEPARATORS, Lines, find_separator
from prometheus.market.frames import Field

BLOCK_BYTES = 4 << 20
MAX_LINE_BYTES = 1 << 20
_HEAD_BYTES = 1 << 18
_QUOTED_COMMA = re.compile(rb'"[^",\n]*[0-9],[0-9]')


def _well_quoted(separator: str) -> re.Pattern[bytes]:
    mark = re.escape(separator.encode())
    cell = rb'(?:"(?:[^"]|"")*"|[^"%b]*)' % mark
    return re.compile(rb"%b(?:%b%b)*" % (cell, mark, cell))


def _unclosed(separator: str) -> re.Pattern[bytes]:
    mark = re.escape(separator.encode())
    return re.compile(rb'(?:(?:"(?:[^"]|"")*"|(?!")[^%b]*)%b)*"(?:[^"]|"")*' % (mark, mark))


_WELL_QUOTED = {separator: _well_quoted(separator) for separator in SEPARATORS}
_UNCLOSED = {separator: _unclosed(separator) for separator in SEPARATORS}


@dataclass(frozen=True, slots=True)
class CsvTable(TableFile):
    """A CSV file whose columns are known; where it `holds_texts`, a row may span lines and is numbered by its first.

    Its rows begin with `first_line`. `start` is its first block of lines, kept while it is opened.
    """

    n_columns: int
    holds_texts: bool = False
    separator: str = ","
    written: Written = AS_FOUND
    start: bytes = b""

    @property
    def first_line(self) -> int:
        """The line below the header."""
        return 2 if self.written.header_line is None else self.written.header_line + 1

    @property
    def prefers_point(self) -> bool:
        """Whether 1.234 has decimals where nothing else tells: not beside semicolons, which spare a decimal comma."""
        return self.separator != ";"

    def sample(self) -> RawBatch | None:
        """Return rows from the start, few unless the first block has a quoted cell such as "1,234"."""
        block = self.start
        if self.separator == "," and _QUOTED_COMMA.search(block) is None:
            block = block[: block.rfind(b"\n", 0, _HEAD_BYTES) + 1] or block
        data = text_lines.split_lines(self.path, block, 1, MAX_LINE_BYTES).since(self.first_line)
        return self._parse(data, ()) if len(data.numbers) else None

    def head(self, n_rows: int) -> list[list[str | None]]:
        """Return the texts of the first rows, an empty cell as None, each as long as the header."""
        lines = self.first_lines(self.first_line - 1 + n_rows)[self.first_line - 1 :]
        try:
            rows = list(csv.reader(lines, delimiter=self.separator))
        except csv.Error:  # the lines are refused where they are read
            return []
        return [[cell or None for cell in row] for row in rows if len(row) == self.n_columns]

    def first_lines(self, n_lines: int) -> list[str]:
        """Return lines from the start of the file, whatever stands in them."""
        head = self.start[: self.start.rfind(b"\n", 0, _HEAD_BYTES)] if len(self.start) > _HEAD_BYTES else self.start
        return head.decode(errors="replace").split("\n")[:n_lines]

    def settled(self) -> CsvTable:
        """Return the same file without its first block."""
        return replace(self, start=b"")

    def batches(self) -> Iterator[RawBatch]:
        """Yield the rows in order, about `BLOCK_BYTES` of text at a time; every cell is text, an empty one null."""
        with text_lines.refuse_damage(self.path), open_bytes(self.path, self.written.encoding) as file:
            for lines, malformed in self._rows(file):
                data = lines.since(self.first_line)
                if len(data.numbers) or malformed:
                    batch = self._parse(data, malformed)
                    yield self._end(batch, data) if data.is_open else batch

    def _end(self, batch: RawBatch, lines: Lines) -> RawBatch:
        """Return the last rows of a file without a line end at its end, with what can be known of its last line."""
        last = max([*lines.numbers[-1:].tolist(), *(line.row for line in batch.malformed)])
        *before, line = batch.malformed or (None,)
        if line is None or line.row < last:
            cell = lines.line(len(lines.numbers) - 1).decode().rpartition(self.separator)[2]
            said = f"line {last}, the last, has no line end: if the file was cut there, {cell!r} may be cut, too"
            return replace(batch, remarks=(said,))
        is_short = line.reason is Reason.WRONG_NUMBER_OF_CELLS and line.text.count(self.separator) < self.n_columns
        if is_short or line.reason is Reason.BROKEN_QUOTES:
            line = replace(line, reason=Reason.CUT_IN_ITS_LAST_LINE)
        return replace(batch, malformed=(*before, line))

    def _rows(self, file: IO[bytes]) -> Iterator[tuple[Lines, tuple[MalformedLine, ...]]]:
        if self.holds_texts:
            blocks = text_lines.line_blocks(self.path, file, BLOCK_BYTES, MAX_RECORD_BYTES)
            yield from text_lines.join_records(self.path, blocks, MAX_RECORD_BYTES, self.separator)
            return
        next_line = 1
        for block in text_lines.line_blocks(self.path, file, BLOCK_BYTES, MAX_LINE_BYTES):
            yield text_lines.split_lines(self.path, block, next_line, MAX_LINE_BYTES), ()
            next_line += block.count(b"\n")

    def _parse(self, lines: Lines, malformed: tuple[MalformedLine, ...]) -> RawBatch:
        good, stray = _screen(lines, may_break=self.holds_texts)
        good, unclosed = good.take_out(_left_open(good, self.separator), Reason.BROKEN_QUOTES)
        malformed += stray + unclosed
        columns, ragged = self._read(good)
        if len(columns[0]) + len(ragged) != len(good.numbers):
            good, badly_quoted = good.take_out(_badly_quoted(good, self.separator), Reason.BROKEN_QUOTES)
            malformed += badly_quoted
            columns, ragged = self._read(good)
            if len(columns[0]) + len(ragged) != len(good.numbers):
                raise FileAccessError(str(self.path), f"cannot be split into rows near line {good.numbers[0]}")
        rows = np.delete(good.numbers, [position for position, _ in ragged])
        malformed += tuple(
            MalformedLine(int(good.numbers[position]), Reason.WRONG_NUMBER_OF_CELLS, text) for position, text in ragged
        )
        arrays = dict(zip(self.columns.position, columns, strict=True))
        return RawBatch(rows, arrays, tuple(sorted(malformed, key=lambda line: line.row)))

    def _read(self, lines: Lines) -> tuple[list[pa.Array], list[tuple[int, str]]]:
        """Return the columns, and the position and text of each line with too many or too few cells."""
        ragged: list[tuple[int, str]] = []

        def skip(row: Any) -> str:
            ragged.append((row.number - 1, row.text))
            return "skip"

        names = [str(index) for index in range(self.n_columns)]
        wanted = [names[index] for index in self.columns.position.values()]
        if not len(lines.numbers):
            return [pa.array([], pa.string()) for _ in wanted], ragged
        reading = pyarrow.csv.ReadOptions(use_threads=False, block_size=len(lines.text) + 1, column_names=names)
        parsing = pyarrow.csv.ParseOptions(
            delimiter=self.separator, invalid_row_handler=skip, ignore_empty_lines=False,
            newlines_in_values=self.holds_texts,
        )  # fmt: skip
        converting = pyarrow.csv.ConvertOptions(
            check_utf8=False, column_types=dict.fromkeys(wanted, pa.string()),
            include_columns=list(dict.fromkeys(wanted)), null_values=[""], strings_can_be_null=True,
        )  # fmt: skip
        try:
            table = pyarrow.csv.read_csv(pa.BufferReader(lines.text), reading, parsing, converting)
        except pa.ArrowInvalid:  # an unclosed quote; the caller looks for it
            return [pa.array([], pa.string()) for _ in wanted], []
        return [table.column(name).combine_chunks() for name in wanted], ragged


def open_csv(
    path: Path,
    file: IO[bytes],
    fields: Sequence[Field],
    required: Collection[str],
    by_hand: Mapping[str, str] | None,
    written: Written = AS_FOUND,
) -> CsvTable:
    """Return a CSV file ready to be read, one of texts where `by_hand` is given; see `prometheus.files.opening`."""
    longest = MAX_LINE_BYTES if by_hand is None else MAX_RECORD_BYTES
    with text_lines.refuse_damage(path):
        block = next(text_lines.line_blocks(path, file, BLOCK_BYTES, longest), b"")
    if not block:
        raise FileAccessError(str(path), "is empty")
    number = 1 if written.header_line is None else written.header_line
    lines = text_lines.split_lines(path, block, 1, longest)
    if number > len(lines.numbers):
        raise DataCheckError(f"{path}: has no line {number} near its start; choose another --header-line")
    header = lines.line(max(number - 1, 0))
    if b"\r" in header:
        raise FileAccessError(str(path), "has line ends of carriage return alone; save it with LF or CRLF line ends")
    separator = find_separator(header.decode())
    try:
        found = next(csv.reader([header.decode()], delimiter=separator, strict=True), [])
    except csv.Error as error:
        raise DataCheckError(f"{path}: line {number}, the header, cannot be split into columns ({error})") from error
    names = found if number else [str(at + 1) for at in range(len(found))]
    columns = match_columns(str(path), names, fields, required, by_hand)
    start = block if by_hand is None else b""
    return CsvTable(path, columns, len(names), by_hand is not None, separator, written, start)


def _screen(lines: Lines, *, may_break: bool) -> tuple[Lines, tuple[MalformedLine, ...]]:
    """Leave out empty lines, and take out those that a lone carriage return would split in two."""
    text = np.frombuffer(lines.text, np.uint8)
    is_empty = np.diff(lines.ends, prepend=0) == 1
    if lines.text.find(b"\r") < 0:
        return (lines.keep(~is_empty) if is_empty.any() else lines), ()
    returns = np.flatnonzero(text == ord("\r"))
    is_stray = np.zeros(len(lines.ends), dtype=bool)
    strays = returns[text[returns + 1] != ord("\n")]
    if may_break:
        strays = strays[~text_lines.is_inside_cell(lines, strays)]
    is_stray[np.searchsorted(lines.ends, strays, side="right")] = True
    is_empty |= (np.diff(lines.ends, prepend=0) == 2) & (text[lines.starts] == ord("\r"))
    if is_empty.any():
        lines, is_stray = lines.keep(~is_empty), is_stray[~is_empty]
    return lines.take_out(is_stray, Reason.STRAY_CARRIAGE_RETURN)


def _left_open(lines: Lines, separator: str) -> NDArray[np.bool_]:
    """Return whether the last line opens a cell and does not close it, which a reader takes for closed: shape (n,)."""
    is_open = np.zeros(len(lines.numbers), dtype=bool)
    if len(is_open):
        last = lines.line(len(is_open) - 1)
        is_open[-1] = b'"' in last and _UNCLOSED[separator].fullmatch(last) is not None
    return is_open


def _badly_quoted(lines: Lines, separator: str) -> NDArray[np.bool_]:
    """Return which lines are not cells by RFC 4180: shape (n,)."""
    well_quoted = _WELL_QUOTED[separator]
    return np.array(
        [b'"' in line and not well_quoted.fullmatch(line) for line in map(lines.line, range(len(lines.ends)))]
    )
