"""Macro events of the sample: each week's levels of US rates, credit and volatility in sentences of our own.

One sentence holds one fact (a level word, the digits, the change since a month ago in words) and is one event; that
form carries numbers best through a sentence encoder. Each week is told on its last market day, at 22:00 UTC, when the
day's yields and the VIX are out. What is published only the next morning (the effective federal funds rate and the
credit spreads) is told as of the day before. A fact without an observation is left out; nothing is filled.

The words depend on frozen bounds, not on the sample: no later observation can change an earlier sentence.
"""

from __future__ import annotations

import csv
import gzip
import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

from prometheus.core.files import write_if_changed
from prometheus.ingest.sample import MACRO_LEVELS

COUNTRY = "US"
SOURCE = "Prometheus sample"
TOLD_AT = time(22, tzinfo=UTC)
MONTH = timedelta(days=28)
OLDEST_USED = timedelta(days=7)
"""An observation older than this, counted from the day it is wanted for, is not used."""

# Birth certificate of all bounds below: round numbers, in hundredths of a percent or of a VIX point, set by economic
# common sense on what people call low or high of each series, and fitted to nothing: no quantile of the sample stands
# behind them. They are frozen; a test counts how often each word occurs, so that a change of them is seen.
_AMOUNT_WORDS = ("very low", "low", "moderate", "high", "very high")
_SPREAD_WORDS = ("very narrow", "narrow", "moderate", "wide", "very wide")
_SLOPE_WORDS = ("deeply inverted", "inverted", "flat", "moderately steep", "steep")

_POINT_CHANGES = (
    (8, "slightly"), (18, "an eighth of a point"), (38, "a quarter point"), (63, "half a point"),
    (88, "three quarters of a point"), (150, "about one point"), (250, "about two points"),
)  # fmt: skip
_VIX_CHANGES = ((250, "slightly"), (500, "a few points"), (1000, "sharply"))


@dataclass(frozen=True, slots=True)
class DayLevels:
    """The observations of one day, by column of the sample, in hundredths."""

    day: date
    values: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class MacroEvent:
    """One sentence, dated and known at the same instant."""

    event_type: str
    timestamp: datetime
    known_at: datetime
    country: str
    source: str
    description: str


@dataclass(frozen=True, slots=True)
class Told:
    """An event, and the values it stands on: some columns of the sample, on its own day and one a month older."""

    event: MacroEvent
    columns: tuple[str, ...]
    days: tuple[date, date]


@dataclass(frozen=True, slots=True)
class _Fact:
    """How one series is told; a fact of two columns is the first less the second."""

    event_type: str
    columns: tuple[str, ...]
    subject: str
    unit: str
    bounds: tuple[int, int, int, int]
    words: tuple[str, ...]
    is_out_next_day: bool = False
    little: int = 3
    changes: tuple[tuple[int, str], ...] = _POINT_CHANGES
    largest_change: str = "more than two points"


FACTS = (
    _Fact("POLICY_RATE", ("fed_funds_effective_pct",), "federal funds rate", " percent", (50, 200, 400, 600),
          _AMOUNT_WORDS, is_out_next_day=True),
    _Fact("TREASURY_2Y", ("treasury_2y_pct",), "two-year Treasury yield", " percent", (50, 200, 400, 600),
          _AMOUNT_WORDS),
    _Fact("TREASURY_10Y", ("treasury_10y_pct",), "ten-year Treasury yield", " percent", (150, 300, 500, 650),
          _AMOUNT_WORDS),
    _Fact("YIELD_CURVE", ("treasury_10y_pct", "treasury_2y_pct"), "yield curve from two to ten years",
          " percentage points", (-50, 0, 75, 175), _SLOPE_WORDS),
    _Fact("CREDIT_HY", ("us_hy_oas_pct",), "credit spread of high-yield bonds", " percentage points",
          (300, 425, 600, 900), _SPREAD_WORDS, is_out_next_day=True),
    _Fact("CREDIT_IG", ("us_ig_oas_pct",), "credit spread of investment-grade bonds", " percentage points",
          (90, 125, 175, 275), _SPREAD_WORDS, is_out_next_day=True),
    _Fact("VIX", ("vix",), "VIX volatility index", "", (1200, 1700, 2300, 3200), _AMOUNT_WORDS, little=100,
          changes=_VIX_CHANGES, largest_change="very sharply"),
)  # fmt: skip

OUT_NEXT_DAY = frozenset(column for fact in FACTS if fact.is_out_next_day for column in fact.columns)
"""Columns of the sample whose values are published the morning after."""
_NAMES_OF_FRED = {
    "DFF": "fed_funds_effective_pct", "DGS2": "treasury_2y_pct", "DGS10": "treasury_10y_pct",
    "BAMLH0A0HYM2": "us_hy_oas_pct", "BAMLC0A0CM": "us_ig_oas_pct", "VIXCLS": "vix",
}  # fmt: skip


