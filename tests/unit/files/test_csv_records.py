"""CSV files of texts: quoted cells may hold line breaks, and a stray quote costs its own line alone."""

from pathlib import Path

import pytest

from prometheus.errors import DataCheckError, FileAccessError
from prometheus.files import csv_lines, tables, text_lines
from prometheus.files.columns import MACRO_FIELDS
from prometheus.files.csv_lines import MAX_LINE_BYTES
from prometheus.files.opening import open_text_table
from prometheus.files.tables import Reason, TableFile

HEADER = "type,date,text\n"


def open_csv(tmp_path: Path, content: str | bytes, **by_hand: str) -> TableFile:
    path = tmp_path / "e.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_text_table(path, MACRO_FIELDS, {"event_type", "timestamp", "description"}, by_hand)


def rows_of(file: TableFile) -> list[tuple[int, str | None]]:
    return [
        (int(number), text)
        for batch in file.batches()
        for number, text in zip(batch.rows, batch.columns["description"].to_pylist(), strict=True)
    ]


def faults_of(file: TableFile) -> list[tuple[int, Reason]]:
    return [(line.row, line.reason) for batch in file.batches() for line in batch.malformed]


def test_a_quoted_cell_may_hold_line_breaks(tmp_path: Path) -> None:
    file = open_csv(tmp_path, HEADER + 'A,1,"one\ntwo, ""three""\n\nfour"\nB,2,plain\nC,3,"a\r\nb\rc"\r\n\nD,4,end')
    assert rows_of(file) == [(2, 'one\ntwo, "three"\n\nfour'), (6, "plain"), (7, "a\r\nb\rc"), (10, "end")]
    assert faults_of(file) == []


@pytest.mark.parametrize(
    ("lines", "good", "bad"),
    [
        (['A,1,"open', "B,2,fine", "C,3,fine"], [3, 4], [2]),
        (['A,1,"open', 'B,2,"fine"', "C,3,fine"], [3, 4], [2]),
        (['A,1,"open', 'B,2,"also open', 'C,3,"good"'], [4], [2, 3]),
        (['A,1,5" disk', 'B,2,7" disk', 'C,3,"two', 'lines"'], [2, 3, 4], []),
        (['A,1,he said "hi" there', "B,2,fine"], [2, 3], []),
        (['A 5" x,1,"open', 'B,2,"fine"'], [3], [2]),
        (['A,1,"closed"rest', "B,2,fine"], [3], [2]),
        (["A,1,fine", 'B,2,"open at the end'], [2], [3]),
        (["A,1,fine", '"'], [2], [3]),
    ],
)
def test_a_stray_quote_costs_its_own_line_alone(
    tmp_path: Path, lines: list[str], good: list[int], bad: list[int]
) -> None:
    file = open_csv(tmp_path, HEADER + "\n".join(lines) + "\n")
    assert [number for number, _ in rows_of(file)] == good
    assert faults_of(file) == [(number, Reason.BROKEN_QUOTES) for number in bad]


def test_quotes_inside_a_bare_cell_are_kept(tmp_path: Path) -> None:
    assert rows_of(open_csv(tmp_path, HEADER + 'A,1,a 5" disk\nB,2,he said "hi"\n')) == [
        (2, 'a 5" disk'),
        (3, 'he said "hi"'),
    ]


def test_a_ragged_row_of_several_lines_is_named_by_its_first(tmp_path: Path) -> None:
    file = open_csv(tmp_path, HEADER + 'A,1,"one\ntwo",extra\nB,2,fine\n"x\ny"\n')
    assert rows_of(file) == [(4, "fine")]
    assert faults_of(file) == [(2, Reason.WRONG_NUMBER_OF_CELLS), (5, Reason.WRONG_NUMBER_OF_CELLS)]


def test_a_lone_carriage_return_outside_quotes_splits_no_row(tmp_path: Path) -> None:
    file = open_csv(tmp_path, HEADER + 'A,1,x\rB,2,y\nC,3,"p\rq"\n')
    assert rows_of(file) == [(3, "p\rq")]
    assert faults_of(file) == [(2, Reason.STRAY_CARRIAGE_RETURN)]


def test_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ['A,{n},"one\n{n}\n"\n', "A,{n},plain\n", 'A,{n},"stray\n', "ragged\n", "\n", 'A,{n},"say ""{n}"""\r\n']
    text = HEADER + "".join(kinds[n * n % 6].format(n=n) for n in range(200)) + 'Z,1,"open'
    file = open_csv(tmp_path, text)
    whole, wrong = rows_of(file), faults_of(file)
    assert len(whole) > 60
    assert len(wrong) > 30
    for size in (25, 31, 64, 1000):
        monkeypatch.setattr(csv_lines, "BLOCK_BYTES", size)
        assert (rows_of(file), faults_of(file)) == (whole, wrong)


def test_the_search_for_the_end_of_a_cell_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_lines, "BLOCK_BYTES", 300)
    monkeypatch.setattr(csv_lines, "MAX_RECORD_BYTES", 1_000)
    text = HEADER + 'A,1,"open\n' + "B,2,fine\n" * 500 + '"\n'
    file = open_csv(tmp_path, text)
    assert len(rows_of(file)) == 500
    assert faults_of(file) == [(2, Reason.BROKEN_QUOTES), (503, Reason.BROKEN_QUOTES)]


def test_longer_lines_than_those_of_prices_are_read(tmp_path: Path) -> None:
    text = "x" * (2 * MAX_LINE_BYTES)
    assert rows_of(open_csv(tmp_path, f"{HEADER}A,1,{text}\n")) == [(2, text)]
    with pytest.raises(FileAccessError, match=r"line 2 is longer than|line of more than"):
        rows_of(open_csv(tmp_path, f"{HEADER}A,1,{'x' * tables.MAX_RECORD_BYTES}\nB,2,x\n"))


def test_a_header_of_several_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataCheckError, match="the header, cannot be split"):
        open_csv(tmp_path, '"type\n",date,text\n')


def test_one_column_may_serve_two_fields_by_hand(tmp_path: Path) -> None:
    (batch,) = open_csv(tmp_path, "date,what,other\n1,CPI,x\n", event_type="what", description="what").batches()
    assert batch.columns["event_type"].to_pylist() == batch.columns["description"].to_pylist() == ["CPI"]


def test_well_quoted_rows_of_ten_megabytes_are_matched_quickly() -> None:
    assert text_lines.is_row(b'a,"' + b'""x\n' * 2_500_000 + b'"')
