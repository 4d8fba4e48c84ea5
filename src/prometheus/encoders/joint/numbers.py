"""Macro numbers of a date: levels, the curve, and changes over twelve months of daily series, as they were known.

A date sees what was known on it, of each day the newest vintage. A value counts for a week; a date without a value that
counts, or without one of a year before, is left out and the series named: nothing is interpolated.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import groupby
from operator import itemgetter
from typing import TypeAlias

import numpy as np

from prometheus.arrays import Float64Matrix, Float64Vector

KnownLevel: TypeAlias = tuple[str, date, date, float]
"""Series, day, date on which the value became known, value."""

MAX_AGE = timedelta(days=7)
YEAR = timedelta(days=365)
CONSTANTS_SOURCE = {
    "start": "1990-01-02",
    "end": "2005-12-31",
    "rates": "us_treasury_curve_1990_2020.csv and deerfield_dff, days of both",
    "logs": "macro_series_to_2020.parquet, from 1999-01-04",
}
"""The span and the files of all means and deviations below; `RECOMPUTE_COMMAND` makes them again."""
RECOMPUTE_COMMAND = "python -m benchmarks.joint_spaces --constants"
_LOGS = frozenset({"VIXCLS", "BAMLH0A0HYM2", "BAMLC0A0CM"})
"""Series read in logarithms: they rise by factors where rates rise by points."""
_WORDS: Mapping[str, str] = {
    "DFF": "policy rate", "DGS2": "2-year yield", "DGS10": "10-year yield", "VIXCLS": "VIX",
    "BAMLH0A0HYM2": "high-yield spread", "BAMLC0A0CM": "investment-grade spread",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MacroNumber:
    """A level (one series), a difference (the first of two less the second) or a change over twelve months."""

    series: tuple[str, ...]
    mean: float
    deviation: float
    is_change: bool = False

    @property
    def name(self) -> str:
        """How configurations and messages call it.

        >>> MacroNumber(("DGS10", "DGS2"), 1.0, 1.0).name, MacroNumber(("VIXCLS",), 0.0, 1.0, is_change=True).name
        ('DGS10 less DGS2', 'log VIXCLS, 12-month change')
        """
        levels = " less ".join(f"log {each}" if each in _LOGS else each for each in self.series)
        return f"{levels}, 12-month change" if self.is_change else levels

    @property
    def words(self) -> str:
        """How the page and answers call it.

        >>> MacroNumber(("DGS10", "DGS2"), 1.0, 1.0).words, MacroNumber(("DFF",), 0.0, 1.0, is_change=True).words
        ('10-year less 2-year yield', '12-month change of the policy rate')
        """
        if len(self.series) > 1:
            return "10-year less 2-year yield"
        named = _WORDS[self.series[0]]
        article = "" if named == "VIX" else "the "
        return f"12-month change of {article}{named}" if self.is_change else named

    def told(self, score: float) -> str:
        """Return in words of its unit what a standard score stands for.

        >>> rate, vix = MacroNumber(("DFF",), 4.0, 2.0), MacroNumber(("VIXCLS",), 0.0, 0.5, is_change=True)
        >>> rate.told(-1.0), vix.told(1.0)
        ('2.00 %', '+65 %')
        """
        value = score * self.deviation + self.mean
        if self.series[0] in _LOGS:
            if self.is_change:
                return f"{math.expm1(value):+.0%}".replace("%", " %")
            level = math.exp(value)
            return f"{level:.1f}" if self.series[0] == "VIXCLS" else f"{level:.2f} %"
        return f"{value:+.2f} points" if self.is_change or len(self.series) > 1 else f"{value:.2f} %"

    def raw(self, levels: Mapping[str, Levels]) -> Float64Vector:
        """Return the number in its own units, shape (n_dates,); NaN where a level is missing."""
        first, *others = (levels[each] for each in self.series)
        if self.is_change:
            return first.now - first.year_before
        return first.now - others[0].now if others else first.now


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """Levels of a series as known on some dates, and a year before them, shape (n_dates,) each; NaN where missing."""

    now: Float64Vector
    year_before: Float64Vector


@dataclass(frozen=True, slots=True, eq=False)
class MacroNumbers:
    """Standard scores of numbers on dates, shape (n_dates, n_numbers); NaN where left out.

    `gaps` are the dates left out, by the series at fault; `revised` counts the days of a series with several vintages.
    """

    scores: Float64Matrix
    gaps: Mapping[str, tuple[date, ...]]
    revised: Mapping[str, int]


NUMBERS = (
    MacroNumber(("DFF",), 4.3301, 1.9443),
    MacroNumber(("DGS2",), 4.9122, 1.7593),
    MacroNumber(("DGS10",), 5.9315, 1.344),
    MacroNumber(("VIXCLS",), 3.0248, 0.3085),
    MacroNumber(("BAMLH0A0HYM2",), 1.7345, 0.3484),
    MacroNumber(("BAMLC0A0CM",), 0.2722, 0.3022),
    MacroNumber(("DGS10", "DGS2"), 1.0193, 0.8529),
    MacroNumber(("DFF",), -0.3733, 1.5389, is_change=True),
    MacroNumber(("DGS2",), -0.2868, 1.4088, is_change=True),
    MacroNumber(("DGS10",), -0.2851, 0.9352, is_change=True),
    MacroNumber(("VIXCLS",), -0.1078, 0.294, is_change=True),
    MacroNumber(("BAMLH0A0HYM2",), -0.0579, 0.3378, is_change=True),
    MacroNumber(("BAMLC0A0CM",), -0.0359, 0.3282, is_change=True),
)
SERIES = tuple(dict.fromkeys(name for number in NUMBERS for name in number.series))
"""Series of the numbers, by FRED's names: policy rate, two and ten years, VIX, spreads of two grades of credit."""


