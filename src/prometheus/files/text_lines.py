"""Text files as whole lines with their numbers: the ground on which CSV and JSON lines are read.

In a CSV of texts a quoted cell may hold line breaks. A quotation mark opens a cell only where the cell begins; a line
that opens one and does not close it goes on up to the line that does. That is believed only where the joined lines are
well-formed cells: otherwise the first of them is refused alone, so a stray quote costs its own line and never the ones
that follow.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Int64Vector
from prometheus.errors import FileAccessError
from prometheus.files.encodings import name_encodings
from prometheus.files.kinds import UTF8_MARK
from prometheus.files.tables import MalformedLine, Reason, access_error

SEPARATORS = ",;\t|"
_QUOTED = rb'"[^"]*+(?:""[^"]*+)*+"'


def find_separator(header: str) -> str:
    """Return what stands between the names of a header, quoted ones aside: a comma unless another mark does more often.

    >>> find_separator("Date;Close;Volume"), find_separator('Date,"a;b;c"')
    (';', ',')
    """
    bare = re.sub(r'"[^"]*"', "", header)
    return max(SEPARATORS, key=bare.count)


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Whole lines of a file: their bytes, their numbers, and where each ends (after its line feed).

    `is_open` says that the last one, the last of its file, has no line end in it.
    """

    text: bytes
    numbers: Int64Vector
    ends: Int64Vector
    is_open: bool = False

    @property
    def starts(self) -> Int64Vector:
        """Where each line begins."""
        return np.concatenate([np.zeros(1, np.int64), self.ends[:-1]])

    def line(self, position: int) -> bytes:
        """Return one line without its line end."""
        start = self.ends[position - 1] if position else 0
        return self.text[start : self.ends[position]].rstrip(b"\r\n")

    def keep(self, is_kept: NDArray[np.bool_]) -> Lines:
        """Return some of the lines."""
        lengths = np.diff(self.ends, prepend=0)
        text = np.frombuffer(self.text, np.uint8)[np.repeat(is_kept, lengths)].tobytes()
        return Lines(text, self.numbers[is_kept], np.cumsum(lengths[is_kept]), self.is_open)

    def since(self, number: int) -> Lines:
        """Return the lines from a number on."""
        first = int(np.searchsorted(self.numbers, number))
        if not first:
            return self
        start = self.ends[first - 1]
        return Lines(self.text[start:], self.numbers[first:], self.ends[first:] - start, self.is_open)

    def take_out(self, is_bad: NDArray[np.bool_], reason: Reason) -> tuple[Lines, tuple[MalformedLine, ...]]:
        """Return the other lines, and the bad ones with the reason."""
        if not is_bad.any():
            return self, ()
        bad = tuple(
            MalformedLine(int(self.numbers[position]), reason, self.line(position).decode())
            for position in np.flatnonzero(is_bad).tolist()
        )
        return self.keep(~is_bad), bad


def line_blocks(path: Path, file: IO[bytes], chunk_bytes: int, max_line_bytes: int) -> Iterator[bytes]:
    """Yield the bytes of a file in blocks of whole lines, the mark of UTF-8 left out; the last may lack its end."""
    rest = file.read(len(UTF8_MARK)).removeprefix(UTF8_MARK)
    while chunk := file.read(chunk_bytes):
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            rest += chunk
            if len(rest) > max_line_bytes:
                raise FileAccessError(str(path), f"has a line of more than {max_line_bytes} bytes, or is no text file")
            continue
        block, rest = rest + chunk[:cut], chunk[cut:]
        yield block
    if rest:
        yield rest


def split_lines(path: Path, block: bytes, first_line: int, max_line_bytes: int) -> Lines:
    """Return the lines of a block; one that is no UTF-8 or too long, or a first one with NUL bytes, ends the run."""
    is_open = not block.endswith(b"\n")
    block += b"\n" if is_open else b""
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")).astype(np.int64) + 1
    numbers = first_line + np.arange(len(ends), dtype=np.int64)
    too_long = np.flatnonzero(np.diff(ends, prepend=0) > max_line_bytes)
    if len(too_long):
        raise FileAccessError(str(path), f"line {numbers[too_long[0]]} is longer than {max_line_bytes} bytes")
    if first_line == 1 and b"\0" in block[: ends[0]]:
        raise FileAccessError(str(path), "holds NUL bytes in its first line; it is no text, write it as CSV or Parquet")
    try:
        block.decode()
    except UnicodeDecodeError as error:
        line = first_line + block.count(b"\n", 0, error.start)
        way_out = name_encodings(block, error.start)
        if is_open and _is_begun(block[error.start : -1]):
            way_out = f"if the file is cut there, fetch it again, or remove its last line; else {way_out}"
        reason = f"line {line} is not UTF-8 text (byte 0x{block[error.start]:02x}); {way_out}"
        raise FileAccessError(str(path), reason) from error
    return Lines(block, numbers, ends, is_open and not block.endswith(b"\r\n"))


