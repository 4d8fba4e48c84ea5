"""Whether a history is one of daily bars on sessions: weekly files and calendars filled forward are none."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float64Vector

MIN_BARS = 10
"""Fewer bars than this do not show how often they come."""
MAX_SHARE_OFF_SESSIONS = 0.01
_MONDAY = np.datetime64("1970-01-05")


class SessionDays(Protocol):
    """What is asked of a calendar here; `TradingCalendar` is one."""

    market: str

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
    """Return the days of a history, ascending, that look filled up where no market traded.

    Of bars on weekends, and of bars that repeat the close before, those on no session. The calendar is asked about no
    other day: bars on the sessions of another market are no fault of a file.
    """
    is_weekend = (dates - _MONDAY).astype(np.int64) % 7 >= 5
    is_repeat = np.zeros(len(dates), dtype=bool)
    is_repeat[1:] = closes[1:] == closes[:-1]
    if not is_weekend.any() and is_repeat.mean() <= MAX_SHARE_OFF_SESSIONS:
        return dates[:0]
    asked = dates[is_weekend | is_repeat]
    return asked[~calendar.are_sessions(asked)]
