"""The log as a machine reads it: with the setting, all that a command writes to standard error is JSON, a line each."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.fixtures.commands import Run

FORGED = "US\n2026-01-01T00:00:00+00:00 0000000000000000 INFO all is well\x1b[2J"


@pytest.fixture
def as_json(cli_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_LOG_FORMAT", "json")


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.usefixtures("as_json")
def test_errors_and_notes_are_objects_of_the_same_run(run: Run) -> None:
    missing = run("show_regimes", "--region", FORGED)
    assert missing.exit_code != 0
    (error,) = objects(missing.stderr)
    assert error["level"] == "ERROR"
    assert error["message"].startswith("error: ")
    assert "\x1b" not in missing.stderr
    usage = run("show_regimes", "--no-such-option")
    assert [each["level"] for each in objects(usage.stderr)] == ["ERROR"]
    assert objects(usage.stderr)[0]["run_id"] != error["run_id"], "each command is a run of its own"


@pytest.mark.usefixtures("as_json", "sample")
def test_warnings_and_errors_of_a_command_share_its_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_REGIONS", json.dumps({"US": {"instrument_id": "GSPC.INDX"}}))
    done = run("nightly", "--as-of", "2023-12-24", "--since", "2023-12-20")
    assert done.exit_code == 0
    told = objects(done.stderr)
    assert len({each["run_id"] for each in told}) == 1
    assert told[0]["run_id"] == json.loads(run("runs", "--json").stdout)[0]["run_id"]
    assert any("is no session of US_EQ" in each["message"] for each in told)


def test_without_the_setting_errors_stay_lines_for_people(run: Run) -> None:
    assert run("show_regimes", "--no-such-option").stderr.startswith("error: ")


def test_another_form_is_refused_by_its_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_LOG_FORMAT", "xml")
    done = run("runs")
    assert (done.exit_code, len(done.errors)) == (2, 1)
    assert "PROMETHEUS_LOG_FORMAT" in done.errors[0]
