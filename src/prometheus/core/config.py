"""Settings, read once from the environment, and the regions among them; nothing below `app` reads them on its own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from prometheus.core import MINILM
from prometheus.core.files import absolute_path, reason_of
from prometheus.core.logs import LogFormat
from prometheus.errors import UsageError

LIBPQ_TARGET_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGSERVICE")
"""Any of these set means: the user has a server of their own and tells libpq where it is."""
Name = Annotated[str, Field(min_length=1, strict=True)]
Weight = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False, strict=True)]


class RegionDefinition(BaseModel):
    """What a region is made of: members, each with a weight, or one instrument; frozen.

    Members, weights and anchor are its identity and part of the id of its embeddings; the rest is for `nightly`.

    Attributes
    ----------
    members
        Positive weight by instrument id; only their ratios matter. The instrument alone, where one is given.
    anchor
        The member whose sessions are the region's dates; the heaviest unless given, of equal ones the first named.
    instrument_id
        Stands for the region by itself, embedded as an instrument; given instead of `members`.
    prototypes
        File that labels the region, absolute; None for the seed model. A relative path starts at the folder of the
        regions file, else at the current one.
    country, language
        Of the macro events and the articles that are joined with the region; None for all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    members: Annotated[dict[Name, Weight], Field(min_length=1)]
    anchor: Annotated[str, Field(validate_default=True)] = ""
    instrument_id: Name | None = None
    prototypes: Path | None = None
    country: Name | None = None
    language: Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_instrument_is_the_only_member(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not isinstance(given.get("instrument_id"), str):
            return given
        alone = {given["instrument_id"]: 1.0}
        if given.get("members", alone) != alone:
            raise ValueError("has members and an instrument_id; keep one of them")
        return {**given, "members": alone}

    @field_validator("anchor")
    @classmethod
    def _is_a_member(cls, anchor: str, info: ValidationInfo) -> str:
        members: Mapping[str, float] = info.data.get("members", {})
        if not anchor:
            return max(members, key=lambda member: members[member], default="")
        if members and anchor not in members:
            raise ValueError(f"{anchor!r} is no member; choose one of {', '.join(members)}")
        return anchor

    @field_validator("prototypes")
    @classmethod
    def _start_at_the_folder(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return None if path is None else absolute_path(path, (info.context or {}).get("folder", Path()))


Regions = dict[Name, RegionDefinition]
"""Regions by name."""


def default_home() -> Path:
    """Return where embedded data and caches live unless ``PROMETHEUS_HOME`` says otherwise."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/prometheus-regime")
    import platformdirs  # noqa: PLC0415 -- not needed when PROMETHEUS_HOME is set

    return Path(platformdirs.user_data_dir("prometheus-regime", appauthor=False))


class PrometheusConfig(BaseSettings):
    """All settings of one process, frozen.

    Each field is read from the environment variable ``PROMETHEUS_<FIELD>``. Without DSNs, and without libpq's own
    variables, the embedded server is used. The descriptions are Markdown: the page of settings is made of them.
    """

    model_config = SettingsConfigDict(
        env_prefix="PROMETHEUS_", env_ignore_empty=True, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    home: Path = Field(
        default_factory=default_home,
        description="where embedded data and caches live; default: the user data directory, "
        "`/var/lib/prometheus-regime` as root",
    )
    historical_dsn: SecretStr | None = Field(
        default=None,
        description="database of prices, texts, embeddings and models; default: the embedded server; see "
        "[your own PostgreSQL](../how-to/own-postgresql.md)",
    )
    runtime_dsn: SecretStr | None = Field(
        default=None, description="database of markets, instruments and regimes; both or neither, they may be equal"
    )
    embedded_account: str = Field(
        default="nobody", description="account the embedded server runs as when started by root"
    )
    embedded_idle_minutes: float = Field(
        default=30.0, gt=0, description="idle minutes before the embedded server stops"
    )
    connect_timeout_s: int = Field(default=10, ge=1, le=600, description="seconds to wait for a connection, 1 to 600")
    statement_timeout_s: int = Field(
        default=900,
        ge=1,
        le=2_147_483,
        description="seconds one statement may take",  # PostgreSQL counts milliseconds in int4
    )
    client_requests_per_minute: int | None = Field(
        default=None, ge=1, description="requests a minute that `serve` answers one client; default: any number"
    )
    search_memory_mib: int = Field(
        default=1_024,
        ge=0,
        description="MiB of vectors that one process keeps for [searches](../how-to/analogs.md), of each kind of text "
        "and model, and of windows; what does not fit is read for each search",
    )
    regions: Annotated[Regions, NoDecode] = Field(
        default_factory=dict, description="[regions](../how-to/regions.md) as a JSON object"
    )
    regions_file: Path | None = Field(default=None, description="or the JSON or TOML file they are in; one of the two")
    hf_model_name: Name = Field(
        default=MINILM, description="text model of the [nightly run](../how-to/nightly.md): a hub name or a folder"
    )
    text_model_id: Name = Field(
        default="text-macro-v1", description="name that its vectors of macro events are stored under"
    )
    news_text_model_id: Name = Field(
        default="text-fin-general-v1", description="name that its vectors of news are stored under"
    )
    joint_model_id: Name = Field(
        default="joint-regime-core-v1",
        description="joint model of regimes and macro texts; `{region}` stands for the region",
    )
    news_joint_model_id: Name = Field(default="joint-regime-core-v1", description="joint model of regimes and news")

    alerts_file: Path | None = Field(
        default=None, description="TOML file of channels and rules for [alerts](../how-to/alerts.md)"
    )
    page_address: Annotated[str, Field(pattern=r"^https?://[!-~]+$")] | None = Field(
        default=None, description="where people find the [page](../how-to/page.md); alerts link to it"
    )

    log_format: LogFormat = Field(
        default="text", description="form of the [log](../how-to/watching.md#the-log): `text`, or `json` for machines"
    )

    @field_validator("historical_dsn", "runtime_dsn", mode="before")
    @classmethod
    def _blank_is_absent(cls, value: object) -> object:
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator("regions", mode="before")
    @classmethod
    def _parse_regions(cls, value: object) -> object:
        return parse_regions(value) if isinstance(value, str) else value

    @field_validator("home", "regions_file", "alerts_file")
    @classmethod
    def _start_at_the_current_folder(cls, value: Path | None) -> Path | None:
        return None if value is None else absolute_path(value, Path())

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
    """Read the environment now; `UsageError` names a malformed variable and never repeats its value."""
    try:
        return PrometheusConfig()
    except ValidationError as error:
        named = [(f"PROMETHEUS_{place.upper()}" if place else "", message) for place, message in _mistakes(error)]
        raise UsageError(_listed(named)) from None


def mistakes_of(error: ValidationError) -> str:
    """Return on one line where each mistake is, and what it is; no value is repeated but those that messages name."""
    return _listed(_mistakes(error))


def _mistakes(error: ValidationError) -> list[tuple[str, str]]:
    """Return where each mistake is, empty for the whole, and what it is."""
    return [
        (".".join(map(str, item["loc"])), item["msg"].removeprefix("Value error, "))
        for item in error.errors(include_url=False)
    ]


def _listed(mistakes: list[tuple[str, str]]) -> str:
    return "; ".join(f"{place}: {message}" if place else message for place, message in mistakes)


@cache
def get_config() -> PrometheusConfig:
    """Return the settings of this process, read on the first call."""
    return load_config()


def parse_regions(text: str, folder: Path | None = None, *, is_toml: bool = False) -> Regions:
    """Return the regions of a JSON object, or of a TOML table; `ValueError` says what is wrong.

    Relative paths start at `folder`, None for the current one.
    """
    import tomllib  # noqa: PLC0415 -- only for those who have regions

    try:
        document = tomllib.loads(text) if is_toml else json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no {'TOML table' if is_toml else 'JSON object'} of regions ({error})") from error
    try:
        return TypeAdapter(Regions).validate_python(document, context={"folder": folder or Path()})
    except ValidationError as error:
        raise ValueError(mistakes_of(error)) from None


def read_regions(path: Path) -> Regions:
    """Return the regions of a file, TOML if its name ends in ``.toml``, else JSON; `ValueError` says what is wrong."""
    text = read_settings_file(path)
    try:
        return parse_regions(text, path.parent, is_toml=path.suffix.lower() == ".toml")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_settings_file(path: Path) -> str:
    """Return the text of a file; `ValueError` says why it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read ({reason_of(error)})") from error


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse what `json` would drop silently: a region or a member named twice."""
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"{max(names, key=names.count)!r} stands there twice")
    return dict(pairs)
