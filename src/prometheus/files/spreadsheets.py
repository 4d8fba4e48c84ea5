"""Excel workbooks (.xlsx): each sheet as the bytes of a CSV file, a line for a row, read as it is unpacked.

Formulas give the values Excel stored for them. The library is in the extra ``xlsx``.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
import zipfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from prometheus.errors import FileAccessError, MissingExtraError
from prometheus.files.streams import CHUNK_BYTES, damage_named

MAX_COLUMNS, MAX_ROWS = 16_384, 1_048_576
"""No sheet of Excel has more; a file that claims more was made to fill memory."""
MAX_SHARED_TEXTS = 256 << 20
_BLOCK_ROWS = 2_000
_ROW_OR_CELL = re.compile(rb"<(?:\w+:)?(row|c)[\s/>]")
_LONGEST_TAG = 64


def is_workbook(archive: zipfile.ZipFile) -> bool:
    """Return whether a zip archive is an Excel workbook."""
    return "xl/workbook.xml" in archive.NameToInfo


def list_sheets(path: Path, archive: zipfile.ZipFile) -> tuple[str, ...]:
    """Return the names of the visible sheets that hold rows, in their order; `FileAccessError` where none does."""
    _require_plain_sheets(path, archive)
    with _open_workbook(path, archive) as workbook:
        shown = [sheet for sheet in workbook.worksheets if sheet.sheet_state == "visible"]
        names = tuple(str(sheet.title) for sheet in shown if next(_rows(path, sheet), None) is not None)
    if not names:
        raise FileAccessError(str(path), "is a workbook whose sheets are empty")
    return names


def read_sheet(path: Path, archive: zipfile.ZipFile, name: str) -> Generator[bytes, None, None]:
    """Yield a sheet as UTF-8 CSV, a few thousand lines at a time; dates are ISO, an empty cell is empty."""
    with _open_workbook(path, archive) as workbook:
        rows = _rows(path, workbook[name])
        n_columns = 0
        while block := _next_rows(rows):
            lines = io.StringIO()
            writer = csv.writer(lines, lineterminator="\n")
            for row in block:
                n_columns = n_columns or len(row)
                writer.writerow([*row, *[""] * (n_columns - len(row))] if row else [])
            yield lines.getvalue().encode()


@contextmanager
def _open_workbook(path: Path, archive: zipfile.ZipFile) -> Iterator[Any]:
    library = _library()
    with damage_named(path, "Excel"):
        try:
            with _quiet():
                workbook = library.load_workbook(archive.fp, read_only=True, data_only=True, keep_links=False)
            yield workbook
        except (LookupError, TypeError, AttributeError, SyntaxError) as error:  # ParseError is a SyntaxError
            raise ValueError(error) from error


def _next_rows(rows: Iterator[list[str]]) -> list[list[str]]:
    with _quiet():
        return list(islice(rows, _BLOCK_ROWS))


def _library() -> Any:
    try:
        return import_module("openpyxl")
    except ModuleNotFoundError as error:
        raise MissingExtraError("reading Excel files", "xlsx") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what the library warns of: styles and extensions, which no table needs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="openpyxl")
        yield


def _rows(path: Path, sheet: Any) -> Iterator[list[str]]:
    """Yield the cells of each row as texts, from the first row that has any; of an empty row none."""
    has_begun = False
    sheet.reset_dimensions()
    for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
        if number > MAX_ROWS:
            raise FileAccessError(str(path), f"has a row {number}, more than any sheet of Excel; save it as CSV")
        row = _texts(cells)
        has_begun = has_begun or bool(row)
        if has_begun:
            yield row


def _texts(cells: Sequence[Any]) -> list[str]:
    texts = [_text(cell) for cell in cells]
    while texts and not texts[-1]:
        texts.pop()
    return texts


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, datetime):
        return (cell.date() if cell.time() == time() else cell).isoformat()
    return cell.isoformat() if isinstance(cell, date | time) else str(cell)


def _require_plain_sheets(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse what would fill memory once it is read: rows too wide, too many texts; bytes are counted, not parsed."""
    for item in archive.infolist():
        if item.filename == "xl/sharedStrings.xml" and item.file_size > MAX_SHARED_TEXTS:
            raise FileAccessError(str(path), "is a workbook with too many texts to be held; save it as CSV")
        if item.filename.startswith("xl/worksheets/sheet"):
            _require_narrow_rows(path, archive, item)


def _require_narrow_rows(path: Path, archive: zipfile.ZipFile, sheet: zipfile.ZipInfo) -> None:
    n_cells, rest = 0, b""
    with archive.open(sheet) as member:
        while chunk := member.read(CHUNK_BYTES):
            text = rest + chunk
            cut = max(text.rfind(b">") + 1, len(text) - _LONGEST_TAG)
            for kind in _ROW_OR_CELL.findall(text, 0, cut):
                n_cells = 0 if kind == b"row" else n_cells + 1
                if n_cells > MAX_COLUMNS:
                    said = f"{Path(sheet.filename).stem} has more than {MAX_COLUMNS:,} columns"
                    raise FileAccessError(str(path), f"{said}, the most of any sheet; save the wanted ones as CSV")
            rest = text[cut:]
