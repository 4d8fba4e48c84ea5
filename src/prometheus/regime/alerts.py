"""What is worth an alert, found in consecutive readings of a region; nothing here sends or stores anything."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

from prometheus.regime.types import RegimeLabel
from prometheus.spelling import printable, spell_chance

HIGH_VOLATILITY, BEAR, CONFIDENCE = "high_volatility", "bear", "confidence"
WATCHABLE = (HIGH_VOLATILITY, BEAR, CONFIDENCE, *(label.name for label in RegimeLabel))
"""Probabilities that may cross a level: of high volatility, of a bear market, of the label given, of a label."""
MOST_DETAIL = 200
"""Characters of an alert's detail that its identity counts."""


class AlertKind(StrEnum):
    """What an alert may be about."""

    CHANGE = "change"
    PROBABILITY = "probability"
    HELD = "held"
    LATE = "late"
    FAILED = "failed"
    FINDING = "finding"


class Reading(NamedTuple):
    """What was said of one session; `held` is why its label is that of the session before, if it is."""

    as_of_date: date
    label: str
    confidence: float
    high_volatility: float | None = None
    probabilities: Mapping[str, float] = {}
    held: str | None = None
    bear: float | None = None

    def probability(self, of: str) -> float | None:
        """Return one of `WATCHABLE`; None where the model does not say it."""
        own = {HIGH_VOLATILITY: self.high_volatility, BEAR: self.bear, CONFIDENCE: self.confidence}
        return own[of] if of in own else self.probabilities.get(of)


Level: TypeAlias = tuple[str, float]
"""One of `WATCHABLE`, and what it may cross, in (0, 1)."""


@dataclass(frozen=True, slots=True)
class RegimeChange:
    """A session whose label is another one than that of the session before."""

    region: str
    model_id: str
    as_of_date: date
    previous_date: date
    before: str
    label: str
    confidence: float

    def __str__(self) -> str:
        return f"{self.region} {self.as_of_date}: {self.before} to {self.label}, {spell_chance(self.confidence)} sure"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "region": self.region, "model_id": self.model_id, "as_of_date": str(self.as_of_date),
            "previous_date": str(self.previous_date), "from": self.before, "to": self.label,
            "confidence": self.confidence,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to tell. Kind, region, model, date and detail are its identity: two alerts equal in them are one.

    `region` and `model_id` are empty where it is about a whole night. `text` is the line that people read, `facts` are
    JSON values. What cannot be printed becomes a space.
    """

    kind: AlertKind
    region: str
    model_id: str
    as_of_date: date
    detail: str
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", printable(self.detail)[:MOST_DETAIL])
        object.__setattr__(self, "text", printable(self.text))

    @property
    def key(self) -> str:
        """32 hex digits, the same for every attempt to send it to any channel."""
        named = "\x1f".join((self.kind, self.region, self.model_id, str(self.as_of_date), self.detail))
        return hashlib.sha256(named.encode()).hexdigest()[:32]

    def to_dict(self, page: str | None = None) -> dict[str, Any]:
        """Return JSON values, with the address of the region's page below `page`."""
        from urllib.parse import quote  # noqa: PLC0415 -- only for those who send

        link = page
        if page is not None and self.model_id:
            shown = f"{quote(self.region, safe='')}/{self.as_of_date}?model_id={quote(self.model_id, safe='')}"
            link = f"{page.rstrip('/')}/regions/{shown}"
        return {
            "id": self.key, "kind": str(self.kind), "region": self.region or None, "model_id": self.model_id or None,
            "as_of_date": str(self.as_of_date), "text": self.text, "link": link, **self.facts,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Route:
    """Where an alert goes, and by which rule; quiet if the rule sent one of that kind and region in `cooldown_days`."""

    channel: str
    rule: str
    cooldown_days: int = 0


RoutedAlert: TypeAlias = tuple[Alert, Route]


def changes_in(region: str, model_id: str, readings: Sequence[Reading]) -> list[RegimeChange]:
    """Return every change of label among consecutive readings, oldest first; the first one is only compared with."""
    return [
        RegimeChange(region, model_id, now.as_of_date, then.as_of_date, then.label, now.label, now.confidence)
        for then, now in pairwise(readings)
        if then.label != now.label
    ]


def alerts_in(
    region: str, model_id: str, readings: Sequence[Reading], levels: Collection[Level] = ()
) -> Iterator[Alert]:
    """Yield the alerts of readings after the first, which is only compared with, in order of their dates.

    Of each session: a change of label, the levels that a probability crossed, and whether the label is held. A
    probability crosses a level upwards where it was below and is not, downwards where it was not and is.
    """
    for then, now in pairwise(readings):
        for change in changes_in(region, model_id, (then, now)):
            facts = {**change.to_dict(), **_beside(now)}
            detail = f"{change.before} to {change.label}"
            yield Alert(AlertKind.CHANGE, region, model_id, now.as_of_date, detail, str(change), facts)
        for of, level in sorted(levels):
            before, after = then.probability(of), now.probability(of)
            if before is None or after is None or (before < level) == (after < level):
                continue
            detail = f"{of} {'below' if after < level else 'above'} {level:g}"
            said = f"{_spoken(of)} {spell_chance(after, 1)}, {detail.removeprefix(of).strip()}"
            text = f"{region} {now.as_of_date}: {said} ({now.label})"
            facts = {"of": of, "level": level, "before": before, "after": after, **_beside(now)}
            yield Alert(AlertKind.PROBABILITY, region, model_id, now.as_of_date, detail, text, facts)
        if now.held is not None:
            text = f"{region} {now.as_of_date}: {now.label} is held from the session before, {now.held}"
            yield Alert(AlertKind.HELD, region, model_id, now.as_of_date, "held", text, _beside(now))


def _beside(reading: Reading) -> dict[str, Any]:
    return {
        "label": reading.label, "confidence": reading.confidence, "high_volatility": reading.high_volatility,
        "probabilities": dict(reading.probabilities) or None, "held": reading.held,
    }  # fmt: skip


def _spoken(of: str) -> str:
    return {HIGH_VOLATILITY: "P(high volatility)", CONFIDENCE: "confidence"}.get(of, f"P({of})")
