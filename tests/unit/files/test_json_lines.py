import gzip
import json
from pathlib import Path

import pytest

from prometheus.errors import DataCheckError, FileAccessError
from prometheus.files import json_lines
from prometheus.files.columns import MACRO_FIELDS, metadata_field
from prometheus.files.opening import open_table, open_text_table
from prometheus.files.tables import Reason, TableFile
from prometheus.market.frames import PRICE_FIELDS

GOOD = '{"type": "CPI", "date": "2024-01-02", "text": "Prices rose.", "n": 1}'
REQUIRED = {"event_type", "timestamp", "description"}


def open_lines(tmp_path: Path, *lines: str | bytes, name: str = "e.jsonl", **by_hand: str) -> TableFile:
    path = tmp_path / name
    raw = b"\n".join(line.encode() if isinstance(line, str) else line for line in lines) + b"\n"
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    fields = (*MACRO_FIELDS, *map(metadata_field, [name for name in by_hand if name in {"n", "flag"}]))
    return open_text_table(path, fields, REQUIRED, by_hand)


def rows_of(file: TableFile) -> list[tuple[int, dict[str, str | None]]]:
    return [
        (int(number), {name: column[position].as_py() for name, column in batch.columns.items()})
        for batch in file.batches()
        for position, number in enumerate(batch.rows)
    ]


def faults_of(file: TableFile) -> list[tuple[int, Reason, str]]:
    return [(line.row, line.reason, line.column) for batch in file.batches() for line in batch.malformed]


@pytest.mark.parametrize("name", ["e.jsonl", "e.ndjson", "e.json", "e.JSONL", "e.txt", "e.jsonl.gz", "e.gz"])
def test_lines_are_read_with_their_numbers(tmp_path: Path, name: str) -> None:
    file = open_lines(tmp_path, GOOD, "", "  ", GOOD.replace("rose", "fell"), name=name)
    wanted = {"event_type": "CPI", "timestamp": "2024-01-02", "description": "Prices rose."}
    assert rows_of(file) == [(1, wanted), (4, {**wanted, "description": "Prices fell."})]
    assert file.columns.ignored == ("n",)
    assert (file.row_word, file.n_rows, faults_of(file)) == ("line", None, [])


def test_a_mark_and_windows_line_ends_are_no_part_of_a_line(tmp_path: Path) -> None:
    file = open_lines(tmp_path, b"\xef\xbb\xbf" + GOOD.encode() + b"\r", GOOD + "\r", name="e.txt")
    assert [number for number, _ in rows_of(file)] == [1, 2]


def test_a_key_that_appears_late_is_matched(tmp_path: Path) -> None:
    file = open_lines(tmp_path, GOOD, GOOD[:-1] + ', "country": "US", "other": []}')
    assert [row["country"] for _, row in rows_of(file)] == [None, "US"]
    assert file.columns.ignored == ("n", "other")


def test_two_keys_for_one_field_are_refused_wherever_they_stand(tmp_path: Path) -> None:
    with pytest.raises(
        DataCheckError, match=r"columns 'date' and 'time' both mean timestamp; .* --column timestamp=time"
    ):
        open_lines(tmp_path, GOOD, GOOD.replace('"date"', '"time"'))
    file = open_lines(tmp_path, GOOD, GOOD.replace('"date"', '"time"'), timestamp="date")
    assert [row["timestamp"] for _, row in rows_of(file)] == ["2024-01-02", None]


@pytest.mark.parametrize(
    ("line", "reason", "column"),
    [
        ("{", Reason.BROKEN_JSON, ""),
        (GOOD + GOOD, Reason.BROKEN_JSON, ""),
        ("nonsense", Reason.BROKEN_JSON, ""),
        ('{"text": "a\tb"}', Reason.BROKEN_JSON, ""),
        ('{"n": ' + "1" * 5_000 + "}", Reason.BROKEN_JSON, ""),
        ("[1]", Reason.NOT_A_JSON_OBJECT, ""),
        ("null", Reason.NOT_A_JSON_OBJECT, ""),
        ("NaN", Reason.NOT_A_JSON_OBJECT, ""),
        ('{"text": "a", "text": "b"}', Reason.REPEATED_KEY, ""),
        ('{"x": {"a": 1, "a": 2}}', Reason.REPEATED_KEY, ""),
        ('{"x": ' + "[" * 100_000 + "]" * 100_000 + "}", Reason.JSON_NESTED_TOO_DEEPLY, ""),
        (GOOD.replace('"Prices rose."', r'"\ud83d"'), Reason.LONE_SURROGATE, "description"),
        (GOOD.replace('"CPI"', r'"\udc00x"'), Reason.LONE_SURROGATE, "event_type"),
        (GOOD.replace('"Prices rose."', "1"), Reason.NOT_A_TEXT, "description"),
        (GOOD.replace('"Prices rose."', "NaN"), Reason.NOT_A_TEXT, "description"),
        (GOOD.replace('"Prices rose."', "true"), Reason.NOT_A_TEXT, "description"),
        (GOOD.replace('"Prices rose."', '["a"]'), Reason.NOT_A_TEXT, "description"),
        (GOOD.replace('"2024-01-02"', "1.5"), Reason.NOT_A_TEXT, "timestamp"),
        (GOOD.replace('"2024-01-02"', "true"), Reason.NOT_A_TEXT, "timestamp"),
        (GOOD.replace('"2024-01-02"', '{"year": 2024}'), Reason.NOT_A_TEXT, "timestamp"),
    ],
)
def test_a_line_that_is_no_row_says_why(tmp_path: Path, line: str, reason: Reason, column: str) -> None:
    file = open_lines(tmp_path, GOOD, line, GOOD)
    assert faults_of(file) == [(2, reason, column)]
    assert [number for number, _ in rows_of(file)] == [1, 3]


