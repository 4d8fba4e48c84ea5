"""One market's bars, and what labellers are shown of them: the sound ones, as far as they were known on a day."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from prometheus.arrays import DateVector, Float64Vector
from prometheus.errors import InputRefusedError
from prometheus.evaluation.history import MarketHistory
from prometheus.market.bars import PriceBars
from prometheus.market.quality import NEW_SCALE, Judgement, Verdict, judge, missing_sessions
from prometheus.protocols import Sessions

SCALED_FIELD = "adjusted_close"


@dataclass(frozen=True, slots=True, eq=False)
class JudgedMarket:
    """The bars of one instrument, with the fields that the judge of prices reads; the calendar tells holes.

    Labellers, outcomes and pictures are all given the history without the bars that the judge leaves out.
    """

    bars: PriceBars
    calendar: Sessions

    def known_on(self, day: np.datetime64) -> MarketHistory:
        """Return the sessions as the judge lets them stand at the close of a day; no later bar is looked at.

        Closes go on from their first scale across breaks and holes, so none changes when a later one comes. After a new
        start the sessions before it are no part of the history.
        """
        bars, judgement = self._judged_until(day)
        starts = np.flatnonzero(judgement.settled == Verdict.NEW_START)
        is_shown = ~judgement.is_left_out
        is_shown[: starts[-1] if len(starts) else 0] = False
        rows = np.flatnonzero(is_shown)
        sound = PriceBars(
            bars.instrument_ids, np.array([0, len(rows)]), bars.dates[rows], bars.fields, bars.values[:, rows]
        )
        closes = sound.column(SCALED_FIELD) * _factors(judgement)[rows]
        return replace(MarketHistory.from_bars(sound), closes=closes, is_held=judgement.is_held[rows])

    def set_aside(self, first: np.datetime64, last: np.datetime64) -> tuple[DateVector, DateVector]:
        """Return the dates from `first` to `last` whose label was held, and those whose bar is left out at `last`."""
        bars, judgement = self._judged_until(last)
        is_asked = bars.dates >= first
        return bars.dates[is_asked & judgement.is_held], bars.dates[is_asked & judgement.is_left_out]

    def _judged_until(self, day: np.datetime64) -> tuple[PriceBars, Judgement]:
        bars = self.bars.take(slice(0, int(np.searchsorted(self.bars.dates, day, side="right"))))
        return bars, judge(bars, missing_sessions(bars.dates, self.calendar))


def _factors(judgement: Judgement) -> Float64Vector:
    """Return what each price is multiplied by to be on the scale of the first one, shape (n,); 1 without a break."""
    steps = np.where(np.isin(judgement.settled, NEW_SCALE), judgement.log_returns, 0.0)
    factors: Float64Vector = np.exp(-np.cumsum(steps))
    return factors


def join_bars(older: PriceBars, newer: PriceBars) -> PriceBars:
    """Return the bars of `older` from before, then those of `newer`, at the same level on the first common date.

    `InputRefusedError` where `older` has no bar on the date on which `newer` begins.
    """
    meets = int(np.searchsorted(older.dates, newer.dates[0]))
    if meets == len(older) or older.dates[meets] != newer.dates[0]:
        raise InputRefusedError(
            f"{older.instrument_ids[0]} has no bar on {newer.dates[0]}, where {newer.instrument_ids[0]} begins; "
            "the two cannot be joined"
        )
    before = older.values[:, :meets].copy()
    scaled = older.fields.index(SCALED_FIELD)
    before[scaled] *= newer.column(SCALED_FIELD)[0] / older.column(SCALED_FIELD)[meets]
    dates = np.concatenate([older.dates[:meets], newer.dates])
    values = np.concatenate([before, newer.values], axis=1)
    return PriceBars(newer.instrument_ids, np.array([0, len(dates)]), dates, newer.fields, values)
