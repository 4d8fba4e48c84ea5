"""Files that are not read: each is named for what it is, and following the way out gives its rows."""

import io
import pickle
import shutil
import sqlite3
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from prometheus.errors import FileAccessError
from prometheus.files.columns import MACRO_FIELDS
from prometheus.files.kinds import content_suffix, is_table_name
from prometheus.files.opening import open_table, open_text_table
from prometheus.market.frames import PRICE_FIELDS

REQUIRED = {"instrument_id", "trade_date", "close"}
FRAME = pd.DataFrame({"ticker": ["A", "B"], "date": ["2024-01-02", "2024-01-03"], "close": [1.5, 2.25]})
CSV = FRAME.to_csv(index=False)
ROWS = [("A", "2024-01-02", 1.5), ("B", "2024-01-03", 2.25)]


def rows_of(path: Path) -> list[tuple[str, str, float]]:
    names = ("instrument_id", "trade_date", "close")
    batches = open_table(path, PRICE_FIELDS, REQUIRED).batches()
    columns = [[batch.columns[name].to_pylist() for name in names] for batch in batches]
    return [(ticker, day, float(close)) for each in columns for ticker, day, close in zip(*each, strict=True)]


def refusal(path: Path) -> str:
    with pytest.raises(FileAccessError) as caught:
        open_table(path, PRICE_FIELDS, REQUIRED)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"{path}: is ")
    return said


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


class Trap:
    """A pickle of it, once loaded, leaves a file behind."""

    def __init__(self, left_behind: Path) -> None:
        self.left_behind = left_behind

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.left_behind,)


def arrow_stream(path: Path) -> None:
    table = pa.Table.from_pandas(FRAME, preserve_index=False)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def sqlite_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        FRAME.to_sql("prices", connection, index=False)


def from_sqlite(path: Path, new: Path) -> None:
    if shutil.which("sqlite3") is None:
        pytest.skip("the command sqlite3 is not here")
    command = ["sqlite3", "-header", "-csv", str(path), "SELECT * FROM prices"]
    new.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)


