"""Bear markets of a series of closes: in hindsight, as far as they were known on a day, and how late a label came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prometheus.arrays import Float64Vector
from prometheus.evaluation.labeller import BoolVector

BEAR_FALL = 0.2
BULL_RISE = 0.2


@dataclass(frozen=True, slots=True)
class BearMarket:
    """The positions of a peak and of the lowest close after it."""

    peak: int
    trough: int


@dataclass(frozen=True, slots=True)
class Lag:
    """Sessions from the peak of a bear market to the first risk-off label; None without one up to the trough."""

    market: BearMarket
    sessions: int | None


def find_bear_markets(
    closes: Float64Vector, fall: float = BEAR_FALL, rise: float = BULL_RISE
) -> tuple[list[BearMarket], int]:
    """Return the bear markets, oldest first, and the last position of which it is settled whether it lies in one.

    One begins at the last peak once closes have fallen by `fall` from it, and ends at its trough once they have risen
    by `rise` from that. One that has not ended lasts up to the lowest close so far.
    """
    found: list[BearMarket] = []
    peak = trough = 0
    is_falling, values = False, closes.tolist()
    for day, close in enumerate(values):
        if is_falling:
            if close < values[trough]:
                trough = day
            elif close >= values[trough] * (1.0 + rise):
                found.append(BearMarket(peak, trough))
                is_falling, peak = False, day
        elif close > values[peak]:
            peak = day
        elif close <= values[peak] * (1.0 - fall):
            is_falling, trough = True, day
    if is_falling:
        found.append(BearMarket(peak, trough))
    return found, trough if is_falling else peak


def bear_market_days(closes: Float64Vector, fall: float = BEAR_FALL, rise: float = BULL_RISE) -> BoolVector:
    """Return which sessions lie after the peak and up to the trough of a bear market, shape (n,), in hindsight."""
    return days_in(find_bear_markets(closes, fall, rise)[0], len(closes))


def days_in_own_bear_markets(closes: Float64Vector, falls: Float64Vector) -> BoolVector:
    """Return which of the last sessions lie in a bear market of the fall, and rise, of each, shape (n_falls,)."""
    is_bear = np.zeros(len(falls), dtype=np.bool_)
    for fall in np.unique(falls).tolist():
        is_bear |= (falls == fall) & bear_market_days(closes, fall, fall)[len(closes) - len(falls) :]
    return is_bear


def known_bear_days(closes: Float64Vector, fall: float = BEAR_FALL) -> Float64Vector:
    """Return 1 for a session in a bear market, 0 for another, shape (n,); NaN where the last close leaves it open."""
    found, settled = find_bear_markets(closes, fall, fall)
    known = days_in(found, len(closes)).astype(np.float64)
    known[settled + 1 :] = np.nan
    return known


def lags_after_peaks(markets: Sequence[BearMarket], is_risk_off: BoolVector, first: int) -> tuple[Lag, ...]:
    """Return how late labels of the sessions from `first` on came in each bear market that peaks among these."""
    judged = [market for market in markets if market.peak >= first]
    said = [np.flatnonzero(is_risk_off[market.peak - first : market.trough - first + 1]) for market in judged]
    return tuple(Lag(market, int(at[0]) if len(at) else None) for market, at in zip(judged, said, strict=True))


def days_in(markets: Sequence[BearMarket], n_sessions: int) -> BoolVector:
    """Return which of the first sessions lie after the peak and up to the trough of a bear market, shape (n,)."""
    is_bear = np.zeros(n_sessions, dtype=np.bool_)
    for market in markets:
        is_bear[market.peak + 1 : market.trough + 1] = True
    return is_bear
