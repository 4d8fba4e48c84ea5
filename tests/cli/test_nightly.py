"""The nightly run as cron sees it: what is missing is computed, and nothing else is touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fixtures.commands import Run
from tests.fixtures.database import TableDigest
from tests.fixtures.text_models import needs_minilm
from tests.integration.test_joint_numbers import history, store

from prometheus.app.databases import DatabaseManager
from prometheus.arrays import Int64Vector, as_float32
from prometheus.encoders.identity import NUM_REGIME_CORE_V2
from prometheus.files.prototypes import write_prototypes
from prometheus.market.bars import PriceBars
from prometheus.market.quality import Judgement, judge
from prometheus.regime import RegimeLabel, RegimePrototype
from prometheus.regime.prototypes import PrototypeSet

AS_OF = "2023-12-28"
"""The last session of GSPC.INDX in the sample; AAPL.US goes on."""
NIGHT = ["nightly", "--as-of", AS_OF, "--since", "2023-11-01"]
N_SESSIONS = 40
EVENTS = [
    ("2023-11-02T12:00:00Z", "Policy rates were left where they are."),
    ("2023-12-14T12:00:00Z", "Growth is slowing."),
    ("2023-12-27T12:00:00Z", "Credit spreads narrowed."),
]
REGIONS = {
    "US_INDEX": {"instrument_id": "GSPC.INDX", "prototypes": "p.json", "country": "US"},
    "US_MIX": {"members": {"GSPC.INDX": 0.6, "AAPL.US": 0.4}, "country": "US"},
}

pytestmark = pytest.mark.usefixtures("sample", "regions")


@pytest.fixture
def regions(cli_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two regions, one with a prototype file in the working directory."""
    axis = np.linspace(-1, 1, 384)
    prototypes = (
        RegimePrototype(RegimeLabel.CARRY, as_float32(axis)),
        RegimePrototype(RegimeLabel.CRISIS, as_float32(-axis)),
    )
    write_prototypes(PrototypeSet("US_INDEX", prototypes, {}, NUM_REGIME_CORE_V2, 513), Path("p.json"))
    configure(monkeypatch, REGIONS)


def configure(monkeypatch: pytest.MonkeyPatch, definitions: dict[str, Any]) -> None:
    monkeypatch.setenv("PROMETHEUS_REGIONS", json.dumps(definitions))


def ingest_events(run: Run, events: list[tuple[str, str]]) -> None:
    lines = [
        json.dumps({"event_type": "NOTE", "timestamp": timestamp, "country": "US", "description": text})
        for timestamp, text in events
    ]
    Path("events.jsonl").write_text("\n".join(lines) + "\n")
    assert run("ingest", "macro", "events.jsonl").exit_code == 0


def report_of(run: Run, *arguments: str, exit_code: int = 0) -> dict[str, Any]:
    """Run a night and return its summary, with regions and texts by name."""
    done = run(*arguments, "--json")
    assert done.exit_code == exit_code, done.stderr
    report: dict[str, Any] = json.loads(done.stdout, parse_constant=pytest.fail)
    return report | {
        "regions": {night["region"]: night for night in report["regions"]},
        "texts": {night["source_type"]: night for night in report["texts"]},
    }


@needs_minilm
def test_a_night_fills_in_what_is_missing_and_a_second_one_writes_nothing(run: Run, table_digests: TableDigest) -> None:
    ingest_events(run, EVENTS)
    planned = report_of(run, *NIGHT, "--dry-run")
    assert (planned["dry_run"], planned["written"]) == (True, 4 * N_SESSIONS + 3)
    assert table_digests()["runtime.regimes"][0] == 0

    first = report_of(run, *NIGHT, "--exit-code-if-noop", "99")

    assert first["texts"]["MACRO"]["embeddings_written"] == 3
    for region, family in (("US_INDEX", "num-regime-core-v2@"), ("US_MIX", "num-regime-region-v1:")):
        night = first["regions"][region]
        assert night["model_id"].startswith(family)
        assert (night["embeddings_written"], night["sessions_added"], night["sessions_rewritten"]) == (40, 40, 0)
        assert night["joint_rows_written"] == 3
        assert night["newest"]["as_of_date"] == night["as_of_date"] == AS_OF
        assert len(night["run_ids"]) == 2
    assert first["written"] == 4 * N_SESSIONS + 3 + 6

    stored = table_digests()
    second = report_of(run, *NIGHT, "--exit-code-if-noop", "99", exit_code=99)
    assert second["written"] == 0
    assert second["record"] == first["record"]
    assert json.loads(run("record", "verify", "--json").stdout) == {**first["record"], "fault": None}
    assert report_of(run, *NIGHT)["written"] == 0
    assert table_digests() == stored

    printed = run("nightly", "--as-of", AS_OF).stdout.splitlines()
    assert printed[0].split() == [
        "region",
        "as",
        "of",
        "label",
        "sure",
        "before",
        "added",
        "rewritten",
        "joint",
        "rows",
        "findings",
    ]
    assert printed[1].split()[:2] == ["US_INDEX", AS_OF]
    assert printed[-1].startswith("0 rows written, 0 failed")


