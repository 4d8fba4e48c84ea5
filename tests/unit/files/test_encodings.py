"""Texts that are not UTF-8: refused with the encodings that read them, and read with the one that is named."""

import gzip
import json
import re
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.examples import share_of

from prometheus.errors import FileAccessError, UsageError
from prometheus.files.columns import NEWS_FIELDS
from prometheus.files.encodings import require_encoding
from prometheus.files.opening import open_table, open_text_table
from prometheus.files.tables import Written
from prometheus.market.frames import PRICE_FIELDS

WORDS = {
    "cp1252": ["Société Générale", "Müller", "£12 “quoted” naïve", "ÉCOLE", "prix €5", "Ødegård"],
    "cp1250": ["Łódź żółć", "český", "Škoda"],
    "cp1251": ["Привет мир", "Сбербанк"],
    "shift_jis": ["日本株", "トヨタ自動車", "日経平均A"],
    "gb18030": ["中国平安", "日期"],
    "euc_kr": ["삼성전자"],
    "big5": ["台積電"],
}


def rows_of(path: Path, encoding: str | None) -> list[str]:
    table = open_table(path, PRICE_FIELDS, {"close"}, Written(encoding))
    return [cell for batch in table.batches() for cell in batch.columns["instrument_id"].to_pylist()]


@pytest.mark.parametrize(("encoding", "word"), [(name, word) for name, words in WORDS.items() for word in words])
def test_the_right_encoding_is_among_those_offered_and_loads_the_file(tmp_path: Path, encoding: str, word: str) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(f'ticker,date,close\nA,2024-01-02,1\n"{word}",2024-01-03,2\n'.encode(encoding))
    with pytest.raises(
        FileAccessError, match=r"line 3 is not UTF-8 text \(byte 0x..\); say how it is written: "
    ) as said:
        rows_of(path, None)
    offered = dict(re.findall(r"--encoding (\w+) \('(.*?)'\)", str(said.value)))
    readings = {name: rows_of(path, name)[1] for name in offered}
    assert word in readings.values()
    assert all(shown in readings[name] for name, shown in offered.items())
    assert rows_of(path, encoding) == ["A", word]


@given(
    st.sampled_from(["cp1252", "cp1251", "shift_jis", "gb18030", "utf-16", "utf-8-sig", "mac_roman", "iso2022_jp"]),
    st.lists(st.text(max_size=12), min_size=1, max_size=20),
    st.booleans(),
)
@settings(max_examples=share_of(40), deadline=None)
def test_a_named_encoding_gives_the_rows_of_the_same_file_in_utf8(
    encoding: str, texts: list[str], is_packed: bool
) -> None:
    known = [text.encode(encoding, errors="ignore").decode(encoding, errors="ignore") for text in texts]
    frame = pd.DataFrame({"ticker": known, "date": "2024-01-02", "close": 1})
    frame = frame[frame["ticker"].str.fullmatch(r"[^\r\n\x00\ufeff\x0e\x0f\x1b]+")]
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for name in ("utf-8", encoding):
            content = frame.to_csv(index=False).encode(name)
            path = Path(folder) / "p"
            path.write_bytes(gzip.compress(content) if is_packed else content)
            found.append(rows_of(path, None if name == "utf-8" else encoding))
        assert found[0] == found[1]


def test_a_mark_goes_before_the_named_encoding(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        path.write_bytes("ticker,date,close\nCafé,2024-01-02,1\n".encode(encoding))
        assert rows_of(path, "cp1251") == ["Café"]
    pd.DataFrame({"ticker": ["Café"], "date": ["2024-01-02"], "close": [1.0]}).to_parquet(path)
    assert rows_of(path, "cp1251") == ["Café"]
    pd.DataFrame({"ticker": ["Café"], "date": ["2024-01-02"], "close": [1.0]}).to_excel(
        tmp_path / "p.xlsx", index=False
    )
    assert rows_of(tmp_path / "p.xlsx", "cp1251") == ["Café"]


def test_json_lines_are_read_so_too(tmp_path: Path) -> None:
    path = tmp_path / "n.jsonl"
    line = json.dumps({"published_at": "2024-01-02T10:00Z", "headline": "Société"}, ensure_ascii=False)
    path.write_bytes(f"{line}\n".encode("cp1252"))
    with pytest.raises(FileAccessError, match=r"line 1 is not UTF-8 text .* --encoding cp1252 \('.*Société.*'\)"):
        open_text_table(path, NEWS_FIELDS, {"headline"}, {})
    (batch,) = open_text_table(path, NEWS_FIELDS, {"headline"}, {}, "cp1252").batches()
    assert batch.columns["headline"].to_pylist() == ["Société"]


def test_what_is_no_text_in_any_of_them_is_said(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(b"ticker,date,close\n\xff\x81\x98,2024-01-02,1\n")
    with pytest.raises(FileAccessError, match="name its encoding with --encoding, such as cp1252, or save it as UTF-8"):
        rows_of(path, None)
    with pytest.raises(FileAccessError, match="begins as CP1252 text but not all of it is, from about line 1 on"):
        rows_of(path, "cp1252")
    for name in ("latin-77", "base64", "rot13", ""):
        with pytest.raises(UsageError, match="no such encoding of text"):
            require_encoding(name)
