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
            "name": self.name, "standing": self.standing.value,
            "since": None if self.since is None else str(self.since), "why": self.why, "sessions": self.n_sessions,
        }  # fmt: skip

    def __str__(self) -> str:
        return f"{self.name} ({self.why})" if self.why else self.name


def count(stands: Iterable[Stands]) -> Mapping[Standing, int]:
    """Return how many have each standing, in the order of `Standing`; those without any are left out."""
    found = Counter(each.standing for each in stands)
    return {standing: found[standing] for standing in Standing if found[standing]}


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of an instrument's bars for one session, from bars up to it.

    Attributes
    ----------
    first, newest
        Its first bar of all, and its newest one up to the session; None without one.
    n_missing
        Sessions after `newest` whose bars it owes; days on which its market was closed do not count.
    n_known
        Sessions from `first` to the session, both included.
    ended_on
        Its last date, if somebody has told one that is not after the session.
    market_goes_on
        Whether its market has new bars, and at least half of the instruments there that had bars as long as it did
        went on for more than some sessions: a file that lacks most of a market is no end of it.
    """

    first: date | None
    newest: date | None
    n_missing: int
    n_known: int
    ended_on: date | None
    market_goes_on: bool


def standing_of(name: str, seen: Seen, window_days: int, max_age_sessions: int, ended_after: int) -> Stands:
    """Return where an instrument stands on a session: open, missing, young, ended or late.

    It is young with fewer than `window_days` sessions; it may lack `max_age_sessions` bars; with more than
    `ended_after` missing it has ended if its market goes on, and with fewer it is late.
    """
    if seen.first is None:
        return Stands(name, Standing.MISSING, None, "no bars")
    if seen.newest is None:
        return Stands(name, Standing.YOUNG, seen.first, f"its bars begin on {seen.first}", window_days)
    lacking = f"last bar {seen.newest}, {seen.n_missing} session{'' if seen.n_missing == 1 else 's'} missing"
    if seen.ended_on is not None and seen.newest <= seen.ended_on:
        return Stands(name, Standing.ENDED, seen.newest, f"ended on {seen.ended_on}, as was told")
    is_behind = seen.n_missing > max_age_sessions
    if is_behind and seen.n_missing > ended_after and seen.market_goes_on:
        return Stands(name, Standing.ENDED, seen.newest, f"{lacking} while its market goes on")
    if seen.n_known < window_days:
        return _young(name, seen.first, window_days - seen.n_known)
    late = Stands(name, Standing.LATE, seen.newest, lacking, seen.n_missing)
    return late if is_behind else Stands(name, Standing.OPEN, seen.newest)


def _young(name: str, first: date, n_more: int) -> Stands:
    why = f"its bars begin on {first}, {n_more} more session{'' if n_more == 1 else 's'} to its first label"
    return Stands(name, Standing.YOUNG, first, why, n_more)
