"""Files in whatever packs them: the same rows as the plain file, or a refusal that names the kind and the way out."""

import bz2
import gzip
import io
import lzma
import os
import stat
import sys
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.examples import share_of

from prometheus.errors import FileAccessError, MissingExtraError
from prometheus.files import containers, spools, streams
from prometheus.files.columns import MACRO_FIELDS
from prometheus.files.opening import open_table, open_text_table
from prometheus.files.sources import find_sources
from prometheus.market.frames import PRICE_FIELDS

REQUIRED = {"instrument_id", "trade_date", "close"}
FRAME = pd.DataFrame({"ticker": ["A", "B"], "date": ["2024-01-02", "2024-01-03"], "close": [1.5, 2.25]})
CSV = FRAME.to_csv(index=False).encode()
ROWS = [("A", "2024-01-02", 1.5), ("B", "2024-01-03", 2.25)]

Pack = Callable[[bytes, str], bytes]


def zipped(content: bytes, name: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return target.getvalue()


def zstandard(content: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(content))


PACKS: dict[str, Pack] = {
    "": lambda content, _name: content,
    ".gz": lambda content, _name: gzip.compress(content),
    ".gz of two": lambda content, _name: gzip.compress(content[:9]) + gzip.compress(content[9:]),
    ".xz": lambda content, _name: lzma.compress(content),
    ".lzma": lambda content, _name: lzma.compress(content, format=lzma.FORMAT_ALONE),
    ".bz2": lambda content, _name: bz2.compress(content),
    ".zst": lambda content, _name: zstandard(content),
    ".zip": zipped,
    ".gz.zip": lambda content, name: zipped(gzip.compress(content), f"{name}.gz"),
    ".xz.gz": lambda content, _name: gzip.compress(lzma.compress(content)),
}


def as_parquet(frame: pd.DataFrame) -> bytes:
    target = io.BytesIO()
    frame.to_parquet(target, index=False)
    return target.getvalue()


def as_xlsx(frame: pd.DataFrame, **sheets: pd.DataFrame) -> bytes:
    target = io.BytesIO()
    with pd.ExcelWriter(target, engine="openpyxl") as writer:
        for name, each in {"Sheet1": frame, **sheets}.items():
            each.to_excel(writer, sheet_name=name, index=False)
    return target.getvalue()


WRITERS: dict[str, Callable[[pd.DataFrame], bytes]] = {
    ".csv": lambda frame: frame.to_csv(index=False).encode(),
    ".utf16.csv": lambda frame: frame.to_csv(index=False).encode("utf-16"),
    ".utf16be.csv": lambda frame: frame.to_csv(index=False).encode("utf-16-be"),
    ".utf32.csv": lambda frame: frame.to_csv(index=False).encode("utf-32"),
    ".bom.csv": lambda frame: frame.to_csv(index=False).encode("utf-8-sig"),
    ".parquet": as_parquet,
}


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def rows_of(*arguments: Path) -> list[tuple[str, str, float]]:
    found = []
    for path in find_sources(arguments).paths:
        for batch in open_table(path, PRICE_FIELDS, REQUIRED).batches():
            names = ("instrument_id", "trade_date", "close")
            tickers, dates, closes = (batch.columns[name].to_pylist() for name in names)
            found += [
                (ticker, str(day), float(close)) for ticker, day, close in zip(tickers, dates, closes, strict=True)
            ]
    return found


def refusal(*arguments: Path) -> str:
    with pytest.raises(FileAccessError) as caught:
        rows_of(*arguments)
    said = str(caught.value)
    assert "\n" not in said
    assert caught.value.exit_code == 5
    return said


def read_through(path: Path) -> None:
    for found in find_sources([path]).paths:
        for _ in open_table(found, PRICE_FIELDS, REQUIRED).batches():
            pass


def peak_bytes(path: Path, says: str) -> int:
    """Return the most memory that Python held while a file was refused."""
    tracemalloc.start()
    try:
        with pytest.raises(FileAccessError, match=says):
            read_through(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("named", ["as it is", "as nothing"])
def test_every_kind_in_every_container_has_the_rows_of_the_plain_file(
    tmp_path: Path, kind: str, pack: str, named: str
) -> None:
    content = PACKS[pack](WRITERS[kind](FRAME), f"inner{kind}")
    assert rows_of(write(tmp_path / (f"p{kind}{pack}" if named == "as it is" else "p"), content)) == ROWS


names = st.text(st.characters(min_codepoint=33, exclude_categories=("Cs", "Cc", "Cn", "Zs", "Zl", "Zp")), min_size=1)
frames = st.lists(st.tuples(names, st.dates(), st.floats(0.01, 1e9)), min_size=1, max_size=30)


@given(frames, st.sampled_from(sorted(WRITERS)), st.lists(st.sampled_from(sorted({*PACKS} - {".xz.gz"})), max_size=2))
@settings(max_examples=share_of(60), deadline=None)
def test_containers_change_no_cell(rows: list[tuple[str, object, float]], kind: str, packs: list[str]) -> None:
    frame = pd.DataFrame(rows, columns=["ticker", "date", "close"])
    frame["date"] = frame["date"].astype(str)
    content = WRITERS[kind](frame)
    for pack in packs:
        if not content.startswith(b"PK"):  # an archive inside another file is refused, below
            content = PACKS[pack](content, f"inner{kind}")
    with tempfile.TemporaryDirectory() as folder:
        found = rows_of(write(Path(folder) / "p", content))
        assert found == rows_of(write(Path(folder) / "q.parquet", as_parquet(frame)))


@pytest.mark.parametrize("pack", PACKS)
def test_texts_come_out_of_containers_too(tmp_path: Path, pack: str) -> None:
    lines = '{"event_type": "CPI", "timestamp": "2024-01-02T13:30Z", "description": "Prices\\nrose, 利率."}\n'.encode()
    for content in (lines, lines.decode().encode("utf-16")):
        path = write(tmp_path / f"e.jsonl{pack}", PACKS[pack](content, "e.jsonl"))
        (batch,) = open_text_table(path, MACRO_FIELDS, {"description"}, {}).batches()
        assert batch.columns["description"].to_pylist() == ["Prices\nrose, 利率."]


def test_a_workbook_has_the_rows_of_its_csv(tmp_path: Path) -> None:
    frame = FRAME.assign(date=pd.to_datetime(FRAME["date"]), volume=[10.0, float("nan")], note=["x, y", 'said "z"'])
    assert rows_of(write(tmp_path / "p.xlsx", as_xlsx(frame))) == ROWS
    assert rows_of(write(tmp_path / "p.csv", as_xlsx(frame))) == ROWS
    file = open_table(tmp_path / "p.xlsx", PRICE_FIELDS, REQUIRED)
    assert [batch.rows.tolist() for batch in file.batches()] == [[2, 3]]


def test_sheets_are_tables_of_their_own(tmp_path: Path) -> None:
    other = FRAME.assign(ticker=["C", "D"])
    path = write(tmp_path / "p.xlsx", as_xlsx(FRAME, other=other, empty=pd.DataFrame()))
    assert find_sources([path]).paths == (Path(f"{path}:Sheet1"), Path(f"{path}:other"))
    assert [row[0] for row in rows_of(path)] == ["A", "B", "C", "D"]
    assert [row[0] for row in rows_of(Path(f"{path}:other"))] == ["C", "D"]
    assert "did you mean other?" in refusal(Path(f"{path}:othr"))


def test_sheets_of_odd_forms_are_read_or_refused(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet["B3"] = "nothing here"
    sheet.sheet_state = "hidden"
    shown = book.create_sheet("shown")
    for row in ([], ["ticker", "date", "close"], ["A", "2024-01-02", 1.5], [], ["B", "2024-01-03", 2.25]):
        shown.append(row)
    book.save(tmp_path / "p.xlsx")
    assert rows_of(tmp_path / "p.xlsx") == ROWS
    openpyxl.Workbook().save(tmp_path / "empty.xlsx")
    assert "sheets are empty" in refusal(tmp_path / "empty.xlsx")
    content = (tmp_path / "p.xlsx").read_bytes()
    for n_bytes in (200, len(content) // 2, len(content) - 30):
        assert "damaged" in refusal(write(tmp_path / "cut.xlsx", content[:n_bytes]))


def test_without_its_extra_a_workbook_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "p.xlsx", as_xlsx(FRAME))
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(MissingExtraError, match=r"prometheus-regime\[xlsx\]"):
        rows_of(path)


def test_members_of_an_archive_are_tables_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b/two.csv", FRAME.assign(ticker=["C", "D"]).to_csv(index=False))
        archive.writestr("a.parquet", as_parquet(FRAME))
        archive.writestr("__MACOSX/._a.parquet", b"junk")
        archive.writestr(".hidden.csv", b"junk")
    assert [row[0] for row in rows_of(path)] == ["A", "B", "C", "D"]
    assert rows_of(Path(f"{path}:a.parquet")) == ROWS
    with pytest.raises(FileAccessError, match=r"holds 2 tables .*; name one, such as .*p\.zip:a\.parquet"):
        open_table(path, PRICE_FIELDS, REQUIRED)
    assert "no such table in the archive; known: a.parquet" in refusal(Path(f"{path}:x"))
    plain = write(tmp_path / "p.csv", CSV)
    assert "neither a zip archive nor a workbook; name it alone" in refusal(Path(f"{plain}:x"))


def test_a_name_with_a_colon_is_that_file(tmp_path: Path) -> None:
    write(tmp_path / "p.zip", zipped(b"not this", "a.csv"))
    assert rows_of(write(tmp_path / "p.zip:a.csv", CSV)) == ROWS


@pytest.mark.parametrize("pack", [".gz", ".xz", ".bz2", ".zst", ".zip", ".lzma"])
def test_a_damaged_or_cut_container_is_refused_by_name(tmp_path: Path, pack: str) -> None:
    content = PACKS[pack](CSV * 2_000, "p.csv")
    for damaged in (content[: len(content) // 2], content[:-3], content[:40] + b"\0\xff" * 9 + content[58:]):
        assert "damaged" in refusal(write(tmp_path / f"p{pack}", damaged))


@pytest.mark.deep
def test_bombs_are_refused_before_memory_is_spent(tmp_path: Path) -> None:
    line = b"A,2024-01-02,1\n"
    lines = b"ticker,date,close\n" + line * 4_000_000
    paths = [write(tmp_path / f"p{pack}", PACKS[pack](lines, "p.csv")) for pack in (".gz", ".xz", ".zst", ".zip")]
    del lines
    for path in paths:
        assert peak_bytes(path, "unpacks to more than 200 times its size") < 64 << 20


def test_archives_in_archives_and_layers_without_end_are_refused(tmp_path: Path) -> None:
    inner = zipped(CSV, "p.csv")
    assert "holds an archive or a workbook; unpack the outer file" in refusal(
        write(tmp_path / "a", zipped(inner, "i.zip"))
    )
    assert "holds an archive or a workbook" in refusal(write(tmp_path / "b", gzip.compress(as_xlsx(FRAME))))
    content = CSV
    for _ in range(4):
        content = gzip.compress(content)
    assert "packed more than 3 times" in refusal(write(tmp_path / "c", content))
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(501):
            archive.writestr(f"{number}.csv", b"")
    assert "holds more than 500 files" in refusal(tmp_path / "many.zip")


def test_links_passwords_and_repeated_names_in_an_archive_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("passwd.csv")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "passwd.csv in it is a symbolic link" in refusal(tmp_path / "link.zip")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", CSV)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.csv", CSV)
    assert "holds 2 files named a.csv" in refusal(tmp_path / "two.zip")
    locked = bytearray(zipped(CSV, "a.csv"))
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    assert "locked with a password" in refusal(write(tmp_path / "locked.zip", bytes(locked)))


def test_a_zip_of_another_method_is_not_called_damaged(tmp_path: Path) -> None:
    content = bytearray(zipped(CSV, "a.csv"))
    for header, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(header) + offset] = 98  # PPMd, which 7-Zip offers
    said = refusal(write(tmp_path / "ppmd.zip", bytes(content)))
    assert "packed in a way that cannot be read" in said
    assert "unpack it and load what comes out" in said


def workbook_with(tmp_path: Path, sheet: bytes) -> Path:
    path = tmp_path / "wide.xlsx"
    with zipfile.ZipFile(io.BytesIO(as_xlsx(FRAME))) as book, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name in book.namelist():
            out.writestr(name, sheet if name == "xl/worksheets/sheet1.xml" else book.read(name))
    return path


def test_a_sheet_of_a_million_columns_or_rows_is_refused_early(tmp_path: Path) -> None:
    start = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData><row r="1">'
    end = b"</row></sheetData></worksheet>"
    path = workbook_with(tmp_path, start + b"<c><v>1</v></c>" * 1_000_000 + end)
    assert peak_bytes(path, "has more than 16,384 columns") < 16 << 20
    far = b'<c r="A1"><v>1</v></c></row><row r="2000000000"><c r="A2000000000"><v>1</v></c>'
    assert "has a row 2000000000, more than any sheet of Excel" in refusal(workbook_with(tmp_path, start + far + end))


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert "is a named pipe, not a regular file; send it to standard input, named -" in refusal(tmp_path / "pipe.csv")
    assert "is a device" in refusal(Path("/dev/zero"))
    assert "No such file" in refusal(tmp_path / "absent.csv")
    assert "cannot be read" in refusal(Path("a\0b"))
    assert "cannot be read" in refusal(Path("x" * 5_000))


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", CSV)
    with path.open("rb", buffering=0) as file, path.open("ab") as writer:
        chunks = streams.read_whole(path, file)
        assert next(chunks) == CSV
        writer.write(CSV)
        writer.flush()
        with pytest.raises(FileAccessError, match="grew while it was read; load it once it is complete"):
            next(chunks)
    path = write(tmp_path / "q.csv", CSV * 100_000)
    with path.open("rb", buffering=0) as file:
        chunks = streams.read_whole(path, file)
        next(chunks)
        os.truncate(path, 10)
        with pytest.raises(FileAccessError, match="was cut while it was read"):
            list(chunks)


def test_folders_and_patterns_stand_for_their_files(tmp_path: Path) -> None:
    for name, ticker in (("b.csv", "B"), ("a.csv", "A"), ("deep/c.csv.gz", "C"), ("deep/d.parquet", "D")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        frame = pd.DataFrame({"ticker": [ticker], "date": ["2024-01-02"], "close": [1.0]})
        packed = PACKS[".gz"] if name.endswith(".gz") else PACKS[""]
        path.write_bytes(packed(WRITERS[Path(name.removesuffix(".gz")).suffix](frame), name))
    for name in ("README.md", ".hidden.csv", "_SUCCESS", "~$book.xlsx"):
        write(tmp_path / name, b"no rows")
    assert [row[0] for row in rows_of(tmp_path)] == ["A", "B", "C", "D"]
    assert [path.name for path in find_sources([tmp_path]).left_out] == [
        ".hidden.csv",
        "README.md",
        "_SUCCESS",
        "~$book.xlsx",
    ]
    assert "README.md" in find_sources([tmp_path]).remarks[0]
    assert [row[0] for row in rows_of(tmp_path / "*.csv")] == ["A", "B"]
    assert [row[0] for row in rows_of(tmp_path / "**" / "*.parquet")] == ["D"]
    assert "matches no file" in refusal(tmp_path / "*.xls")
    (tmp_path / "none").mkdir()
    assert "holds no file of rows" in refusal(tmp_path / "none")
    (tmp_path / "deep" / "link.csv").symlink_to(tmp_path / "a.csv")
    assert "deep/link.csv: is a symbolic link" in refusal(tmp_path)
    assert [row[0] for row in rows_of(tmp_path / "deep" / "link.csv")] == ["A"]
    (tmp_path / "deep" / "link.csv").unlink()
    os.mkfifo(tmp_path / "deep" / "pipe.csv")
    assert "deep/pipe.csv: is a pipe" in refusal(tmp_path)
    (tmp_path / "delta" / "_delta_log").mkdir(parents=True)
    assert "is a Delta table" in refusal(tmp_path / "delta")


def test_partitioned_parquet_gets_its_columns_from_the_folders(tmp_path: Path) -> None:
    frame = FRAME.assign(ticker=pd.Series(["A/1", None], dtype=object), year=2024)
    frame.to_parquet(tmp_path / "set", partition_cols=["year", "ticker"])
    assert rows_of(tmp_path / "set") == [("A/1", "2024-01-02", 1.5), (None, "2024-01-03", 2.25)]
    pq.write_to_dataset(pa.table(FRAME), tmp_path / "symbol=X", partition_cols=["date"])
    assert rows_of(tmp_path / "symbol=X") == ROWS  # what the file says of its instrument goes before the folder


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("kind", WRITERS)
def test_standard_input_may_be_anything(monkeypatch: pytest.MonkeyPatch, pack: str, kind: str) -> None:
    content = PACKS[pack](WRITERS[kind](FRAME), f"inner{kind}")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert rows_of(Path("-")) == ROWS
    assert rows_of(containers.STANDARD_INPUT) == ROWS
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert refusal(Path("-")) == "/dev/stdin: is empty"


def test_a_spool_has_no_name_and_leaves_room_on_its_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spool = spools.Spool(Path("p.csv"), [b"ab", b"cdef"])
    assert list(tmp_path.iterdir()) == []  # so there is nothing that a killed process could leave
    with spool.open() as one, spool.open() as other:
        assert (one.read(3), other.read(), one.read(), one.seek(-2, 2), one.read(9)) == (
            b"abc", b"abcdef", b"def", 4, b"ef",
        )  # fmt: skip
    monkeypatch.setattr(spools, "LEAST_FREE_BYTES", 1 << 60)
    assert spools.Spool(Path("p.csv"), [b"little"]).open().read() == b"little"
    with pytest.raises(
        FileAccessError, match=r"p\.csv: has more bytes than .* has room for; name the folder of a larger"
    ):
        spools.Spool(Path("p.csv"), [bytes(1 << 20)] * 17)
