"""Bytes that are read more than once and can be had only once: kept in a temporary file without a name.

It goes when nothing reads it any more, and with the process, however that ends.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING

from prometheus.errors import FileAccessError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LEAST_FREE_BYTES = 512 << 20
"""Left to everyone else on the disk of temporary files."""
_UNASKED_BYTES = 16 << 20


class Spool:
    """Bytes in a temporary file; `open` as often as wanted, at the same time, too.

    Raises
    ------
    FileAccessError
        The disk of temporary files has no room for what `named` stands for.
    """

    def __init__(self, named: Path, chunks: Iterable[bytes]) -> None:
        try:
            with tempfile.TemporaryFile(prefix="prometheus-") as file:
                n_bytes = 0
                for chunk in chunks:
                    n_bytes += len(chunk)
                    _require_room(named, n_bytes)
                    file.write(chunk)
                file.flush()
                self._descriptor = os.dup(file.fileno())
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise _no_room(named) from error
            raise
        weakref.finalize(self, os.close, self._descriptor)

    def open(self) -> IO[bytes]:
        """Return a stream of the bytes from their start, unbuffered and seekable."""
        return _Reading(self, self._descriptor)


def _require_room(named: Path, n_bytes: int) -> None:
    if n_bytes > _UNASKED_BYTES and shutil.disk_usage(tempfile.gettempdir()).free < LEAST_FREE_BYTES:
        raise _no_room(named)


def _no_room(named: Path) -> FileAccessError:
    said = f"has more bytes than {tempfile.gettempdir()} has room for"
    return FileAccessError(
        str(named), f"{said}; name the folder of a larger disk in TMPDIR, or save it as a file there"
    )


class _Reading(io.FileIO):
    """A stream with a position of its own on a descriptor that others read, too."""

    def __init__(self, spool: Spool, descriptor: int) -> None:
        super().__init__(descriptor, closefd=False)
        self._spool, self._position = spool, 0  # what is read must not be closed meanwhile

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        found = self.read(len(view))
        view[: len(found)] = found
        return len(found)

    def read(self, size: int | None = -1, /) -> bytes:
        left = os.fstat(self.fileno()).st_size - self._position
        wanted = left if size is None or size < 0 else min(size, left)
        found = os.pread(self.fileno(), max(wanted, 0), self._position)
        self._position += len(found)
        return found

    def readall(self) -> bytes:
        return self.read()

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = (0, self._position, os.fstat(self.fileno()).st_size)[whence]
        self._position = max(start + offset, 0)
        return self._position

    def tell(self) -> int:
        return self._position
