"""What the record commands print of what was said, and how they end."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from tests.fixtures.commands import US, Prepare, Run, run_all
from tests.integration.test_forward_record import tampering

from prometheus.app.databases import DatabaseManager

pytestmark = pytest.mark.usefixtures("said")

LABEL = ("run_numeric_regime", *US, "--prototypes", "p.json", "--model-id", "num-regime-core-v2")
OF_US = ("--region", "US")
SAID_ON_THE_EVENING = "UPDATE forward_record SET said_at = as_of_date + interval '1380 minutes'"
KNOWN_ON_THE_DAY = "UPDATE prices_daily SET known_from = trade_date + interval '1370 minutes'"


@pytest.fixture
def said(run: Run, prepare: Prepare) -> None:
    """Regimes of AAPL.US by a calibrated model, over half a year of 2020."""
    calibrate = ["calibrate", *US, "--until", "2019-12-31", "--output", "p.json"]
    label = [*LABEL, "--date-range", "2020-01-02", "2020-06-30"]
    prepare("record", lambda: run_all(run, calibrate, label), after="sample")


def test_the_rows_say_what_was_said_and_what_became_of_it(run: Run, db_manager: DatabaseManager) -> None:
    stored = json.loads(run("show_regimes", *OF_US, "--json").stdout)
    with db_manager.get_runtime_connection() as connection:
        connection.execute("DELETE FROM regimes WHERE as_of_date = '2020-06-30'")
        connection.execute("UPDATE regimes SET regime_label = 'CARRY' WHERE as_of_date = '2020-06-29'")
    text, machine = run("record", "show", *OF_US), run("record", "show", *OF_US, "--json")
    rows, facts = list(csv.DictReader(io.StringIO(text.stdout))), json.loads(machine.stdout)
    assert [row["as_of_date"] for row in rows] == [row["as_of_date"] for row in stored]
    assert [row["label"] for row in rows] == [row["regime_label"] for row in stored]
    assert [fact["confidence"] for fact in facts] == [row["confidence"] for row in stored]
    assert [row["today"] for row in rows[-3:]] == ["same", "changed", "gone"]
    assert [row["label_today"] for row in rows[-2:]] == ["CARRY", ""]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", row["said_at"]) for row in rows)
    assert {tuple(fact["instruments"]) for fact in facts} == {("AAPL.US",)}
    limited = run("record", "show", *OF_US, "--limit", "2").stdout
    assert limited.splitlines()[1:] == text.stdout.splitlines()[-2:]


def test_the_score_keeps_what_was_said_on_time_apart(run: Run, db_manager: DatabaseManager) -> None:
    afterwards = run("record", "score", *OF_US).stdout
    assert "125 statements of 2020-01-02 to 2020-06-30 said afterwards" in afterwards
    assert "125 scored" in afterwards
    with tampering(db_manager) as connection:
        connection.execute(f"{SAID_ON_THE_EVENING} WHERE as_of_date >= '2020-03-01'")
    on_time, rest = json.loads(run("record", "score", *OF_US, "--json").stdout)
    assert (on_time["is_on_time"], rest["is_on_time"]) == (True, False)
    assert (on_time["n_statements"], rest["n_statements"]) == (85, 40)
    assert (on_time["first"], rest["last"]) == ("2020-03-02", "2020-02-28")
    assert (on_time["lag_hours"], on_time["longest_lag_hours"]) == (3.0, 3.0), "New York closes at 20:00 UTC in summer"
    for each in (on_time, rest):
        high = each["high_volatility"]
        assert high["n_scored"] == each["n_statements"] == sum(tenth["n"] for tenth in high["tenths"])
        assert high["skill"] == pytest.approx(1 - high["brier"] / high["base_brier"])


def test_as_of_a_date_nothing_later_counts(run: Run, db_manager: DatabaseManager) -> None:
    with tampering(db_manager) as connection:
        connection.execute(SAID_ON_THE_EVENING)
    with db_manager.get_owner_connection("historical") as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(KNOWN_ON_THE_DAY)
        connection.execute("RESET session_replication_role")
    asked = [(*words, *OF_US, "--as-of", "2020-04-15", "--json") for words in (("record", "score"), ("record", "show"))]
    before = [run(*words).stdout for words in asked]
    (score,) = json.loads(before[0])
    assert (score["n_statements"], score["last"]) == (72, "2020-04-15")
    assert score["high_volatility"]["n_scored"] == 72 - 21, "21 sessions are not over yet"
    assert (score["n_changed"], score["n_gone"]) == (None, None)

    with db_manager.get_historical_connection() as connection:
        connection.execute(
            "UPDATE prices_daily SET adjusted_close = adjusted_close * 2 WHERE date_part('dow', trade_date) = 3"
        )
    with db_manager.get_runtime_connection() as connection:
        connection.execute("UPDATE regimes SET regime_label = 'CARRY'")
    with tampering(db_manager) as connection:
        connection.execute(
            "UPDATE forward_record SET high_volatility = 1 - high_volatility WHERE said_at > '2020-04-16'"
        )
    assert [run(*words).stdout for words in asked] == before


def test_a_changed_record_ends_with_3_and_names_the_row(run: Run, db_manager: DatabaseManager) -> None:
    whole = run("record", "verify")
    assert whole.exit_code == 0
    found = re.fullmatch(r"whole: 125 statements, head ([0-9a-f]{64})\n", whole.stdout)
    assert found is not None
    assert run("record", "verify", "--head", found[1]).exit_code == 0
    assert json.loads(run("record", "verify", "--json").stdout) == {"statements": 125, "hash": found[1], "fault": None}

    with tampering(db_manager) as connection:
        connection.execute("UPDATE forward_record SET regime_label = 'CARRY' WHERE as_of_date = '2020-03-16'")
    changed = run("record", "verify")
    assert changed.exit_code == 3
    assert re.match(r"not whole: statement 51 \(US, 2020-03-16, .*\) was altered", changed.stdout)
    fault = json.loads(run("record", "verify", "--json").stdout)["fault"]
    assert (fault["number"], fault["name"][:14]) == (51, "US, 2020-03-16")


def test_what_cannot_be_answered_is_one_line(run: Run) -> None:
    for words, exit_code, said in [
        (("show", "--region", "EU"), 5, "nothing was said of region 'EU' yet (regions in the record: US)"),
        (("score", "--region", "EU"), 5, "nothing was said of region 'EU' yet"),
        (("score", *OF_US, "--as-of", "yesterday"), 2, "'yesterday' is no date"),
        (("verify", "--head", "12"), 2, "--head '12' is no hash of 64 hexadecimal digits"),
    ]:
        outcome = run("record", *words)
        assert outcome.exit_code == exit_code
        assert outcome.stdout == ""
        (line,) = outcome.errors
        assert said in line
    assert json.loads(run("record", "score", *OF_US, "--as-of", "2019-01-01", "--json").stdout) == []
    assert run("record", "score", *OF_US, "--as-of", "2019-01-01").stdout == "nothing was said by 2019-01-01\n"
