"""Sentences on series: those of the sample for the series it tells, and plain ones for every other."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from statistics import median

from prometheus.ingest.observations import Observation
from prometheus.ingest.sample.macro_events import (
    FACTS,
    MONTH,
    TOLD_AT,
    DayLevels,
    MacroEvent,
    tell_macro_events,
)

_TOLD_BY_WORDS = {
    "DFF": "fed_funds_effective_pct", "DGS2": "treasury_2y_pct", "DGS10": "treasury_10y_pct",
    "BAMLH0A0HYM2": "us_hy_oas_pct", "BAMLC0A0CM": "us_ig_oas_pct", "VIXCLS": "vix",
}  # fmt: skip
"""Series of FRED that the sample has, by its names for them."""
_OUT_NEXT_DAY = {column for fact in FACTS if fact.is_out_next_day for column in fact.columns}
_LONGEST_DAILY_STEP = 4
_HUNDREDTH = Decimal(100)


def is_daily(observations: Sequence[Observation]) -> bool:
    """Return whether the median step between the days of one series is that of days, weekends between them."""
    days = sorted({item.day for item in observations})
    steps = [(after - before).days for before, after in pairwise(days)]
    return not steps or median(steps) <= _LONGEST_DAILY_STEP


def known_at(item: Observation, lag: timedelta) -> datetime:
    """Return when a value became known: on the day of its release, or `lag` after its own, always at 22:00 UTC.

    Of the rates and spreads that are published the morning after, a day later.
    """
    if item.released is not None:
        return datetime.combine(item.released, TOLD_AT)
    delay = timedelta(days=1) if _column(item.series) in _OUT_NEXT_DAY else timedelta(0)
    return datetime.combine(item.day + lag + delay, TOLD_AT)


def tell_series(series: Mapping[str, Sequence[Observation]], lag: timedelta) -> Iterator[MacroEvent]:
    """Yield the facts of some series, each dated and known `lag` after it could be told, or on its release.

    Rates, spreads and VIX of the sample are told as it tells them, once a week in words for low and high; all other
    series, and all whose file says when each value was released, by plain figures: daily ones once a week, others at
    each value, and at each revision.
    """
    in_words = {
        name: items
        for name, items in series.items()
        if _column(name) is not None and all(item.released is None for item in items)
    }
    if in_words:
        for event in tell_macro_events(_levels(in_words)):
            yield replace(event, timestamp=event.timestamp + lag, known_at=event.known_at + lag)
    for name, items in series.items():
        if name not in in_words:
            yield from _tell_plainly(name, items, lag)


def _column(name: str) -> str | None:
    column = _TOLD_BY_WORDS.get(name.upper(), name)
    return column if column in _TOLD_BY_WORDS.values() else None


def _levels(series: Mapping[str, Sequence[Observation]]) -> list[DayLevels]:
    by_day: dict[date, dict[str, int]] = {}
    for name, items in series.items():
        for item in items:
            by_day.setdefault(item.day, {})[_column(name) or name] = int(item.value * _HUNDREDTH)
    return [DayLevels(day, by_day[day]) for day in sorted(by_day)]


def _tell_plainly(name: str, items: Sequence[Observation], lag: timedelta) -> Iterator[MacroEvent]:
    told_days = _last_of_weeks(items) if is_daily(items) else {item.day for item in items}
    known: dict[date, Decimal] = {}
    days: list[date] = []
    for item in sorted(items, key=lambda each: (known_at(each, lag), each.day)):
        old = known.get(item.day)
        if old is None:
            insort(days, item.day)
        known[item.day] = item.value
        told = _sentence(name, item, old, known, days) if item.day in told_days else None
        if told is not None:
            instant = known_at(item, lag)
            yield MacroEvent(name, instant, instant, "", "", told)


def _last_of_weeks(items: Sequence[Observation]) -> set[date]:
    """Return the last day of each finished week that has one: a later value never makes another day of it the last."""
    last = {item.day.isocalendar()[:2]: item.day for item in items}
    newest = max(last)
    return {day for week, day in last.items() if week < newest}


def _sentence(
    name: str, item: Observation, old: Decimal | None, known: Mapping[date, Decimal], days: Sequence[date]
) -> str | None:
    """Return what a value, or its revision, says beside the newest one at least a month older; None for the first."""
    if old is not None:
        return None if old == item.value else f"{name} for {item.day} was revised to {item.value:f} from {old:f}."
    position = bisect_right(days, item.day - MONTH)
    if not position:
        return None
    before = known[days[position - 1]]
    change = "unchanged" if item.value == before else "up" if item.value > before else "down"
    return f"{name} for {item.day} is {item.value:f}, {change} from {before:f} for {days[position - 1]}."