@needs_minilm
def test_a_corrected_price_and_a_late_text_are_made_good(run: Run, db_manager: DatabaseManager) -> None:
    ingest_events(run, EVENTS)
    report_of(run, *NIGHT)
    with db_manager.get_historical_connection() as connection:
        connection.execute(
            "UPDATE prices_daily SET close = close * 1.01, adjusted_close = adjusted_close * 1.01"
            " WHERE instrument_id = 'GSPC.INDX' AND trade_date = '2023-12-20'"
        )
    ingest_events(run, [("2023-11-02T15:00:00Z", "Policy rates may rise."), ("2023-11-03T15:00:00Z", "Hiring rose.")])

    night = report_of(run, "nightly", "--as-of", AS_OF)["regions"]["US_INDEX"]

    assert (night["sessions_added"], night["sessions_rewritten"]) == (0, 6)
    assert (
        night["joint_rows_written"] == 3
    )  # 27 December was joined anew; a text came to 2 November, the first to the 3rd


@needs_minilm
def test_a_joint_model_with_frozen_means_joins_the_dates_after_them(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, {"US_INDEX": REGIONS["US_INDEX"]})
    ingest_events(run, EVENTS + [(f"2023-11-{day:02}T12:00:00Z", f"Note {day}.") for day in range(1, 31)])
    report_of(run, *NIGHT)
    freeze = ["--joint-model-id", "joint-regime-core-v2-US_INDEX", "--centre-until", "2023-11-30", "--country", "US"]
    branches = ["--numeric-model-id", NUM_REGIME_CORE_V2, "--region", "US_INDEX", "--as-of", "2023-12-14"]
    frozen = run("backfill_joint_regime_macro_context", *branches, *freeze)
    assert frozen.exit_code == 0, frozen.stderr

    monkeypatch.setenv("PROMETHEUS_JOINT_MODEL_ID", "joint-regime-core-v2-{region}")
    assert report_of(run, *NIGHT)["regions"]["US_INDEX"]["joint_rows_written"] == 1  # 27 December; the 14th is there
    assert report_of(run, *NIGHT)["written"] == 0


def test_a_night_goes_on_with_prices_and_macro_numbers_where_rows_of_them_are_stored(
    run: Run, monkeypatch: pytest.MonkeyPatch, db_manager: DatabaseManager
) -> None:
    configure(monkeypatch, {"US_INDEX": REGIONS["US_INDEX"]})
    store(db_manager, history(until=date.fromisoformat(AS_OF)))
    assert report_of(run, *NIGHT)["regions"]["US_INDEX"]["joint_rows_written"] == 0
    asked = ["--region", "US_INDEX", "--as-of", "2023-12-14", "--joint-model-id", "joint-regime-core-v3"]
    assert run("backfill_joint_regime_macro_context", *asked).exit_code == 0

    planned = report_of(run, *NIGHT, "--dry-run")["regions"]["US_INDEX"]["joint_rows_written"]
    assert planned == report_of(run, *NIGHT)["regions"]["US_INDEX"]["joint_rows_written"] == N_SESSIONS - 1
    assert report_of(run, *NIGHT)["written"] == 0


