"""What `config show` prints, as a user sees it."""

from __future__ import annotations

import json

import pytest
from tests.fixtures.commands import run_process
from tests.fixtures.database import set_environment

SECRET = "hunter2"
NOWHERE = f"host=127.0.0.1 port=1 dbname=h user=quant password={SECRET}"


def test_settings_are_shown_without_any_database(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(
        monkeypatch,
        {"PROMETHEUS_HISTORICAL_DSN": NOWHERE, "PROMETHEUS_RUNTIME_DSN": NOWHERE, "PROMETHEUS_STATEMENT_TIME": "5"},
    )
    shown = run_process("-m", "prometheus", "config", "show")
    assert shown.exit_code == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[0].split(maxsplit=1) == ["server", "your own, by PROMETHEUS_HISTORICAL_DSN and PROMETHEUS_RUNTIME_DSN"]
    (dsn,) = [line for line in lines if line.startswith("PROMETHEUS_HISTORICAL_DSN")]
    assert "port=1" in dsn
    assert dsn.endswith("(environment variable PROMETHEUS_HISTORICAL_DSN)")
    assert "PROMETHEUS_STATEMENT_TIME is no setting" in shown.stderr
    assert SECRET not in shown.stdout + shown.stderr

    as_json = run_process("-m", "prometheus", "config", "show", "--json")
    facts = json.loads(as_json.stdout)
    assert facts["settings"]["PROMETHEUS_CONNECT_TIMEOUT_S"] == {"value": 10, "source": "default"}
    assert SECRET not in as_json.stdout


def test_a_malformed_setting_is_named_and_its_value_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, {"PROMETHEUS_CONNECT_TIMEOUT_S": SECRET})
    shown = run_process("-m", "prometheus", "config", "show")
    assert shown.exit_code == 2
    assert "PROMETHEUS_CONNECT_TIMEOUT_S: " in shown.errors[0]
    assert SECRET not in shown.stderr
