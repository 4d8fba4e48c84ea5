"""Whether a history is one of daily bars on sessions: weekly files and calendars filled forward are not."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float64Vector

MIN_BARS = 10
"""Fewer bars than this do not show how often they come."""
MAX_SHARE_OFF_SESSIONS = 0.01
MIN_OFF_SESSIONS = 5
NEARLY_ALL = 0.9


class SessionDays(Protocol):
    """What is asked of a calendar here; `TradingCalendar` is one."""

    def are_sessions(self, days: DateVector) -> NDArray[np.bool_]:
        """Return which of the days are sessions, shape (n,)."""


def frequency_fault(dates: DateVector) -> str | None:
    """Return why the dates of an instrument, ascending, are not those of daily bars; None if they are."""
    if len(dates) < MIN_BARS:
        return None
    step = float(np.median(np.busday_count(dates[:-1], dates[1:])))
    if step < 2:
        return None
    return f"the median step between bars is {step:g} sessions; bars must be daily, load the daily history"


def off_sessions(dates: DateVector, closes: Float64Vector, calendar: SessionDays) -> DateVector:
    """Return the days of a history, ascending, that were filled up where its market did not trade.

    Those are bars on weekends that are no sessions, and, where nearly every holiday has a bar and nearly all of these
    repeat the close before, bars on holidays. The calendar is not asked about anything else: bars on the sessions of
    another market are no fault of a file.
    """
    is_weekend = ~np.is_busday(dates)
    is_repeat = np.zeros(len(dates), dtype=bool)
    is_repeat[1:] = closes[1:] == closes[:-1]
    weekends = dates[is_weekend]
    off = weekends[~calendar.are_sessions(weekends)] if len(weekends) else weekends
    if is_repeat[~is_weekend].sum() <= MAX_SHARE_OFF_SESSIONS * len(dates):
        return off
    weekdays = np.arange(dates[0], dates[-1] + 1)
    weekdays = weekdays[np.is_busday(weekdays)]
    holidays = weekdays[~calendar.are_sessions(weekdays)]
    is_filled = np.isin(dates, holidays)
    n_filled, n_repeats = int(is_filled.sum()), int((is_filled & is_repeat).sum())
    if not n_filled or n_filled < NEARLY_ALL * len(holidays) or n_repeats < NEARLY_ALL * n_filled:
        return off
    return np.sort(np.concatenate([off, dates[is_filled]]))


def is_filled_up(off: DateVector, n_bars: int) -> bool:
    """Return whether too many bars of a history are on no session."""
    return len(off) >= MIN_OFF_SESSIONS and len(off) > MAX_SHARE_OFF_SESSIONS * n_bars