@needs_minilm
def test_bars_and_texts_from_after_the_date_change_no_row_of_it(
    run: Run, db_manager: DatabaseManager, table_digests: TableDigest
) -> None:
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM prices_daily WHERE trade_date > '2023-12-15'")
    ingest_events(run, EVENTS[:2])
    night = ["nightly", "--as-of", "2023-12-15"]
    assert report_of(run, *night, "--since", "2023-12-01")["written"] == 4 * 11 + 2 + 2
    before = table_digests()

    from prometheus.ingest.sample import PRICES

    assert run("ingest", "prices", str(PRICES)).exit_code == 0
    ingest_events(run, EVENTS)
    assert report_of(run, *night)["written"] == 0
    after = table_digests()
    for table in ("regimes", "regime_transitions"):
        assert after[f"runtime.{table}"] == before[f"runtime.{table}"]
    for table in ("numeric_window_embeddings", "text_embeddings", "joint_embeddings"):
        assert after[f"historical.{table}"] == before[f"historical.{table}"]
    report_of(run, "nightly", "--as-of", AS_OF)
    assert report_of(run, *night)["written"] == 0


def test_a_region_waits_for_late_bars_and_the_others_go_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, table_digests: TableDigest
) -> None:
    late = ["nightly", "--as-of", "2024-01-03", "--since", "2023-12-20"]
    lacking = "GSPC.INDX (last bar 2023-12-28, 3 sessions missing)"
    before = table_digests()
    refused = run(*late)
    assert (refused.exit_code, refused.stdout, len(refused.errors)) == (5, "", 1), "no region has its bars"
    assert f"US_INDEX as of 2024-01-03 lacks {lacking}; US_MIX as of 2024-01-03 lacks {lacking}; " in refused.errors[0]
    assert run("nightly").exit_code == 5, "the sample ends before the last session that has closed"
    runs = "runtime.nightly_runs"
    assert {name: rows for name, rows in table_digests().items() if name != runs} == {
        name: rows for name, rows in before.items() if name != runs
    }

    configure(monkeypatch, REGIONS | {"APPLE": {"instrument_id": "AAPL.US"}})
    waiting = run(*late)
    assert (waiting.exit_code, waiting.errors) == (5, [])
    assert f"waiting: US_INDEX as of 2024-01-03: it lacks {lacking}" in waiting.stderr.splitlines()
    assert "regions: 1 written, 2 late" in waiting.stdout.splitlines()
    assert [name for name, rows in table_digests().items() if name.startswith("runtime.regimes") and rows[0] == 9]
    assert report_of(run, *late, exit_code=5)["written"] == 0

    fresh_only = report_of(run, *late, "--skip-stale", exit_code=3)
    assert fresh_only["failed"] == 2
    assert fresh_only["regions"]["APPLE"]["standing"]["standing"] == "settled"
    assert fresh_only["regions"]["US_INDEX"]["failures"] == [f"left out, it lacks {lacking}"]

    loosened = report_of(run, *late, "--max-age-sessions", "3")
    assert loosened["regions"]["US_INDEX"]["newest"]["as_of_date"] == "2023-12-28"


def test_ended_histories_are_named_once_and_the_other_regions_go_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, db_manager: DatabaseManager
) -> None:
    mix = {"members": {"GSPC.INDX": 0.3, "AAPL.US": 0.7}}
    configure(monkeypatch, {"US_INDEX": REGIONS["US_INDEX"], "MIX": mix, "HALF": REGIONS["US_MIX"]})
    night = ["nightly", "--as-of", "2025-01-31", "--since", "2025-01-15"]

    report = report_of(run, *night)

    assert report["skipped"] == {
        "regions": {"ended": {"US_INDEX": "2023-12-28", "HALF": "2023-12-28"}, "not_begun": {}},
        "instruments": {"ended": {"GSPC.INDX": "2023-12-28"}, "not_begun": {}},
    }
    assert [night["skipped"] for night in report["regions"].values()] == [True, False, True]
    assert (report["failed"], report["regions"]["MIX"]["sessions_added"]) == (0, 12)
    printed = run(*night).stdout.splitlines()
    assert printed[-3:-1] == [
        "skipped: 2 regions ended (HALF on 2023-12-28, US_INDEX on 2023-12-28)",
        "skipped: 1 instrument ended (GSPC.INDX on 2023-12-28)",
    ]

    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM prices_daily WHERE trade_date > '2025-01-28'")
    assert run(*night).exit_code == 5, "AAPL.US lacks three sessions, as today"
    assert report_of(run, *night, "--skip-stale", exit_code=3)["failed"] == 1


