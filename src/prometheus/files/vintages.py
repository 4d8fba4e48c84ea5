"""Columns that say when a version was published, such as ``realtime_start`` of ALFRED: they are `known_at`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from prometheus.files.columns import CONCERNED, MACRO_FIELDS, NEWS_FIELDS
from prometheus.files.composed import CALENDAR_PARTS, CLOCK_NAMES, DAY_NAMES, PARTS
from prometheus.market.frames import Field, normalize_name

VINTAGE_NAMES = frozenset({"realtimestart", "vintagedate", "vintage"})
RELEASE_NAMES = frozenset({"releasedate", "releasedat"})
OBSERVATION_NAMES = frozenset({"observationdate", "referencedate"})
_DATED_NAMES = OBSERVATION_NAMES | {"date", "timestamp", "datetime"}
_NO_FIELD = Field("", "instant", frozenset())


@dataclass(frozen=True, slots=True)
class ObservationField(Field):
    """The instant of an event; a date of release is one only where no column says what it is a release of."""

    def find(self, names: list[str]) -> list[int]:
        """Return the positions of the columns that may be this field."""
        found = Field.find(self, names)
        observed = [at for at in found if normalize_name(names[at]) not in RELEASE_NAMES]
        found = observed if any(normalize_name(names[at]) in _DATED_NAMES for at in observed) else found
        dated = [at for at in found if normalize_name(names[at]) not in CLOCK_NAMES]
        return dated if any(normalize_name(names[at]) in DAY_NAMES for at in dated) else found


@dataclass(frozen=True, slots=True)
class KnownAtField(Field):
    """When a text became known: its own names, a vintage, or a date of release that is not the `observation`."""

    observation: Field = _NO_FIELD

    def find(self, names: list[str]) -> list[int]:
        """Return the positions of the columns that may be this field."""
        taken = self.observation.find(names)
        return [at for at in Field.find(self, names) if at not in taken]


def _macro_fields() -> tuple[Field, ...]:
    by_name = {field.name: field for field in MACRO_FIELDS}
    timestamp, known_at = by_name["timestamp"], by_name["known_at"]
    observation = ObservationField("timestamp", "instant", timestamp.aliases | OBSERVATION_NAMES, timestamp.fallbacks)
    aliases = known_at.aliases | VINTAGE_NAMES
    known = KnownAtField("known_at", "instant", aliases, RELEASE_NAMES, observation=observation)
    return (*{**by_name, "timestamp": observation, "known_at": known}.values(), *PARTS, *CALENDAR_PARTS, CONCERNED)


MACRO_TEXT_FIELDS = _macro_fields()
NEWS_TEXT_FIELDS = (
    *(
        replace(field, aliases=field.aliases | VINTAGE_NAMES) if field.name == "known_at" else field
        for field in NEWS_FIELDS
    ),
    *PARTS,
    CONCERNED,
)


def is_vintage(column: str) -> bool:
    """Return whether a column, by its name, says when a version was published, often as a date alone."""
    return normalize_name(column) in VINTAGE_NAMES | RELEASE_NAMES


def unread_vintages(columns: Sequence[str]) -> list[str]:
    """Return those of unread columns that say when a version was published."""
    return [name for name in columns if is_vintage(name)]
