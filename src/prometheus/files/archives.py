"""Zip archives: the tables in one by name, and the bytes of each; a workbook's sheets are such tables, too."""

from __future__ import annotations

import stat
import zipfile
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, eq=False)
class Archive:
    """An open archive and the names of the tables in it: its files but hidden ones, sorted, or a workbook's sheets."""

    content: zipfile.ZipFile
    tables: tuple[str, ...]
    is_workbook: bool

    def choose(self, named: Path, name: str) -> str:
        """Return the name of a table, of the only one where `name` is empty; `FileAccessError` where none is meant."""
        tables = self.tables
        if not name and len(tables) > 1:
            said = f"holds {len(tables)} tables ({', '.join(tables[:3])}{', …' if tables[3:] else ''})"
            raise FileAccessError(str(named), f"{said}; name one, such as {named}:{tables[0]}")
        if name and name not in tables:
            meant = did_you_mean(name, tables, "known")
            raise FileAccessError(str(named), f"there is no such table in the archive; {meant}")
        return name or tables[0]

    def read(self, named: Path, name: str) -> Generator[bytes, None, None]:
        """Yield the bytes of one of its files."""
        with damage_named(named, "zip"), self.content.open(name) as member:
            while chunk := member.read(CHUNK_BYTES):
                yield chunk


def open_archive(path: Path, file: Path | IO[bytes]) -> Archive:
    """Open an archive whose directory claims no more files, and no more bytes of them, than tables honestly have.

    What the directory says binds: of no member are more bytes unpacked than that. A file given by its path is open as
    long as the archive lives.
    """
    with damage_named(path, "zip"):
        content = zipfile.ZipFile(file)
        members = content.infolist()
        if len(members) > MAX_MEMBERS:
            raise FileAccessError(str(path), f"holds more than {MAX_MEMBERS} files; unpack it and name the folder")
        require_modest(path, sum(item.file_size for item in members), _size_of(content))
        for name, (what, way_out) in _DOCUMENTS.items():
            if name in content.NameToInfo:
                raise FileAccessError(str(path), f"is {what}; {way_out}")
        for name, count in Counter(item.filename for item in members).items():
            if count > 1:
                raise FileAccessError(str(path), f"holds {count} files named {name}; pack it again with one")
        if spreadsheets.is_workbook(content):
            return Archive(content, spreadsheets.list_sheets(path, content), is_workbook=True)
        return Archive(content, _list_files(path, content), is_workbook=False)


def _size_of(archive: zipfile.ZipFile) -> int:
    return 0 if archive.fp is None else archive.fp.seek(0, 2)


def _list_files(path: Path, archive: zipfile.ZipFile) -> tuple[str, ...]:
    found = [item for item in archive.infolist() if not (item.is_dir() or _is_hidden(item.filename))]
    if not found:
        raise FileAccessError(str(path), "is a zip archive that holds no file")
    for item in found:
        if stat.S_ISLNK(item.external_attr >> 16):
            raise FileAccessError(str(path), f"{item.filename} in it is a symbolic link; pack the file it points to")
        if item.flag_bits & _ENCRYPTED:
            raise FileAccessError(str(path), "is locked with a password; unpack it and load what comes out")
    return tuple(sorted(item.filename for item in found))


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
