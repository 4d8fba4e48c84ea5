"""Settings from the environment: what is read, what is refused, and what is never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.fixtures.database import set_environment

from prometheus.core.config import PrometheusConfig, load_config
from prometheus.errors import UsageError

SECRET = "hunter2"
DSN = f"host=db.example user=quant password={SECRET} dbname=prices"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, {})


def refusal(**variables: str) -> str:
    """The message with which an environment is refused."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        with pytest.raises(UsageError) as caught:
            load_config()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert caught.value.__cause__ is None  # pydantic's own error repeats inputs
    assert caught.value.__suppress_context__
    return message


def test_without_settings_the_embedded_server_is_used() -> None:
    config = load_config()
    assert config.uses_embedded_server
    assert (config.embedded_account, config.embedded_idle_minutes) == ("nobody", 30.0)
    assert (config.connect_timeout_s, config.statement_timeout_s) == (10, 900)
    assert config.home.is_absolute()


def test_every_field_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_environment(
        monkeypatch,
        {
            "PROMETHEUS_HOME": str(tmp_path),
            "PROMETHEUS_HISTORICAL_DSN": DSN,
            "PROMETHEUS_RUNTIME_DSN": DSN + "2",
            "PROMETHEUS_EMBEDDED_ACCOUNT": "postgres",
            "PROMETHEUS_EMBEDDED_IDLE_MINUTES": "2.5",
            "PROMETHEUS_CONNECT_TIMEOUT_S": "3",
            "PROMETHEUS_STATEMENT_TIMEOUT_S": "60",
        },
    )
    config = load_config()
    assert config.home == tmp_path
    assert config.historical_dsn is not None
    assert config.runtime_dsn is not None
    assert (config.historical_dsn.get_secret_value(), config.runtime_dsn.get_secret_value()) == (DSN, DSN + "2")
    assert (config.embedded_account, config.embedded_idle_minutes) == ("postgres", 2.5)
    assert (config.connect_timeout_s, config.statement_timeout_s) == (3, 60)
    assert not config.uses_embedded_server


def test_a_secret_is_in_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, {"PROMETHEUS_HISTORICAL_DSN": DSN, "PROMETHEUS_RUNTIME_DSN": DSN})
    config = load_config()
    for text in (repr(config), str(config), config.model_dump_json(), f"{config.historical_dsn}"):
        assert SECRET not in text
        assert "db.example" not in text


@pytest.mark.parametrize(("given", "absent"), [("HISTORICAL", "RUNTIME"), ("RUNTIME", "HISTORICAL")])
def test_one_dsn_alone_is_refused_and_not_shown(given: str, absent: str) -> None:
    message = refusal(**{f"PROMETHEUS_{given}_DSN": DSN})
    assert f"PROMETHEUS_{given}_DSN is set and PROMETHEUS_{absent}_DSN is not" in message
    assert SECRET not in message
    assert "db.example" not in message


def test_not_even_pydantics_own_error_repeats_a_dsn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_HISTORICAL_DSN", DSN)
    with pytest.raises(ValidationError) as caught:
        PrometheusConfig()
    assert SECRET not in f"{caught.value!r} {caught.value}"


def test_a_blank_dsn_is_no_dsn(monkeypatch: pytest.MonkeyPatch) -> None:
    set_environment(monkeypatch, {"PROMETHEUS_HISTORICAL_DSN": "", "PROMETHEUS_RUNTIME_DSN": "  "})
    assert load_config().uses_embedded_server
    assert "RUNTIME_DSN is not" in refusal(PROMETHEUS_HISTORICAL_DSN=DSN, PROMETHEUS_RUNTIME_DSN=" ")


@pytest.mark.parametrize("name", ["PGHOST", "PGHOSTADDR", "PGSERVICE"])
def test_libpq_variables_mean_a_server_of_the_users_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "db.example")
    assert not load_config().uses_embedded_server


