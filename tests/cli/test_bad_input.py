"""What a user gets wrong: one line that names it and the way out, an exit code, and no change."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fixtures.commands import US, Run, run_process
from tests.fixtures.database import TableDigest, set_environment

from prometheus.app.databases import DatabaseManager

SINGLE = ["run_numeric_regime", *US, "--as-of", "2025-01-31"]
BACKFILL = ["backfill_numeric_embeddings", "--as-of", "2025-01-31"]
PROTOTYPES = ["compute_regime_prototypes", "--region", "US", "--output", "prototypes.json"]


def arguments(base: list[str], **replaced: str) -> list[str]:
    """Return `base` with the value of the named options replaced."""
    changed = list(base)
    for name, value in replaced.items():
        changed[changed.index(f"--{name.replace('_', '-')}") + 1] = value
    return changed


CASES = {
    "unknown instrument": (arguments(SINGLE, instrument_id="NOPE"), 5, ["'NOPE'", "ingest prices"]),
    "too little history": (arguments(SINGLE, as_of="2000-02-01"), 5, ["AAPL.US", "needs 63 sessions, found 21"]),
    "no history yet": (arguments(SINGLE, as_of="1999-02-01"), 5, ["AAPL.US", "needs 63 sessions, found 0"]),
    "stale history": (arguments(SINGLE, as_of="2025-08-29"), 5, ["2025-07-23", "27 sessions old", "at most 5"]),
    "no date at all": (["run_numeric_regime", *US], 2, ["--as-of", "--date-range"]),
    "both kinds of date": ([*SINGLE, "--date-range", "2025-01-01", "2025-01-31"], 2, ["either"]),
    "several options missing": (["fit_scale_free_constants"], 2, ["--start, --end; explained by"]),
    "one option missing": (["calibrate"], 2, ["--until"]),
    "misspelt option": (["calibrate", "--regon", "US"], 2, ["--regon", "--region"]),
    "no such day": (arguments(SINGLE, as_of="tomorrow"), 2, ["'tomorrow'", "YYYY-MM-DD", "today"]),
    "not a date": (arguments(SINGLE, as_of="31.01.2025"), 2, ["'31.01.2025'", "YYYY-MM-DD"]),
    "impossible date": (arguments(SINGLE, as_of="2025-02-30"), 2, ["'2025-02-30'"]),
    "end before start": (["run_numeric_regime", *US, "--date-range", "2025-01-31", "2025-01-01"], 2, ["2025-01-01"]),
    "window of nothing": ([*SINGLE, "--window-days", "0"], 2, ["window_days", "0"]),
    "window of text": ([*SINGLE, "--window-days", "many"], 2, ["--window-days"]),
    "unknown model": ([*SINGLE, "--model-id", "num-regime-core-v9"], 2, ["num-regime-core-v9", "num-regime-core-v1"]),
    "missing prototype file": ([*SINGLE, "--prototypes", "nowhere.json"], 5, ["nowhere.json"]),
    "temperature of zero": ([*SINGLE, "--prototypes", "good.json", "--temperature", "0"], 2, ["temperature"]),
    "prototypes of another length": ([*SINGLE, "--prototypes", "short.json"], 5, ["2 values", "384 values"]),
    "prototypes with NaN": ([*SINGLE, "--prototypes", "nan.json"], 5, ["nan.json", "NaN"]),
    "prototypes of an unknown label": ([*SINGLE, "--prototypes", "label.json"], 5, ["PANIC", "CRISIS"]),
    "prototypes of another encoder": (
        [*SINGLE, "--model-id", "num-regime-core-v1", "--prototypes", "foreign.json"], 5, ["numeric-simple-v1"],
    ),
    "prototypes that are no JSON": ([*SINGLE, "--prototypes", "broken.json"], 5, ["broken.json", "JSON"]),
    "nothing to embed": (BACKFILL, 2, ["--instrument-id", "--market-id"]),
    "unknown market": ([*BACKFILL, "--market-id", "MARS_EQ"], 5, ["MARS_EQ", "US_EQ"]),
    "limit of nothing": ([*BACKFILL, "--market-id", "US_EQ", "--limit", "0"], 2, ["--limit"]),
    "offset past the end": ([*BACKFILL, "--market-id", "US_EQ", "--offset", "9"], 2, ["offset 9"]),
    "unknown option": ([*SINGLE, "--fast"], 2, ["--fast"]),
    "missing region": (["run_numeric_regime", "--instrument-id", "AAPL.US", "--as-of", "2025-01-31"], 2, ["--region"]),
    "no window": (PROTOTYPES, 2, ["--window"]),
    "half a window": ([*PROTOTYPES, "--neutral-start", "2018-01-01"], 2, ["--neutral-end"]),
    "unknown label": ([*PROTOTYPES, "--window", "PANIC=2020-03-01:2020-04-30"], 5, ["PANIC", "RISK_OFF"]),
    "malformed window": ([*PROTOTYPES, "--window", "CRISIS"], 2, ["LABEL=START:END"]),
    "window backwards": ([*PROTOTYPES, "--window", "CRISIS=2020-04-30:2020-03-01"], 2, ["CRISIS"]),
    "window without regimes": ([*PROTOTYPES, "--window", "CRISIS=2020-03-01:2020-04-30"], 5, ["no regimes"]),
    "output in no folder": (
        [*arguments(PROTOTYPES, output="no/such/p.json"), "--window", "CRISIS=2020-03-01:2020-04-30"], 5, ["no/such"],
    ),
    "output is a folder": (
        [*arguments(PROTOTYPES, output="."), "--window", "CRISIS=2020-03-01:2020-04-30"], 5, ["folder"],
    ),
    "region without regimes": (["show_regimes", "--region", "ATLANTIS"], 5, ["ATLANTIS", "run_numeric_regime"]),
    "transitions of nowhere": (["show_regime_transitions", "--region", "ATLANTIS"], 5, ["ATLANTIS"]),
    "missing price file": (["ingest", "prices", "nowhere.csv"], 5, ["nowhere.csv"]),
    "unknown command": (["fly"], 2, ["'fly'", "python -m prometheus --help"]),
    "misspelt command": (["show-regime"], 2, ["'show-regime'", "nearest: show_regimes, "]),
}  # fmt: skip


@pytest.fixture
def prototype_files(cli_environment: dict[str, str]) -> None:
    """Prototype files in the working directory, one good and several not."""

    def write(name: str, center: str, label: str = "CRISIS", extra: str = "") -> None:
        known = f'"region": "US", "embedding_dim": {center.count(",") + 1}{extra}'
        window = '"window": {"start_date": "2020-03-01", "end_date": "2020-04-30"}'
        Path(name).write_text(f'{{{known}, "prototypes": {{"{label}": {{"center": {center}, {window}}}}}}}')

    write("good.json", json.dumps([0.0] * 384))
    write("short.json", "[1.0, 2.0]")
    write("nan.json", "[1.0, NaN]")
    write("label.json", "[1.0]", label="PANIC")
    write("foreign.json", json.dumps([0.0] * 384), extra=', "model_id": "numeric-simple-v1"')
    write("broken.json", "[1.0,")


@pytest.mark.usefixtures("sample", "prototype_files")
@pytest.mark.parametrize(("command", "exit_code", "named"), CASES.values(), ids=CASES.keys())
def test_bad_input_gets_one_line_an_exit_code_and_no_change(
    command: list[str], exit_code: int, named: list[str], run: Run, table_digests: TableDigest
) -> None:
    before, files = table_digests(), sorted(Path().iterdir())

    outcome = run(*command)

    assert outcome.exit_code == exit_code, outcome.stderr
    assert outcome.stdout == ""
    assert len(outcome.errors) == 1
    assert len(outcome.stderr.splitlines()) == 1
    for text in named:
        assert text in outcome.stderr
    assert table_digests() == before
    assert sorted(Path().iterdir()) == files


@pytest.mark.usefixtures("sample")
def test_a_date_that_is_no_session_uses_the_last_one_and_says_which(run: Run) -> None:
    weekend = run(*arguments(SINGLE, as_of="2025-02-02"))
    holiday = run(*arguments(SINGLE, as_of="2025-01-09"))  # closed in mourning of a president

    assert weekend.exit_code == holiday.exit_code == 0
    assert weekend.stdout.startswith("Regime as of 2025-01-31 ")
    assert "2025-02-02 is no session of US_EQ; using the last one, 2025-01-31" in weekend.stderr
    assert holiday.stdout.startswith("Regime as of 2025-01-08 ")


@pytest.mark.usefixtures("sample")
def test_a_window_too_long_for_the_vector_is_warned_of(run: Run) -> None:
    outcome = run(*SINGLE, "--window-days", "252")

    assert outcome.exit_code == 0
    assert "cuts off the newest 124 sessions: use at most 128" in outcome.stderr


@pytest.mark.usefixtures("sample")
def test_an_instrument_that_fails_is_named_and_the_others_are_stored(run: Run, db_manager: DatabaseManager) -> None:
    outcome = run(*BACKFILL, "--instrument-id", "NOPE", "--instrument-id", "AAPL.US", "--instrument-id", "GSPC.INDX")

    assert outcome.exit_code == 3
    assert "1 windows, 1 written, 0 unchanged, 2 failed" in outcome.stdout
    assert "failed: unknown instrument 'NOPE'" in outcome.stderr
    assert "failed: GSPC.INDX: last bar before 2025-01-31 is of 2023-12-28" in outcome.stderr
    with db_manager.get_historical_connection() as connection:
        assert connection.execute("SELECT entity_id FROM numeric_window_embeddings").fetchall() == [("AAPL.US",)]


def test_a_dead_server_is_one_line_and_exit_code_4(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        dsn = f"host=127.0.0.1 port={taken.getsockname()[1]} user=u password=hunter2 dbname=d"
        set_environment(monkeypatch, {"PROMETHEUS_HISTORICAL_DSN": dsn, "PROMETHEUS_RUNTIME_DSN": dsn})

        outcome = run_process("-m", "prometheus", *SINGLE)

    assert outcome.exit_code == 4
    assert len(outcome.stderr.splitlines()) == 1
    assert "connection" in outcome.stderr
    assert "hunter2" not in outcome.stderr + outcome.stdout


def test_a_malformed_dsn_is_refused_without_being_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    dsn = "postgresql://user:hunter2@host:notaport/d"
    set_environment(monkeypatch, {"PROMETHEUS_HISTORICAL_DSN": dsn, "PROMETHEUS_RUNTIME_DSN": dsn})

    outcome = run(*SINGLE)

    assert outcome.exit_code in (2, 4)
    assert len(outcome.stderr.splitlines()) == 1
    assert "hunter2" not in outcome.stderr


def test_one_dsn_without_the_other_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, {"PROMETHEUS_HISTORICAL_DSN": "host=127.0.0.1"})

    outcome = run(*SINGLE)

    assert outcome.exit_code == 2
    assert "PROMETHEUS_RUNTIME_DSN" in outcome.stderr


def test_a_traceback_appears_only_with_debug(run: Run) -> None:
    command = [*arguments(SINGLE, instrument_id="NOPE")]

    assert "Traceback" not in run(*command).stderr
    assert "Traceback" in run_process("-m", "prometheus", *command, "--debug").stderr


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize("limit", ["1", "9999"], ids=["less than a buffer", "more than a buffer"])
def test_a_reader_that_goes_away_is_no_news(limit: str, run: Run) -> None:
    run("run_numeric_regime", *US, "--date-range", "2001-01-01", "2025-01-31")
    read_end, write_end = os.pipe()
    os.close(read_end)

    done = subprocess.run(
        [sys.executable, "-m", "prometheus", "show_regimes", "--region", "US", "--limit", limit],
        stdout=write_end, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip

    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.usefixtures("cli_environment")
@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["ascii", "C"],
)
def test_a_terminal_without_utf8_gets_the_table_with_other_letters(
    environment: dict[str, str], db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    with db_manager.get_historical_connection() as connection:
        connection.execute(
            "INSERT INTO prices_daily (instrument_id, trade_date, close, adjusted_close, volume, currency)"
            " VALUES ('Zürich—€', '2024-03-04', 1, 1, 1, 'CHF')"
        )
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    outcome = run_process("-m", "prometheus", "data", "report")
    assert outcome.exit_code == 0, outcome.stderr
    assert "Z?rich??    2024-03-04" in outcome.stdout


@pytest.mark.parametrize("region", ["", "  ", " US", "US ", ".", "..", "a\nb", "x" * 201])
def test_a_region_that_no_address_could_name_is_refused(run: Run, region: str) -> None:
    done = run("run_numeric_regime", "--region", region, "--instrument-id", "X", "--as-of", "2024-01-02")
    assert done.exit_code == 2
    assert len(done.errors) == 1
    assert "region" in done.errors[0]
