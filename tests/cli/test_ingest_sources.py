"""What a user may name for a file: archives, folders, patterns, standard input; and what is refused without a trace."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import sys
import zipfile
from pathlib import Path

import openpyxl
import pytest
from tests.fixtures.commands import Run
from tests.fixtures.database import TableDigest

HEADER = "ticker,Date,Open,High,Low,Close,Adj Close,Volume\n"
ROW = "{},2024-01-02,10,11,9,10.5,10.5,1000\n"
EVENT = '{"event_type": "CPI", "timestamp": "2024-01-02T13:30Z", "description": "Prices rose."}\n'


def prices(*tickers: str) -> bytes:
    return (HEADER + "".join(map(ROW.format, tickers))).encode()


def test_a_folder_with_an_archive_and_a_pattern_load_once(run: Run) -> None:
    Path("in").mkdir()
    Path("in/a.csv").write_bytes(prices("A"))
    Path("in/NOTES.md").write_text("from the vendor")
    with zipfile.ZipFile("in/b.zip", "w") as archive:
        archive.writestr("b.csv", prices("B"))
        archive.writestr("c.csv.gz", gzip.compress(prices("C")))

    whole = run("ingest", "prices", "in")
    part = run("ingest", "prices", "in/*.csv", "in/b.zip:c.csv.gz")

    assert (whole.exit_code, part.exit_code) == (0, 0)
    assert "3 rows read; 3 written" in whole.stdout
    assert "left out, hidden or no file of rows by their names: in/NOTES.md" in whole.stderr
    assert "2 rows read; 0 written; 2 unchanged" in part.stdout


def test_titles_encodings_and_a_cut_are_said(run: Run) -> None:
    rows = "Kurse der Börse\nticker;Date;Close\nSOCIÉTÉ;2024-01-02;10.5\nB;2024-01-03;1"
    Path("p.csv").write_bytes(rows.encode("cp1252"))
    refused = run("ingest", "prices", "p.csv")
    assert refused.exit_code == 5
    assert "line 1 is not UTF-8 text (byte 0xf6); say how it is written: --encoding cp1252" in refused.errors[0]
    loaded = run("ingest", "prices", "p.csv", "--encoding", "cp1252")
    assert (loaded.exit_code, loaded.stdout.partition(";")[0]) == (0, "2 rows read")
    assert "line 2 is taken for the header; passed over above it: 'Kurse der Börse'" in loaded.stderr
    assert "line 4, the last, has no line end: if the file was cut there, '1' may be cut, too" in loaded.stderr
    Path("cut.csv").write_bytes(rows.encode("cp1252")[:-2])
    cut = run("ingest", "prices", "cut.csv", "--encoding", "cp1252")
    assert cut.exit_code == 5
    assert "line 4: 'B;2024-01-03' is refused as cut in its last line" in cut.errors[0]
    assert run("ingest", "series", "p.csv", "--encoding", "klingon").exit_code == 2


def test_standard_input_and_workbooks(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(prices("A", "B")))))
    assert "2 rows read; 2 written" in run("ingest", "prices", "-").stdout
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(EVENT.encode("utf-16"))))
    assert "1 rows read; 1 written" in run("ingest", "macro", "-").stdout
    book = openpyxl.Workbook()
    for name, id_ in (("US", "A"), ("Notes", "C")):
        sheet = book.create_sheet(name)
        for row in (["ticker", "name"], [id_, "Acme"]):
            sheet.append(row)
    book.save("book.xlsx")
    several = run("ingest", "instruments", "book.xlsx")
    assert several.exit_code == 2
    assert several.errors == ["error: book.xlsx holds 2 tables; name one, such as book.xlsx:US"]
    assert "1 rows read; 1 written" in run("ingest", "instruments", "book.xlsx:US", "--currency", "USD").stdout


def test_a_bad_row_of_a_member_is_named_with_its_archive_and_line(run: Run) -> None:
    with zipfile.ZipFile("p.zip", "w") as archive:
        archive.writestr("a.csv", prices("A"))
        archive.writestr("b.csv", prices("B") + b"B,2024-01-03,x,1,1,1,1,1\n")
    outcome = run("ingest", "prices", "p.zip")
    assert outcome.exit_code == 5
    assert "p.zip:b.csv: 1 of 3 rows refused" in outcome.stderr
    assert "line 3, column open: 'x'" in outcome.stderr


def test_what_is_no_table_leaves_no_trace(run: Run, table_digests: TableDigest) -> None:
    Path("a.pkl").write_bytes(pickle.dumps({"close": [1.0]}))
    Path("bomb.csv.gz").write_bytes(gzip.compress(prices("A") + ROW.format("A").encode() * 1_000_000))
    Path("cut.csv").write_bytes(prices("A", "B")[:-20])
    os.mkfifo("pipe")
    Path("folder").mkdir()
    Path("folder/link.csv").symlink_to("../a.pkl")
    before = table_digests()
    for name, says in (
        ("a.pkl", "never loaded"), ("bomb.csv.gz", "200 times its size"), ("cut.csv", "line 3: "),
        ("pipe", "named pipe"),
        ("folder", "symbolic link"), ("/dev/zero", "device"),
        ("*.xls", "matches no file"),
    ):  # fmt: skip
        outcome = run("ingest", "prices", name)
        assert (outcome.exit_code, outcome.stdout, len(outcome.stderr.splitlines())) == (5, "", 1), outcome
        assert says in outcome.stderr
    assert table_digests() == before
