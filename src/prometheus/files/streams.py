"""Streams of bytes: a regular file that must not change meanwhile, and chunks made into one."""

from __future__ import annotations

import io
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from prometheus.errors import FileAccessError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK_BYTES = 1 << 20
MAX_RATIO = 200
"""Honest tables unpack to 3 to 40 times their size; more than this is believed up to `BELIEVED_BYTES`."""
BELIEVED_BYTES = 16 << 20
_BUFFER_BYTES = 1 << 16
_DAMAGE = (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)

_NOT_REGULAR = (
    (stat.S_ISDIR, "a directory; name the files in it"),
    (stat.S_ISFIFO, "a named pipe, not a regular file; send it to standard input, named -"),
    (stat.S_ISCHR, "a device, not a regular file; name a file of rows"),
    (stat.S_ISBLK, "a device, not a regular file; name a file of rows"),
    (stat.S_ISSOCK, "a socket, not a regular file; name a file of rows"),
)


class _Chunks(io.RawIOBase):
    """Chunks of bytes as a raw stream; closing it closes the generator, and with it what that has opened."""

    def __init__(self, chunks: Generator[bytes, None, None]) -> None:
        self._chunks, self._rest = chunks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        wanted = memoryview(buffer).cast("B")
        n_filled = 0
        while n_filled < len(wanted):
            if not self._rest:
                self._rest = memoryview(next(self._chunks, b""))
                if not self._rest:
                    break
            n_taken = min(len(wanted) - n_filled, len(self._rest))
            wanted[n_filled : n_filled + n_taken] = self._rest[:n_taken]
            self._rest, n_filled = self._rest[n_taken:], n_filled + n_taken
        return n_filled

    def close(self) -> None:
        self._chunks.close()
        super().close()


def as_stream(chunks: Generator[bytes, None, None]) -> io.BufferedReader:
    """Return chunks, none of them empty, as a stream that can be read and peeked into, but not rewound."""
    return io.BufferedReader(_Chunks(chunks), _BUFFER_BYTES)


def require_regular(named: Path, file: Path) -> None:
    """Raise `FileAccessError` where a path leads to a folder, a pipe or a device, before it is opened."""
    mode = file.stat().st_mode
    for is_kind, what in _NOT_REGULAR:
        if is_kind(mode):
            raise FileAccessError(str(named), f"is {what}")


@contextmanager
def open_regular(named: Path, file: Path) -> Iterator[IO[bytes]]:
    """Open a regular file, whose messages call it `named`."""
    require_regular(named, file)
    with file.open("rb", buffering=0) as opened:
        yield opened


def read_whole(named: Path, file: IO[bytes]) -> Generator[bytes, None, None]:
    """Yield the bytes that a file had when it was opened; `FileAccessError` where it grew or shrank meanwhile."""
    left = os.fstat(file.fileno()).st_size
    while left:
        chunk = file.read(min(left, CHUNK_BYTES))
        if not chunk:
            raise FileAccessError(str(named), "was cut while it was read; load it once it is complete")
        left -= len(chunk)
        yield chunk
    if file.read(1):
        raise FileAccessError(str(named), "grew while it was read; load it once it is complete")


@contextmanager
def damage_named(path: Path, what: str) -> Iterator[None]:
    """Turn what reading a damaged compressed file or archive raises into a `FileAccessError`."""
    try:
        yield
    except FileAccessError:
        raise
    except NotImplementedError as error:  # zipfile's word for a method of compression, or a part of zip, it lacks
        said = f"is a {what} file packed in a way that cannot be read ({error})"
        raise FileAccessError(str(path), f"{said}; unpack it and load what comes out") from error
    except _DAMAGE as error:
        said = str(error).partition("\n")[0] or type(error).__name__
        raise FileAccessError(str(path), f"is a damaged {what} file ({said[:160]}); fetch it again") from error


def require_modest(path: Path, n_bytes: int, n_packed: int) -> None:
    """Raise `FileAccessError` for a file that unpacks to more than a table can honestly hold."""
    if n_bytes > BELIEVED_BYTES and n_bytes > MAX_RATIO * n_packed:
        said = f"unpacks to more than {MAX_RATIO} times its size, as no table does"
        raise FileAccessError(str(path), f"{said}; if it is one, unpack it and load what comes out")
