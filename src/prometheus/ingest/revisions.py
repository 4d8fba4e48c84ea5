"""What a load changes of stored series: new values, revisions known from now on, and what an older file repeats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import groupby, pairwise
from statistics import median, mode
from typing import TypeAlias

from prometheus.data.series import SeriesRow
from prometheus.errors import InputRefusedError
from prometheus.ingest.observations import Observation
from prometheus.ingest.sample.macro_events import OUT_NEXT_DAY, TOLD_AT, sample_column

Key: TypeAlias = tuple[str, date]
Versions: TypeAlias = Mapping[datetime, float]
"""The values that one day of a series was known to have, by when each became known."""

_LONGEST_DAILY_STEP = 4
_REVISED = (
    "values that differ from the stored ones, revisions known from this load on",
    "; --replace says that those were wrong",
)
_REPLACED = ("values put in place of the stored ones, whose facts are taken out", "")
_OUTDATED = (
    "values that a later load revised, as an older file has them, left out",
    "; --replace puts them in place, a column release_date says when they were revised back",
)


@dataclass(frozen=True, slots=True)
class KnownValue:
    """What a series was on a day, as known from an instant on."""

    series: str
    day: date
    known_at: datetime
    value: Decimal


@dataclass(slots=True)
class Changes:
    """What a load changes: rows to take out and to put in, and which values it revises, replaces or is too old for."""

    dropped: list[SeriesRow] = field(default_factory=list)
    added: list[SeriesRow] = field(default_factory=list)
    revised: list[Key] = field(default_factory=list)
    replaced: list[Key] = field(default_factory=list)
    outdated: list[Key] = field(default_factory=list)

    @property
    def n_written(self) -> int:
        """How many values are new, or stored otherwise than before."""
        return len(self.added) + len({*self.replaced} - {row[:2] for row in self.added})

    def notes(self) -> Iterator[str]:
        """Yield what a user should hear of them."""
        for keys, (remark, way_out) in (
            (self.revised, _REVISED),
            (self.replaced, _REPLACED),
            (self.outdated, _OUTDATED),
        ):
            if keys:
                days = [day for _, day in keys]
                yield f"{remark}: {len(keys):,}, from {min(days)} to {max(days)}{way_out}"


def dated_by_lag(series: str, day: date, lag: timedelta) -> datetime:
    """Return when a value without a release became known: `lag` after its day, at 22:00 UTC.

    Of the rates and spreads that are published the morning after, a day later.
    """
    delay = timedelta(days=1) if sample_column(series) in OUT_NEXT_DAY else timedelta(0)
    return datetime.combine(day + lag + delay, TOLD_AT)


def known_at(item: Observation, lag: timedelta) -> datetime:
    """Return when a value became known: on the day of its release where there is one, else by the lag."""
    if item.released is not None:
        return datetime.combine(item.released, TOLD_AT)
    return dated_by_lag(item.series, item.day, lag)


def versions_of(rows: Iterable[SeriesRow]) -> dict[Key, dict[datetime, float]]:
    """Return the versions of each value."""
    found: dict[Key, dict[datetime, float]] = {}
    for series, day, known, value in rows:
        found.setdefault((series, day), {})[known] = value
    return found


def find_changes(
    stored: Mapping[Key, Versions], items: Sequence[Observation], lag: timedelta, now: datetime, *, replace: bool
) -> Changes:
    """Return what a load at an instant changes; `items` are sorted by series, day and release, none of them repeated.

    A value that is not stored is known by its release or the lag. One that differs from the newest stored one, and says
    no release of its own, is known from `now` on, unless it is an earlier one of that day. With `replace`, what is
    stored for a day of the file becomes what the file says.
    """
    changes = Changes()
    for key, of_day in groupby(items, lambda item: (item.series, item.day)):
        before, group = stored.get(key, {}), list(of_day)
        if replace and before:
            after: Versions = {known_at(item, lag): float(item.value) for item in group}
            if any(after.get(at) != value for at, value in before.items()):
                changes.replaced.append(key)
        else:
            after = _revise(before, group, lag, now)
            if now in after:
                changes.revised.append(key)
            elif before and before[max(before)] not in {float(item.value) for item in group} and after == before:
                changes.outdated.append(key)
        changes.dropped += [(*key, at, value) for at, value in before.items() if after.get(at) != value]
        changes.added += [(*key, at, value) for at, value in after.items() if before.get(at) != value]
    return changes


def _revise(before: Versions, items: Iterable[Observation], lag: timedelta, now: datetime) -> Versions:
    after = dict(before)
    for item in items:
        known, value = known_at(item, lag), float(item.value)
        if not after or (item.released is not None and known not in after):
            after[known] = value
        elif value not in after.values():
            after[now] = value
    return after


def changed_versions(stored: Mapping[Key, Versions], changes: Changes) -> dict[Key, dict[datetime, float]]:
    """Return the versions of each value after a load."""
    found = {key: dict(versions) for key, versions in stored.items()}
    for series, day, known, _ in changes.dropped:
        del found[series, day][known]
    for series, day, known, value in changes.added:
        found.setdefault((series, day), {})[known] = value
    return found


def spell(versions: Mapping[Key, Versions], items: Iterable[Observation]) -> dict[str, list[KnownValue]]:
    """Return the values of each series, by day, then by when known, with the digits that a file wrote of them."""
    written = {(item.series, item.day, float(item.value)): item.value for item in items}
    found: dict[str, list[KnownValue]] = {}
    for (series, day), known in sorted(versions.items()):
        for at, value in sorted(known.items()):
            digits = written.get((series, day, value)) or Decimal(repr(value))
            found.setdefault(series, []).append(KnownValue(series, day, at, digits))
    return found


def is_daily(days: Iterable[date]) -> bool:
    """Return whether the median step between the days of one series is that of days, weekends between them."""
    ordered = sorted(set(days))
    steps = [(after - before).days for before, after in pairwise(ordered)]
    return not steps or median(steps) <= _LONGEST_DAILY_STEP


def require_lag(stored: Mapping[Key, Versions], names: Iterable[str], lag: timedelta) -> None:
    """Raise `InputRefusedError` where most stored values of a series became known by another lag."""
    shifts: dict[str, list[timedelta]] = {name: [] for name in names}
    for (series, day), versions in stored.items():
        if series in shifts:
            shifts[series].append(min(versions) - dated_by_lag(series, day, lag))
    for name, found in shifts.items():
        shift = mode(found) if found else timedelta(0)
        if shift and 2 * found.count(shift) > len(found):
            raise InputRefusedError(
                f"{name} is stored with values known {(lag + shift).days} days after their own, this load says "
                f"{lag.days}; give --release-lag {(lag + shift).days}, or take the series out and load it anew: "
                f"python -m prometheus data remove --series {name}"
            )
