"""Excel workbooks (.xlsx): each sheet as the lines of a CSV file, a line for a row.

Formulas give the values Excel stored for them. The library, in the extra ``xlsx``, holds a whole sheet in memory, so
what it is given is counted first.
"""

from __future__ import annotations

import csv
import io
import posixpath
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time
from itertools import islice
from pathlib import Path
from typing import IO, Any
from xml.parsers import expat

from prometheus.errors import FileAccessError, MissingExtraError
from prometheus.files.kinds import UTF8_MARK
from prometheus.files.streams import CHUNK_BYTES, damage_named

MAX_COLUMNS, MAX_ROWS = 16_384, 1_048_576
"""No sheet of Excel has more; a file that claims more was made to fill memory."""
MAX_CELLS = 1 << 24
"""A million rows of 16 columns: the library holds the whole rectangle around the cells."""
MAX_SHARED_TEXTS, MAX_SHEET_BYTES = 256 << 20, 1 << 30
_DIRECTORY, _RELATIONS, _TEXTS = "xl/workbook.xml", "xl/_rels/workbook.xml.rels", "xl/sharedStrings.xml"
_MAX_DIRECTORY_BYTES, _MAX_CELL_BYTES = 4 << 20, 8 << 20
_BLOCK_ROWS = 2_000
_MOST_DIGITS = 1e15
_BEGINNINGS = (b"<c", b"<row", b":c", b":row")
_ROW_OR_CELL = re.compile(rb"<(?:\w+:)?(row|c)[\s/>]")
_PLACE = re.compile(rb"\sr\s*=\s*[\"']([A-Za-z]*)(\d+)")
_VALUE = re.compile(rb"<(?:\w+:)?(?:v|is)[\s>]")
_IS_ERROR = re.compile(rb"\st\s*=\s*[\"']e[\"']")
_CELL_WITH_ERROR = re.compile(
    rb"<(?:\w+:)?c(\s[^<>]*\bt\s*=\s*[\"']e[\"'][^<>]*)(?<!/)>.*?<(?:\w+:)?v>([^<]*)<", re.DOTALL
)


def is_workbook(archive: zipfile.ZipFile) -> bool:
    """Return whether a zip archive is an Excel workbook."""
    return _DIRECTORY in archive.NameToInfo


def list_sheets(path: Path, archive: zipfile.ZipFile) -> tuple[str, ...]:
    """Return the names of the visible sheets that hold values, in their order; `FileAccessError` where none does."""
    with damage_named(path, "Excel"), _structure_named():
        members = _visible_sheets(path, archive)
        names = tuple(name for name, member in members.items() if _holds_values(path, archive, member))
    if not names:
        raise FileAccessError(str(path), "is a workbook whose sheets are empty")
    return names


