"""Bars as encoders see them: judged, with the ones left out that are no bars of their day, on one scale per window.

A window holds sound bars only. Where its bars stand on two scales (a split left in, a hole), the older ones are put on
the scale of the newest, so that the return across is left out; such windows lie in rows of their own, behind the rows
of the instrument, and depend on nothing but their own bars. A date whose bar is not sound has the window that ended
before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float64Vector, Int64Vector
from prometheus.market.bars import PriceBars
from prometheus.market.quality import NEW_SCALE, Judgement, Verdict, judge, missing_sessions
from prometheus.protocols import Sessions

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
    held
        Shape (n_dates,), int8: the `Verdict` on a bar that says too little of its day, else 0.
    """

    bars: PriceBars
    dates: DateVector
    offsets: Int64Vector
    ends: Int64Vector
    n_known: Int64Vector
    held: NDArray[np.int8]

    @classmethod
    def of_all(cls, bars: PriceBars) -> JudgedBars:
        """Return the bars as they are, every one believed."""
        rows = np.arange(len(bars), dtype=np.int64)
        begins = np.repeat(bars.offsets[:-1], np.diff(bars.offsets))
        return cls(bars, bars.dates, bars.offsets, rows + 1, rows + 1 - begins, np.zeros(len(bars), dtype=np.int8))

    @classmethod
    def judged(
        cls, bars: PriceBars, window_days: int, calendar: Sessions, n_before: Int64Vector | None = None
    ) -> JudgedBars:
        """Return what the judge leaves of the bars, for windows of one length.

        `n_before` counts by instrument the first bars that only give the judge its context; none by default.
        """
        contexts = np.zeros(len(bars.instrument_ids), dtype=np.int64) if n_before is None else n_before
        parts = [
            _Sound.of(part, judge(part, missing_sessions(part.dates, calendar)), int(n_context))
            for part, n_context in zip(bars.each(), contexts, strict=True)
        ]
        laid_out = [part.laid_out(window_days) for part in parts]
        row_offsets = np.cumsum([0, *(len(layout.rows) for layout in laid_out)])
        firsts = bars.offsets[:-1]
        rows = np.concatenate(
            [np.empty(0, np.int64), *(first + x.rows for first, x in zip(firsts, laid_out, strict=True))]
        )
        values = bars.values[:, rows]
        values[bars.fields.index(SCALED_FIELD)] *= np.concatenate([np.empty(0), *(x.factors for x in laid_out)])
        return cls(
            bars=PriceBars(bars.instrument_ids, row_offsets, bars.dates[rows], bars.fields, values),
            dates=np.concatenate([bars.dates[:0], *(part.dates for part in parts)]),
            offsets=np.cumsum([0, *(len(part.dates) for part in parts)]),
            ends=np.concatenate(
                [np.empty(0, np.int64), *(at + x.ends for at, x in zip(row_offsets[:-1], laid_out, strict=True))]
            ),
            n_known=np.concatenate([np.empty(0, np.int64), *(part.n_known for part in parts)]),
            held=np.concatenate([np.empty(0, np.int8), *(part.held for part in parts)]),
        )


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
    held: NDArray[np.int8]
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
            breaks[n_before] = float(prices[row] / prices[rows[n_before - 1]])
        dated = slice(n_context, None)
        held = np.where(judgement.is_held, judgement.on_day, 0).astype(np.int8)
        return cls(rows, bars.dates[dated], ends[dated], (ends - begins)[dated], held[dated], breaks)

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
            factors.append(self._factors(first, stop, position))
            n_rows += stop - first
        return _Layout(np.concatenate(rows), np.concatenate(factors), ends)

    def _factors(self, first: int, stop: int, newest: int) -> Float64Vector:
        factors = np.ones(stop - first)
        for position in sorted(self.breaks, reverse=True):
            if first < position <= newest:
                factors[: position - first] *= self.breaks[position]
        return factors
