"""The table at the end of the benchmarks: figures of nested results, verdicts, and what no run recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks import recording
from benchmarks.bars import BARS, Bar, bar_of
from benchmarks.summary import Line, earlier_result, figures_of, read_result, to_table


def test_names_of_nested_figures_are_joined_and_words_are_left_out() -> None:
    found = figures_of({"figures": {"rows, MB": {"plain": 2050, "covering": 1.5}, "digest": "6281f", "share": 0.2}})
    assert found == {"rows, MB: plain": 2050, "rows, MB: covering": 1.5, "share": 0.2}
    assert figures_of({}) == {}


@pytest.mark.parametrize(
    ("side", "value", "verdict"),
    [
        ("at most", 0.03, "met"),
        ("at most", 0.031, "MISSED"),
        ("at least", 0.03, "met"),
        ("at least", 0.029, "MISSED"),
        ("at least", None, "not measured"),
    ],
)
def test_a_verdict_depends_on_the_side_and_a_figure_at_the_bound_is_met(side: str, value: float, verdict: str) -> None:
    bar = Bar("b", "f", side, 0.03)  # type: ignore[arg-type]
    assert Line(bar, None, value).verdict == verdict


def test_the_table_shows_both_results_and_counts_what_is_missed_and_not_measured() -> None:
    bars = (Bar("a", "one", "at most", 2), Bar("a", "two", "at least", 3), Bar("b", "three", "at most", 4))
    lines = [Line(bars[0], 2.5, 1.0), Line(bars[1], None, 2.0), Line(bars[2], None, None)]
    table = to_table(lines)
    assert [row.split() for row in table[1:4]] == [
        ["a", "one", "2.5", "1", "<=", "2", "met"],
        ["a", "two", "-", "2", ">=", "3", "MISSED"],
        ["b", "three", "-", "-", "<=", "4", "not", "measured"],
    ]
    assert table[4] == "3 bars: 1 met, 1 missed, 1 not measured"


def test_what_a_benchmark_records_is_what_the_summary_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recording, "RESULTS", tmp_path)
    recording.record("joint_backfill", {}, {"second run / first, CPU": 0.02, "dates": 6525.0})
    assert "0.020  (bar: <= 0.03)" in capsys.readouterr().out
    assert figures_of(read_result(tmp_path / "joint_backfill.json")) == {
        "second run / first, CPU": 0.02,
        "dates": 6525.0,
    }
    assert read_result(tmp_path / "idle_night.json") == {}


def test_no_figure_has_two_bars() -> None:
    assert len({(bar.benchmark, bar.figure) for bar in BARS}) == len(BARS)
    assert bar_of("joint_backfill", "dates") is None


def test_before_is_another_result_than_the_present_one() -> None:
    name = "numeric_backfill"
    present = read_result(recording.RESULTS / f"{name}.json")
    earlier = earlier_result(name, present, None)
    assert not earlier or json.dumps(earlier["figures"]) != json.dumps(present["figures"])