def test_pairs_of_surrogates_and_other_scripts_are_texts(tmp_path: Path) -> None:
    file = open_lines(tmp_path, GOOD.replace("rose", r"\ud83d\ude00 \u5229\u7387"))
    assert rows_of(file)[0][1]["description"] == "Prices \U0001f600 利率."


def test_whole_numbers_are_dates_and_metadata_may_be_any_scalar(tmp_path: Path) -> None:
    lines = [
        GOOD.replace('"2024-01-02"', "20240102")[:-1] + f', "flag": {value}}}' for value in ("true", "1.5", "null", "7")
    ]
    found = rows_of(open_lines(tmp_path, *lines, flag="flag", n="n"))
    assert {row["timestamp"] for _, row in found} == {"20240102"}
    assert [row["flag"] for _, row in found] == ["true", "1.5", None, "7"]
    bad = open_lines(
        tmp_path, GOOD, *(GOOD[:-1] + f', "flag": {value}}}' for value in ("[]", "NaN", "1e999")), flag="flag"
    )
    assert [fault[1:] for fault in faults_of(bad)] == [(Reason.NOT_A_TEXT, "flag")] * 3


def test_a_file_of_no_objects_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(
        DataCheckError, match=r"no line is a JSON object \(line 1: broken json\); write one object per line"
    ):
        open_lines(tmp_path, '{"text": 1', "}")
    with pytest.raises(FileAccessError, match="is one JSON object over many lines; write one object per line"):
        open_lines(tmp_path, "{", '"text": 1', "}")
    with pytest.raises(FileAccessError, match="is one JSON array"):
        open_lines(tmp_path, json.dumps([json.loads(GOOD)]))
    assert rows_of(open_lines(tmp_path, "", " ")) == []


def test_more_keys_than_a_table_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataCheckError, match="more than 10000 different keys"):
        open_lines(tmp_path, json.dumps({f"k{n}": n for n in range(10_001)}))


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ((GOOD, GOOD.encode().replace(b"rose", b"caf\xe9")), r"line 2 is not UTF-8 text \(byte 0xe9\)"),
        ((GOOD, GOOD.encode().replace(b"rose", b"\xed\xa0\x80")), "line 2 is not UTF-8 text"),
        ((GOOD.encode("utf-16"),), "UTF-16"),
        ((GOOD.encode("utf-16-le"),), "UTF-16"),
        ((GOOD, '{"text": "' + "x" * 33_600_000 + '"}'), r"line 2 is longer than|line of more than"),
    ],
    ids=["latin-1", "surrogate", "utf-16", "utf-16 unmarked", "long"],
)
def test_an_unreadable_file_is_refused_in_one_line(tmp_path: Path, lines: tuple[str | bytes, ...], says: str) -> None:
    with pytest.raises(FileAccessError, match=says) as caught:
        rows_of(open_lines(tmp_path, *lines))
    assert "\n" not in str(caught.value)


def test_cut_compressed_lines_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl.gz"
    path.write_bytes(gzip.compress((GOOD + "\n").encode() * 5_000)[:-20])
    with pytest.raises(FileAccessError, match="damaged gzip"):
        open_text_table(path, MACRO_FIELDS, REQUIRED, {})


def test_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [GOOD.replace("rose", f"rose {n}") if n % 7 else "{" for n in range(1, 100)]
    file = open_lines(tmp_path, *lines)
    whole, wrong = rows_of(file), faults_of(file)
    for size in (30, 64, 1000):
        monkeypatch.setattr(json_lines, "BLOCK_BYTES", size)
        assert (rows_of(file), faults_of(file)) == (whole, wrong)


def test_prices_are_not_read_from_json_lines(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(GOOD)
    with pytest.raises(FileAccessError, match="JSON lines; only macro events and news"):
        open_table(tmp_path / "p.jsonl", PRICE_FIELDS, {"close"})
    (tmp_path / "p.gz").write_bytes(gzip.compress(b"a,b\n"))
    assert open_table(tmp_path / "p.gz", (), ()).columns.ignored == ("a", "b")
