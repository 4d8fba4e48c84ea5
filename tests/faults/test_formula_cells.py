"""Cells of CSV outputs that a spreadsheet would run: each begins with an apostrophe, and numbers stay numbers."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.commands import Run, run_all

from prometheus.cli.runner import csv_text
from prometheus.files.rejects import QuarantineFile, Rejection
from prometheus.files.tables import Reason
from prometheus.spelling import guarded, is_computed
from prometheus.web.tables import _as_csv

FORMULA = "=HYPERLINK(1)"
starts = st.sampled_from(["=", "+", "-", "@", "\t", "\r", "A", "1", "'", ""])


@given(starts, st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=8))
def test_no_cell_of_ours_is_computed(start: str, rest: str) -> None:
    cell = start + rest
    assert not is_computed(guarded(cell))
    assert guarded(cell) in (cell, f"'{cell}")
    if "\r" in cell:  # is shown as \\r, see `Answer`
        return
    (written,) = csv.reader(io.StringIO(csv_text([[cell, 1]]) + "\n", newline=""))
    assert written == [guarded(cell), "1"]
    (_, (told, _)) = csv.reader(io.StringIO(_as_csv(pa.table({"a": [cell], "b": [1.5]})).decode(), newline=""))
    assert told == guarded(cell)


@given(
    st.one_of(
        st.floats(allow_nan=False, allow_infinity=False),
        st.integers(),
        st.decimals(allow_nan=False, allow_infinity=False),
    )
)
def test_a_number_stays_a_number(number: object) -> None:
    assert guarded(str(number)) == str(number)


def test_rows_set_aside_hold_no_formula(tmp_path: Path) -> None:
    with QuarantineFile(tmp_path / "q.csv", ["instrument_id", "close"]) as file:
        file.add([Rejection("=a.csv", 2, "close", Reason.NOT_A_DATE, (FORMULA, "-5.25"), "@line")])
        file.publish()
    _, row = csv.reader((tmp_path / "q.csv").read_text().splitlines())
    assert row == ["'=a.csv", "2", "close", row[3], f"'{FORMULA}", "-5.25", "'@line"]


@pytest.mark.usefixtures("sample")
def test_a_region_with_the_name_of_a_formula_is_printed_as_a_text(run: Run) -> None:
    run_all(run, ["run_numeric_regime", "--region", FORMULA, "--instrument-id", "AAPL.US", "--as-of", "2025-01-31"])
    rows = list(csv.DictReader(run("show_regimes", "--region", FORMULA).stdout.splitlines()))
    assert [row["region"] for row in rows] == [f"'{FORMULA}"]