def read_sheet(path: Path, file: IO[bytes], archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    """Yield a sheet of an archive, whose bytes `file` has, as CSV in marked UTF-8, a few thousand lines at a time.

    Dates are ISO, whole numbers digits alone, an error is Excel's word for it; an empty cell is empty.
    """
    with damage_named(path, "Excel"), _structure_named():
        _require_few_texts(path, archive)
        extent = _measure(path, archive, _visible_sheets(path, archive)[name])
        lines = _lines(_load_rows(file, name), extent.errors)
        yield UTF8_MARK
        while block := list(islice(lines, _BLOCK_ROWS)):
            yield _as_csv(block)


def _load_rows(file: IO[bytes], name: str) -> Iterator[list[Any]]:
    try:
        from python_calamine import CalamineError, CalamineWorkbook  # noqa: PLC0415 -- in an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError("reading Excel files", "xlsx") from error
    try:
        sheet = CalamineWorkbook.from_filelike(file).get_sheet_by_name(name)
    except CalamineError as error:
        raise ValueError(error) from error
    before = [""] * (sheet.start or (0, 0))[1]  # empty columns at the left, which the library leaves out
    return ([*before, *cells] for cells in sheet.iter_rows())


@contextmanager
def _structure_named() -> Iterator[None]:
    try:
        yield
    except (LookupError, expat.ExpatError) as error:
        raise ValueError(error) from error


def _visible_sheets(path: Path, archive: zipfile.ZipFile) -> dict[str, str]:
    """Return the names of the sheets that a user sees, and the member of the archive with the cells of each."""
    members = {
        relation["Id"]: posixpath.join("xl", relation["Target"]).removeprefix("/")
        for relation in _elements(path, archive, _RELATIONS, "Relationship")
        if relation["Type"].endswith("/worksheet")  # others are charts
    }
    shown = [
        (sheet["name"], next(value for key, value in sheet.items() if key.endswith("/relationships id")))
        for sheet in _elements(path, archive, _DIRECTORY, "sheet")
        if sheet.get("state", "visible") == "visible"
    ]
    return {name: members[relation] for name, relation in shown if relation in members}


def _elements(path: Path, archive: zipfile.ZipFile, member: str, tag: str) -> list[dict[str, str]]:
    """Return the attributes of all elements of a name in a small XML file."""
    if archive.getinfo(member).file_size > _MAX_DIRECTORY_BYTES:
        raise FileAccessError(str(path), f"is a workbook with too long a list of sheets ({member}); save it as CSV")
    found: list[dict[str, str]] = []

    def take(name: str, attributes: dict[str, str]) -> None:
        if name.rpartition(" ")[2] == tag:
            found.append(attributes)

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = take
    parser.Parse(archive.read(member))
    parser.Parse(b"", True)
    return found


def _holds_values(path: Path, archive: zipfile.ZipFile, member: str) -> bool:
    return any(_VALUE.search(cells) for cells in _cells_of(path, archive, member))


def _require_few_texts(path: Path, archive: zipfile.ZipFile) -> None:
    if _TEXTS in archive.NameToInfo and archive.getinfo(_TEXTS).file_size > MAX_SHARED_TEXTS:
        raise FileAccessError(str(path), "is a workbook with too many texts to be held; save it as CSV")


def _cells_of(path: Path, archive: zipfile.ZipFile, member: str) -> Iterator[bytes]:
    """Yield the bytes of a sheet, about `CHUNK_BYTES` at a time, cut where a cell or a row begins."""
    if archive.getinfo(member).file_size > MAX_SHEET_BYTES:
        raise FileAccessError(str(path), f"{Path(member).stem} is larger than any table is read of; save it as CSV")
    rest = b""
    with archive.open(member) as file:
        while chunk := file.read(CHUNK_BYTES):
            text = rest + chunk
            cut = max(text.rfind(b"<", 0, max(map(text.rfind, _BEGINNINGS)) + 1), 0)
            if len(text) - cut > _MAX_CELL_BYTES:
                said = f"{Path(member).stem} holds a cell of more than {_MAX_CELL_BYTES} bytes; save it as CSV"
                raise FileAccessError(str(path), said)
            yield text[:cut]
            rest = text[cut:]
    yield rest


@dataclass(slots=True)
class _Extent:
    """How far the cells of a sheet go, as the library will hold them, and the errors among them, by row and column."""

    n_cells: int = 0
    n_rows: int = 0
    n_columns: int = 0
    last_row: int = 0
    letters: set[bytes] = field(default_factory=set)
    errors: defaultdict[int, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, cells: bytes) -> None:
        """Count further whole cells."""
        kinds, places = _ROW_OR_CELL.findall(cells), _PLACE.findall(cells)
        if len(places) < len(kinds):  # some stand where the one before them ends
            self._count(kinds)
        self.letters |= {letters for letters, _ in places}
        self.last_row = max(self.last_row, max(map(int, {number for _, number in places}), default=0))
        if _IS_ERROR.search(cells):
            for attributes, word in _CELL_WITH_ERROR.findall(cells):
                (letters, number) = _PLACE.findall(attributes)[0]  # without one it has no place to be put at
                self.errors[int(number)][_column_number(letters)] = word.decode()

    def _count(self, kinds: list[bytes]) -> None:
        for kind in kinds:
            self.n_cells = 0 if kind == b"row" else self.n_cells + 1
            self.n_rows += kind == b"row"
            self.n_columns = max(self.n_columns, self.n_cells)

    def require_modest(self, path: Path, sheet: str) -> None:
        """Raise `FileAccessError` for a sheet that is no table of Excel, or too much to be held."""
        n_columns = max([self.n_columns, *map(_column_number, self.letters)])
        n_rows = max(self.n_rows, self.last_row)
        if n_columns > MAX_COLUMNS:
            said = f"{sheet} has more than {MAX_COLUMNS:,} columns, the most of any sheet; save the wanted ones as CSV"
        elif n_rows > MAX_ROWS:
            said = f"{sheet} has a row {n_rows}, more than any sheet of Excel; save it as CSV"
        elif n_rows * n_columns > MAX_CELLS:
            said = f"{sheet} spans {n_rows:,} rows and {n_columns:,} columns, too many to be held; save it as CSV"
        else:
            return
        raise FileAccessError(str(path), said)


def _measure(path: Path, archive: zipfile.ZipFile, member: str) -> _Extent:
    extent = _Extent()
    for cells in _cells_of(path, archive, member):
        extent.add(cells)
        extent.require_modest(path, Path(member).stem)
    return extent


def _column_number(letters: bytes) -> int:
    """Return the number of a column by its letters, from 1; of more than Excel has, more than it has."""
    number = 0
    for letter in letters.upper()[:4]:
        number = 26 * number + letter - ord("A") + 1
    return number


def _lines(rows: Iterator[list[Any]], errors: Mapping[int, Mapping[int, str]]) -> Iterator[list[str]]:
    """Yield the cells of each row as texts, from the first that has any, as many as that has; of an empty one none."""
    n_columns = 0
    for number, cells in enumerate(rows, start=1):
        row = [_text(cell) for cell in cells]
        for column, word in errors.get(number, {}).items():
            row[column - 1] = word
        while row and not row[-1]:
            row.pop()
        n_columns = n_columns or len(row)
        if n_columns:
            yield [*row, *[""] * (n_columns - len(row))] if row else []


def _text(cell: Any) -> str:
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < _MOST_DIGITS else repr(cell)
    if isinstance(cell, datetime):
        return (cell.date() if cell.time() == time() else cell).isoformat()
    return cell.isoformat() if isinstance(cell, date | time) else str(cell)


def _as_csv(rows: list[list[str]]) -> bytes:
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows(rows)
    return lines.getvalue().encode()
