"""Commands on a region of several instruments, and on what is not configured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.fixtures.commands import Run

from prometheus.app.databases import DatabaseManager

SAMPLE_REGION = '{"US": {"members": {"AAPL.US": 0.6, "GSPC.INDX": 0.4}}}'
ETF_REGION = (
    '{"WORLD": {"members": {"IWM": 0.4, "TLT": 0.2, "HYG": 0.15, "IAU": 0.1, "VXX": 0.05, "MVEU.L": 0.1}},'
    ' "NEW": {"members": {"IWM": 1, "CARR": 2}, "anchor": "IWM"}}'
)


@pytest.mark.usefixtures("sample")
def test_a_region_is_calibrated_labelled_and_explained(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_REGIONS", SAMPLE_REGION)
    calibrated = run(
        "calibrate", "--region", "US", "--until", "2010-12-31", "--span", "1500", "--output", "us.json", "--json"
    )
    assert calibrated.exit_code == 0, calibrated.stderr
    document = json.loads(calibrated.stdout)
    model_id = document["regime_model_id"]
    assert {name: each["left_out"] for name, each in document["set_aside"].items()} == {"GSPC.INDX": [], "AAPL.US": []}
    family, _, rest = model_id.partition(":")
    assert (family, len(rest.partition("@")[0])) == ("num-regime-region-v1", 8)

    span = ["--date-range", "2011-01-03", "2011-03-31", "--prototypes", "us.json", "--json"]
    done = run("run_numeric_regime", "--region", "US", *span)
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["model_id"], report["regimes"]["written"], report["as_of_date"]) == (model_id, 62, "2011-03-31")
    assert report["metadata"]["members"] == {"AAPL.US": 0.6, "GSPC.INDX": 0.4}
    assert report["metadata"]["absent"] == []

    single = run("run_numeric_regime", "--region", "US", "--as-of", "2011-02-15", "--prototypes", "us.json", "--json")
    assert json.loads(single.stdout)["regimes"]["written"] == 0

    explained = run("show_regimes", "--region", "US", "--explain")
    assert explained.exit_code == 0, explained.stderr
    assert explained.stdout.startswith("2011-03-31 US: ")
    assert "below the 128-session high against a norm of" in explained.stdout


@pytest.mark.usefixtures("sample")
def test_an_instrument_named_on_the_command_line_stays_what_it_was(
    run: Run, monkeypatch: pytest.MonkeyPatch, db_manager: DatabaseManager
) -> None:
    monkeypatch.setenv("PROMETHEUS_REGIONS", SAMPLE_REGION)
    done = run("run_numeric_regime", "--region", "US", "--instrument-id", "AAPL.US", "--as-of", "2015-01-30")
    assert done.stdout == "Regime as of 2015-01-30 for region US: label=NEUTRAL, confidence=1.000\n"
    with db_manager.get_historical_connection() as connection:
        row = connection.execute("SELECT entity_type, entity_id, model_id FROM numeric_window_embeddings").fetchone()
    assert row == ("INSTRUMENT", "AAPL.US", "num-regime-core-v1")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["run_numeric_regime", "--region", "MOON"], 2, "region 'MOON' is not configured (configured: US); give "),
        (["run_numeric_regime", "--region", "US", "--window-days", "63"], 2, "reads 513 sessions, not 63"),
        (["run_numeric_regime", "--region", "US", "--model-id", "num-regime-core-v2"], 2, "leave --model-id away"),
        (["run_numeric_regime", "--region", "US"], 5, "its anchor is missing (AAPL.US has no bars)"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], exit_code: int, message: str
) -> None:
    monkeypatch.setenv("PROMETHEUS_REGIONS", SAMPLE_REGION)
    done = run(*arguments, "--date-range", "2015-01-30", "2015-02-27")
    assert (done.exit_code, done.stdout, len(done.errors)) == (exit_code, "", 1)
    assert message in done.errors[0]


def test_calibrate_needs_a_configured_region_or_an_instrument(run: Run) -> None:
    done = run("calibrate", "--region", "US", "--until", "2010-12-31", "--output", "us.json")
    assert done.exit_code == 2
    assert "region 'US' is not configured (configured: none)" in done.errors[0]
    assert not Path("us.json").exists()


def test_etfs_of_several_exchanges_make_a_region(run: Run, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prices = shared_data / "prices" / "m6_etf_stock_raw_adj_2017_2020.parquet"
    assert run("ingest", "prices", str(prices)).exit_code == 0
    monkeypatch.setenv("PROMETHEUS_REGIONS", ETF_REGION)
    span = ["--date-range", "2019-05-01", "2020-12-31", "--json"]
    report = json.loads(run("run_numeric_regime", "--region", "WORLD", *span).stdout)
    assert report["regimes"]["written"] == 423
    shown = json.loads(run("show_regimes", "--region", "WORLD", "--json").stdout)
    assert len(shown) == 423
    holiday = run("run_numeric_regime", "--region", "WORLD", "--as-of", "2020-08-31", "--json")  # London was closed
    assert json.loads(holiday.stdout)["metadata"]["absent"] == []
    assert json.loads(holiday.stdout)["embeddings"]["written"] == 0

    young = run("run_numeric_regime", "--region", "NEW", "--as-of", "2020-12-31")  # a spin-off of March 2020
    assert "carry 33% of the weight and half is needed (CARR has 200 of 513 sessions)" in young.errors[0]
