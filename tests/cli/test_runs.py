"""The log of nights as an operator reads it: one that ended, was refused, failed in part, was interrupted or killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.fixtures.commands import Run
from tests.fixtures.database import as_owner

from prometheus.app.databases import DatabaseManager
from prometheus.data import nightly_runs
from prometheus.data.nightly_runs import NightlyRuns, RunOutcome, RunResult

NIGHT = ["nightly", "--as-of", "2023-12-28", "--since", "2023-12-01"]
PATIENCE_S = 60.0

pytestmark = pytest.mark.usefixtures("sample", "region")


@pytest.fixture
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_REGIONS", json.dumps({"US": {"instrument_id": "GSPC.INDX"}}))


def listed(run: Run, *arguments: str) -> list[dict[str, Any]]:
    done = run("runs", "--json", *arguments)
    assert done.exit_code == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def start_night() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "prometheus", *NIGHT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=dict(os.environ),
    )  # fmt: skip


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def held_up(db_manager: DatabaseManager) -> Iterator[None]:
    """Let a night wait for a table as long as the block lasts."""
    with as_owner(db_manager, "runtime") as connection:
        connection.execute("LOCK TABLE nightly_marks IN ACCESS EXCLUSIVE MODE")
        yield


def test_a_night_is_listed_with_what_it_did_and_its_id_is_in_every_line_of_its_log(run: Run) -> None:
    assert run("runs").stdout == "no night has run yet\n"
    began = datetime.now(UTC)
    first = run(*NIGHT)
    (night,) = listed(run)
    assert (night["result"], night["exit_code"], night["command"]) == ("completed", 0, "nightly")
    assert night["as_of_date"] == "2023-12-28"
    assert night["sessions"] == {"US_EQ": "2023-12-28"}
    assert night["rows_written"]["regimes"] == 19
    assert night["written"] == sum(night["rows_written"].values())
    assert night["standings"]["regions"] == {"written": 1}
    assert began <= datetime.fromisoformat(night["started_at"]) <= datetime.fromisoformat(night["ended_at"])
    stamped = [line.split() for line in first.stderr.splitlines()]
    assert {words[1] for words in stamped} == {night["run_id"]}
    assert all(datetime.fromisoformat(words[0]).tzinfo is not None for words in stamped)

    run(*NIGHT)
    second, still_first = listed(run)
    assert still_first == night
    assert (second["rows_written"], second["result"]) == ({}, "completed")
    assert second["standings"]["regions"] == {"settled": 1}
    assert listed(run, "--n", "1") == [second]
    shown = run("runs", "show", night["run_id"][:10])
    assert "result: completed, exit code 0" in shown.stdout
    assert "19 of regimes" in shown.stdout
    assert json.loads(run("runs", "show", night["run_id"], "--json").stdout) == night


def test_a_dry_run_is_no_night(run: Run) -> None:
    assert run(*NIGHT, "--dry-run").exit_code == 0
    assert listed(run) == []


@pytest.mark.parametrize("name", ["zz", "%", "_"])
def test_a_run_that_there_is_not_is_refused_by_its_name(run: Run, name: str) -> None:
    run(*NIGHT)
    done = run("runs", "show", name)
    assert (done.exit_code, done.stdout) == (5, "")
    (error,) = done.errors
    assert error.startswith(f"error: unknown run {name!r}; name one that a list of runs shows")


def test_a_night_without_new_prices_is_listed_with_its_reason(run: Run, db_manager: DatabaseManager) -> None:
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM prices_daily WHERE trade_date > '2023-12-27'")
    done = run(*NIGHT)
    (night,) = listed(run)
    assert (night["exit_code"], night["sessions"]) == (done.exit_code, {"US_EQ": "2023-12-28"})
    told = [night["message"], *(each["why"] for each in (*night["failures"], *night["skipped"]))]
    assert any("2023-12-27" in each for each in told if each is not None), night


def test_a_region_that_is_skipped_is_named_with_its_reason(run: Run) -> None:
    assert run("nightly", "--as-of", "2024-06-03").exit_code == 0
    (night,) = listed(run)
    told = {(each["kind"], each["name"]): each["why"] for each in night["skipped"]}
    assert "ended on 2023-12-28" in told["region", "US"]
    assert night["standings"]["regions"] == {"ended": 1}


def test_a_defect_is_listed_with_its_message(run: Run, db_manager: DatabaseManager) -> None:
    with as_owner(db_manager, "runtime") as connection:
        connection.execute("ALTER TABLE nightly_marks RENAME TO elsewhere")
    try:
        assert run(*NIGHT).exit_code == 1
    finally:
        with as_owner(db_manager, "runtime") as connection:
            connection.execute("ALTER TABLE elsewhere RENAME TO nightly_marks")
    (night,) = listed(run)
    assert (night["result"], night["exit_code"]) == ("failed", 1)
    assert "nightly_marks" in night["message"]


@pytest.mark.parametrize(
    ("number", "result", "exit_code"),
    [(signal.SIGKILL, "did not end", None), (signal.SIGTERM, "interrupted", 143), (signal.SIGINT, "interrupted", 130)],
)
def test_a_night_that_a_signal_ends_is_listed_as_such_and_the_next_one_runs(
    run: Run, db_manager: DatabaseManager, number: signal.Signals, result: str, exit_code: int | None
) -> None:
    with held_up(db_manager):
        night = start_night()
        try:
            wait_for(lambda: [each["result"] for each in listed(run)] == ["running"])
            if number == signal.SIGKILL:
                night.kill()
        finally:
            if night.poll() is None:
                night.send_signal(number)
    night.communicate(timeout=PATIENCE_S)
    wait_for(lambda: listed(run)[0]["result"] != "running")  # until the server has seen that its client is dead
    (said,) = listed(run)
    assert (said["result"], said["exit_code"]) == (result, exit_code)
    assert (said["ended_at"] is None) == (exit_code is None)
    assert run(*NIGHT).exit_code == 0
    assert [each["result"] for each in listed(run)] == ["completed", result]
    with db_manager.get_runtime_connection() as connection:
        kept = connection.execute("SELECT count(*) FROM nightly_runs WHERE result = 'RUNNING'").fetchone()
    assert kept == (0,), "whatever said that it runs is corrected by the next one"


def test_the_log_is_bounded(db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nightly_runs, "MOST_KEPT", 4)
    log = NightlyRuns(db_manager)
    for number in range(7):
        log.begin(f"{number}", "nightly", None)
        log.end(f"{number}", "nightly", RunOutcome(RunResult.COMPLETED, 0, 0.1))
    assert [each.run_id for each in log.newest(10)] == ["6", "5", "4", "3"]
    assert [each.run_id for each in log.newest(2, before="5")] == ["4", "3"]
    newest = log.newest_that_ended()
    assert newest is not None
    assert newest.run_id == "6"


def test_an_id_of_a_run_is_plain(run: Run) -> None:
    run(*NIGHT)
    assert re.fullmatch("[0-9a-f]{16}", listed(run)[0]["run_id"])