def numbers_of(series: Iterable[str]) -> tuple[MacroNumber, ...]:
    """Return the numbers that some series are enough for."""
    given = frozenset(series)
    return tuple(number for number in NUMBERS if given.issuperset(number.series))


def score_numbers(numbers: Sequence[MacroNumber], values: Iterable[KnownLevel], dates: Sequence[date]) -> MacroNumbers:
    """Return the standard scores of numbers on dates, in ascending order.

    `values` may come in any order; of two vintages of a day known on one date the later one in it counts.
    """
    by_series: dict[str, list[KnownLevel]] = {name: [] for number in numbers for name in number.series}
    for value in values:
        if value[0] in by_series:
            by_series[value[0]].append(value)
    levels = {name: _levels(rows, dates, _log if name in _LOGS else float) for name, rows in by_series.items()}
    scores = [(number.raw(levels) - number.mean) / number.deviation for number in numbers]
    changing = {number.series[0] for number in numbers if number.is_change}
    return MacroNumbers(
        np.column_stack(scores) if scores else np.empty((len(dates), 0)),
        {name: days for name, each in levels.items() if (days := _gaps(each, dates, with_year=name in changing))},
        {name: n_days for name, rows in by_series.items() if (n_days := _count_revised(rows))},
    )


@dataclass(slots=True)
class _Known:
    """What is known of a series on a date that moves forward."""

    days: list[date] = field(default_factory=list)
    values: dict[date, float] = field(default_factory=dict)

    def learn(self, day: date, value: float) -> None:
        if day not in self.values:
            insort(self.days, day)
        self.values[day] = value

    def newest(self, until: date) -> date | None:
        """Return the newest day up to one that has a value not older than a week."""
        position = bisect_right(self.days, until)
        day = self.days[position - 1] if position else None
        return day if day is not None and until - day <= MAX_AGE else None


def _levels(rows: Sequence[KnownLevel], dates: Sequence[date], scale: Callable[[float], float]) -> Levels:
    known, waiting = _Known(), sorted(rows, key=itemgetter(2))
    levels = Levels(np.full(len(dates), np.nan), np.full(len(dates), np.nan))
    n_learned = 0
    for row, on in enumerate(dates):
        while n_learned < len(waiting) and waiting[n_learned][2] <= on:
            _, day, _, value = waiting[n_learned]
            known.learn(day, scale(value))
            n_learned += 1
        day_now = known.newest(on)
        if day_now is not None:
            levels.now[row] = known.values[day_now]
            day_before = known.newest(day_now - YEAR)
            if day_before is not None:
                levels.year_before[row] = known.values[day_before]
    return levels


def _log(value: float) -> float:
    return math.log(value) if value > 0.0 else math.nan


def _gaps(levels: Levels, dates: Sequence[date], *, with_year: bool) -> tuple[date, ...]:
    is_missing = np.isnan(levels.now) | (np.isnan(levels.year_before) if with_year else False)
    return tuple(day for day, is_gap in zip(dates, is_missing.tolist(), strict=True) if is_gap)


def _count_revised(rows: Sequence[KnownLevel]) -> int:
    return sum(len({value for *_, value in group}) > 1 for _, group in groupby(sorted(rows), key=itemgetter(1)))
