"""Where settings came from, and that no secret is in what is said about them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.fixtures.database import set_environment

from prometheus.core.config import PrometheusConfig, load_config
from prometheus.core.provenance import (
    MASK,
    Setting,
    describe_server,
    explain_settings,
    mask_dsn,
    to_text,
    unknown_variables,
)

SECRET = "hunter2"


def explained(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> dict[str, Setting]:
    set_environment(monkeypatch, environment)
    return {setting.name: setting for setting in explain_settings(load_config(), environment)}


def test_every_setting_is_there_and_a_default_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = explained(monkeypatch, {})
    assert len(settings) == len(PrometheusConfig.model_fields)
    assert {setting.source for setting in settings.values()} == {"default"}
    assert settings["PROMETHEUS_CONNECT_TIMEOUT_S"].value == 10
    assert settings["PROMETHEUS_TEXT_MODEL_ID"].value == "text-macro-v1"


def test_a_variable_is_named_as_it_is_spelled_and_an_empty_one_counts_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = explained(
        monkeypatch,
        {"PROMETHEUS_CONNECT_TIMEOUT_S": "7", "prometheus_embedded_account": "quant", "PROMETHEUS_TEXT_MODEL_ID": ""},
    )
    assert settings["PROMETHEUS_CONNECT_TIMEOUT_S"] == Setting(
        "PROMETHEUS_CONNECT_TIMEOUT_S", 7, "environment variable PROMETHEUS_CONNECT_TIMEOUT_S"
    )
    assert settings["PROMETHEUS_EMBEDDED_ACCOUNT"].value == "quant"
    assert settings["PROMETHEUS_EMBEDDED_ACCOUNT"].source == "environment variable prometheus_embedded_account"
    assert settings["PROMETHEUS_TEXT_MODEL_ID"].source == "default"


def test_regions_name_the_file_they_stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "regions.toml"
    file.write_text('[US]\ninstrument_id = "GSPC.INDX"\nprototypes = "us.json"\n')
    settings = explained(monkeypatch, {"PROMETHEUS_REGIONS_FILE": str(file)})
    assert settings["PROMETHEUS_REGIONS"].source == f"file {file}"
    assert settings["PROMETHEUS_REGIONS"].value["US"]["prototypes"] == str(tmp_path / "us.json")
    assert settings["PROMETHEUS_REGIONS_FILE"].source == "environment variable PROMETHEUS_REGIONS_FILE"
    json.dumps([setting.value for setting in settings.values()], allow_nan=False)


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        (f"host=db.example dbname=h user=quant password={SECRET}", ["host=db.example", "dbname=h", "user=quant"]),
        (f"postgresql://quant:{SECRET}@db.example:6432/h", ["host=db.example", "port=6432", "dbname=h", "user=quant"]),
        (f"postgresql://db.example/h?password={SECRET}&sslpassword={SECRET}", ["host=db.example", "dbname=h"]),
        (f"host=/run/postgresql options='-c app.key={SECRET}'", ["host=/run/postgresql"]),
    ],
)
def test_a_dsn_is_shown_without_its_secrets(monkeypatch: pytest.MonkeyPatch, dsn: str, shown: list[str]) -> None:
    settings = explained(monkeypatch, {"PROMETHEUS_HISTORICAL_DSN": dsn, "PROMETHEUS_RUNTIME_DSN": dsn})
    parts = settings["PROMETHEUS_HISTORICAL_DSN"].value.split()
    assert sorted(part for part in parts if not part.endswith(f"={MASK}")) == sorted(shown)
    assert len(parts) > len(shown), "that there is a secret is no secret"
    assert SECRET not in str(settings)


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://quant:a/{SECRET}@db.example/h",
        f"postgresql://quant:12/{SECRET}@db.example/h",
        f"postgresql://quant:a@{SECRET}@db.example/h",
        f"postgresql://qu@nt:{SECRET}@db.example/h",
        f"dbname=postgresql://quant:{SECRET}@db.example/h",
        f"password={SECRET} and more",
    ],
)
def test_a_dsn_whose_parts_cannot_be_told_apart_is_not_shown_at_all(dsn: str) -> None:
    assert mask_dsn(dsn) == MASK


def test_libpqs_variables_are_shown_where_they_decide_and_their_secrets_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = {"PGHOST": "db.example", "PGPORT": "6432", "PGPASSWORD": SECRET, "PGOPTIONS": f"-c app.key={SECRET}"}
    settings = explained(monkeypatch, own)
    assert settings["PGHOST"] == Setting("PGHOST", "db.example", "environment variable PGHOST")
    assert settings["PGPORT"].value == "6432"
    assert SECRET not in str(settings)
    assert describe_server(load_config(), own) == "your own, by PGHOST"
    assert not any(name.startswith("PG") for name in explained(monkeypatch, {"PGPASSWORD": SECRET}))
    assert describe_server(load_config(), {}) == "embedded"


def test_a_misspelled_variable_is_noticed() -> None:
    assert unknown_variables({"PROMETHEUS_HOM": "x", "PROMETHEUS_HOME": "y", "HOME": "z"}) == ["PROMETHEUS_HOM"]


def test_values_are_one_line() -> None:
    assert to_text({"US": {"anchor": "É\n"}}) == '{"US": {"anchor": "É\\n"}}'
