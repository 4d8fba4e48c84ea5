"""A file cut at any byte: refused, or the rows of its whole lines, with a note on the last line that may be cut."""

import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.fixtures.examples import share_of

from prometheus.errors import DataCheckError, FileAccessError
from prometheus.files.price_tables import PriceQuestion, open_prices
from prometheus.files.tables import Reason

names = st.sampled_from(["A", "B.US", "Café", "株式"])
numbers = st.decimals(1, 99_999, places=2)
rows = st.lists(st.tuples(names, st.dates(), numbers, st.integers(0, 10**7)), min_size=2, max_size=6)

Row = tuple[str | None, ...]


def read(content: bytes) -> tuple[list[Row], list[Reason], list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.csv"
        path.write_bytes(content)
        found: list[Row] = []
        reasons: list[Reason] = []
        notes: list[str] = []
        for batch in open_prices(path, PriceQuestion()).batches():
            columns = (batch.columns[name].to_pylist() for name in ("instrument_id", "trade_date", "close", "volume"))
            found += zip(*columns, strict=True)
            reasons += [line.reason for line in batch.malformed]
            notes += batch.remarks
        return found, reasons, notes


@given(rows, st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.floats(0, 1))
@example([("A", "2024-01-02", 10, 5), ("B.US", "2024-01-03", 11, 120000)], b"\n", False, 0.99)
@settings(max_examples=share_of(100), deadline=None)
def test_a_cut_file_gives_whole_lines_and_names_the_last_one(
    table: list[tuple[object, ...]], end: bytes, is_quoted: bool, share: float
) -> None:
    mark = '"' if is_quoted else ""
    lines = [b"ticker,date,close,volume"] + [
        ",".join(f"{mark}{cell}{mark}" for cell in row).encode() for row in table
    ]  # fmt: skip
    whole = end.join(lines) + end
    expected, no_reasons, no_notes = read(whole)
    assert (len(expected), no_reasons, no_notes) == (len(table), [], [])
    cut = whole[: len(lines[0]) + len(end) + int(share * (len(whole) - len(lines[0]) - len(end)))]
    n_whole = cut.count(b"\n") - 1
    rest = cut.rpartition(b"\n")[2]
    try:
        found, reasons, notes = read(cut)
    except (DataCheckError, FileAccessError):
        assert rest
        return
    assert found[:n_whole] == expected[:n_whole]
    if not rest or rest == b"\r":
        assert (len(found), reasons, notes) == (n_whole, [], [])
    elif len(found) == n_whole:
        assert reasons == [Reason.CUT_IN_ITS_LAST_LINE]
    else:
        assert len(found) == n_whole + 1
        assert found[-1][:3] == expected[n_whole][:3]
        assert (expected[n_whole][3] or "").startswith(found[-1][3] or "")
        is_complete = rest.endswith(b"\r")
        assert is_complete or f"line {n_whole + 2}, the last, has no line end" in notes[0]