def sample_column(series: str) -> str | None:
    """Return the column of the sample that a series is, by FRED's name for it or the sample's own."""
    column = _NAMES_OF_FRED.get(series.upper(), series)
    return column if column in _NAMES_OF_FRED.values() else None


def load_macro_levels() -> list[DayLevels]:
    """Return the levels of the sample, oldest first."""
    with gzip.open(MACRO_LEVELS, "rt", encoding="utf-8", newline="") as file:
        rows = [(date.fromisoformat(row.pop("obs_date")), row) for row in csv.DictReader(file)]
    return [DayLevels(day, {name: int(Decimal(text) * 100) for name, text in row.items() if text}) for day, row in rows]


def sample_macro_events() -> Iterator[MacroEvent]:
    """Yield the macro events of the sample, 1999 to 2025, oldest first.

    Examples
    --------
    >>> events = [event for event in sample_macro_events() if str(event.timestamp) == "2025-01-31 22:00:00+00:00"]
    >>> print(events[2].description)
    The ten-year Treasury yield is moderate at 4.58 percent, little changed from a month ago.
    """
    return tell_macro_events(load_macro_levels())


def write_sample_macro_events(path: Path) -> int:
    """Write the macro events of the sample as JSON lines for ``ingest macro``; return how many."""
    lines = [json.dumps(asdict(event), default=datetime.isoformat) for event in sample_macro_events()]
    write_if_changed(path, "\n".join(lines) + "\n", option="--folder")
    return len(lines)


def tell_macro_events(levels: Sequence[DayLevels]) -> Iterator[MacroEvent]:
    """Yield the events of some levels, oldest first."""
    return (told.event for told in tell_levels(levels))


def tell_levels(levels: Sequence[DayLevels]) -> Iterator[Told]:
    """Yield the events of some levels, oldest first, each with what it stands on.

    A week is told once a day of a later week is there: further levels add events and never change one.
    """
    series = {fact.event_type: _Series.of(fact, levels) for fact in FACTS}
    for day in _last_market_days(levels):
        instant = datetime.combine(day, TOLD_AT)
        for fact in FACTS:
            found = _tell(fact, series[fact.event_type], day)
            if found:
                event = MacroEvent(fact.event_type, instant, instant, COUNTRY, SOURCE, found[0])
                yield Told(event, fact.columns, found[1])


def _last_market_days(levels: Sequence[DayLevels]) -> list[date]:
    """Return the last weekday of each finished week on which Treasuries or the VIX were quoted."""
    last: dict[tuple[int, int], date] = {}
    for item in levels:
        if item.day.weekday() < 5 and not {"treasury_10y_pct", "vix"}.isdisjoint(item.values):
            last[item.day.isocalendar()[:2]] = item.day
    return [day for week, day in last.items() if week < levels[-1].day.isocalendar()[:2]]


@dataclass(frozen=True, slots=True)
class _Series:
    days: Sequence[date]
    values: Sequence[int]

    @classmethod
    def of(cls, fact: _Fact, levels: Sequence[DayLevels]) -> _Series:
        found = [item for item in levels if all(column in item.values for column in fact.columns)]
        first, *others = fact.columns
        values = [item.values[first] - sum(item.values[column] for column in others) for item in found]
        return cls([item.day for item in found], values)

    def newest(self, wanted_for: date, *, is_out_next_day: bool = False) -> tuple[date, int] | None:
        position = (bisect_left if is_out_next_day else bisect_right)(self.days, wanted_for)
        if not position or wanted_for - self.days[position - 1] > OLDEST_USED:
            return None
        return self.days[position - 1], self.values[position - 1]


def _tell(fact: _Fact, series: _Series, day: date) -> tuple[str, tuple[date, date]] | None:
    now = series.newest(day, is_out_next_day=fact.is_out_next_day)
    if now is None or not (fact.is_out_next_day or now[0] == day):
        return None
    before = series.newest(now[0] - MONTH)
    if before is None:
        return None
    word = fact.words[bisect_right(fact.bounds, now[1])]
    sign = "minus " if now[1] < 0 else ""
    digits = f"{sign}{abs(now[1]) // 100}.{abs(now[1]) % 100:02d}"
    change = _change(fact, now[1] - before[1])
    return f"The {fact.subject} is {word} at {digits}{fact.unit}, {change} a month ago.", (now[0], before[0])


def _change(fact: _Fact, change: int) -> str:
    if abs(change) <= fact.little:
        return "little changed from"
    amount = next((words for bound, words in fact.changes if abs(change) < bound), fact.largest_change)
    return f"{'up' if change > 0 else 'down'} {amount} from"
