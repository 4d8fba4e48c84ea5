"""What the statements of the forward record were worth: how late they were, and what followed their dates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float64Vector, Int64Vector
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import BoolVector
from prometheus.market.outcomes import HORIZON_SESSIONS, forward_log_volatility

ON_TIME = np.timedelta64(4, "D")
"""After the close of its session a statement is on time so long at least; and always up to the next session's close."""
MIN_BASE_SESSIONS = 252
"""Sessions whose outcome must be known beforehand for a base rate."""
_US_PER_HOUR = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Tenth:
    """The statements whose probability lies in [low, low + 0.1), or is 1: their mean, and how often it came true."""

    low: float
    n: int
    stated: float
    observed: float


@dataclass(frozen=True, slots=True)
class ForecastScore:
    """How good probabilities of high volatility were, over `n_scored` statements; None without any.

    `brier` is the mean squared error, `base_brier` that of the base rate known beforehand, `skill` 1 less their ratio.
    """

    n_scored: int
    brier: float | None
    base_brier: float | None
    skill: float | None
    tenths: tuple[Tenth, ...]


def measure_lateness(
    dates: DateVector, said_at: NDArray[np.datetime64], sessions: DateVector, closes: NDArray[np.datetime64]
) -> tuple[Float64Vector, BoolVector]:
    """Return how many hours after the close of its date each statement was made, and whether that was on time.

    Shape (n,) each; instants are datetime64[us] in UTC. `sessions` are those of the market, with their closes;
    another date closes at its end, in UTC.
    """
    n_before, n_until = (np.searchsorted(sessions, dates, side=side) for side in ("left", "right"))
    known = np.append(closes, np.datetime64("NaT", "us"))
    close = np.where(n_until > n_before, known[n_before], (dates + 1).astype("M8[us]"))
    deadline = np.fmax(close + ON_TIME, known[n_until])
    return (said_at - close).astype(np.int64) / _US_PER_HOUR, said_at <= deadline


def outcomes_of(
    history: MarketHistory, dates: DateVector, thresholds: Float64Vector
) -> tuple[Float64Vector, Float64Vector]:
    """Return whether the 21 sessions after each date were more volatile than its threshold, and how often that was so.

    Shape (n,) each: 1 or 0, and the share of the sessions whose outcome was known on the date. NaN for a date that is
    no session, or whose 21 sessions are not over; for the share also if fewer than 252 outcomes were known.
    """
    logs = forward_log_volatility(history.closes)
    rows = np.searchsorted(history.dates, dates)
    is_session = np.isin(dates, history.dates)
    followed, base = np.full(len(dates), np.nan), np.full(len(dates), np.nan)
    for threshold in np.unique(thresholds[is_session & (thresholds > 0)]):
        chosen = is_session & (thresholds == threshold)
        is_high = np.where(np.isfinite(logs), logs > np.log(threshold), np.nan)
        followed[chosen] = is_high[rows[chosen]]
        base[chosen] = _base_rates(is_high, rows[chosen])
    return followed, base


def _base_rates(is_high: Float64Vector, rows: Int64Vector) -> Float64Vector:
    n_over = np.maximum(rows - HORIZON_SESSIONS + 1, 0)
    n_known, n_high = (
        np.concatenate([[0.0], np.cumsum(each)])[n_over] for each in (np.isfinite(is_high), np.nan_to_num(is_high))
    )
    rates: Float64Vector = np.where(n_known >= MIN_BASE_SESSIONS, n_high / np.maximum(n_known, 1), np.nan)
    return rates


def score_forecasts(probabilities: Float64Vector, followed: Float64Vector, base: Float64Vector) -> ForecastScore:
    """Score the statements of which all three are known (not NaN), shape (n,) each."""
    is_scored = np.isfinite(probabilities) & np.isfinite(followed) & np.isfinite(base)
    stated, actual, known = (each[is_scored] for each in (probabilities, followed, base))
    if not len(stated):
        return ForecastScore(0, None, None, None, ())
    brier, base_brier = (float(((each - actual) ** 2).mean()) for each in (stated, known))
    skill = 1.0 - brier / base_brier if base_brier > 0 else None
    places = np.minimum((stated * 10).astype(np.int64), 9)
    tenths = tuple(
        Tenth(place / 10, int(here.sum()), float(stated[here].mean()), float(actual[here].mean()))
        for place in range(10)
        if (here := places == place).any()
    )
    return ForecastScore(len(stated), brier, base_brier, skill, tenths)
