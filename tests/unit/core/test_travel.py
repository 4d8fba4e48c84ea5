"""Settings sent to another machine say all that this one's environment says of the databases, and hide it in print."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr
from tests.fixtures.database import set_environment

from prometheus.app.backfills import NumericWorkFactory, is_local_database
from prometheus.core.config import PrometheusConfig
from prometheus.core.provenance import self_contained

SECRET = "hunter2"


def dsn_of(secret: SecretStr | None) -> dict[str, object]:
    assert secret is not None
    return {name: value for name, value in conninfo_to_dict(secret.get_secret_value()).items() if name != "user"}


def test_what_libpq_takes_from_the_environment_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(
        monkeypatch, {"PGHOST": "db.example", "PGPORT": "6432", "PGPASSWORD": SECRET, "PGDATABASE": "prices"}
    )
    sent = pickle.dumps(NumericWorkFactory(PrometheusConfig(), "num-regime-core-v1"))
    set_environment(monkeypatch, {})
    config = pickle.loads(sent).config
    expected = {"host": "db.example", "port": "6432", "password": SECRET, "dbname": "prices"}
    assert dsn_of(config.historical_dsn) == dsn_of(config.runtime_dsn) == expected
    assert SECRET not in repr(config)


def test_a_dsn_wins_over_the_environment_which_fills_its_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(
        monkeypatch,
        {
            "PROMETHEUS_HISTORICAL_DSN": "host=a.example dbname=h",
            "PROMETHEUS_RUNTIME_DSN": "postgresql://b.example:5555/r",
            "PGPORT": "6432",
            "PGPASSWORD": SECRET,
        },
    )
    config = self_contained(PrometheusConfig())
    assert dsn_of(config.historical_dsn) == {"host": "a.example", "port": "6432", "password": SECRET, "dbname": "h"}
    assert dsn_of(config.runtime_dsn) == {"host": "b.example", "port": "5555", "password": SECRET, "dbname": "r"}


def test_a_service_travels_as_what_it_stands_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "services"
    file.write_text("[quant]\nhost=db.example\ndbname=prices\n")
    set_environment(monkeypatch, {"PGSERVICE": "quant", "PGSERVICEFILE": str(file)})
    config = PrometheusConfig()
    assert dsn_of(self_contained(config).historical_dsn) == {"host": "db.example", "dbname": "prices"}
    assert not is_local_database(config)


def test_settings_of_the_embedded_server_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, {"PGPORT": "6432"})
    config = PrometheusConfig()
    assert self_contained(config) is config


@pytest.mark.parametrize(
    ("variables", "is_local"),
    [
        ({}, True),
        ({"PGHOST": "/run/postgresql"}, True),
        ({"PGHOST": "localhost"}, True),
        ({"PGHOSTADDR": "127.0.0.1", "PGHOST": "db.example"}, True),
        ({"PGHOST": "db.example"}, False),
        ({"PGHOSTADDR": "10.0.0.7"}, False),
    ],
)
def test_which_databases_no_other_machine_can_reach(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], is_local: bool
) -> None:
    set_environment(monkeypatch, variables)
    assert is_local_database(PrometheusConfig()) is is_local
