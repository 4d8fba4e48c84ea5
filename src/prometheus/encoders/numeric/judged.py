"""Bars as encoders see them: judged, with the ones left out that are no bars of their day, on one scale per window.

A window holds sound bars only. Where its bars stand on two scales (a split left in, a hole), the older ones are put on
the scale of the newest, so that the return across is left out; such windows lie in rows of their own, behind the rows
of the instrument, and depend on nothing but their own bars. A date whose bar is suspect has the window that ended
before it; one whose bar is frozen, or the first after a hole, has none: its newest sound bar is too old.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float64Vector, Int64Vector
from prometheus.encoders.numeric.features import FeatureSet
from prometheus.errors import InputRefusedError
from prometheus.market.bars import DECISION, PriceBars
from prometheus.market.quality import (
    AGED,
    CONTEXT,
    DEFECTS,
    JUDGED_FIELDS,
    NEW_SCALE,
    Judgement,
    Verdict,
    judge,
    missing_sessions,
)
from prometheus.protocols import BarSource, Sessions

MORE_BARS = 21
"""How many bars beyond those needed are loaded at first, in place of bars that are left out."""
SCALED_FIELD = "adjusted_close"
"""The field whose level is compared from bar to bar; the others are taken within their own session."""


@dataclass(frozen=True, slots=True, eq=False)
class JudgedBars:
    """Bars to take windows from, and which window each date has.

    Attributes
    ----------
    bars
        The rows windows lie in; offsets count the rows of each instrument, those on another scale included.
    dates, offsets
        Shape (n_dates,) and (n_instruments + 1,): every date with a bar, by instrument.
    ends
        Shape (n_dates,): one past the row in `bars` of the newest bar of the date's window.
    n_known
        Shape (n_dates,): how many bars a window that ends there may reach back to.
    verdicts
        Shape (n_dates,), int8: the `Verdict` on the date's own bar, on its day.
    closes, close_ends
        Adjusted closes of the sound bars, those of each instrument on one scale, and, shape (n_dates,), one past the
        close that ends the date's window among them; what followed a date is read here.
    unjudged
        By instrument that the judge failed on, the reason; it has no windows.
    """

    bars: PriceBars
    dates: DateVector
    offsets: Int64Vector
    ends: Int64Vector
    n_known: Int64Vector
    verdicts: NDArray[np.int8]
    closes: Float64Vector
    close_ends: Int64Vector
    unjudged: Mapping[str, InputRefusedError] = field(default_factory=dict)

    def of(self, index: int) -> slice:
        """Return where the dates of an instrument stand."""
        return slice(int(self.offsets[index]), int(self.offsets[index + 1]))

    def take(self, dates: slice) -> JudgedBars:
        """Return consecutive dates, over the same bars; of instruments the names stay."""
        return replace(
            self,
            dates=self.dates[dates],
            ends=self.ends[dates],
            n_known=self.n_known[dates],
            verdicts=self.verdicts[dates],
            close_ends=self.close_ends[dates],
        )

    def have_window(self, window_days: int) -> NDArray[np.bool_]:
        """Return which dates have a window of that length, shape (n_dates,); those with an aged bar have none."""
        return (self.n_known >= window_days) & ~np.isin(self.verdicts, AGED)

    @classmethod
    def of_all(cls, bars: PriceBars) -> JudgedBars:
        """Return the bars as they are, every one believed."""
        rows = np.arange(len(bars), dtype=np.int64)
        begins = np.repeat(bars.offsets[:-1], np.diff(bars.offsets))
        return cls(
            bars,
            bars.dates,
            bars.offsets,
            ends=rows + 1,
            n_known=rows + 1 - begins,
            verdicts=np.zeros(len(bars), dtype=np.int8),
            closes=bars.column(SCALED_FIELD) if SCALED_FIELD in bars.fields else np.empty(0),
            close_ends=rows + 1,
        )

    @classmethod
    def judged(
        cls, bars: PriceBars, window_days: int, calendar: Sessions, n_before: Int64Vector | None = None
    ) -> JudgedBars:
        """Return what the judge leaves of the bars, for windows of one length.

        `n_before` counts by instrument the first bars that only give the judge its context; none by default.
        """
        contexts = np.zeros(len(bars.instrument_ids), dtype=np.int64) if n_before is None else n_before
        unjudged: dict[str, InputRefusedError] = {}
        parts = [
            _Sound.of(part, _judgement(part, calendar, unjudged), int(n_context))
            for part, n_context in zip(bars.each(), contexts, strict=True)
        ]
        laid_out = [part.laid_out(window_days) for part in parts]
        row_offsets = np.cumsum([0, *(len(layout.rows) for layout in laid_out)])
        close_offsets = np.cumsum([0, *(len(part.closes) for part in parts)])
        firsts = bars.offsets[:-1]
        rows = np.concatenate(
            [np.empty(0, np.int64), *(first + x.rows for first, x in zip(firsts, laid_out, strict=True))]
        )
        values = bars.values[:, rows]
        scaled = bars.fields.index(SCALED_FIELD)
        factors = np.concatenate([np.empty(0), *(x.factors for x in laid_out)])
        is_scaled = factors != 1
        values[scaled, is_scaled] = _multiplied(values[scaled, is_scaled], factors[is_scaled])
        return cls(
            bars=PriceBars(bars.instrument_ids, row_offsets, bars.dates[rows], bars.fields, values),
            dates=np.concatenate([bars.dates[:0], *(part.dates for part in parts)]),
            offsets=np.cumsum([0, *(len(part.dates) for part in parts)]),
            ends=np.concatenate(
                [np.empty(0, np.int64), *(at + x.ends for at, x in zip(row_offsets[:-1], laid_out, strict=True))]
            ),
            n_known=np.concatenate([np.empty(0, np.int64), *(part.n_known for part in parts)]),
            verdicts=np.concatenate([np.empty(0, np.int8), *(part.verdicts for part in parts)]),
            closes=np.concatenate([np.empty(0), *(part.closes for part in parts)]),
            close_ends=np.concatenate(
                [np.empty(0, np.int64), *(at + x.ends for at, x in zip(close_offsets[:-1], parts, strict=True))]
            ),
            unjudged=unjudged,
        )


def load_judged(
    source: BarSource,
    instrument_ids: Sequence[str],
    first: date,
    last: date,
    window_days: int,
    warm_up: int,
    feature_set: FeatureSet,
    calendar: Sessions,
) -> JudgedBars:
    """Return the bars of every window from `first` to `last`, and of `warm_up` windows before, judged if asked.

    The judge needs bars before those, and bars that it leaves out need others in their place: more are loaded until
    there are enough, or no more stored.
    """
    needed = window_days + warm_up
    if not feature_set.is_judged:
        return JudgedBars.of_all(source.load_bars(instrument_ids, first, last, needed, feature_set.bar_fields))
    decided = (DECISION,) if getattr(source, "keeps_decisions", False) else ()
    fields = tuple(dict.fromkeys((*feature_set.bar_fields, *JUDGED_FIELDS, *decided)))
    n_spare = MORE_BARS
    while True:
        n_before = needed + CONTEXT + n_spare
        bars = source.load_bars(instrument_ids, first, last, n_before, fields)
        n_until = _n_until(bars, first)
        is_cut = n_until >= n_before
        judged = JudgedBars.judged(bars, window_days, calendar, np.where(is_cut, CONTEXT, 0))
        has_window = judged.have_window(window_days) & (judged.dates <= np.datetime64(first, "D"))
        n_windows = np.array([has_window[judged.of(index)].sum() for index in range(len(bars.instrument_ids))])
        if not (is_cut & (n_windows <= warm_up)).any():
            return judged
        n_spare *= 4


def _n_until(bars: PriceBars, day: date) -> Int64Vector:
    """Return how many bars of each instrument are dated up to a day, shape (n_instruments,)."""
    counts = [int(np.searchsorted(part.dates, np.datetime64(day, "D"), side="right")) for part in bars.each()]
    return np.array(counts, dtype=np.int64)


def _judgement(bars: PriceBars, calendar: Sessions, unjudged: dict[str, InputRefusedError]) -> Judgement:
    """Return the verdicts on one instrument; if the judge fails, note why, and none of its bars is to be used."""
    try:
        return judge(bars, missing_sessions(bars.dates, calendar))
    except DEFECTS as error:
        (name,) = bars.instrument_ids
        reason = f"{type(error).__name__}: {error}"
        unjudged[name] = InputRefusedError(f"{name}: the judge of prices failed, {reason}", code="unjudged")
        return Judgement.of_none(len(bars))


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """Which bar of an instrument each row holds, by what its price is multiplied, and where windows end."""

    rows: Int64Vector
    factors: Float64Vector
    ends: Int64Vector


@dataclass(frozen=True, slots=True, eq=False)
class _Sound:
    """The sound bars of one instrument: rows in its bars, and by date how many of them its window may reach back to."""

    rows: Int64Vector
    dates: DateVector
    ends: Int64Vector
    n_known: Int64Vector
    verdicts: NDArray[np.int8]
    closes: Float64Vector
    breaks: Mapping[int, float]
    """By the first sound bar on a new scale: what prices before it are multiplied by."""

    @classmethod
    def of(cls, bars: PriceBars, judgement: Judgement, n_context: int) -> _Sound:
        """Return the sound bars after the first `n_context`, which only gave the judge its context."""
        is_sound = ~judgement.is_left_out
        is_sound[:n_context] = False
        rows = np.flatnonzero(is_sound)
        n_until = np.cumsum(is_sound)
        ends: Int64Vector = n_until - (judgement.is_held & is_sound)
        begins = np.maximum.accumulate(np.where(judgement.settled == Verdict.NEW_START, n_until - 1, 0))
        prices = bars.column(SCALED_FIELD)
        breaks = {}
        for row in np.flatnonzero(np.isin(judgement.settled, NEW_SCALE) & (n_until > 0)).tolist():
            n_before = int(n_until[row])
            breaks[n_before] = _ratio(prices[row], prices[rows[n_before - 1]])
        dated = slice(n_context, None)
        closes = _multiplied(np.exp(np.log(prices[rows])), _factors(breaks, 0, len(rows), len(rows)))
        return cls(
            rows, bars.dates[dated], ends[dated], (ends - begins)[dated], judgement.on_day[dated], closes, breaks
        )

    def laid_out(self, window_days: int) -> _Layout:
        """Return the rows of all windows: those on one scale share the sound bars, others lie behind them."""
        rows, factors, ends = [self.rows], [np.ones(len(self.rows))], self.ends.copy()
        n_rows = len(self.rows)
        for position, following in pairwise([*sorted(self.breaks), n_rows]):
            first, stop = max(position + 1 - window_days, 0), min(position + window_days - 1, following)
            if stop <= position:
                continue
            is_here = (self.ends > position) & (self.ends <= stop)
            ends[is_here] += n_rows - first
            rows.append(self.rows[first:stop])
            factors.append(_factors(self.breaks, first, stop, position))
            n_rows += stop - first
        return _Layout(np.concatenate(rows), np.concatenate(factors), ends)


def _factors(breaks: Mapping[int, float], first: int, stop: int, newest: int) -> Float64Vector:
    """Return what prices of consecutive sound bars are multiplied by to be on the scale of the break `newest`."""
    factors = np.ones(stop - first)
    for position in sorted(breaks, reverse=True):
        if first < position <= newest:
            factors[: position - first] = _multiplied(factors[: position - first], breaks[position])
    return factors


_LIMITS = np.finfo(np.float64)


def _multiplied(values: Float64Vector, factor: Float64Vector | float) -> Float64Vector:
    """Return a product of prices that stays a price: positive and finite, however absurd."""
    with np.errstate(over="ignore", under="ignore"):
        return np.clip(values * factor, _LIMITS.tiny, _LIMITS.max)


def _ratio(price: np.float64, before: np.float64) -> float:
    with np.errstate(over="ignore", under="ignore"):
        return float(np.clip(price / before, _LIMITS.tiny, _LIMITS.max))
