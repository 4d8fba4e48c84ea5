"""The file of alerts: channels, and rules that say what goes where."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from prometheus.alerts.command import Command
from prometheus.alerts.mail import Mail
from prometheus.alerts.services import Services
from prometheus.alerts.webhook import Webhook
from prometheus.core.config import Name, mistakes_of, read_settings_file
from prometheus.errors import UsageError
from prometheus.regime.alerts import HIGH_VOLATILITY, WATCHABLE, Alert, AlertKind, Level, Route, RoutedAlert
from prometheus.spelling import did_you_mean

AnyChannel: TypeAlias = Annotated[Webhook | Mail | Command | Services, Field(discriminator="type")]


class Rule(BaseModel):
    """Sends alerts of some kinds and regions to some channels.

    Attributes
    ----------
    regions
        Names or patterns (``US_*``); what is about a whole night fits each.
    of, level
        For the kind ``probability``: which one, and what it must cross to be told.
    channels
        By name; all without any.
    cooldown_days
        Days of sessions in which a second alert of one kind and region is noted, but not sent; 0 sends each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Name
    kinds: Annotated[list[AlertKind], Field(min_length=1)]
    regions: Annotated[list[Name], Field(min_length=1)] = ["*"]
    of: str = HIGH_VOLATILITY
    level: Annotated[float, Field(gt=0, lt=1)] | None = None
    channels: list[Name] = []
    cooldown_days: Annotated[int, Field(ge=0, le=3_650)] = 0

    @field_validator("of")
    @classmethod
    def _can_be_watched(cls, of: str) -> str:
        if of not in WATCHABLE:
            raise ValueError(f"there is no probability {of!r}; {did_you_mean(of, WATCHABLE, 'known')}")
        return of

    @model_validator(mode="after")
    def _has_a_level(self) -> Rule:
        if (AlertKind.PROBABILITY in self.kinds) != (self.level is not None):
            raise ValueError("the kind probability and a level go together, such as level = 0.5")
        return self

    def watched(self, region: str) -> Level | None:
        """Return the level that a probability of a region may cross, if any."""
        return None if self.level is None or not self._fits(region) else (self.of, self.level)

    def wants(self, alert: Alert) -> bool:
        """Return whether an alert is sent by this rule."""
        if alert.kind not in self.kinds or not (self._fits(alert.region) or not alert.region):
            return False
        crossed = (alert.facts.get("of"), alert.facts.get("level"))
        return alert.kind != AlertKind.PROBABILITY or crossed == (self.of, self.level)

    def _fits(self, region: str) -> bool:
        return any(fnmatchcase(region, pattern) for pattern in self.regions)


class AlertSettings(BaseModel):
    """Channels by name, and rules; of several rules that want an alert for a channel the first one counts."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    channels: Annotated[dict[Name, AnyChannel], Field(min_length=1)]
    rules: Annotated[list[Rule], Field(min_length=1)]

    @model_validator(mode="after")
    def _rules_name_channels(self) -> AlertSettings:
        for rule in self.rules:
            for name in rule.channels:
                if name not in self.channels:
                    known = did_you_mean(name, self.channels, "channels")
                    raise ValueError(f"rule {rule.name!r} names the channel {name!r}, which is not there; {known}")
        names = [rule.name for rule in self.rules]
        if len(set(names)) < len(names):
            raise ValueError(f"two rules are called {max(names, key=names.count)!r}")
        return self

    def levels(self, region: str) -> set[Level]:
        """Return the levels that probabilities of a region may cross."""
        return {level for rule in self.rules if (level := rule.watched(region)) is not None}

    def routed(self, alerts: Iterable[Alert]) -> Iterator[RoutedAlert]:
        """Yield each alert with each channel it goes to, once; in the order given."""
        for alert in alerts:
            seen: set[str] = set()
            for rule in self.rules:
                if not rule.wants(alert):
                    continue
                for channel in rule.channels or self.channels:
                    if channel not in seen:
                        seen.add(channel)
                        yield alert, Route(channel, rule.name, rule.cooldown_days)


def read_alert_settings(path: Path) -> AlertSettings:
    """Return what a file says; `UsageError` names the file, the place and the way out, and repeats no secret."""
    try:
        document = tomllib.loads(read_settings_file(path))
        return AlertSettings.model_validate(document, context={"folder": path.parent})
    except ValidationError as error:
        raise UsageError(f"PROMETHEUS_ALERTS_FILE: {path}: {mistakes_of(error)}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"PROMETHEUS_ALERTS_FILE: {path} is no TOML file ({error})") from error
    except ValueError as error:
        raise UsageError(f"PROMETHEUS_ALERTS_FILE: {error}") from error