def test_a_region_that_began_too_late_is_skipped(
    run: Run, monkeypatch: pytest.MonkeyPatch, db_manager: DatabaseManager
) -> None:
    configure(monkeypatch, {"APPLE": {"instrument_id": "AAPL.US"}, "TWO": {"members": {"AAPL.US": 1.0}}})
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM prices_daily WHERE instrument_id = 'AAPL.US' AND trade_date < '2024-06-03'")

    report = report_of(run, "nightly", "--as-of", "2025-01-31")

    late = {"ended": {}, "not_begun": {"APPLE": "2024-06-03", "TWO": "2024-06-03"}}
    assert (report["skipped"]["regions"], report["failed"], report["written"]) == (late, 0, 0)


def test_a_region_that_fails_is_named_and_stops_no_other(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {"BROKEN": {"instrument_id": "GSPC.INDX", "prototypes": "no.json"}}
    configure(monkeypatch, broken | REGIONS)

    done = run(*NIGHT)

    assert done.exit_code == 3
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert line.startswith("failed: BROKEN: ")
    assert "no.json" in line
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert rows["BROKEN"].split()[2:] == ["-", "-", "-", "0", "0", "0", "0"]
    assert rows["US_INDEX"].split()[-4:] == ["40", "0", "0", "0"], "without any texts there is nothing to join"
    assert "texts" not in rows


def test_a_text_model_that_cannot_be_used_leaves_the_regimes_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest_events(run, EVENTS)
    monkeypatch.setenv("PROMETHEUS_HF_MODEL_NAME", "./no-such-folder")
    report = report_of(run, *NIGHT, exit_code=3)
    assert report["failed"] == 1
    assert "no-such-folder" in report["texts"]["MACRO"]["failures"][0]
    assert report["regions"]["US_INDEX"]["sessions_added"] == N_SESSIONS


def test_a_calibrated_region_begins_after_its_calibration_and_says_when_to_repeat_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, db_manager: DatabaseManager
) -> None:
    configure(monkeypatch, {"US_INDEX": REGIONS["US_INDEX"]})
    calibrate = ["calibrate", "--region", "US_INDEX", "--until", "2019-12-31", "--span", "1500"]
    assert run(*calibrate, "--output", "p.json").exit_code == 0
    as_of = "2020-04-30"
    night = report_of(run, "nightly", "--as-of", as_of)["regions"]["US_INDEX"]
    assert night["sessions_added"] == 83
    assert night["drift"]["calibrated_until"] == "2019-12-31"
    strongest, *more = night["drift"]["reasons"]
    told = f"US_INDEX: calibrate again: {strongest}, and {len(more)} more"
    assert told in run("nightly", "--as-of", as_of).stdout.splitlines()
    with db_manager.get_runtime_connection() as connection:
        assert connection.execute("SELECT min(as_of_date) FROM regimes").fetchone() == (date(2020, 1, 2),)
    too_early = report_of(run, "nightly", "--as-of", "2019-12-31", exit_code=3)["regions"]["US_INDEX"]["failures"]
    assert "which labels sessions from 2020-01-01 on, leaves nothing up to 2019-12-31" in too_early[0]
    alone = run("run_numeric_regime", "--region", "US_INDEX", "--as-of", as_of, "--prototypes", "p.json", "--json")
    assert json.loads(alone.stdout)["regimes"]["written"] == 0, "the same region, asked for by name alone"


def test_what_cannot_begin_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_REGIONS")
    unconfigured = run(*NIGHT)
    assert (unconfigured.exit_code, len(unconfigured.errors)) == (2, 1)
    assert "no region is configured; set PROMETHEUS_REGIONS to a JSON object such as {" in unconfigured.errors[0]

    configure(monkeypatch, REGIONS)
    for name in ("PROMETHEUS_HISTORICAL_DSN", "PROMETHEUS_RUNTIME_DSN"):
        monkeypatch.setenv(name, "host=127.0.0.1 port=1 dbname=nowhere")
    gone = run(*NIGHT)
    assert (gone.exit_code, len(gone.errors)) == (4, 1)


