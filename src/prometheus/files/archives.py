"""Zip archives: the tables in one by name, and the bytes of each; a workbook's sheets are such tables, too."""

from __future__ import annotations

import stat
import zipfile
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from prometheus.errors import FileAccessError
from prometheus.files import spreadsheets
from prometheus.files.streams import CHUNK_BYTES, damage_named, require_modest
from prometheus.spelling import did_you_mean

MAX_MEMBERS = 500
"""Of more, reading the directory again for each member would take minutes."""
_ENCRYPTED = 1
_DOCUMENTS = {
    "xl/workbook.bin": ("a binary Excel file (.xlsb)", "save it as .xlsx or CSV"),
    "content.xml": ("an OpenDocument file (.ods)", "save it as .xlsx or CSV"),
    "word/document.xml": ("a Word document", "save its table as .xlsx or CSV"),
    "ppt/presentation.xml": ("a presentation", "save its table as .xlsx or CSV"),
}


@contextmanager
def open_archive(path: Path, file: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    """Open an archive whose directory claims no more files, and no more bytes of them, than tables honestly have.

    What the directory says binds: of no member are more bytes unpacked than that.
    """
    with damage_named(path, "zip"), zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise FileAccessError(str(path), f"holds more than {MAX_MEMBERS} files; unpack it and name the folder")
        require_modest(path, sum(item.file_size for item in members), file.seek(0, 2))
        for name, (what, way_out) in _DOCUMENTS.items():
            if name in archive.NameToInfo:
                raise FileAccessError(str(path), f"is {what}; {way_out}")
        yield archive


def list_tables(path: Path, archive: zipfile.ZipFile) -> tuple[str, ...]:
    """Return the names of the files in an archive but hidden ones, sorted, or of a workbook's sheets that hold rows."""
    if spreadsheets.is_workbook(archive):
        return spreadsheets.list_sheets(path, archive)
    found = [item for item in archive.infolist() if not (item.is_dir() or _is_hidden(item.filename))]
    if not found:
        raise FileAccessError(str(path), "is a zip archive that holds no file")
    for name, count in Counter(item.filename for item in found).items():
        if count > 1:
            raise FileAccessError(str(path), f"holds {count} files named {name}; pack it again with one")
    for item in found:
        if stat.S_ISLNK(item.external_attr >> 16):
            raise FileAccessError(str(path), f"{item.filename} in it is a symbolic link; pack the file it points to")
        if item.flag_bits & _ENCRYPTED:
            raise FileAccessError(str(path), "is locked with a password; unpack it and load what comes out")
    return tuple(sorted(item.filename for item in found))


def read_table(path: Path, archive: zipfile.ZipFile, name: str) -> Generator[bytes, None, None]:
    """Yield the bytes of a file in an archive, or a sheet of a workbook as CSV; with no name, of the only one."""
    tables = list_tables(path, archive)
    if not name and len(tables) > 1:
        said = f"holds {len(tables)} tables ({', '.join(tables[:3])}{', …' if tables[3:] else ''})"
        raise FileAccessError(str(path), f"{said}; name one, such as {path}:{tables[0]}")
    if name and name not in tables:
        raise FileAccessError(
            str(path), f"there is no such table in the archive; {did_you_mean(name, tables, 'known')}"
        )
    wanted = name or tables[0]
    if spreadsheets.is_workbook(archive):
        yield from spreadsheets.read_sheet(path, archive, wanted)
        return
    with archive.open(wanted) as member:
        while chunk := member.read(CHUNK_BYTES):
            yield chunk


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
