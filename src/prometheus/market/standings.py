"""Where a region or an instrument stands on a night: what was done for it, or why nothing was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any


class Standing(StrEnum):
    """What a night says of a region or of an instrument; a standing equals its name as a string.

    A region is `WRITTEN` where rows were new or changed, `SETTLED` where all was there, `HELD` where its newest label
    is that of the session before because a bar is suspect, and `FAILED` where a fault stopped it. An instrument is
    `OPEN`: it has the bar of the session. Both may be `LATE` (the newest bars have not come yet), `ENDED`
    (no bars any more while its market goes on), `YOUNG` (fewer bars than a window), `RENAMED` (its history goes on
    under another id), `CLOSED` (its market had no session that day), or `MISSING` (no bar was ever stored).
    """

    WRITTEN = "written"
    SETTLED = "settled"
    OPEN = "open"
    HELD = "held"
    YOUNG = "young"
    ENDED = "ended"
    RENAMED = "renamed"
    CLOSED = "closed"
    LATE = "late"
    MISSING = "missing"
    FAILED = "failed"

    @property
    def is_usual(self) -> bool:
        """Whether nothing need be said of it."""
        return self in (Standing.WRITTEN, Standing.SETTLED, Standing.OPEN)

    @property
    def needs_someone(self) -> bool:
        """Whether a night with it ends with exit code 3: someone should act."""
        return self in (Standing.LATE, Standing.MISSING, Standing.FAILED)


@dataclass(frozen=True, slots=True)
class Stands:
    """The standing of one region or instrument, since when (None where no date is known), and why in words.

    `n_sessions` are the sessions a young one still lacks to a window, or a late one lacks to the session asked for;
    None for all others.
    """

    name: str
    standing: Standing
    since: date | None = None
    why: str = ""
    n_sessions: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "name": self.name, "standing": self.standing.value, "since": None if self.since is None else str(self.since),
            "why": self.why, "sessions": self.n_sessions,
        }  # fmt: skip

    def __str__(self) -> str:
        return f"{self.name} ({self.why})" if self.why else self.name


def count(stands: Iterable[Stands]) -> Mapping[Standing, int]:
    """Return how many have each standing, in the order of `Standing`; those that nobody has are left out."""
    found = Counter(each.standing for each in stands)
    return {standing: found[standing] for standing in Standing if found[standing]}
