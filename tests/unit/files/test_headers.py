"""Headers below title lines, and files without one: read where one reading is left, else refused with the way out."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.examples import share_of

from prometheus.errors import DataCheckError
from prometheus.files.price_tables import PriceQuestion, open_prices
from prometheus.files.tables import TableFile, Written

BARS = [
    ("2020-01-02", 100.5, 102.25, 99.75, 101.0, 1_200_000),
    ("2020-01-03", 101.0, 103.5, 100.25, 103.0, 900_000),
    ("2020-01-06", 103.0, 103.25, 98.5, 99.0, 1_500_000),
]
HEADER = "Date,Open,High,Low,Close,Volume"
PLAIN = "".join(",".join(map(str, row)) + "\n" for row in BARS)


def opened(folder: str | Path, text: str, **asked: object) -> TableFile:
    path = Path(folder) / "p.csv"
    path.write_text(text, encoding="utf-8")
    return open_prices(path, PriceQuestion(**{"instrument_id": "A", **asked}))  # type: ignore[arg-type]


def cells(table: TableFile) -> dict[str, list[str | None]]:
    (batch,) = table.batches()
    assert not batch.malformed
    return {name: column.to_pylist() for name, column in batch.columns.items()}


def test_titles_above_the_header_are_passed_over_and_said(tmp_path: Path) -> None:
    titles = "Bundesbank\nSeries,BBK01\n\nAs of 2020-01-07,,,,,\n"
    table = opened(tmp_path, titles + HEADER + "\n" + PLAIN)
    assert cells(table) == cells(opened(tmp_path, HEADER + "\n" + PLAIN))
    assert table.remarks[0].startswith(
        "line 5 is taken for the header; passed over above it: 'Bundesbank', 'Series,BBK01'"
    )
    (batch,) = opened(tmp_path, titles + HEADER + "\n" + PLAIN).batches()
    assert batch.rows.tolist() == [6, 7, 8]


letters = st.characters(min_codepoint=32, max_codepoint=0x17F, exclude_characters='"{}[]<%\x7f\x85\xa0,;\t|0123456789')
titles = st.lists(st.text(letters, max_size=30), max_size=20)


@given(titles, st.sampled_from(",;\t|"))
@settings(max_examples=share_of(60), deadline=None)
def test_any_titles_above_any_header_give_the_same_rows(lines: list[str], separator: str) -> None:
    rows = (HEADER + "\n" + PLAIN).replace(",", separator)
    with tempfile.TemporaryDirectory() as folder:
        assert cells(opened(folder, "".join(f"{line}\n" for line in lines) + rows)) == cells(opened(folder, rows))


@pytest.mark.parametrize(
    "text",
    [f"{above}\n{HEADER}\n{PLAIN}" for above in ("2020-01-01,9.5", f"a\n{HEADER}\nb", "\n".join(["title"] * 21))],
    ids=["a row above", "two headers", "too far below"],
)  # fmt: skip
def test_what_may_be_rows_is_never_passed_over(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataCheckError, match=r"--header-line"):
        opened(tmp_path, text)
    n_above = text.rindex(HEADER)
    line = text[:n_above].count("\n") + 1
    assert len(cells(opened(tmp_path, text, written=Written(header_line=line)))["close"]) == len(BARS)


BAR = ("trade_date", "open", "high", "low", "close")
FORMS = {
    "closes": ("{0},{4}", ("trade_date", "close")),
    "bars": ("{0},{1},{2},{3},{4}", BAR),
    "bars and volumes": ("{0},{1},{2},{3},{4},{5}", (*BAR, "volume")),
    "adjusted": ("{0},{1},{2},{3},{4},{4},{5}", (*BAR, "adjusted_close", "volume")),
    "Stooq": ("ABC.US,D,{0},000000,{1},{2},{3},{4},{5},0", ("instrument_id", *BAR, "volume")),
    "MetaTrader": ("{0},00:00,{1},{2},{3},{4},{5}", (*BAR, "volume")),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("day", ["{}", "compact", "dotted"])
def test_files_without_a_header_are_read_where_one_reading_is_left(
    tmp_path: Path, form: str, separator: str, day: str
) -> None:
    template, fields = FORMS[form]
    marks = {"compact": "", "dotted": "."}
    bars = [(row[0].replace("-", marks.get(day, "-")), *row[1:]) for row in BARS]
    text = "".join(template.format(*bar) + "\n" for bar in bars).replace(",", separator)
    table = opened(tmp_path, text, instrument_id=None if form == "Stooq" else "A")
    found = cells(table)
    assert set(found) == set(fields)
    assert [float(cell or "") for cell in found["close"]] == [row[4] for row in BARS]
    assert "has no header; its columns are taken for" in table.remarks[0]


@pytest.mark.parametrize(
    "template",
    ["{0},{4},{1}", "{0},{1},{3},{2},{4}", "{0},{1},{2},{3},{4},{4}", "60,{0},{1},{2},{3},{4}",
     "{0},{1},{2},{3},{4},{5},7"],
)  # fmt: skip
def test_what_leaves_more_readings_is_refused_and_loads_by_places(tmp_path: Path, template: str) -> None:
    text = "".join(template.format(*bar) + "\n" for bar in BARS)
    with pytest.raises(DataCheckError, match="--header-line 0 --column trade_date=1 --column close=2"):
        opened(tmp_path, text)
    day, close = (template.split(",").index(place) + 1 for place in ("{0}", "{4}"))
    table = opened(
        tmp_path, text, written=Written(header_line=0), columns={"trade_date": str(day), "close": str(close)}
    )
    assert [float(cell or "") for cell in cells(table)["close"]] == [row[4] for row in BARS]


@given(st.lists(st.tuples(*[st.floats(1, 1e4) for _ in range(4)]), min_size=1, max_size=30), st.permutations(range(4)))
@settings(max_examples=share_of(60), deadline=None)
def test_bars_in_another_order_are_never_taken_for_those_of_vendors(
    prices: list[tuple[float, ...]], order: list[int]
) -> None:
    bars = np.array([(first, max(row), min(row), last) for row in prices for first, last in [(row[0], row[3])]])
    text = "".join(f"2020-01-{at + 1:02},{','.join(map(str, row[order]))}\n" for at, row in enumerate(bars))
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = cells(opened(folder, text))
        except DataCheckError:
            return
        high, low = (np.array(found[name], dtype=float) for name in ("high", "low"))
        np.testing.assert_array_equal(high, bars.max(axis=1))
        np.testing.assert_array_equal(low, bars.min(axis=1))


def test_several_instruments_are_never_made_one(tmp_path: Path) -> None:
    rows = [f"{row[0]},{row[4]},{name}" for name in ("AAPL", "MSFT") for row in BARS]
    text = "\n".join(["date,close,Name", *rows]) + "\n"
    with pytest.raises(
        DataCheckError, match=r"column Name holds several instruments \('AAPL', 'MSFT', …\), which --ins"
    ):
        opened(tmp_path, text)
    assert cells(opened(tmp_path, text, instrument_id=None))["instrument_id"] == ["AAPL"] * 3 + ["MSFT"] * 3
    one = "\n".join(["date,close,Name", *rows[:3]]) + "\n"
    assert "instrument_id" not in cells(opened(tmp_path, one))