@pytest.mark.parametrize("name", ["PGUSER", "PGPASSWORD", "PGDATABASE"])
def test_libpq_variables_that_name_no_server_do_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "quant")
    monkeypatch.setenv("PGHOST", "")
    assert load_config().uses_embedded_server


def test_home_may_begin_with_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_environment(monkeypatch, {"PROMETHEUS_HOME": "~/regimes"})
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_config().home == tmp_path / "regimes"


def test_a_relative_home_is_taken_from_the_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    set_environment(monkeypatch, {"PROMETHEUS_HOME": "data/../here"})
    config = load_config()
    monkeypatch.chdir("/")
    assert config.home == tmp_path / "here"


def test_a_link_in_home_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    set_environment(monkeypatch, {"PROMETHEUS_HOME": str(tmp_path / "link")})
    assert load_config().home == tmp_path / "link"


def test_the_home_of_an_unknown_account_is_refused() -> None:
    assert refusal(PROMETHEUS_HOME="~no-such-account-here/x").startswith("PROMETHEUS_HOME: ")


@pytest.mark.parametrize("name", ["HOME", "CONNECT_TIMEOUT_S", "STATEMENT_TIMEOUT_S", "EMBEDDED_IDLE_MINUTES"])
def test_an_empty_variable_is_an_absent_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    default = getattr(load_config(), name.lower())
    monkeypatch.setenv(f"PROMETHEUS_{name}", "")
    assert getattr(load_config(), name.lower()) == default


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONNECT_TIMEOUT_S", "soon"),
        ("CONNECT_TIMEOUT_S", "0"),
        ("CONNECT_TIMEOUT_S", "601"),
        ("CONNECT_TIMEOUT_S", "2.5"),
        ("STATEMENT_TIMEOUT_S", "-5"),
        ("STATEMENT_TIMEOUT_S", "2147484"),  # PostgreSQL counts milliseconds in an int4
        ("EMBEDDED_IDLE_MINUTES", "0"),
        ("EMBEDDED_IDLE_MINUTES", "nan"),
        ("EMBEDDED_IDLE_MINUTES", "an hour"),
    ],
)
def test_an_impossible_number_is_refused_by_the_name_of_its_variable(name: str, value: str) -> None:
    message = refusal(**{f"PROMETHEUS_{name}": value})
    assert message.startswith(f"PROMETHEUS_{name}: ")


def test_several_mistakes_are_named_in_one_line() -> None:
    message = refusal(PROMETHEUS_CONNECT_TIMEOUT_S="x", PROMETHEUS_STATEMENT_TIMEOUT_S="y")
    assert "PROMETHEUS_CONNECT_TIMEOUT_S" in message
    assert "PROMETHEUS_STATEMENT_TIMEOUT_S" in message


def test_a_mistake_elsewhere_does_not_show_the_dsns() -> None:
    message = refusal(
        PROMETHEUS_HISTORICAL_DSN=DSN, PROMETHEUS_RUNTIME_DSN=DSN, PROMETHEUS_CONNECT_TIMEOUT_S=f"x{SECRET}"
    )
    assert SECRET not in message


def test_settings_do_not_change_once_read() -> None:
    config = load_config()
    with pytest.raises(ValidationError):
        config.connect_timeout_s = 1


def test_settings_are_not_read_from_variables_without_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HISTORICAL_DSN", DSN)
    monkeypatch.setenv("CONNECT_TIMEOUT_S", "1")
    config = PrometheusConfig()
    assert config.historical_dsn is None
    assert config.connect_timeout_s == 10
    assert os.environ["CONNECT_TIMEOUT_S"] == "1"


REGIONS = '{"US": {"members": {"GSPC.INDX": 0.6, "TLT": 0.2, "HYG": 0.2}}}'


