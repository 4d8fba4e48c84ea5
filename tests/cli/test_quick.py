"""One command from files of prices to regimes, a picture and the page."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.commands import Run
from tests.fixtures.database import TableDigest
from tests.fixtures.market import weekdays

from prometheus.app.quick import MIN_BARS, choose_until, too_short
from prometheus.encoders.numeric.descriptors import WINDOW_DAYS
from prometheus.files.prototypes import read_prototypes
from prometheus.ingest.sample import PRICES
from prometheus.regime.calibration import MIN_SESSIONS

INDEX = "GSPC.INDX"


def closes_of(name: str) -> list[tuple[date, float]]:
    table = pq.read_table(PRICES, filters=[("instrument_id", "=", name)], columns=["trade_date", "close"])
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def write_closes(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


@pytest.fixture
def fred(tmp_path: Path) -> str:
    """The packaged index as FRED gives one: closes alone."""
    return write_closes(tmp_path / "SP500.csv", ("observation_date", "SP500"), closes_of(INDEX))


@pytest.fixture
def short(tmp_path: Path) -> str:
    """Its last 1,500 closes."""
    return write_closes(tmp_path / "SP500.csv", ("observation_date", "SP500"), closes_of(INDEX)[-1_500:])


def test_a_fred_file_becomes_labels_a_picture_and_a_region_of_the_night(
    run: Run, fred: str, table_digests: TableDigest
) -> None:
    done = run("quick", fred)
    stored = table_digests()
    again = run("quick", fred)

    assert (done.exit_code, again.exit_code) == (0, 0), done.stderr
    assert table_digests() == stored
    assert Path("regimes/regimes_SP500.png").read_bytes().startswith(b"\x89PNG")
    crash = run("show_regimes", "--region", "SP500", "--start", "2020-03-16", "--end", "2020-03-16")
    assert ",SP500,CRISIS," in crash.stdout
    assert "http://127.0.0.1:8321/regions/SP500" in done.stdout
    assert again.stdout == done.stdout.replace(" 8,564 written; 0 unchanged", " 0 written; 8,564 unchanged")


def test_the_commands_it_names_do_the_same(run: Run, short: str, table_digests: TableDigest) -> None:
    said = json.loads(run("quick", short, "--json").stdout)
    (region,) = said["regions"]
    stored, prototypes = table_digests(), Path(region["prototypes"]).read_bytes()

    for line in region["commands"]:
        assert run(*shlex.split(line)).exit_code == 0, line

    assert table_digests() == stored
    assert Path(region["prototypes"]).read_bytes() == prototypes


def test_its_regions_file_is_one_of_the_night(run: Run, short: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run("quick", short)
    monkeypatch.setenv("PROMETHEUS_REGIONS_FILE", "regimes/regions.toml")

    night = run("nightly", "--as-of", "2023-12-28", "--json")

    assert night.exit_code == 0, night.stderr
    (region,) = json.loads(night.stdout)["regions"]
    assert (region["region"], region["sessions_added"], region["sessions_rewritten"]) == ("SP500", 0, 0)


def test_a_regions_file_of_the_users_own_stays(run: Run, short: str) -> None:
    Path("regimes").mkdir()
    Path("regimes/regions.toml").write_text("[MINE]\ninstrument_id = 'SP500'\n")

    run("quick", short)

    assert Path("regimes/regions.toml").read_text() == "[MINE]\ninstrument_id = 'SP500'\n"


def test_new_bars_do_not_move_what_was_learned(run: Run, tmp_path: Path) -> None:
    rows, path = closes_of(INDEX), tmp_path / "SP500.csv"
    run("quick", write_closes(path, ("observation_date", "SP500"), rows[-1_800:-10]))
    before = Path("regimes/regime_calibration_SP500.json").read_bytes()

    done = run("quick", write_closes(path, ("observation_date", "SP500"), rows[-1_800:]))

    assert done.exit_code == 0, done.stderr
    assert Path("regimes/regime_calibration_SP500.json").read_bytes() == before


def test_each_column_of_a_wide_table_is_a_region_and_a_short_one_is_named(run: Run, tmp_path: Path) -> None:
    index = closes_of(INDEX)[-1_800:]
    first = len(index) - 40
    rows = [(day, close, 2 * close, 3 * close if row >= first else "") for row, (day, close) in enumerate(index)]
    wide = write_closes(tmp_path / "wide.csv", ("Date", "ONE", "TWO", "NEW"), rows)

    done = run("quick", wide, "--currency", "USD", "--until", "2021-12-31")

    assert done.exit_code == 3
    assert "failed: NEW has 40 sessions, and 765 are needed" in done.stderr
    assert read_prototypes(Path("regimes/regime_calibration_TWO.json")).calibration is not None
    listed = run("show_regimes", "--region", "TWO", "--start", "2022-01-01", "--end", "2022-01-03").stdout
    assert listed.splitlines()[1].startswith("2022-01-03,TWO,")


def test_prices_without_a_range_show_what_is_held_back(run: Run, tmp_path: Path) -> None:
    rows = closes_of(INDEX)[-1_800:]
    at = len(rows) - 300
    rows[at] = (rows[at][0], rows[at][1] * 100)

    done = run("quick", write_closes(tmp_path / "x.csv", ("Date", "SPIKE"), rows))

    assert done.exit_code == 0
    assert f"finding: SPIKE {rows[at][0]}: error" in done.stdout
    assert "note: SPIKE" not in done.stderr  # told once


def test_a_dry_run_leaves_nothing(run: Run, short: str, table_digests: TableDigest) -> None:
    empty = table_digests()

    done = run("quick", short, "--dry-run")

    assert (done.exit_code, table_digests(), Path("regimes").exists()) == (0, empty, False)
    assert "1,500 to write" in done.stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        ("Dear all,\nthe meeting is at nine.\n", "notes.csv"),
        ("Date,Close\n2024-01-02,1\n2024-01-03,2\n", "X has 2 sessions, and 765 are needed"),
    ],
)
def test_what_cannot_be_labelled_is_one_line(run: Run, tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "notes.csv"
    path.write_text(content)

    done = run("quick", str(path), "--instrument-id", "X")

    assert done.exit_code == 5
    assert len(done.errors) == 1
    assert said in done.errors[0]
    assert not list(Path().glob("regimes/*"))


def test_a_folder_that_cannot_be_made_is_named_before_anything_is_loaded(
    run: Run, short: str, table_digests: TableDigest
) -> None:
    empty = table_digests()

    done = run("quick", short, "--folder", "nothing/here")

    assert (done.exit_code, len(done.errors), table_digests()) == (5, 1, empty)
    assert "nothing/here" in done.errors[0]


def test_a_date_that_leaves_nothing_is_refused(run: Run, short: str) -> None:
    done = run("quick", short, "--until", "2024-06-01")

    assert done.exit_code == 5
    assert "no session after 2024-06-01 is left to label" in done.errors[0]


@given(n_bars=st.integers(MIN_BARS, 9_000), first=st.dates(date(1900, 1, 1), date(2020, 1, 1)))
def test_enough_is_learned_from_and_something_is_left(n_bars: int, first: date) -> None:
    dates = np.arange(np.datetime64(first), np.datetime64(first) + n_bars)

    until = np.datetime64(choose_until(dates))

    n_windows = int((dates <= until).sum()) - (WINDOW_DAYS - 1)
    assert n_windows >= MIN_SESSIONS
    assert n_windows <= max(MIN_SESSIONS, (n_bars - WINDOW_DAYS + 1) // 2)
    assert until < dates[-1]


def test_a_day_more_does_not_move_the_date() -> None:
    dates = weekdays(6_000)

    chosen = {choose_until(dates[: len(dates) - n]) for n in range(0, 200, 20)}

    assert len(chosen) <= 2
    assert "765" in too_short("X", 30)
