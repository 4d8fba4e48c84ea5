import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from prometheus.errors import DataCheckError, FileAccessError
from prometheus.files import csv_lines
from prometheus.files.opening import open_table
from prometheus.files.tables import RawBatch, Reason
from prometheus.market.frames import PRICE_FIELDS

REQUIRED = {"instrument_id", "trade_date", "close"}
HEADER = b"ticker,date,close,extra\n"


def read(path: Path) -> list[RawBatch]:
    return list(open_table(path, PRICE_FIELDS, REQUIRED).batches())


def rows_of(path: Path) -> list[tuple[int, object, object]]:
    return [
        (int(row), ticker, close)
        for batch in read(path)
        for row, ticker, close in zip(
            batch.rows, batch.columns["instrument_id"].to_pylist(), batch.columns["close"].to_pylist(), strict=True
        )
    ]


def malformed(path: Path) -> list[tuple[int, Reason, str]]:
    return [(line.row, line.reason, line.text) for batch in read(path) for line in batch.malformed]


def write(tmp_path: Path, content: bytes, name: str = "prices.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        HEADER + b"A,2024-01-02,1,\nB,2024-01-02,2,\n",
        HEADER + b"A,2024-01-02,1,\nB,2024-01-02,2,",
        b"\xef\xbb\xbf" + HEADER + b"A,2024-01-02,1,\nB,2024-01-02,2,\n",
        (HEADER + b"A,2024-01-02,1,\nB,2024-01-02,2,\n").replace(b"\n", b"\r\n"),
        HEADER + b'"A","2024-01-02","1","x,""y"""\nB,2024-01-02,2,\n',
    ],
    ids=["plain", "no last line feed", "utf-8 mark", "crlf", "quoted"],
)
def test_a_csv_is_read_with_its_line_numbers(tmp_path: Path, content: bytes) -> None:
    assert rows_of(write(tmp_path, content)) == [(2, "A", "1"), (3, "B", "2")]
    assert rows_of(write(tmp_path, gzip.compress(content), "p.csv.gz")) == [(2, "A", "1"), (3, "B", "2")]


def test_empty_lines_are_no_rows_and_still_count_as_lines(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + b"\nA,2024-01-02,1,\n\r\n\nB,2024-01-02,2,\n\n")
    assert rows_of(path) == [(3, "A", "1"), (6, "B", "2")]
    assert malformed(path) == []


def test_lines_of_wrong_length_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + b"A,1\nB,2024-01-02,2,\nC,2024-01-02,3,4,5\nD,2024-01-02,4,\n")
    assert rows_of(path) == [(3, "B", "2"), (5, "D", "4")]
    wrong = Reason.WRONG_NUMBER_OF_CELLS
    assert malformed(path) == [(2, wrong, "A,1"), (4, wrong, "C,2024-01-02,3,4,5")]


@pytest.mark.parametrize(
    "bad",
    [b'"A,2024-01-02,1,\n', b'A,2024-01-02,1,"x\n', b'A","x,2024-01-02,1,\n', b'A,2024-01-02,"1"2,\n'],
)
def test_a_stray_quote_swallows_no_other_line(tmp_path: Path, bad: bytes) -> None:
    good = b'B,2024-01-02,2,\nC,2024-01-02,"3",\n'
    path = write(tmp_path, HEADER + good + bad + good)
    found = [row for row in rows_of(path) if row[0] != 4]
    assert found == [(2, "B", "2"), (3, "C", "3"), (5, "B", "2"), (6, "C", "3")]


def test_a_line_break_inside_quotes_is_refused_with_its_lines(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + b'A,2024-01-02,1,"two\nlines"\nB,2024-01-02,2,\n')
    assert rows_of(path) == [(4, "B", "2")]
    assert [row for row, _, _ in malformed(path)] == [2, 3]


def test_a_lone_carriage_return_splits_no_row(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + b"A,2024-01-02,1,\rB,2024-01-02,2,\nC,2024-01-02,3,\n")
    assert rows_of(path) == [(3, "C", "3")]
    assert malformed(path)[0][:2] == (2, Reason.STRAY_CARRIAGE_RETURN)


def test_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = b"".join(b"A%d,2024-01-02,%d,\n" % (n, n) if n % 7 else b"ragged\n" for n in range(1, 300))
    path = write(tmp_path, HEADER + lines)
    whole, wrong = rows_of(path), malformed(path)
    for size in (30, 31, 64, 1000):
        monkeypatch.setattr(csv_lines, "BLOCK_BYTES", size)
        assert rows_of(path) == whole
        assert malformed(path) == wrong


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (HEADER.decode().encode("utf-16") + b"\0", "UTF-16"),
        (HEADER.decode().encode("utf-16-le") + b"\0", "UTF-16"),
        (HEADER + b"A,2024-01-02,1,\nB,2024-01-02,2,caf\xe9\n", r"line 3 is not UTF-8 text \(byte 0xe9\)"),
        (HEADER.replace(b"\n", b"\r") + b"A,2024-01-02,1,\r", "carriage return alone"),
        (HEADER + b"x" * 1_100_000, "line 2 is longer than"),
        (HEADER + b"x" * 9_000_000, "a line of more than"),
        (b"PK\x03\x04rest", "damaged zip"),
        (b"\x1f\x8b\x08\x00garbage", "damaged gzip"),
        (gzip.compress(HEADER * 1000)[:-10], "damaged gzip"),
    ],
    ids=[
        "empty",
        "cut utf-16",
        "cut utf-16 unmarked",
        "latin-1",
        "old mac",
        "long",
        "longer",
        "zip",
        "gzip",
        "cut gzip",
    ],
)
def test_an_unreadable_file_is_refused_in_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(FileAccessError, match=says) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, says in [
        (tmp_path / "absent.csv", "No such file"),
        (tmp_path, "is a directory"),
        (tmp_path / "pipe", "not a regular file"),
        (Path("a\0b"), "cannot be read"),
    ]:
        with pytest.raises(FileAccessError, match=says):
            open_table(path, PRICE_FIELDS, REQUIRED)


