"""What the show commands print."""

from __future__ import annotations

import csv
import io
import json
from itertools import pairwise

import pytest
from tests.fixtures.commands import US, Prepare, Run, run_all

PROTOTYPES = ["--window", "NEUTRAL=2018-01-01:2018-12-31", "--window", "CRISIS=2020-03-01:2020-04-30"]


@pytest.fixture
def history(run: Run, prepare: Prepare) -> None:
    """Regimes of AAPL.US from mid-2017 to mid-2020 by the seed model and by two prototypes."""
    seed = ["run_numeric_regime", *US, "--date-range", "2017-06-01", "2020-06-30"]
    compute = ["compute_regime_prototypes", "--region", "US", *PROTOTYPES, "--output", "p.json"]
    label = [*seed, "--prototypes", "p.json", "--regime-model-id", "two"]
    prepare("show", lambda: run_all(run, seed, compute, label), after="sample")


@pytest.mark.usefixtures("history")
def test_regimes_as_csv_and_json_say_the_same(run: Run) -> None:
    text = run("show_regimes", "--region", "US", "--start", "2020-03-01", "--end", "2020-03-31", "--model-id", "two")
    machine = run("show_regimes", "--region", "US", "--start", "2020-03-01", "--end", "2020-03-31", "--model-id", "two",
                  "--json")  # fmt: skip

    rows = list(csv.DictReader(io.StringIO(text.stdout)))
    assert list(rows[0]) == ["as_of_date", "region", "regime_label", "confidence", "model_id"]
    assert [row["as_of_date"] for row in rows] == [row["as_of_date"] for row in json.loads(machine.stdout)]
    assert [row["exposure"] for row in json.loads(machine.stdout)] == [
        0.5 if row["regime_label"] == "CRISIS" else 1.0 for row in rows
    ]
    assert len(rows) == 22
    assert {row["regime_label"] for row in rows} == {"NEUTRAL", "CRISIS"}
    assert all(len(row["confidence"].partition(".")[2]) == 6 for row in rows)


@pytest.mark.usefixtures("history")
def test_without_a_model_all_of_them_are_shown_and_a_limit_takes_the_newest(run: Run) -> None:
    rows = list(csv.DictReader(io.StringIO(run("show_regimes", "--region", "US", "--limit", "4").stdout)))

    assert [row["as_of_date"] for row in rows] == ["2020-06-29"] * 2 + ["2020-06-30"] * 2
    assert [row["model_id"] for row in rows] == ["num-regime-core-v1", "two"] * 2


@pytest.mark.usefixtures("history")
def test_one_date_is_shown_of_every_model_or_the_session_before_it(run: Run) -> None:
    session, weekend = (run("show_regimes", "--region", "US", "--as-of", day) for day in ("2020-03-13", "2020-03-15"))

    rows = list(csv.DictReader(io.StringIO(session.stdout)))
    assert [(row["as_of_date"], row["model_id"]) for row in rows] == [
        ("2020-03-13", "num-regime-core-v1"), ("2020-03-13", "two"),
    ]  # fmt: skip
    assert session.stderr == ""
    assert weekend.stdout == session.stdout
    assert weekend.stderr == "no regime on 2020-03-15; the last one before it is of 2020-03-13\n"
    both = run("show_regimes", "--region", "US", "--as-of", "2020-03-13", "--start", "2020-03-01")
    assert (both.exit_code, both.stdout) == (2, "")
    assert both.errors == ["error: --as-of is one date, --start and --end a range; leave one of them away"]
    late = run("show_regimes", "--region", "US", "--as-of", "2021-03-13")
    assert (late.exit_code, late.stdout) == (5, "")
    assert "region 'US' has no regimes from 2021-03-06 to 2021-03-13" in late.errors[0]


@pytest.mark.usefixtures("history")
def test_transitions_follow_from_the_labels_that_show_regimes_prints(run: Run) -> None:
    rows = json.loads(run("show_regimes", "--region", "US", "--model-id", "two", "--json").stdout)
    labels = [row["regime_label"] for row in rows]
    pairs = list(pairwise(labels))

    (report,) = json.loads(run("show_regime_transitions", "--region", "US", "--model-id", "two", "--json").stdout)

    assert report["n_dates"] == len(labels)
    for before in ("NEUTRAL", "CRISIS"):
        for after in ("NEUTRAL", "CRISIS"):
            assert report["counts"][before][after] == pairs.count((before, after))
        assert sum(report["matrix"][before].values()) == pytest.approx(1)
    n_spells = 1 + sum(left != right for left, right in pairs)
    assert n_spells > 2
    spells_of_crisis = sum(left != right == "CRISIS" for left, right in pairs) + (labels[0] == "CRISIS")
    assert report["mean_duration"]["CRISIS"] == pytest.approx(labels.count("CRISIS") / spells_of_crisis)


@pytest.mark.usefixtures("history")
def test_the_table_shows_a_matrix_per_model(run: Run) -> None:
    outcome = run("show_regime_transitions", "--region", "US")

    assert "US, num-regime-core-v1: 776 dates" in outcome.stdout
    assert "US, two: 776 dates" in outcome.stdout
    assert "mean duration" in outcome.stdout


@pytest.mark.usefixtures("history")
def test_a_second_instrument_in_a_region_is_warned_of_and_never_averaged(run: Run) -> None:
    span = ["--date-range", "2018-06-01", "2018-06-29"]
    mixed = run("run_numeric_regime", "--region", "US", "--instrument-id", "GSPC.INDX", *span)

    assert "region US already holds 776 rows of num-regime-core-v1 made from AAPL.US" in mixed.stderr
    averaged = run("compute_regime_prototypes", "--region", "US", "--window", "NEUTRAL=2018-01-01:2018-12-31",
                   "--output", "mixed.json")  # fmt: skip
    assert averaged.exit_code == 5
    assert "AAPL.US" in averaged.stderr
    assert "GSPC.INDX" in averaged.stderr


def test_status_starts_nothing_and_says_what_is_there(run: Run) -> None:
    facts = json.loads(run("db", "status", "--json").stdout)

    assert facts["historical_is_current"] is True
    assert facts["runtime_is_current"] is True
