"""Text files as whole lines with their numbers: the ground on which CSV and JSON lines are read.

Nothing allocates by what a file claims about itself: a file is read in chunks, and a line has a longest length.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Int64Vector
from prometheus.errors import FileAccessError
from prometheus.files.rejects import Reason
from prometheus.files.tables import MalformedLine, access_error

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Whole lines of a file: their bytes, their numbers, and where each ends (after its line feed)."""

    text: bytes
    numbers: Int64Vector
    ends: Int64Vector

    @property
    def starts(self) -> Int64Vector:
        """Where each line begins, shape (n,)."""
        return np.concatenate([np.zeros(1, np.int64), self.ends[:-1]])

    def line(self, position: int) -> bytes:
        """Return one line without its line end."""
        start = self.ends[position - 1] if position else 0
        return self.text[start : self.ends[position]].rstrip(b"\r\n")

    def keep(self, is_kept: NDArray[np.bool_]) -> Lines:
        """Return some of the lines."""
        lengths = np.diff(self.ends, prepend=0)
        text = np.frombuffer(self.text, np.uint8)[np.repeat(is_kept, lengths)].tobytes()
        return Lines(text, self.numbers[is_kept], np.cumsum(lengths[is_kept]))

    def without_first(self) -> Lines:
        """Return all lines but the first."""
        return Lines(self.text[self.ends[0] :], self.numbers[1:], self.ends[1:] - self.ends[0])

    def take_out(self, is_bad: NDArray[np.bool_], reason: Reason) -> tuple[Lines, tuple[MalformedLine, ...]]:
        """Return the other lines, and the bad ones with the reason."""
        if not is_bad.any():
            return self, ()
        bad = tuple(
            MalformedLine(int(self.numbers[position]), reason, self.line(position).decode())
            for position in np.flatnonzero(is_bad).tolist()
        )
        return self.keep(~is_bad), bad


def open_bytes(path: Path, *, is_compressed: bool) -> IO[bytes]:
    """Open a file, through gzip where it is compressed."""
    return gzip.open(path, "rb") if is_compressed else path.open("rb")  # type: ignore[return-value]


def line_blocks(path: Path, file: IO[bytes], chunk_bytes: int, max_line_bytes: int) -> Iterator[bytes]:
    """Yield the bytes of a file in blocks that end with a line feed, the mark of UTF-8 left out.

    Raises
    ------
    FileAccessError
        The file is UTF-16, or has a line longer than `max_line_bytes`.
    """
    rest = file.read(len(_UTF8_MARK)).removeprefix(_UTF8_MARK)
    if rest.startswith(_UTF16_MARKS):
        raise FileAccessError(str(path), "is UTF-16 text; save it as UTF-8")
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
        yield rest + b"\n"


def split_lines(path: Path, block: bytes, first_line: int, max_line_bytes: int) -> Lines:
    """Return the lines of a block.

    Raises
    ------
    FileAccessError
        A line is no UTF-8 or longer than `max_line_bytes`; a first line holds NUL bytes.
    """
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")).astype(np.int64) + 1
    numbers = first_line + np.arange(len(ends), dtype=np.int64)
    too_long = np.flatnonzero(np.diff(ends, prepend=0) > max_line_bytes)
    if len(too_long):
        raise FileAccessError(str(path), f"line {numbers[too_long[0]]} is longer than {max_line_bytes} bytes")
    try:
        block.decode()
    except UnicodeDecodeError as error:
        line = first_line + block.count(b"\n", 0, error.start)
        reason = f"line {line} is not UTF-8 text (byte 0x{block[error.start]:02x}); save the file as UTF-8"
        raise FileAccessError(str(path), reason) from error
    if first_line == 1 and b"\0" in block[: ends[0]]:
        raise FileAccessError(str(path), "holds NUL bytes in its first line; it is UTF-16 or no text file")
    return Lines(block, numbers, ends)


@contextmanager
def refuse_damage(path: Path) -> Iterator[None]:
    """Turn what reading a damaged file raises into a `FileAccessError`."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FileAccessError(str(path), f"is a damaged gzip file ({error})") from error
    except FileAccessError:
        raise
    except OSError as error:
        raise access_error(path, error) from error