def test_a_parquet_name_does_not_make_a_parquet_file(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="not a Parquet file"):
        open_table(write(tmp_path, HEADER, "x.parquet"), PRICE_FIELDS, REQUIRED)


def test_a_header_alone_has_no_rows(tmp_path: Path) -> None:
    assert read(write(tmp_path, HEADER)) == []


def parquet(tmp_path: Path, **columns: object) -> Path:
    n_rows = 1000
    defaults = {
        "ticker": ["A"] * n_rows,
        "date": np.arange(n_rows).astype("M8[D]"),
        "close": np.arange(1.0, n_rows + 1),
    }
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({**defaults, **columns}), path)
    return path


def test_parquet_rows_are_counted_from_one(tmp_path: Path) -> None:
    (batch,) = read(parquet(tmp_path))
    np.testing.assert_array_equal(batch.rows, np.arange(1, 1001))
    assert batch.columns["close"].to_pylist() == list(range(1, 1001))


@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_every_encoding_of_text_is_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "p.parquet"
    table = pa.table({"ticker": ["A", "B"], "date": ["2024-01-02"] * 2, "close": [1, 2]})
    pq.write_table(table, path, use_dictionary=False, column_encoding={"ticker": encoding, "date": encoding})
    assert rows_of(path) == [(1, "A", 1), (2, "B", 2)]


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("ticker", [["A"]] * 1000, "instrument_id has type list"),
        ("ticker", list(range(1000)), "instrument_id has type int64, expected text"),
        ("close", [{"a": 1}] * 1000, "close has type struct"),
        ("close", [True] * 1000, "close has type bool, expected numbers"),
        ("date", [1.5] * 1000, "trade_date has type double, expected dates"),
    ],
)
def test_a_column_of_another_type_is_refused(tmp_path: Path, column: str, values: list[object], says: str) -> None:
    with pytest.raises(DataCheckError, match=says):
        open_table(parquet(tmp_path, **{column: values}), PRICE_FIELDS, REQUIRED)


def varint(number: int) -> bytes:
    number, out = number * 2, b""
    while number > 127:
        number, out = number >> 7, out + bytes([number & 127 | 128])
    return out + bytes([number])


@pytest.mark.parametrize("claimed", [10**15, 2**62, 999, 0])
def test_a_footer_that_lies_about_rows_is_refused(tmp_path: Path, claimed: int) -> None:
    path = parquet(tmp_path)
    content = path.read_bytes()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    footer = content[start:-8].replace(b"\x16" + varint(1000), b"\x16" + varint(claimed), 1)
    path.write_bytes(content[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(FileAccessError, match=f"it says {claimed} rows and holds 1000"):
        read(path)


def test_damaged_parquet_is_refused_and_never_escapes_as_something_else(tmp_path: Path) -> None:
    path = parquet(tmp_path)
    content = path.read_bytes()
    generator = np.random.default_rng(3)
    refusals: list[str] = []
    for _ in range(150):
        damaged = bytearray(content)
        for position in generator.integers(4, len(content), 3):
            damaged[position] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            read(path)
        except (FileAccessError, DataCheckError) as error:
            refusals.append(str(error))
    assert len(refusals) > 10
    assert not any("\n" in refusal for refusal in refusals)


@pytest.mark.parametrize("keep", [10, 500, -4, -20])
def test_cut_parquet_is_refused(tmp_path: Path, keep: int) -> None:
    path = parquet(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FileAccessError, match="damaged"):
        read(path)


def test_text_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    bad = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 2, 4], np.int32)), pa.py_buffer(b"\xff\xfeab")]
    )
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"ticker": bad, "date": [20240102, 20240103], "close": [1, 2]}), path)
    with pytest.raises(FileAccessError, match="UTF-8"):
        read(path)


MEASURE = """
import resource, sys
from pathlib import Path
from prometheus.ingest.checks import read_price_rows
from prometheus.files.columns import PRICE_FIELDS
from prometheus.files.instants import DateReader
from prometheus.files.opening import open_table

dates, n_rows = DateReader(), 0
optional = frozenset({"open", "high", "low", "volume"})  # not in the file
for batch in open_table(Path(sys.argv[1]), PRICE_FIELDS, set()).batches():
    n_rows += len(read_price_rows(batch, dates, None, optional).rows)
if sys.platform == "linux":  # where the peak of getrusage is inherited from the process that started this one
    status = Path("/proc/self/status").read_text()
    print(n_rows, int(status.partition("VmHWM:")[2].split()[0]) // 1024)
else:
    print(n_rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 20)
"""


@pytest.mark.deep
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_memory_stays_bounded(tmp_path: Path, suffix: str) -> None:
    n_rows = 10_000_000
    table = pa.table(
        {
            "ticker": pa.DictionaryArray.from_arrays(
                np.arange(n_rows) // 5_000 % 100, [f"I{n:03d}" for n in range(100)]
            ),
            "date": (np.arange(n_rows) % 20_000).astype("M8[D]"),
            "close": np.random.default_rng(1).uniform(1, 100, n_rows),
        }
    )
    path = tmp_path / f"big.{suffix}"
    if suffix == "parquet":
        pq.write_table(table, path, row_group_size=n_rows)
    else:
        pyarrow.csv.write_csv(table.set_column(0, "ticker", table["ticker"].cast(pa.string())), path)
    done = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    n_read, megabytes = map(int, done.stdout.split())
    assert n_read == n_rows
    assert megabytes < 500
