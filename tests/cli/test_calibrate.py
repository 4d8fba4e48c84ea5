"""Calibrated regimes as a user gets them: calibrate, label, explain, count, and what goes wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.commands import Prepare, Run, run_all
from tests.fixtures.database import TableDigest

from prometheus.app.databases import DatabaseManager
from prometheus.encoders.numeric.scale_free import CONSTANTS_FILE, RECOMPUTE_COMMAND
from prometheus.regime.exposure import RULE
from prometheus.regime.forecasts import SCORE_WEIGHTS
from prometheus.spelling import spell_chance

SPX = ["--region", "SPX", "--instrument-id", "GSPC.INDX"]
CALIBRATE = ["calibrate", *SPX, "--until", "2007-12-31"]
LABEL = ["run_numeric_regime", *SPX, "--model-id", "num-regime-core-v2", "--prototypes", "p.json"]
CRASH = ["--start", "2008-10-10", "--end", "2008-10-10"]
NAMES = ["CARRY", "NEUTRAL", "RISK_OFF", "CRISIS"]


@pytest.fixture
def calibrated(run: Run, prepare: Prepare) -> None:
    """A prototype file of what was known at the end of 2007."""
    prepare("calibrated", lambda: run_all(run, [*CALIBRATE, "--output", "p.json"]), after="sample")


@pytest.fixture
def history(run: Run, prepare: Prepare) -> None:
    """Regimes of 2008 to 2010 by that file."""
    label = [*LABEL, "--date-range", "2008-01-01", "2010-12-31"]
    prepare("labelled", lambda: run_all(run, label), after="calibrated")


@pytest.mark.usefixtures("sample")
def test_a_file_is_written_once_and_says_what_was_found(run: Run) -> None:
    first = run(*CALIBRATE, "--output", "p.json")
    text, written = Path("p.json").read_bytes(), Path("p.json").stat().st_mtime_ns
    second = run(*CALIBRATE, "--output", "p.json")

    assert first.exit_code == second.exit_code == 0
    assert re.match(r"wrote p\.json: num-regime-core-v2@[0-9a-f]{8}\n", first.stdout)
    assert second.stdout == first.stdout.replace("wrote ", "unchanged: ", 1)
    assert "learned from 3000 sessions, 1996-01-31 to 2007-12-31" in first.stdout
    assert "prototypes: 52% of these sessions, 48% of ^GSPC until 1989-12-31" in first.stdout
    assert re.search(r"^bear market: a fall of [\d.]+%, \d in these sessions", first.stdout, re.MULTILINE)
    assert re.search(r"wildest: 2002-\d\d-\d\d\.\.2002-\d\d-\d\d, ", first.stdout)
    assert (Path("p.json").read_bytes(), Path("p.json").stat().st_mtime_ns) == (text, written)
    document = json.loads(text)
    assert sorted(document["prototypes"]) == sorted(NAMES)
    assert (document["embedding_dim"], document["window_days"], document["region"]) == (384, 513, "SPX")


@pytest.mark.usefixtures("calibrated")
def test_json_says_what_the_file_says(run: Run) -> None:
    said = json.loads(run(*CALIBRATE, "--output", "p.json", "--json").stdout)

    assert (said["is_changed"], said["region"], said["output"]) == (False, "SPX", "p.json")
    assert said["calibration"] == json.loads(Path("p.json").read_text())["calibration"]
    assert sum(counts["n_sessions"] for counts in said["calibration"]["stays"].values()) == 3_000 - 126


@pytest.mark.usefixtures("calibrated")
def test_the_names_of_an_earlier_file_are_kept(run: Run) -> None:
    document = json.loads(Path("p.json").read_text())
    swapped = dict(zip(NAMES, reversed(NAMES), strict=True))
    document["prototypes"] = {swapped[name]: entry for name, entry in document["prototypes"].items()}
    Path("swapped.json").write_text(json.dumps(document))

    plain = run("calibrate", *SPX, "--until", "2008-12-31", "--output", "plain.json")
    aligned = run("calibrate", *SPX, "--until", "2008-12-31", "--output", "aligned.json", "--align-to", "p.json")
    contrary = run(
        "calibrate", *SPX, "--until", "2008-12-31", "--output", "contrary.json", "--align-to", "swapped.json"
    )

    assert plain.exit_code == aligned.exit_code == contrary.exit_code == 0
    assert Path("plain.json").read_bytes() == Path("aligned.json").read_bytes()
    entries, others = (json.loads(Path(name).read_text()) for name in ("plain.json", "contrary.json"))
    for name in NAMES:
        assert others["prototypes"][swapped[name]] == entries["prototypes"][name]
        assert others["calibration"]["stays"][swapped[name]] == entries["calibration"]["stays"][name]


@pytest.mark.usefixtures("calibrated")
def test_what_speaks_against_a_calibration_is_warned_of_and_no_failure(run: Run) -> None:
    document = json.loads(Path("p.json").read_text())
    swapped = dict(zip(NAMES, ["CRISIS", "CARRY", "RISK_OFF", "NEUTRAL"], strict=True))
    document["prototypes"] = {swapped[name]: entry for name, entry in document["prototypes"].items()}
    Path("swapped.json").write_text(json.dumps(document))

    clean = json.loads(run(*CALIBRATE, "--output", "p.json", "--json").stdout)
    doubted = run(*CALIBRATE, "--output", "q.json", "--align-to", "swapped.json", "--json")

    assert clean["warnings"] == []
    assert doubted.exit_code == 0
    (warning,) = json.loads(doubted.stdout)["warnings"]
    assert re.match(r"\d+\.\d% of the labels are CRISIS, but below 0\.1 is the probability", warning)
    assert f"WARNING GSPC.INDX: {warning}" in doubted.stderr


@pytest.mark.usefixtures("calibrated")
def test_sessions_that_the_judge_sets_aside_are_told(run: Run, db_manager: DatabaseManager) -> None:
    nothing: dict[str, object] = {"GSPC.INDX": {"held": [], "left_out": []}}
    assert json.loads(run(*CALIBRATE, "--output", "p.json", "--json").stdout)["set_aside"] == nothing
    with db_manager.get_historical_connection() as connection:
        connection.execute(
            "UPDATE prices_daily SET close = close * 7, adjusted_close = adjusted_close * 7, high = high * 7,"
            " low = low * 7 WHERE instrument_id = 'GSPC.INDX' AND trade_date < '1999-01-04'"
        )
    spoilt = run(*CALIBRATE, "--output", "q.json")
    assert "GSPC.INDX, held: 1 session: 1999-01-04\nGSPC.INDX, left out: 1 session: 1999-01-04\n" in spoilt.stdout
    assert "WARNING" not in spoilt.stderr


def said_of(risk: Mapping[str, float], between: str) -> tuple[str, str]:
    """Return a probability and its interval as people read them."""
    return spell_chance(risk["probability"]), between.join(spell_chance(risk[name]) for name in ("low", "high"))


@pytest.mark.usefixtures("history")
def test_regimes_are_explained_in_plain_units_and_in_json(run: Run) -> None:
    text = run("show_regimes", "--region", "SPX", *CRASH, "--explain").stdout.splitlines()
    (state,) = json.loads(run("show_regimes", "--region", "SPX", *CRASH, "--explain", "--json").stdout)

    assert text[0].startswith("2008-10-10 SPX: CRISIS, ")
    assert f"{spell_chance(state['confidence'])} sure" in text[0]
    assert all(name in text[0] for name in NAMES)
    high, bear, risk = state["high_volatility"], state["bear"], state["change_risk"]
    wild = f"volatility above {high['threshold']:.0%} in the next 21 sessions"
    assert text[1] == f"  {wild}: {spell_chance(high['probability'])}"
    leaving = [f"{n} sessions {' ('.join(said_of(each, ' to '))})" for n, each in risk.items()]
    age = {1: "1 session", 21: "21 sessions or more"}.get(n := state["spell_sessions"], f"{n} sessions")
    assert text[2] == f"  in a bear market of {bear['fall']:.0%}: {spell_chance(bear['probability'])}, called one"
    assert text[3] == f"  leaving CRISIS after {age} of it within {', '.join(leaving)}"
    assert text[4] == f"  exposure 0.5 ({RULE})"
    assert state["exposure"] == 0.5
    assert list(risk) == ["5", "21", "63"]
    reasons = state["explanation"]
    assert [line.rpartition("  ")[2] for line in text[5:]] == [reason["text"] for reason in reasons]
    assert sum(abs(reason["share"] or 0) for reason in reasons) == pytest.approx(1, abs=1e-5)
    assert sum(reason["share"] or 0 for reason in reasons) > 0
    assert state["probabilities"]["CRISIS"] == state["confidence"]
    assert re.search(r"volatility \d+ % a year against a norm of \d+ %", "\n".join(text))


@pytest.mark.usefixtures("history")
def test_the_newest_row_is_explained_unless_more_are_asked_for(run: Run) -> None:
    newest = run("show_regimes", "--region", "SPX", "--explain").stdout
    three = run("show_regimes", "--region", "SPX", "--explain", "--limit", "3").stdout

    assert newest.startswith("2010-12-31 SPX: ")
    assert len(re.findall(r"^2010-12-\d\d SPX: ", three, flags=re.MULTILINE)) == 3
    assert three.endswith(newest)


@pytest.mark.usefixtures("history")
def test_transitions_say_how_likely_a_regime_is_left(run: Run) -> None:
    table = run("show_regime_transitions", "--region", "SPX").stdout.splitlines()
    (report,) = json.loads(run("show_regime_transitions", "--region", "SPX", "--json").stdout)

    assert re.search("mean duration +left in 5 +left in 21 +left in 63$", table[1])
    for line in table[2:]:
        label, *_ = line.split()
        stays, row = report["counts"][label], report["matrix"][label]
        risks = report["change_risk"][label]
        assert stays[label] > 0
        for horizon in ("5", "21", "63"):
            assert risks[horizon]["probability"] == pytest.approx(1 - row[label] ** int(horizon))
            assert f"{' ('.join(said_of(risks[horizon], '-'))})" in line
    assert len(table) - 2 == len(report["counts"]) >= 3


@pytest.mark.usefixtures("calibrated")
def test_a_row_of_a_range_is_that_of_its_date_alone_and_of_a_second_run(run: Run, table_digests: TableDigest) -> None:
    alone = run(*LABEL, "--as-of", "2008-10-10")
    state = run("show_regimes", "--region", "SPX", *CRASH, "--explain", "--json").stdout
    whole = run(*LABEL, "--date-range", "2008-09-01", "2008-10-31")
    before = table_digests()
    again = run(*LABEL, "--date-range", "2008-09-01", "2008-10-31")

    assert re.fullmatch(r"Regime as of 2008-10-10 for region SPX: label=CRISIS, confidence=0\.\d{3}\n", alone.stdout), (
        alone.stderr
    )
    assert "44 sessions: 43 embeddings and 43 regimes written" in whole.stderr
    assert "44 sessions: 0 embeddings and 0 regimes written" in again.stderr
    assert table_digests() == before
    assert run("show_regimes", "--region", "SPX", *CRASH, "--explain", "--json").stdout == state


@pytest.mark.usefixtures("calibrated")
def test_labels_of_dates_the_calibration_saw_are_warned_of(run: Run) -> None:
    outcome = run(*LABEL, "--as-of", "2007-12-31")

    assert outcome.exit_code == 0
    assert "calibrated on sessions up to 2007-12-31; labels of dates up to then are in-sample" in outcome.stderr


@pytest.mark.usefixtures("sample")
def test_fewer_sessions_than_asked_for_are_said(run: Run) -> None:
    outcome = run("calibrate", *SPX, "--until", "1998-12-31", "--output", "p.json")

    assert outcome.exit_code == 0
    assert "calibrating on those instead of 3000" in outcome.stderr
    assert Path("p.json").exists()


ONE_DATE = [*LABEL, "--as-of", "2008-10-10"]
TO_Q = ["--output", "q.json"]
BAD_INPUT = {
    "unknown instrument": (
        ["calibrate", "--region", "X", "--instrument-id", "NOPE", "--until", "2007-12-31", *TO_Q],
        5, ["'NOPE'", "ingest prices"],
    ),
    "before all data": (["calibrate", *SPX, "--until", "1985-12-31", *TO_Q], 5, ["GSPC.INDX", "found 0"]),
    "too few sessions": (["calibrate", *SPX, "--until", "1992-12-31", *TO_Q], 5, ["252 are needed", "of another"]),
    "no date": (["calibrate", *SPX, "--until", "yesterday", *TO_Q], 2, ["'yesterday'", "YYYY-MM-DD"]),
    "short span": ([*CALIBRATE, "--span", "251", *TO_Q], 5, ["251 sessions", "252 are needed"]),
    "span of nothing": ([*CALIBRATE, "--span", "0", *TO_Q], 2, ["--span"]),
    "negative penalty": ([*CALIBRATE, "--penalty=-1", *TO_Q], 2, ["--penalty"]),
    "infinite penalty": ([*CALIBRATE, "--penalty", "inf", *TO_Q], 2, ["penalty", "inf"]),
    "penalty that is none": ([*CALIBRATE, "--penalty", "nan", *TO_Q], 2, ["penalty"]),
    "too much looked back on": ([*CALIBRATE, "--decode-sessions", "99999", *TO_Q], 5, ["99999 are needed"]),
    "nothing looked back on": ([*CALIBRATE, "--decode-sessions", "0", *TO_Q], 2, ["--decode-sessions"]),
    "another encoder": ([*CALIBRATE, "--model-id", "num-regime-core-v1", *TO_Q], 2, ["compute_regime_prototypes"]),
    "output in no folder": ([*CALIBRATE, "--output", "no/such/p.json"], 5, ["no/such"]),
    "output is a folder": ([*CALIBRATE, "--output", "."], 5, ["folder"]),
    "nothing to align to": ([*CALIBRATE, "--align-to", "nowhere.json", *TO_Q], 5, ["nowhere.json"]),
    "two labels to align to": ([*CALIBRATE, "--align-to", "two.json", *TO_Q], 5, ["two.json", "CARRY, CRISIS"]),
    "two temperatures": ([*ONE_DATE, "--temperature", "2"], 2, ["p.json", "--temperature"]),
    "window too short": ([*ONE_DATE, "--window-days", "63"], 5, ["p.json", "513", "63"]),
    "window too short without a file": (
        ["run_numeric_regime", *SPX, "--model-id", "num-regime-core-v2", "--as-of", "2008-10-10", "--window-days",
         "63"],
        2, ["513", "--window-days 63"],
    ),
    "encoder of the first version": (
        ["run_numeric_regime", *SPX, "--model-id", "num-regime-core-v1", "--as-of", "2008-10-10", "--prototypes",
         "p.json"],
        5, ["p.json", "num-regime-core-v2", "num-regime-core-v1"],
    ),
    "nothing to look back on": ([*LABEL, "--as-of", "1992-02-03"], 5, ["638", "found 5"]),
    "broken calibration": ([*ONE_DATE, "--prototypes", "broken.json"], 5, ["broken.json", "'calibration'"]),
    "no explanation": (["show_regimes", "--region", "SEED", "--explain"], 5, ["num-regime-core-v1", "calibrate"]),
}  # fmt: skip


@pytest.mark.usefixtures("calibrated")
def test_bad_input_gets_one_line_an_exit_code_and_no_change(run: Run, table_digests: TableDigest) -> None:
    document = json.loads(Path("p.json").read_text())
    two = {name: document["prototypes"][name] for name in ("CARRY", "CRISIS")}
    Path("two.json").write_text(json.dumps(document | {"prototypes": two}))
    Path("broken.json").write_text(json.dumps(document | {"calibration": {"temperature": 0.5}}))
    assert run("run_numeric_regime", "--region", "SEED", *SPX[2:], "--as-of", "2008-10-10").exit_code == 0
    before, files = table_digests(), sorted(Path().iterdir())

    for name, (command, exit_code, named) in BAD_INPUT.items():
        outcome = run(*command)
        assert (outcome.exit_code, outcome.stdout) == (exit_code, ""), f"{name}: {outcome.stderr}"
        errors = [line for line in outcome.stderr.splitlines() if " WARNING " not in line]
        assert len(errors) == 1, f"{name}: {outcome.stderr}"
        assert errors == outcome.errors
        assert [text for text in named if text not in errors[0]] == [], f"{name}: {errors[0]}"
    assert table_digests() == before
    assert sorted(Path().iterdir()) == files


def test_the_recompute_command_makes_the_packaged_constants_and_weights(run: Run, shared_data: Path) -> None:
    loaded = run(
        "ingest", "prices", str(shared_data / "prices" / "gspc_1927_2020.parquet"), "--zero-as-missing", "open"
    )
    assert loaded.exit_code == 0, loaded.stderr

    arguments = RECOMPUTE_COMMAND.removeprefix("python -m prometheus ").split()
    outcome = run(*arguments, "--output", "constants.json")

    assert outcome.exit_code == 0, outcome.stderr
    line = outcome.stdout.splitlines()[-1]
    weights = json.loads(line.partition(": ")[2])
    assert weights == pytest.approx(dict(SCORE_WEIGHTS), abs=1.5e-4)
    packaged = json.loads(
        resources.files("prometheus.encoders.numeric").joinpath(CONSTANTS_FILE).read_text(encoding="utf-8")
    )
    fitted = json.loads(Path("constants.json").read_text())
    assert fitted["source"] == packaged["source"]
    assert list(fitted["mean_and_deviation"]) == list(packaged["mean_and_deviation"])
    np.testing.assert_allclose(
        list(fitted["mean_and_deviation"].values()),
        list(packaged["mean_and_deviation"].values()),
        rtol=1.1e-6,
        atol=1e-9,
    )
    assert run(*arguments, "--output", "constants.json").stdout.startswith("unchanged: constants.json: 384 descriptors")


@pytest.mark.usefixtures("calibrated")
def test_a_prototype_file_names_its_own_encoder(run: Run) -> None:
    named = run(*LABEL, "--as-of", "2008-10-10", "--json")
    unnamed = [word for word in LABEL if word not in {"--model-id", "num-regime-core-v2"}]
    found = run(*unnamed, "--as-of", "2008-10-10", "--json")
    assert found.exit_code == 0, found.stderr
    assert json.loads(found.stdout)["model_id"] == json.loads(named.stdout)["model_id"]


@pytest.mark.usefixtures("history")
def test_what_was_said_around_dates_in_a_table_json_and_a_picture(run: Run, table_digests: TableDigest) -> None:
    Path("crises.csv").write_text("date,what\n2008-09-15,Lehman\n2010-05-06,flash crash\n2007-08-09,quants\n")
    stored = table_digests()
    shown = run("evaluate", "events", "--region", "SPX", "--dates", "crises.csv")
    asked = ["evaluate_events", "--region", "SPX", "--dates", "crises.csv", "--before", "2", "--after", "5", "--json"]
    said = json.loads(run(*asked).stdout)

    assert shown.exit_code == 0, shown.stderr
    assert shown.stdout.startswith("2 events in 1 region (SPX), stored from 2008-01-02 to 2010-12-31\nsession  events")
    assert shown.stdout.endswith("outside of what is stored: 1 (2007-08-09 quants)\n")
    assert (said["n_events"], said["outside"]) == (2, ["2007-08-09 quants"])
    assert [each["session"] for each in said["sessions"]] == list(range(-2, 6))
    (lehman, flash) = (
        json.loads(run("show_regimes", "--region", "SPX", "--start", day, "--end", day, "--explain", "--json").stdout)[
            0
        ]
        for day in ("2008-09-15", "2010-05-06")
    )
    chances = [each["high_volatility"]["probability"] for each in (lehman, flash)]
    assert said["sessions"][2]["high_volatility"]["mean"] == pytest.approx(sum(chances) / 2)
    assert table_digests() == stored


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["--dates", "crises.csv"], 2, "give either --region or --market-id"),
        (["--dates", "none.csv", "--region", "SPX"], 5, "none.csv: cannot be read"),
        (["--dates", "crises.csv", "--region", "SPX"], 5, "none of 1 dates lies in what is stored, 2008-01-02 to"),
        (["--dates", "crises.csv", "--region", "MARS"], 5, "MARS"),
        (["--dates", "crises.csv", "--region", "SPX", "--before", "300"], 2, "name numbers from 0 to 252"),
        (["--dates", "crises.csv", "--market-id", "US_EQ"], 5, "no member of US_EQ has regimes; run calibrate"),
    ],
)
def test_events_that_cannot_be_studied_are_refused(run: Run, arguments: list[str], exit_code: int, said: str) -> None:
    Path("crises.csv").write_text("1987-10-19\n")
    outcome = run("evaluate", "events", *arguments)
    assert (outcome.exit_code, len(outcome.errors)) == (exit_code, 1), outcome.stderr
    assert said in outcome.errors[0]
