"""The yardstick as a command, on the packaged index up to 2018."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.commands import Run
from tests.fixtures.market import LoadPrices, random_walk, weekdays

from prometheus.app.databases import DatabaseManager

EVALUATE = ["evaluate", "--region", "US", "--instrument-id", "GSPC.INDX"]
SPAN = ["--start", "2008-01-02", "--end", "2009-12-31"]
OURS_AND_EWMA = ["--labeller", "num-regime-core-v2", "--labeller", "EWMA volatility"]


@pytest.mark.usefixtures("sample")
def test_a_table_json_and_pictures(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    folder = tmp_path / "new" / "pictures"

    shown = run(*EVALUATE, *SPAN, *OURS_AND_EWMA, "--output-dir", str(folder))
    document = json.loads(run(*EVALUATE, *SPAN, *OURS_AND_EWMA, "--repaint-every", "50", "--json").stdout)

    assert shown.exit_code == 0, shown.stderr
    assert "505 sessions from 2008-01-02 to 2009-12-31" in shown.stdout
    assert "labels of num-regime-core-v2: stated" in shown.stdout
    assert "\nheld: 0 sessions\n" in shown.stdout
    assert [row["name"] for row in document["labellers"]] == ["num-regime-core-v2", "EWMA volatility"]
    assert document["event"] == "own"
    assert {row["repaint"] for row in document["labellers"]} == {0.0}
    assert {row["n_repaint_checked"] for row in document["labellers"]} == {11}
    assert {path.name for path in folder.iterdir()} == {
        "labels_EWMA_volatility.png", "labels_num-regime-core-v2.png", "reliability.png",
    }  # fmt: skip


@pytest.mark.usefixtures("sample")
def test_nothing_after_the_end_is_looked_at(run: Run, load_prices: LoadPrices) -> None:
    before = run(*EVALUATE, *SPAN, *OURS_AND_EWMA, "--json").stdout
    load_prices("GSPC.INDX", weekdays(5), *([values.tolist() for values in random_walk(5)]))
    after = run(*EVALUATE, *SPAN, *OURS_AND_EWMA, "--json").stdout

    def judged(text: str) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = json.loads(text)["labellers"]
        return [{key: value for key, value in row.items() if not key.endswith("_seconds")} for row in rows]

    assert judged(before) == judged(after)


@pytest.mark.usefixtures("sample")
def test_a_wrong_bar_is_held_told_and_part_of_no_figure(run: Run, db_manager: DatabaseManager) -> None:
    def figures() -> tuple[dict[str, Any], dict[str, Any]]:
        document = json.loads(run(*EVALUATE, *SPAN, *OURS_AND_EWMA, "--repaint-every", "20", "--json").stdout)
        return document, document["labellers"][0]

    document, clean = figures()
    assert (document["held"], document["left_out"]) == ([], [])
    with db_manager.get_historical_connection() as connection:
        connection.execute(
            "UPDATE prices_daily SET close = close * 100, adjusted_close = adjusted_close * 100, high = high * 100,"
            " low = low * 100 WHERE instrument_id = 'GSPC.INDX' AND trade_date = '2009-06-15'"
        )
    document, faulty = figures()
    assert document["held"] == document["left_out"] == ["2009-06-15"]
    assert faulty["n_sessions"] == clean["n_sessions"] - 1
    tolerated = {"auc": 0.02, "auc_of_probability": 0.02, "brier_skill": 0.06, "calibration_error": 0.06}
    for name, most in tolerated.items():  # without the bar, 12 sessions have another outcome
        assert abs(faulty[name] - clean[name]) < most, name
    assert faulty["repaint"] == 0.0
    shown = run(*EVALUATE, *SPAN, "--labeller", "holding").stdout.splitlines()
    assert shown[1:3] == ["held: 1 session: 2009-06-15", "left out: 1 session: 2009-06-15"]


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["evaluate"], 2, "give either --instrument-id or --market-id"),
        (["evaluate", "--region", "US", "--instrument-id", "A", "--market-id", "B"], 2, "give either --instrument-id"),
        (["evaluate", "--region", "US,DE"], 2, "region 'US' is not configured"),
        (
            ["evaluate", "--markets", "none.csv", "--grid"],
            2,
            "--repaint-every, --grid and --warm-up-instrument-id need",
        ),
        (["evaluate", "--markets", "none.csv"], 5, "none.csv"),
        (["evaluate", "--region", "US", "--market-id", "US_EQ"], 2, "--market-id needs --start and --end"),
        (["evaluate", "--region", "US", "--market-id", "NO", *SPAN], 5, "NO"),
        (["evaluate", "--region", "US", "--instrument-id", "NOBODY"], 5, "unknown instrument 'NOBODY'"),
        ([*EVALUATE, *SPAN, "--labeller", "oracle"], 2, "no labeller 'oracle'; there are 'num-regime-core-v2'"),
        ([*EVALUATE, "--start", "1990-06-01", "--end", "1991-01-02"], 5, "504 are needed to fit on"),
        ([*EVALUATE, "--start", "2009-01-02", "--end", "2008-01-02"], 2, "must follow the start"),
        (
            [*EVALUATE, "--start", "1989-06-01", "--end", "1991-01-02"],
            5,
            "learned from, up to 1989-12-29; give --start",
        ),
        ([*EVALUATE, *SPAN, "--vix", "NOBODY"], 5, "unknown instrument 'NOBODY'"),
        ([*EVALUATE, *SPAN, "--market-index", "NOBODY"], 5, "unknown instrument 'NOBODY'"),
        ([*EVALUATE, *SPAN, "--market-index", "GSPC.INDX"], 2, "GSPC.INDX is itself the --market-index"),
        ([*EVALUATE, *SPAN, "--warm-up-instrument-id", "AAPL.US"], 5, "cannot be joined"),
    ],
)
def test_bad_requests_get_one_line(run: Run, arguments: list[str], code: int, message: str) -> None:
    done = run(*arguments)
    assert done.exit_code == code, done.stderr
    assert done.stdout == ""
    assert len(done.errors) == 1
    assert message in done.errors[0]


@pytest.mark.usefixtures("sample")
def test_older_bars_of_the_same_market_are_put_in_front(run: Run, load_prices: LoadPrices) -> None:
    closes, volumes = random_walk(900)
    load_prices("OLDER", weekdays(900, date(1990, 1, 2)), closes.tolist(), volumes.tolist())
    start = ["--start", "1990-01-02", "--end", "1990-12-31", "--labeller", "EWMA volatility"]

    alone = run(*EVALUATE, *start)
    joined = run(*EVALUATE, *start, "--warm-up-instrument-id", "OLDER")

    assert "0 sessions from" in alone.errors[0]
    assert joined.exit_code == 0, joined.stderr
    assert "253 sessions from 1990-01-02" in joined.stdout


@pytest.mark.usefixtures("sample")
def test_a_market_is_judged_instrument_by_instrument(run: Run) -> None:
    panel = ["evaluate", "--region", "US", "--market-id", "US_EQ", "--start", "2003-01-02", "--end", "2008-12-31"]
    document = json.loads(run(*panel, *OURS_AND_EWMA, "--json").stdout)
    assert {row["instrument_id"] for row in document["rows"]} == {"AAPL.US", "GSPC.INDX"}
    assert {each["market"]: each["start"] for each in document["markets"]} == {
        "AAPL.US": "2006-01-01", "GSPC.INDX": "2003-01-02",
    }  # fmt: skip
    shown = run(*panel, "--labeller", "EWMA volatility", "--labeller", "holding").stdout
    assert "not worse than EWMA volatility on" in shown
    assert "EWMA volatility on 2 markets" in shown
    both = ["--labeller", "num-regime-core-v2 with GSPC.INDX", "--labeller", "num-regime-core-v2"]
    (member,) = json.loads(run(*panel, "--market-index", "GSPC.INDX", *both, "--json").stdout)["markets"]
    beside, alone = member["labellers"]
    assert (member["market"], beside["name"]) == ("AAPL.US", "num-regime-core-v2 with GSPC.INDX")
    assert beside["auc_of_probability"] != alone["auc_of_probability"]
    assert beside["eta2_of_labels"] == alone["eta2_of_labels"]


@pytest.mark.usefixtures("sample")
def test_regions_are_judged_each_by_its_members(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"members": {"GSPC.INDX": 0.6, "AAPL.US": 0.4}}
    monkeypatch.setenv("PROMETHEUS_REGIONS", json.dumps({"BOTH": both, "ONE": {"instrument_id": "GSPC.INDX"}}))
    folder = tmp_path / "pictures"
    asked = ["evaluate", "--region", "BOTH, ONE", "--start", "2003-01-02", "--end", "2006-12-29", *OURS_AND_EWMA]

    document = json.loads(run(*asked, "--output-dir", str(folder), "--json").stdout)

    of_both, of_one = document["markets"]
    assert (of_both["market"], of_one["market"], of_one["remark"]) == ("BOTH", "ONE", "")
    assert (of_both["start"], of_one["start"]) == ("2003-01-02", "2003-01-02")
    ours, ewma = zip(of_both["labellers"], of_one["labellers"], strict=True)
    assert ours[0]["auc"] != ours[1]["auc"]
    assert ewma[0]["auc"] == ewma[1]["auc"]
    assert {path.name for path in folder.iterdir()} == {"reliability.png", "reliability_bear.png"}


def test_files_are_judged_without_a_database_from_the_first_start_that_works(run: Run, tmp_path: Path) -> None:
    closes, _ = random_walk(1_900)
    rows = [f"{day},{close}" for day, close in zip(weekdays(1_900, date(1999, 1, 1)), closes.tolist(), strict=True)]
    (tmp_path / "walk.csv").write_text("date,close\n" + "\n".join(rows) + "\n")
    (tmp_path / "short.csv").write_text("date,close\n" + "\n".join(rows[-900:]) + "\n")
    (tmp_path / "ended.csv").write_text("date,close\n" + "\n".join(rows[:300]) + "\n")

    shown = run("evaluate", "--markets", str(tmp_path), "--start", "1993-01-04", *OURS_AND_EWMA)

    assert shown.exit_code == 0, shown.stderr
    assert "num-regime-core-v2 on 1 market; high volatility" in shown.stdout
    assert "walk from 1997-01-01, the first start that works" in shown.stdout
    assert "not judged: ended: its bars end on 199" in shown.stdout
    none = run("evaluate", "--markets", str(tmp_path), "--market-index", "NO.INDX")
    assert (none.exit_code, none.errors) == (2, ["error: no file holds NO.INDX, the --market-index"])
    assert "not judged: short: 900 sessions are too few to judge: 1268 are needed" in shown.stdout