def start_night() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "prometheus", "nightly", "--as-of", AS_OF, "--since", "1995-01-03", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ),
    )  # fmt: skip


def stop_when_locked(db_manager: DatabaseManager, night: subprocess.Popen[str]) -> None:
    """Halt a night as soon as it holds the lock and says since when."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'prometheus nightly since %'"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with db_manager.get_runtime_connection() as connection:
            if connection.execute(query).fetchone() != (0,):
                night.send_signal(signal.SIGSTOP)
                return
        time.sleep(0.005)
    raise AssertionError("no night took the lock")


@pytest.mark.deep
def test_of_two_at_once_one_works_and_the_other_says_since_when(run: Run, db_manager: DatabaseManager) -> None:
    working = start_night()
    try:
        stop_when_locked(db_manager, working)
        refused = start_night()
        stdout, stderr = refused.communicate(timeout=60)
        assert (refused.returncode, stdout) == (1, "")
        said = "error: another nightly run is under way since "
        assert stderr.splitlines()[-1].startswith(said + str(date.today().year)), stderr  # noqa: DTZ011
        working.send_signal(signal.SIGCONT)
        stdout, stderr = working.communicate(timeout=60)
        assert working.returncode == 0, stderr
        assert json.loads(stdout)["written"] > 20_000
    finally:
        working.kill()
        working.wait()
    assert report_of(run, *NIGHT)["written"] == 0


@pytest.mark.deep
def test_the_lock_of_a_night_that_was_killed_is_gone(run: Run, db_manager: DatabaseManager) -> None:
    killed = start_night()
    try:
        stop_when_locked(db_manager, killed)
    finally:
        killed.kill()
        killed.communicate()
    deadline = time.monotonic() + 10
    while (done := run(*NIGHT)).exit_code == 1 and time.monotonic() < deadline:
        time.sleep(0.1)  # until the server has seen that its client is dead
    assert done.exit_code == 0, done.stderr


def test_a_fault_in_new_prices_is_told_once_and_nightly_ends_with_3(run: Run, db_manager: DatabaseManager) -> None:
    assert report_of(run, "nightly", "--as-of", "2023-12-20", "--since", "2023-11-01")["written"] > 0
    with db_manager.get_historical_connection() as connection:
        connection.execute(
            "UPDATE prices_daily SET close = close * 100, adjusted_close = close * 100, high = NULL, low = NULL"
            " WHERE instrument_id = 'GSPC.INDX' AND trade_date = %s",
            (AS_OF,),
        )

    first = run(*NIGHT)
    second = run(*NIGHT)

    assert (first.exit_code, second.exit_code) == (3, 0), first.stderr + second.stderr
    (line,) = [line for line in first.stderr.splitlines() if line.startswith("finding: ")]
    assert line.startswith(f"finding: GSPC.INDX {AS_OF}: suspect, close ")
    assert "finding: " not in second.stderr
    rows = {line.split()[0]: line.split()[-1] for line in second.stdout.splitlines()}
    assert rows["US_INDEX"] == rows["US_MIX"] == "1", "it stays open"
    assert run("data", "reject", "GSPC.INDX", AS_OF, "--why", "times 100").exit_code == 0
    assert {night["open_findings"] for night in report_of(run, *NIGHT)["regions"].values()} == {0}


def test_a_defect_of_the_judge_costs_its_instrument_and_nothing_else(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, {name: {"instrument_id": name} for name in ("GSPC.INDX", "AAPL.US")})

    def broken(bars: PriceBars, n_missing: Int64Vector) -> Judgement:
        if bars.instrument_ids == ("AAPL.US",):
            raise IndexError("planted")
        return judge(bars, n_missing)

    for module in ("encoders.numeric.judged", "app.findings"):
        monkeypatch.setattr(f"prometheus.{module}.judge", broken)
    report = report_of(run, *NIGHT, exit_code=3)
    assert report["failed"] == 1
    assert report["regions"]["GSPC.INDX"]["sessions_added"] == N_SESSIONS
    for failure in report["regions"]["AAPL.US"]["failures"]:
        assert failure == "AAPL.US: the judge of prices failed, IndexError: planted"
