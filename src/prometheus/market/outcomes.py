"""What follows a date: return, realised volatility and worst drawdown of the sessions after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal

import numpy as np

from prometheus.arrays import DateVector, Float64Matrix, Float64Vector

Measure = Literal["return", "volatility", "drawdown"]
_MEASURES: tuple[Measure, ...] = ("return", "volatility", "drawdown")
HORIZONS: tuple[int, ...] = (21, 63)
"""Sessions: a month and a quarter."""
HORIZON_SESSIONS = 21
"""Of the volatility that regimes are judged by."""
PATH_SESSIONS = 63
"""Sessions of a path before a date, and after it."""
_SESSIONS_PER_YEAR = 252
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True, slots=True)
class ForwardReturn:
    """What followed one date over one horizon in sessions; shares of 1, None where not all of it is known yet.

    It is known from the session `known_from` on, which ends the horizon. The return is of the closes, simple: 0.1 means
    10 % up. The volatility is the root of the mean squared log return, annualised with 252 sessions. The drawdown is
    the worst fall from a high since the date, as a positive share.
    """

    horizon: int
    known_from: date | None
    total_return: float | None
    volatility: float | None
    drawdown: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "horizon_sessions": self.horizon,
            "known_from": None if self.known_from is None else str(self.known_from),
            "return": self.total_return,
            "volatility": self.volatility,
            "drawdown": self.drawdown,
        }


@dataclass(frozen=True, slots=True)
class Quantiles:
    """How a measure of what followed is distributed over `n_dates` dates; None if it is not known of any."""

    measure: Measure
    horizon: int
    n_dates: int
    mean: float | None
    p10: float | None
    p25: float | None
    median: float | None
    p75: float | None
    p90: float | None
    positive_share: float | None

    @classmethod
    def of(cls, measure: Measure, horizon: int, values: Float64Vector) -> Quantiles:
        """Return the quantiles of values; NaN among them count as not known."""
        known = values[np.isfinite(values)]
        if not len(known):
            return cls(measure, horizon, 0, *[None] * 7)
        p10, p25, median, p75, p90 = np.quantile(known, _QUANTILES).tolist()
        mean, positive_share = float(known.mean()), float((known > 0).mean())
        return cls(measure, horizon, len(known), mean, p10, p25, median, p75, p90, positive_share)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values = asdict(self)
        return {"measure": values.pop("measure"), "horizon_sessions": values.pop("horizon"), **values}


class ForwardReturns:
    """The closes of one instrument up to a date, and what followed each of their sessions as far as they tell.

    Shape (n,) each, sessions ascending, closes positive, adjusted for splits and dividends where the instrument has
    any.
    """

    def __init__(
        self, sessions: DateVector, closes: Float64Vector, measured: Mapping[int, Float64Matrix] | None = None
    ) -> None:
        self.sessions = sessions
        self.closes = closes
        self._measured = measured or {horizon: _measure(closes, horizon) for horizon in HORIZONS}

    def until(self, day: date) -> ForwardReturns:
        """Return what the closes up to a date tell, as if there were no later ones; nothing is measured again."""
        n_known = self._position(day) + 1
        if n_known == len(self.sessions):
            return self
        measured = {horizon: _cut(self._measured[horizon], n_known, horizon) for horizon in HORIZONS}
        return ForwardReturns(self.sessions[:n_known], self.closes[:n_known], measured)

    def outcomes(self, day: date) -> tuple[ForwardReturn, ...]:
        """Return what followed a date over each horizon; if it is not a session, from the previous session."""
        at = self._position(day)
        return tuple(self._outcome(at, horizon) for horizon in HORIZONS)

    def spreads(self, dates: DateVector) -> tuple[Quantiles, ...]:
        """Return the quantiles of what followed these dates, by horizon and measure."""
        rows = np.searchsorted(self.sessions, dates, side="right") - 1
        known = rows[rows >= 0]
        return tuple(
            Quantiles.of(measure, horizon, self._measured[horizon][number][known])
            for horizon in HORIZONS
            for number, measure in enumerate(_MEASURES)
        )

    def path(self, day: date) -> tuple[int, Float64Vector]:
        """Return closes around a date as shares of the close on it, 63 sessions a side, and how many precede it."""
        at = self._position(day)
        first = max(0, at - PATH_SESSIONS)
        if at < 0:
            return 0, np.empty(0)
        return at - first, self.closes[first : at + PATH_SESSIONS + 1] / self.closes[at]

    def _position(self, day: date) -> int:
        return int(np.searchsorted(self.sessions, np.datetime64(day, "D"), side="right")) - 1

    def _outcome(self, at: int, horizon: int) -> ForwardReturn:
        if at < 0 or at + horizon >= len(self.sessions):
            return ForwardReturn(horizon, None, None, None, None)
        total_return, volatility, drawdown = self._measured[horizon][:, at].tolist()
        return ForwardReturn(horizon, self.sessions[at + horizon].item(), total_return, volatility, drawdown)


def forward_log_volatility(closes: Float64Vector, horizon: int = HORIZON_SESSIONS) -> Float64Vector:
    """Return the log of the annualised realised volatility of the next `horizon` sessions, shape (n,).

    NaN where the horizon reaches past the last close, or where no close moved. The volatility is the root of the mean
    squared log return.
    """
    squares = np.diff(np.log(closes)) ** 2
    sums = np.concatenate([[0.0], np.cumsum(squares)])
    variances = np.full(len(closes), np.nan)
    n_known = len(closes) - horizon
    if n_known > 0:
        variances[:n_known] = (sums[horizon:] - sums[:-horizon])[:n_known] / horizon
    with np.errstate(divide="ignore", invalid="ignore"):
        logs: Float64Vector = 0.5 * np.log(variances * _SESSIONS_PER_YEAR)
    logs[~np.isfinite(logs)] = np.nan
    return logs


def _cut(measured: Float64Matrix, n_known: int, horizon: int) -> Float64Matrix:
    """Return what is measured of the first sessions; NaN where a horizon ends after them."""
    known = measured[:, :n_known].copy()
    known[:, max(0, n_known - horizon) :] = np.nan
    return known


def _measure(closes: Float64Vector, horizon: int) -> Float64Matrix:
    """Return returns, volatilities and drawdowns after each session, shape (3, n); NaN where closes end too early."""
    measured = np.full((3, len(closes)), np.nan)
    n_known = len(closes) - horizon
    if n_known <= 0:
        return measured
    spans = np.lib.stride_tricks.sliding_window_view(closes, horizon + 1)
    squares = np.lib.stride_tricks.sliding_window_view(np.diff(np.log(closes)) ** 2, horizon)
    measured[0, :n_known] = spans[:, -1] / spans[:, 0] - 1.0
    measured[1, :n_known] = np.sqrt(np.ascontiguousarray(squares).mean(axis=1) * _SESSIONS_PER_YEAR)
    measured[2, :n_known] = (1.0 - spans / np.maximum.accumulate(spans, axis=1)).max(axis=1)
    return measured