def tar_archive(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("prices.csv")
        member.size = len(CSV)
        archive.addfile(member, io.BytesIO(CSV.encode()))


def from_tar(path: Path, new: Path) -> None:
    with tarfile.open(path) as archive:
        found = archive.extractfile("prices.csv")
        assert found is not None
        new.write_bytes(found.read())


FOLLOWED: dict[str, tuple[Callable[[Path], object], str, Callable[[Path, Path], object]]] = {
    "feather": (
        FRAME.to_feather,
        "is a Feather (Arrow IPC) file; write it as Parquet, in Python: pandas.read_feather(FILE).to_parquet(NEW)",
        lambda path, new: pd.read_feather(path).to_parquet(new),
    ),
    "arrows": (
        arrow_stream,
        "is an Arrow IPC stream; write it as Parquet, in Python: pyarrow.ipc.open_stream(FILE).read_pandas()",
        lambda path, new: pa.ipc.open_stream(path.read_bytes()).read_pandas().to_parquet(new),
    ),
    "orc": (FRAME.to_orc, "is an ORC file", lambda path, new: pd.read_orc(path).to_parquet(new)),
    "dta": (
        lambda path: FRAME.to_stata(path, write_index=False, version=118),
        "is a Stata file",
        lambda path, new: pd.read_stata(path).to_parquet(new),
    ),
    "db": (sqlite_database, "is an SQLite database; write its table as CSV: sqlite3 -header -csv FILE", from_sqlite),
    "tar": (tar_archive, "is a tar archive; unpack it", from_tar),
    "jsonl": (
        lambda path: FRAME.to_json(path, orient="records", lines=True),
        "is a file of JSON lines; only macro events and news are read so; write it as CSV",
        lambda path, new: pd.read_json(path, lines=True).to_csv(new, index=False),
    ),
    "pkl": (
        FRAME.to_pickle,
        "is a pickle, which could run any code and is never loaded; where it was made, write the frame",
        lambda _path, new: FRAME.to_parquet(new),
    ),
    "npy": (
        lambda path: np.save(path, FRAME.to_numpy(object), allow_pickle=True),
        "is a NumPy array; write a frame of it with to_parquet",
        lambda _path, new: FRAME.to_parquet(new),
    ),
}


@pytest.mark.parametrize("suffix", FOLLOWED)
@pytest.mark.parametrize("named", ["x.{}", "prices.csv", "prices.xlsx"])
def test_the_way_out_of_another_tools_file_gives_its_rows(tmp_path: Path, suffix: str, named: str) -> None:
    make, says, follow = FOLLOWED[suffix]
    made = tmp_path / f"made.{suffix}"
    make(made)
    path = made.rename(tmp_path / named.format(suffix))
    assert says in refusal(path)
    follow(path, tmp_path / "new")
    assert rows_of(tmp_path / "new") == ROWS


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_never_loaded(tmp_path: Path, protocol: int) -> None:
    left_behind = tmp_path / "run"
    for number, content in enumerate((Trap(left_behind), FRAME, {"a": 1}, [Trap(left_behind)])):
        path = write(tmp_path / f"{number}.csv", pickle.dumps(content, protocol))
        assert "is a pickle, which could run any code and is never loaded" in refusal(path)
    assert not left_behind.exists()


def zip_of(*names: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return target.getvalue()


NAMED: dict[str, tuple[bytes, str]] = {
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(500), "is an HDF5 file; write it as Parquet, in Python: pandas.read_hdf"),
    "xls": (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(500), "is an old Excel file (.xls), or one with a password"),
    "xlsb": (zip_of("xl/workbook.bin"), "is a binary Excel file (.xlsb); save it as .xlsx or CSV"),
    "ods": (zip_of("mimetype", "content.xml"), "is an OpenDocument file (.ods); save it as .xlsx or CSV"),
    "docx": (zip_of("word/document.xml"), "is a Word document; save its table as .xlsx or CSV"),
    "empty zip": (zip_of(), "is a zip archive that holds no file"),
    "html": (b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>", "is a web page"),
    "html of excel": (b"<table><tr><td>1</td></tr></table>", "is a web page"),
    "html with a comment": (b"<!-- saved from url -->\n<HTML>", "is a web page"),
    "xml": (b'<?xml version="1.0"?>\n<rows/>', "is an XML file"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "is a PDF; find the same figures as CSV or .xlsx"),
    "7z": (bytes.fromhex("377abcaf271c") + bytes(50), "is a 7z archive; unpack it"),
    "rar": (b"Rar!\x1a\x07\x00", "is a RAR archive; unpack it"),
    "lz4": (bytes.fromhex("04224d18") + bytes(50), "is an LZ4 file; unpack it: unlz4 FILE"),
    "compress": (b"\x1f\x9d\x90abc", "is a file of compress (.Z); unpack it: gunzip FILE"),
    "duckdb": (bytes(8) + b"DUCK" + bytes(50), "is a DuckDB database; write its table as Parquet"),
    "avro": (b"Obj\x01\x04\x14avro.codec", "is an Avro file"),
    "r": (b"RDX3\nX\n\0\0\0\3", "is an R data file"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(50), "is a picture"),
    "elf": (b"\x7fELF\2\1\1" + bytes(50), "is a program"),
    "json array": (b'[{"ticker": "A"}]', "is one JSON array; write one object per line instead: jq -c '.[]'"),
    "json document": (b'{\n  "chart": {"result": []}\n}', "is one JSON object over many lines; write one object"),
    "empty": (b"", "is empty"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NAMED)
def test_what_is_not_read_is_named(tmp_path: Path, kind: str) -> None:
    content, says = NAMED[kind]
    assert says in refusal(write(tmp_path / "prices.csv", content))


def test_a_json_array_becomes_lines_by_the_command_it_names(tmp_path: Path) -> None:
    if shutil.which("jq") is None:
        pytest.skip("the command jq is not here")
    path = write(tmp_path / "e.json", b'[{"description": "Prices rose."},\n {"description": "Prices fell."}]')
    with pytest.raises(FileAccessError, match=r"is one JSON array; write one object per line instead: jq -c '\.\[\]'"):
        open_text_table(path, MACRO_FIELDS, {"description"}, {})
    new = write(tmp_path / "e.jsonl", subprocess.run(["jq", "-c", ".[]", path], check=True, capture_output=True).stdout)
    (batch,) = open_text_table(new, MACRO_FIELDS, {"description"}, {}).batches()
    assert batch.columns["description"].to_pylist() == ["Prices rose.", "Prices fell."]


LOOK_ALIKES = [
    b"close\nvalue\n1\n", b"X\n1\n", b"ORCL,date\n", b"MZ,date\n", b"[date],[close]\n", b"<TICKER>,<PER>,<DATE>\n",
    b"c,d\n", b"BZ=F,date\n", b"BZh,date\n", b"PARIS,x\n", b"LZIPS,x\n"
]  # fmt: skip


@pytest.mark.parametrize("start", LOOK_ALIKES)
def test_honest_tables_are_not_taken_for_something_else(tmp_path: Path, start: bytes) -> None:
    open_table(write(tmp_path / "p.csv", start), PRICE_FIELDS, set())


def test_names_tell_what_may_hold_rows() -> None:
    tables = ("a.csv", "a.CSV.gz", "a.b.jsonl.zst", "a.xz", "a.us.txt", "a.zip", "a.xlsx", "a.parquet")
    assert [name for name in tables if not is_table_name(name)] == []
    assert [name for name in ("README.md", "a", "a.py", "a.pdf", "a.md.csvx") if is_table_name(name)] == []
    assert content_suffix(Path("a.zip:b/c.JSONL.gz")) == ".jsonl"