def _is_begun(letter: bytes) -> bool:
    """Return whether some bytes are the beginning of a letter in UTF-8."""
    try:
        return not codecs.getincrementaldecoder("utf-8")().decode(letter)
    except UnicodeDecodeError:
        return False


@contextmanager
def refuse_damage(path: Path) -> Iterator[None]:
    """Turn what the operating system says of a file into a `FileAccessError`."""
    try:
        yield
    except FileAccessError:
        raise
    except OSError as error:
        raise access_error(path, error) from error


@cache
def _row_pattern(separator: str) -> re.Pattern[bytes]:
    mark = re.escape(separator.encode())
    cell = rb'(?:%b|(?:[^"%b\n][^%b\n]*+)?+)' % (_QUOTED, mark, mark)
    return re.compile(rb"%b(?:%b%b)*+" % (cell, mark, cell))


def is_row(line: bytes, separator: str = ",") -> bool:
    r"""Return whether a line, or lines, are cells: quoted ones by RFC 4180, others with any quotes but a leading one.

    Examples
    --------
    >>> is_row(b'a,"b\nc ""d"" e"'), is_row(b'a,5" disk'), is_row(b'a,"b'), is_row(b'a,"b"c')
    (True, True, False, False)
    """
    return b'"' not in line or _row_pattern(separator).fullmatch(line) is not None


def join_records(
    path: Path, blocks: Iterator[bytes], max_line_bytes: int, separator: str
) -> Iterator[tuple[Lines, tuple[MalformedLine, ...]]]:
    """Yield whole rows of at most `max_line_bytes`, numbered by their first line, and lines whose cell never closes."""
    next_line, rest, is_open = 1, b"", False
    for block in chain(blocks, [b""]):
        if not rest and not block:
            return
        is_open = not block.endswith(b"\n") if block else is_open
        lines = split_lines(path, rest + block, next_line, max_line_bytes)
        spans, is_stray, n_whole = _find_cells_over_lines(lines, max_line_bytes, separator, is_last=not block)
        n_bytes = int(lines.ends[n_whole - 1]) if n_whole else 0
        next_line, rest = next_line + n_whole, lines.text[n_bytes:]
        if n_whole:
            is_end = np.ones(n_whole, dtype=bool)
            for first, last in spans:
                is_end[first:last] = False
            is_start = np.concatenate([[True], is_end[:-1]])
            whole = Lines(
                lines.text[:n_bytes],
                lines.numbers[:n_whole][is_start],
                lines.ends[:n_whole][is_end],
                is_open and not rest,
            )
            yield whole.take_out(is_stray[:n_whole][is_start], Reason.BROKEN_QUOTES)


def _find_cells_over_lines(
    lines: Lines, max_bytes: int, separator: str, *, is_last: bool
) -> tuple[list[tuple[int, int]], NDArray[np.bool_], int]:
    """Return first and last line of each row of several lines, which lines are stray, and how many lines are whole."""
    starts, is_quote = lines.starts, np.frombuffer(lines.text, np.uint8) == ord('"')
    n_quotes = np.add.reduceat(is_quote, starts, dtype=np.int64) if len(lines.ends) else np.zeros(0, np.int64)
    odd = np.flatnonzero(n_quotes % 2)
    spans: list[tuple[int, int]] = []
    is_stray = np.zeros(len(lines.ends), dtype=bool)
    done = -1
    for first in np.flatnonzero(n_quotes).tolist():
        if first <= done or is_row(lines.line(first), separator):
            continue
        later = np.searchsorted(odd, first, side="right")
        if n_quotes[first] % 2 and later == len(odd) and not is_last and len(lines.text) - starts[first] <= max_bytes:
            return spans, is_stray, first
        last = int(odd[later]) if n_quotes[first] % 2 and later < len(odd) else first
        start, end = int(starts[first]), int(lines.ends[last])
        if last > first and end - start <= max_bytes and is_row(lines.text[start:end].rstrip(b"\r\n"), separator):
            done = last
            spans.append((first, last))
        else:
            is_stray[first] = True
    return spans, is_stray, len(lines.ends)


def is_inside_cell(lines: Lines, positions: Int64Vector) -> NDArray[np.bool_]:
    """Return which bytes follow an odd number of quotes of their row, as in a quoted cell; shape like `positions`."""
    n_quotes = np.concatenate([[0], np.cumsum(np.frombuffer(lines.text, np.uint8) == ord('"'))])
    row = np.searchsorted(lines.ends, positions, side="right")
    inside: NDArray[np.bool_] = (n_quotes[positions] - n_quotes[lines.starts[row]]) % 2 == 1
    return inside
