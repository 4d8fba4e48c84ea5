"""Where each setting came from, told without a secret; and settings for another machine, secrets included."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo
from pydantic import BaseModel, SecretStr

from prometheus.core.config import LIBPQ_TARGET_VARIABLES, PrometheusConfig
from prometheus.core.dsn import read_dsn
from prometheus.errors import UsageError

PREFIX = "PROMETHEUS_"
DEFAULT = "default"
MASK = "********"
_SHOWN = {
    "host", "hostaddr", "port", "dbname", "user", "service", "servicefile", "sslmode", "passfile", "application_name",
    "connect_timeout", "target_session_attrs",
}  # fmt: skip
"""Parts of a DSN that are no secrets; all others are masked."""
_PLAIN = {"dbname": re.compile(r"[^@=/:]*"), "user": re.compile(r"[^/:]*")}
"""Another DSN inside a part of this one, or a piece of a password that `read_dsn` cannot tell from it."""

NOT_SENT = {"service", "servicefile", "passfile"}
"""A service is sent as what it stands for; a password file is of no use elsewhere."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its variable, its value as JSON (secrets masked, None for absent), and where that came from."""

    name: str
    value: Any
    source: str


def explain_settings(config: PrometheusConfig, environment: Mapping[str, str]) -> list[Setting]:
    """Return every setting of a configuration read from `environment`, and the variables of libpq that count."""
    settings = [_explain(config, field, environment) for field in type(config).model_fields]
    return settings if config.uses_embedded_server else settings + _libpq_settings(environment)


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return variables named like settings that do not exist, sorted."""
    known = {f"{PREFIX}{field}".upper() for field in PrometheusConfig.model_fields}
    return sorted(name for name in environment if name.upper().startswith(PREFIX) and name.upper() not in known)


def describe_server(config: PrometheusConfig, environment: Mapping[str, str]) -> str:
    """Return which server is used, and what decides it."""
    if config.uses_embedded_server:
        return "embedded"
    if config.historical_dsn is not None:
        return "your own, by PROMETHEUS_HISTORICAL_DSN and PROMETHEUS_RUNTIME_DSN"
    return f"your own, by {' and '.join(name for name in LIBPQ_TARGET_VARIABLES if environment.get(name))}"


def mask_dsn(dsn: str) -> str:
    """Return a connection string without its secrets, or only a mask where its parts cannot be told apart for sure.

    Examples
    --------
    >>> mask_dsn("postgresql://quant:hunter2@db.example/prices")
    'user=quant password=******** dbname=prices host=db.example'
    >>> mask_dsn("postgresql://quant:hunter/2@db.example/prices")
    '********'
    """
    try:
        parts = read_dsn(dsn, "")
    except UsageError:
        return MASK
    if any(not pattern.fullmatch(parts.get(name, "")) for name, pattern in _PLAIN.items()):
        return MASK
    return make_conninfo(**{name: value if name in _SHOWN else MASK for name, value in parts.items()})


def _explain(config: PrometheusConfig, field: str, environment: Mapping[str, str]) -> Setting:
    name, value = f"{PREFIX}{field.upper()}", getattr(config, field)
    shown = mask_dsn(value.get_secret_value()) if isinstance(value, SecretStr) else _to_json(value)
    if field == "regions" and config.regions_file is not None:
        return Setting(name, shown, f"file {config.regions_file}")
    given = [spelled for spelled, text in environment.items() if spelled.upper() == name and text]
    is_given = bool(given) and value is not None
    return Setting(name, shown, f"environment variable {given[-1]}" if is_given else DEFAULT)


def _to_json(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, dict):
        return {name: _to_json(part) for name, part in value.items()}
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _libpq_settings(environment: Mapping[str, str]) -> list[Setting]:
    known = [(each.envvar.decode(), each.keyword.decode()) for each in Conninfo.get_defaults() if each.envvar]
    return [
        Setting(name, environment[name] if keyword in _SHOWN else MASK, f"environment variable {name}")
        for name, keyword in known
        if environment.get(name)
    ]


def to_text(value: Any) -> str:
    """Return a value for people, on one line."""
    if value is None or value == {}:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def self_contained(config: PrometheusConfig) -> PrometheusConfig:
    """Return settings whose DSNs hold what libpq's variables add here; those of the embedded server are unchanged."""
    if config.uses_embedded_server:
        return config
    dsns = {"historical_dsn": config.historical_dsn, "runtime_dsn": config.runtime_dsn}
    return config.model_copy(update={name: _with_environment(name, dsn) for name, dsn in dsns.items()})


def _with_environment(field: str, dsn: SecretStr | None) -> SecretStr:
    """Add what libpq takes from its variables, the service they name, and the account's name."""
    inherited = {
        option.keyword.decode(): option.val.decode()
        for option in Conninfo.get_defaults()
        if option.val is not None and option.val != option.compiled and option.keyword.decode() not in NOT_SENT
    }
    given = read_dsn(dsn.get_secret_value() if dsn else "", f"{PREFIX}{field.upper()}")
    return SecretStr(make_conninfo(**{**inherited, **given}))
