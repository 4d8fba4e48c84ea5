"""Settings on their way to another machine, where this one's environment is not known."""

from __future__ import annotations

from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo
from pydantic import SecretStr

from prometheus.core.config import PrometheusConfig

NOT_SENT = {"service", "servicefile", "passfile"}
"""A service is sent as what it stands for; a password file is of no use elsewhere."""


def self_contained(config: PrometheusConfig) -> PrometheusConfig:
    """Return settings whose DSNs hold all that libpq's variables add to them here, secrets included.

    Settings of the embedded server come back as they are.
    """
    if config.uses_embedded_server:
        return config
    inherited = _libpq_environment()
    return config.model_copy(
        update={
            "historical_dsn": _with_environment(config.historical_dsn, inherited),
            "runtime_dsn": _with_environment(config.runtime_dsn, inherited),
        }
    )


def _with_environment(dsn: SecretStr | None, inherited: dict[str, str]) -> SecretStr:
    given = conninfo_to_dict(dsn.get_secret_value() if dsn else "")
    return SecretStr(make_conninfo(**{**inherited, **{name: str(value) for name, value in given.items()}}))


def _libpq_environment() -> dict[str, str]:
    """Return what libpq takes from its variables, the service they name, and the account's name."""
    return {
        option.keyword.decode(): option.val.decode()
        for option in Conninfo.get_defaults()
        if option.val is not None and option.val != option.compiled and option.keyword.decode() not in NOT_SENT
    }
