"""Settings, read once from the environment; nothing below `app` reads them on its own."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from prometheus.core.regions import Name, Regions, parse_regions, read_regions
from prometheus.errors import UsageError

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
"""The text model unless another is named."""
LIBPQ_TARGET_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGSERVICE")
"""Any of these set means: the user has a server of their own and tells libpq where it is."""


def default_home() -> Path:
    """Return where embedded data and caches live unless ``PROMETHEUS_HOME`` says otherwise."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/prometheus-regime")
    import platformdirs  # noqa: PLC0415 -- not needed when PROMETHEUS_HOME is set

    return Path(platformdirs.user_data_dir("prometheus-regime", appauthor=False))


class PrometheusConfig(BaseSettings):
    """All settings of one process, frozen.

    Each field is read from the environment variable ``PROMETHEUS_<FIELD>``. Without DSNs, and without libpq's own
    variables, the embedded server is used. Regions come from a JSON object, or from a file that is read here, once.
    The names of models say what `nightly` embeds and joins texts with; in those of joint models ``{region}`` stands for
    the region.
    """

    model_config = SettingsConfigDict(
        env_prefix="PROMETHEUS_", env_ignore_empty=True, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    home: Path = Field(default_factory=default_home)
    historical_dsn: SecretStr | None = None
    runtime_dsn: SecretStr | None = None
    embedded_account: str = "nobody"
    embedded_idle_minutes: Annotated[float, Field(gt=0)] = 30.0
    connect_timeout_s: Annotated[int, Field(ge=1, le=600)] = 10
    statement_timeout_s: Annotated[int, Field(ge=1, le=2_147_483)] = 900  # PostgreSQL counts milliseconds in an int4
    regions: Annotated[Regions, NoDecode] = Field(default_factory=dict)
    regions_file: Path | None = None
    hf_model_name: Name = MINILM
    text_model_id: Name = "text-macro-v1"
    news_text_model_id: Name = "text-fin-general-v1"
    joint_model_id: Name = "joint-regime-core-v1"
    news_joint_model_id: Name = "joint-regime-core-v1"

    @field_validator("historical_dsn", "runtime_dsn", mode="before")
    @classmethod
    def _blank_is_absent(cls, value: object) -> object:
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator("regions", mode="before")
    @classmethod
    def _parse_regions(cls, value: object) -> object:
        return parse_regions(value) if isinstance(value, str) else value

    @field_validator("home", "regions_file")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        try:
            return None if value is None else Path(os.path.abspath(value.expanduser()))  # noqa: PTH100 -- resolve() would follow links
        except RuntimeError as error:  # ~name of an account that does not exist
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _both_or_neither(self) -> PrometheusConfig:
        if (self.historical_dsn is None) != (self.runtime_dsn is None):
            present, absent = ("HISTORICAL", "RUNTIME") if self.historical_dsn else ("RUNTIME", "HISTORICAL")
            raise ValueError(
                f"PROMETHEUS_{present}_DSN is set and PROMETHEUS_{absent}_DSN is not; set both (they may be equal)"
            )
        return self

    @model_validator(mode="after")
    def _read_regions_file(self) -> PrometheusConfig:
        if self.regions_file is None:
            return self
        if self.regions:
            raise ValueError("PROMETHEUS_REGIONS and PROMETHEUS_REGIONS_FILE are both set; keep one of them")
        try:
            object.__setattr__(self, "regions", read_regions(self.regions_file))
        except ValueError as error:
            raise ValueError(f"PROMETHEUS_REGIONS_FILE: {error}") from error
        return self

    @property
    def uses_embedded_server(self) -> bool:
        """Whether no server of the user's own is configured."""
        return self.historical_dsn is None and not any(os.environ.get(name) for name in LIBPQ_TARGET_VARIABLES)


def load_config() -> PrometheusConfig:
    """Read the environment now.

    Raises
    ------
    UsageError
        A variable is malformed; the message names it and never repeats its value.
    """
    try:
        return PrometheusConfig()
    except ValidationError as error:
        raise UsageError("; ".join(_describe(item) for item in error.errors(include_url=False))) from None


def _describe(item: ErrorDetails) -> str:
    names = ".".join(str(part) for part in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    return f"PROMETHEUS_{names.upper()}: {message}" if names else message


@cache
def get_config() -> PrometheusConfig:
    """Return the settings of this process, read on the first call."""
    return load_config()
