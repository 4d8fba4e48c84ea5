"""What a path names, through the archives and compressions around it: a stream of bytes, unpacked as it is read.

A path may name a member of a zip archive or a sheet of a workbook, as in ``prices.zip:2024/a.csv``. What a file is, its
first bytes say. Nothing is unpacked into memory, and no more than a table can honestly hold.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from prometheus.errors import FileAccessError
from prometheus.files import archives, streams
from prometheus.files.kinds import SNIFF_BYTES, Codec, codec_of, is_archive, is_parquet
from prometheus.files.streams import CHUNK_BYTES, as_stream, damage_named, require_modest

STANDARD_INPUT = Path("/dev/stdin")
MAX_LAYERS = 3
_MAX_XZ_MEMORY = 256 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where the content of a path stands: a file of the disk, and a member or sheet in it, "" for the file itself."""

    file: Path
    member: str = ""


class _Spool:
    """Standard input in a temporary file, since it is read more than once; the file goes with this object."""

    def __init__(self, source: IO[bytes]) -> None:
        with tempfile.NamedTemporaryFile(prefix="prometheus-", delete=False) as file:
            self.path = Path(file.name)
            weakref.finalize(self, self.path.unlink, missing_ok=True)
            shutil.copyfileobj(source, file, CHUNK_BYTES)


@lru_cache(maxsize=1)
def _spool(source: Any) -> _Spool:
    return _Spool(source.buffer)


def locate(path: Path) -> Place:
    """Return where the content of a path stands; a file whose own name holds a colon goes before a member."""
    text, piped = str(path), str(STANDARD_INPUT)
    if text == piped or text.startswith(f"{piped}:"):
        return Place(_spool(sys.stdin).path, text[len(piped) + 1 :])
    if ":" in text and not path.exists():
        for colon in re.finditer(":", text):
            file = Path(text[: colon.start()])
            if file.is_file():
                return Place(file, text[colon.end() :])
    return Place(path)


def list_tables(path: Path) -> tuple[str, ...]:
    """Return the tables in an archive or workbook by name; () for any other file, and for one of its tables."""
    place = locate(path)
    with streams.open_regular(path, place.file) as file:
        if place.member or not is_archive(file.read(SNIFF_BYTES)):
            return ()
        with archives.open_archive(path, file) as archive:
            return archives.list_tables(path, archive)


def open_content(path: Path) -> BufferedReader:
    """Return the unpacked bytes of what a path names; a sheet of a workbook gives CSV. Faults come with reading."""
    return as_stream(_read_content(path))


@contextmanager
def open_seekable(path: Path) -> Iterator[Path | IO[bytes]]:
    """Give what a path names for reading in any order: its Parquet file, or a temporary file of what was packed."""
    place = locate(path)
    with streams.open_regular(path, place.file) as file:
        is_plain = is_parquet(file.read(SNIFF_BYTES))
    if is_plain:
        yield place.file
        return
    with tempfile.TemporaryFile() as spool:
        with open_content(path) as content:
            shutil.copyfileobj(content, spool, CHUNK_BYTES)
        spool.seek(0)
        yield spool


def _read_content(path: Path) -> Generator[bytes, None, None]:
    place = locate(path)
    with streams.open_regular(path, place.file) as file:
        start = file.read(SNIFF_BYTES)
        file.seek(0)
        if is_archive(start):
            with archives.open_archive(path, file) as archive:
                member = as_stream(archives.read_table(path, archive, place.member))
                yield from _unpack(path, member, lambda: file.seek(0, 2))
        elif place.member:
            raise FileAccessError(
                str(path), f"{place.file.name} is neither a zip archive nor a workbook; name it alone"
            )
        elif codec_of(start) is None:
            yield from streams.read_whole(path, file)
        else:
            yield from _unpack(path, as_stream(streams.read_whole(path, file)), file.tell)


def _unpack(
    path: Path, stream: BufferedReader, n_packed: Callable[[], int], n_layers: int = 0
) -> Generator[bytes, None, None]:
    start = stream.peek(SNIFF_BYTES)
    codec = codec_of(start)
    if codec is not None and n_layers < MAX_LAYERS:
        unpacked = as_stream(_decompress(path, codec, stream, n_packed))
        yield from _unpack(path, unpacked, n_packed, n_layers + 1)
    elif codec is not None:
        raise FileAccessError(str(path), f"is packed more than {MAX_LAYERS} times; unpack it")
    elif is_archive(start):
        raise FileAccessError(str(path), "holds an archive or a workbook; unpack the outer file")
    else:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


def _decompress(
    path: Path, codec: Codec, stream: BufferedReader, n_packed: Callable[[], int]
) -> Generator[bytes, None, None]:
    n_bytes = 0
    with damage_named(path, codec), _OPENERS[codec](stream) as unpacked:
        while chunk := unpacked.read(CHUNK_BYTES):
            n_bytes += len(chunk)
            require_modest(path, n_bytes, n_packed())
            yield chunk


def _open_xz(stream: BufferedReader) -> lzma.LZMAFile:
    # the header says how much memory it takes, and LZMAFile has no limit for it
    header = stream.peek(SNIFF_BYTES)[:SNIFF_BYTES]
    lzma.LZMADecompressor(memlimit=_MAX_XZ_MEMORY).decompress(header, max_length=1)
    return lzma.LZMAFile(stream)


_OPENERS: dict[Codec, Callable[[BufferedReader], Any]] = {
    "gzip": lambda stream: gzip.GzipFile(fileobj=stream),
    "xz": _open_xz,
    "bzip2": bz2.BZ2File,
    "zstd": lambda stream: pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd"),
}