def test_regions_come_from_their_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_config().regions == {}
    monkeypatch.setenv("PROMETHEUS_REGIONS", REGIONS)
    region = load_config().regions["US"]
    assert region.members == {"GSPC.INDX": 0.6, "TLT": 0.2, "HYG": 0.2}
    assert region.anchor == "GSPC.INDX"
    with pytest.raises(ValidationError):
        region.anchor = "TLT"


def test_the_anchor_is_the_heaviest_and_of_equal_members_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_REGIONS", '{"A": {"members": {"X": 1, "Y": 3, "Z": 3}}}')
    assert load_config().regions["A"].anchor == "Y"
    monkeypatch.setenv("PROMETHEUS_REGIONS", '{"A": {"members": {"X": 1, "Y": 3}, "anchor": "X"}}')
    assert load_config().regions["A"].anchor == "X"


@pytest.mark.parametrize(
    ("name", "text"),
    [("r.json", REGIONS), ("r.toml", '[US.members]\n"GSPC.INDX" = 0.6\nTLT = 0.2\nHYG = 0.2\n')],
)
def test_regions_come_from_a_file(name: str, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROMETHEUS_REGIONS_FILE", name)
    config = load_config()
    assert config.regions["US"].members == {"GSPC.INDX": 0.6, "TLT": 0.2, "HYG": 0.2}
    assert config.regions_file == tmp_path / name


def test_a_variable_and_a_file_of_regions_are_one_too_many() -> None:
    message = refusal(PROMETHEUS_REGIONS=REGIONS, PROMETHEUS_REGIONS_FILE="r.json")
    assert message == "PROMETHEUS_REGIONS and PROMETHEUS_REGIONS_FILE are both set; keep one of them"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[1]", "valid dictionary"),
        ('{"US"', "is no JSON object of regions"),
        ('{"US": {"members": {"X": 1}}, "US": {"members": {"Y": 1}}}', "'US' stands there twice"),
        ('{"US": {"members": {"X": 1, "X": 2}}}', "'X' stands there twice"),
        ('{"US": {"members": {}}}', "US.members: "),
        ('{"US": {}}', "US.members: Field required"),
        ('{"US": {"members": {"X.Y": 0}}}', "US.members.X.Y: Input should be greater than 0"),
        ('{"US": {"members": {"X": -1}}}', "US.members.X: "),
        ('{"US": {"members": {"X": NaN}}}', "US.members.X: "),
        ('{"US": {"members": {"X": 1e999}}}', "US.members.X: "),
        ('{"US": {"members": {"X": "1"}}}', "US.members.X: "),
        ('{"US": {"members": {"X": true}}}', "US.members.X: "),
        ('{"US": {"members": {"X": 1}, "anchor": "Y"}}', "US.anchor: 'Y' is no member; choose one of X"),
        ('{"US": {"members": {"X": 1}, "ancor": "X"}}', "US.ancor: "),
        ('{"": {"members": {"X": 1}}}', "at least 1 character"),
    ],
)
def test_malformed_regions_are_refused_by_what_is_wrong(text: str, wrong: str, tmp_path: Path) -> None:
    message = refusal(PROMETHEUS_REGIONS=text)
    assert message.startswith("PROMETHEUS_REGIONS: ")
    assert wrong in message
    (tmp_path / "r.json").write_text(text)
    from_file = refusal(PROMETHEUS_REGIONS_FILE=str(tmp_path / "r.json"))
    assert from_file.startswith(f"PROMETHEUS_REGIONS_FILE: {tmp_path / 'r.json'}: ")
    assert wrong in from_file


def test_a_regions_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert refusal(PROMETHEUS_REGIONS_FILE=str(tmp_path / "no.json")) == (
        f"PROMETHEUS_REGIONS_FILE: {tmp_path / 'no.json'} cannot be read (no such file or directory)"
    )
    (tmp_path / "r.toml").write_text("[US")
    assert "r.toml: is no TOML table of regions (" in refusal(PROMETHEUS_REGIONS_FILE=str(tmp_path / "r.toml"))
