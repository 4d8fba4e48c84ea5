"""Sentences on series: those of the sample for the series it tells, and plain ones for every other."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from prometheus.data.series import FactKey, told_value
from prometheus.ingest.revisions import KnownValue, dated_by_lag, is_daily
from prometheus.ingest.sample.macro_events import MONTH, OLDEST_USED, DayLevels, sample_column, tell_levels

_HUNDREDTH = Decimal(100)
_EVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_LOOKED_BACK = MONTH + OLDEST_USED
_WEEK = timedelta(days=7)

Series = Mapping[str, Sequence[KnownValue]]
"""The values of each series, by day, then by when each became known."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence on series, dated when it became known; `values` names those that it stands on, the one told first."""

    event_type: str
    instant: datetime
    description: str
    values: tuple[str, ...]

    @property
    def key(self) -> FactKey:
        """What it tells: a value is told once, whatever older values a later load adds to compare it with."""
        return self.event_type, self.instant, self.values[0]


def tell_series(series: Series, lag: timedelta) -> Iterator[Fact]:
    """Yield the facts of some series, each dated and known `lag` after it could be told, or on its release.

    Rates, spreads and VIX of the sample are told as it tells them, once a week in words for low and high; all other
    series, and all whose file says when each value was released, by plain figures: daily ones once a week, others at
    each value. Revisions are told by plain figures.
    """
    in_words = {name: rows for name, rows in series.items() if sample_column(name) and _is_dated_by(rows, lag)}
    yield from _tell_in_words(in_words, lag)
    for name, rows in series.items():
        for fact, is_revision in _tell_plainly(name, rows):
            if is_revision or name not in in_words:
                yield fact


def _is_dated_by(rows: Sequence[KnownValue], lag: timedelta) -> bool:
    """Return whether each value was first known by the lag, without a release."""
    return all(row.known_at == dated_by_lag(row.series, row.day, lag) for row in _known_by(rows, _EVER[0]).values())


def _known_by(rows: Sequence[KnownValue], instant: datetime) -> dict[date, KnownValue]:
    """Return of each day the newest value known at an instant, the first one where none was."""
    found: dict[date, KnownValue] = {}
    for row in rows:
        if row.day not in found or row.known_at <= instant:
            found[row.day] = row
    return found


def _tell_in_words(series: Series, lag: timedelta) -> Iterator[Fact]:
    """Yield the facts between one revision and the next as they could be told then."""
    names = {sample_column(name): name for name in series}
    revised = {
        row.known_at
        for rows in series.values()
        for first in [_known_by(rows, _EVER[0])]
        for row in rows
        if first[row.day] is not row
    }
    for since, until in pairwise((_EVER[0], *sorted(revised), _EVER[1])):
        for told in tell_levels(_levels(series, since, until, lag)):
            instant = told.event.timestamp + lag
            if since <= instant < until:
                values = tuple(told_value(names[column], day) for day in told.days for column in told.columns)
                yield Fact(told.event.event_type, instant, told.event.description, values)


def _levels(series: Series, since: datetime, until: datetime, lag: timedelta) -> list[DayLevels]:
    """Return the levels as known at an instant, of the days that facts up to another one need."""
    first = since.date() - lag - _LOOKED_BACK - _WEEK if since > _EVER[0] else date.min
    last = until.date() + _WEEK if until < _EVER[1] else date.max
    newest = max((rows[-1].day for rows in series.values()), default=last)
    by_day: dict[date, dict[str, int]] = {}
    for name, rows in series.items():
        for day, row in _known_by(rows, since).items():
            if first <= day <= last or day == newest:
                by_day.setdefault(day, {})[sample_column(name) or name] = int(row.value * _HUNDREDTH)
    return [DayLevels(day, by_day[day]) for day in sorted(by_day)]


def _tell_plainly(name: str, rows: Sequence[KnownValue]) -> Iterator[tuple[Fact, bool]]:
    """Yield the facts of a series in order, and whether each tells a revision."""
    every_day = {row.day for row in rows}
    told_days = _last_of_weeks(every_day) if is_daily(every_day) else every_day
    known: dict[date, Decimal] = {}
    days: list[date] = []
    for row in sorted(rows, key=lambda each: (each.known_at, each.day)):
        old = known.get(row.day)
        if old is None:
            insort(days, row.day)
        known[row.day] = row.value
        if row.day in told_days and old != row.value:
            told = _tell_revision(row, old) if old is not None else _tell_value(row, known, days)
            if told is not None:
                description, stands_on = told
                yield Fact(name, row.known_at, description, stands_on), old is not None


def _last_of_weeks(days: set[date]) -> set[date]:
    """Return the last day of each finished week that has one: a later value never makes another day of it the last."""
    last = {day.isocalendar()[:2]: day for day in sorted(days)}
    newest = max(last)
    return {day for week, day in last.items() if week < newest}


def _tell_revision(row: KnownValue, old: Decimal) -> tuple[str, tuple[str, ...]]:
    return f"{row.series} for {row.day} was revised to {row.value:f} from {old:f}.", (told_value(row.series, row.day),)


def _tell_value(
    row: KnownValue, known: Mapping[date, Decimal], days: Sequence[date]
) -> tuple[str, tuple[str, ...]] | None:
    """Return what a value says beside the newest one at least a month older; None for the first."""
    position = bisect_right(days, row.day - MONTH)
    if not position:
        return None
    compared = days[position - 1]
    before = known[compared]
    change = "unchanged" if row.value == before else "up" if row.value > before else "down"
    told = f"{row.series} for {row.day} is {row.value:f}, {change} from {before:f} for {compared}."
    return told, (told_value(row.series, row.day), told_value(row.series, compared))
