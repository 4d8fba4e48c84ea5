"""What a path names, through the archives and compressions around it: a stream of bytes, unpacked as it is read.

A path may name a member of a zip archive or a sheet of a workbook, as in ``prices.zip:2024/a.csv``. What a file is, its
first bytes say. Nothing is unpacked into memory, and no more than a table can honestly hold.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, TypeAlias

import pyarrow as pa

from prometheus.errors import FileAccessError
from prometheus.files import archives, spreadsheets, streams
from prometheus.files.archives import Archive
from prometheus.files.kinds import SNIFF_BYTES, Codec, codec_of, is_archive, is_parquet
from prometheus.files.spools import Spool
from prometheus.files.streams import CHUNK_BYTES, as_stream, damage_named, require_modest

STANDARD_INPUT = Path("/dev/stdin")
MAX_LAYERS = 3
MAX_SHEETS_KEPT = 32
_MAX_XZ_MEMORY = 256 << 20

State: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the content of a path stands: a file, or a spooled one, and a member or sheet in it, "" for all of it."""

    file: Path | Spool
    member: str = ""

    @contextmanager
    def open(self, named: Path) -> Iterator[IO[bytes]]:
        """Open the file, whose messages call it `named`."""
        if isinstance(self.file, Spool):
            with self.file.open() as spooled:
                yield spooled
        else:
            with streams.open_regular(named, self.file) as file:
                yield file


@lru_cache(maxsize=1)
def _spool(source: Any) -> Spool:
    return Spool(STANDARD_INPUT, _chunks_of(source.buffer))


def locate(path: Path) -> Place:
    """Return where the content of a path stands; a file whose own name holds a colon goes before a member."""
    text, piped = str(path), str(STANDARD_INPUT)
    if text == piped or text.startswith(f"{piped}:"):
        return Place(_spool(sys.stdin), text[len(piped) + 1 :])
    if ":" in text and not path.exists():
        for colon in re.finditer(":", text):
            file = Path(text[: colon.start()])
            if file.is_file():
                return Place(file, text[colon.end() :])
    return Place(path)


def _state_of(file: IO[bytes]) -> State:
    """Return what changes where a file becomes another one."""
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def list_tables(path: Path) -> tuple[str, ...]:
    """Return the tables in an archive or workbook by name; () for any other file, and for one of its tables."""
    place = locate(path)
    with place.open(path) as file:
        if place.member or not is_archive(file.read(SNIFF_BYTES)):
            return ()
        return _open_archive(place.file, _state_of(file)).tables


def _name_of(file: Path | Spool) -> Path:
    return STANDARD_INPUT if isinstance(file, Spool) else file


@lru_cache(maxsize=1)
def _open_archive(file: Path | Spool, _state: State) -> Archive:
    """Return an archive, open while its members are read one after another, as long as its file is the same."""
    return archives.open_archive(_name_of(file), file.open() if isinstance(file, Spool) else file)


@lru_cache(maxsize=MAX_SHEETS_KEPT)
def _spool_sheet(file: Path | Spool, state: State, name: str) -> Spool:
    named = _name_of(file)
    with Place(file).open(named) as opened:
        return Spool(named, spreadsheets.read_sheet(named, opened, _open_archive(file, state).content, name))


@lru_cache(maxsize=1)
def _spool_content(path: Path, _place: Place, _state: State) -> Spool:
    with open_content(path) as content:
        return Spool(path, _chunks_of(content))


def _chunks_of(file: IO[bytes]) -> Iterator[bytes]:
    return iter(partial(file.read, CHUNK_BYTES), b"")


def open_content(path: Path) -> BufferedReader:
    """Return the unpacked bytes of what a path names; a sheet of a workbook gives CSV. Faults come with reading."""
    return as_stream(_read_content(path))


@contextmanager
def open_seekable(path: Path) -> Iterator[Path | IO[bytes]]:
    """Give what a path names for reading in any order: its Parquet file, or a temporary file of what was packed."""
    place = locate(path)
    with place.open(path) as file:
        is_plain, state = is_parquet(file.read(SNIFF_BYTES)), _state_of(file)
    if is_plain and isinstance(place.file, Path):
        yield place.file
    else:
        with _spool_content(path, place, state).open() as spooled:
            yield spooled


def _read_content(path: Path) -> Generator[bytes, None, None]:
    place = locate(path)
    with place.open(path) as file:
        start = file.read(SNIFF_BYTES)
        file.seek(0)
        if is_archive(start):
            yield from _read_archive(path, place, file)
        elif place.member:
            name = _name_of(place.file).name
            raise FileAccessError(str(path), f"{name} is neither a zip archive nor a workbook; name it alone")
        elif codec_of(start) is None:
            yield from streams.read_whole(path, file)
        else:
            yield from _unpack(path, as_stream(streams.read_whole(path, file)), file.tell)


def _read_archive(path: Path, place: Place, file: IO[bytes]) -> Generator[bytes, None, None]:
    state = _state_of(file)
    archive = _open_archive(place.file, state)
    name = archive.choose(path, place.member)
    if archive.is_workbook:
        with _spool_sheet(place.file, state, name).open() as sheet:
            yield from _chunks_of(sheet)
    else:
        yield from _unpack(path, as_stream(archive.read(path, name)), lambda: file.seek(0, 2))


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
