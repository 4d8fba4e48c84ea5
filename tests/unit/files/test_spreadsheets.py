"""Sheets of a workbook: every cell as it was written, whatever its kind, and nothing read that memory cannot hold."""

import csv
import io
import tempfile
import zipfile
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from pathlib import Path

import openpyxl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openpyxl.utils.datetime import CALENDAR_MAC_1904, CALENDAR_WINDOWS_1900
from tests.fixtures.examples import share_of

from prometheus.errors import FileAccessError
from prometheus.files.containers import list_tables, open_content

Cell = None | str | bool | int | float | date | time | timedelta

ERRORS = ("#DIV/0!", "#N/A", "#REF!", "#VALUE!", "#NUM!", "#NAME?", "#NULL!")
days = st.dates(date(1904, 1, 2), date(2100, 1, 1))
times = st.times().map(lambda at: at.replace(microsecond=0))
instants = st.builds(datetime.combine, days, times)
words = st.text(st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc", "Cn")), max_size=9)
numbers = st.floats(-1e9, 1e9, allow_subnormal=False).map(lambda number: float(f"{number:.15g}"))  # Excel's digits
cells: st.SearchStrategy[Cell] = st.one_of(
    st.none(), words.filter(lambda word: not word.startswith("=") and word not in ERRORS), st.booleans(),
    st.integers(-(10**12), 10**12), numbers, days, instants, times,
    st.sampled_from(ERRORS),
)  # fmt: skip
tables = st.lists(st.lists(cells, min_size=1, max_size=6), min_size=1, max_size=8)


def written(cell: Cell) -> str:
    """Return a cell as a CSV of ours has it."""
    if cell is None:
        return ""
    if isinstance(cell, datetime):
        return (cell.date() if cell.time() == time() else cell).isoformat()
    if isinstance(cell, date | time):
        return cell.isoformat()
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def as_book(rows: list[list[Cell]], epoch: datetime = CALENDAR_WINDOWS_1900) -> openpyxl.Workbook:
    book = openpyxl.Workbook()
    book.epoch = epoch
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    return book


def save(book: openpyxl.Workbook, folder: str | Path) -> Path:
    path = Path(folder) / "b.xlsx"
    book.save(path)
    return path


def read_back(path: Path) -> list[list[str]]:
    with open_content(path) as content:
        return [row for row in csv.reader(io.StringIO(content.read().decode("utf-8-sig"), newline="")) if any(row)]


def trimmed(rows: list[list[str]]) -> list[list[str]]:
    for row in rows:
        while row and not row[-1]:
            row.pop()
    return [row for row in rows if row]


@given(tables, st.sampled_from([CALENDAR_WINDOWS_1900, CALENDAR_MAC_1904]))
@example([[0.3, 1e-7, 20240102, 2**40, True, "00123"], [None, None, "#DIV/0!"], [time(9, 30)]], CALENDAR_WINDOWS_1900)
@settings(max_examples=share_of(80), deadline=None)
def test_every_cell_is_read_as_it_was_written(rows: list[list[Cell]], epoch: datetime) -> None:
    expected = trimmed([[written(cell) for cell in row] for row in rows])
    with tempfile.TemporaryDirectory() as folder:
        path = save(as_book(rows, epoch), folder)
        if expected:
            assert trimmed(read_back(path)) == expected
        else:
            with pytest.raises(FileAccessError, match="sheets are empty"):
                list_tables(path)


def test_a_span_of_hours_a_formula_and_merged_cells(tmp_path: Path) -> None:
    book = as_book([["a", "b", "c"], [timedelta(hours=30), "=A1+1", None], ["wide", None, "end"]])
    sheet = book.active
    assert sheet is not None
    sheet.merge_cells("A3:B3")
    assert trimmed(read_back(save(book, tmp_path))) == [["a", "b", "c"], ["1 day, 6:00:00"], ["wide", "", "end"]]


def test_sheets_out_of_sight_charts_and_empty_ones_are_no_tables(tmp_path: Path) -> None:
    book = as_book([["date", "close"]])
    for name, state in (
        ("hidden", "hidden"),
        ("hidden for good", "veryHidden"),
        ("empty", "visible"),
        ("R&D <2>", "visible"),
    ):
        sheet = book.create_sheet(name)
        sheet.sheet_state = state
        if name != "empty":
            sheet["B2"] = 1
    book.create_chartsheet("chart")
    path = save(book, tmp_path)
    assert list_tables(path) == ("Sheet", "R&D <2>")
    assert read_back(Path(f"{path}:R&D <2>")) == [["", "1"]]
    with pytest.raises(FileAccessError, match="no such table"):
        read_back(Path(f"{path}:hidden"))


def replaced(path: Path, member: str, old: bytes, new: bytes) -> Path:
    """Write a workbook again with other bytes in a member."""
    target = path.with_name("other.xlsx")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            content = source.read(name)
            copy.writestr(name, content.replace(old, new) if name == member else content)
    return target


@pytest.mark.parametrize(
    ("place", "says"),
    [(b"XFE1", "more than 16,384 columns"), (b"zzzzzz1", "more than 16,384 columns"),
     (b"A1048577", "has a row 1048577"),
     (b"XFD1048576", "spans 1,048,576 rows and 16,384 columns, too many to be held"),
     (b"ALL20000", "too many to be held")],
)  # fmt: skip
def test_one_cell_far_away_is_refused_before_the_library_sees_it(tmp_path: Path, place: bytes, says: str) -> None:
    path = save(as_book([["date", "close"], [date(2024, 1, 2), 1.5]]), tmp_path)
    for written_so in (b'r="%b"', b" r = '%b'", b"\n r=\t'%b'"):
        with pytest.raises(FileAccessError, match=says):
            read_back(replaced(path, "xl/worksheets/sheet1.xml", b'r="B2"', written_so % place))


def test_a_workbook_with_other_bytes_anywhere_is_read_or_refused(tmp_path: Path) -> None:
    path = save(as_book([["date", "close"], [date(2024, 1, 2), 1.5], ["#REF!", True]]), tmp_path)
    for member in ("xl/workbook.xml", "xl/worksheets/sheet1.xml", "xl/styles.xml", "xl/_rels/workbook.xml.rels"):
        for old, new in ((b"<", b"&"), (b'"', b""), (b"sheet", b"sh\xff"), (b"1", b"-"), (b">", b"/>"), (b"Id", b"Ie")):
            with suppress(FileAccessError):
                read_back(replaced(path, member, old, new))
