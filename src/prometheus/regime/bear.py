"""The chance that a session lies in a bear market, from the odds of first passage, and a state that seldom changes.

A bear market lasts from a peak to a trough: closes have fallen by a stated share from the one, and later rise by it
from the other. On its day it is not known. While none has been confirmed, a price without drift reaches the level that
confirms one before a new peak with the odds (peak - price) / (fall x peak); while one has, a new trough comes before
the level that ends it with the odds 1 - (price - trough) / (rise x trough) (the gambler's ruin; Feller, An Introduction
to Probability Theory and Its Applications, volume 1, chapter XIV).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Float32Matrix, Float64Matrix, Float64Vector
from prometheus.encoders.numeric.descriptors import N_RETURNS, NAMES, PATH_LAGS, SMALLEST_MOVE, trailing_means
from prometheus.encoders.numeric.scale_free import raw_descriptors
from prometheus.regime.forecasts import sigmoid, sigmoid_of

FALL_IN_DEVIATIONS = 1.1
"""The fall that makes a bear market, in standard deviations of a year's return: 20 % where volatility is 18 %."""
INTERCEPT, SLOPE = -0.262, 1.27
"""Log odds by those of first passage, pooled over markets (`benchmarks.bear_odds`, ADR-0025)."""
ENTER, LEAVE = 0.45, 0.1
"""The state becomes a bear market's above the one probability and ends below the other."""
UNDECIDED = (ENTER + LEAVE) / 2.0
_LEAST_FALL, _GREATEST_FALL = 0.02, 0.8
_EDGE = 0.05
_SESSIONS_PER_YEAR = 252
_HALF_LIFE = 128
_FEW_DATES = 16
_DATES_AT_ONCE = 512
"""As many as a core's cache holds the paths of."""
_PATH = tuple(f"price_path_{lag}" for lag in PATH_LAGS)
_ROOTS = np.sqrt(np.array(PATH_LAGS, dtype=np.float64))
_PRICE_PATH = slice(NAMES.index(_PATH[0]), NAMES.index(_PATH[-1]) + 1)
_UNIT, _HIGH = NAMES.index("volatility_64"), NAMES.index("drawdown_512")


@dataclass(frozen=True, slots=True, eq=False)
class BearChances:
    """The probability that each date lies in a bear market of `fall`, and whether it is called one, shape (n,) each."""

    probabilities: Float64Vector
    states: NDArray[np.bool_]
    fall: float

    def columns(self) -> dict[str, Any]:
        """Return JSON values, those of every date as arrays."""
        return {"probability": self.probabilities, "is_bear": self.states, "fall": self.fall}


@dataclass(frozen=True, slots=True)
class BearForecast:
    """How far closes of one market must fall from a peak, and rise from a trough, as a share: 0.2 means 20 %."""

    fall: float

    @classmethod
    def fit(cls, vectors: Float32Matrix) -> BearForecast:
        """Return the fall that suits a span's volatility, of its vectors of the scale-free encoder, shape (n, 384)."""
        return cls(_fall_of(np.exp(2.0 * raw_descriptors(vectors, (f"volatility_{_HALF_LIFE}",)))))

    def odds(self, vectors: Float32Matrix) -> Float64Vector:
        """Return the odds of first passage on each date, shape (n,), in [0, 1].

        Each is of its own window alone: the highest close of its 512 sessions is where the filter starts, and the last
        256 are the path it goes, every session of the last 64 and every fourth before.
        """
        path, high = _path_and_high(vectors)
        peaks = np.maximum(np.maximum.accumulate(path, axis=0), high)
        odds: Float64Vector = -np.expm1(-peaks[-1]) / self.fall
        fallen = np.flatnonzero((path <= peaks + math.log1p(-self.fall)).any(axis=0))
        if len(fallen) <= _FEW_DATES:
            odds[fallen] = self._odds_of_few(path[:, fallen].T, high[fallen])
        else:
            odds[fallen] = self._odds_after_falls(np.ascontiguousarray(path[:, fallen]), high[fallen])
        return np.clip(odds, 0.0, 1.0)

    def _odds_of_few(self, paths: Float64Matrix, high: Float64Vector) -> Float64Vector:
        """Return the odds that `_odds_after_falls` does, one path after another, each in a few leaps."""
        ends = [self._last_turn(np.ascontiguousarray(path), float(top)) for path, top in zip(paths, high, strict=True)]
        levels, is_bear = np.array([level for level, _ in ends]), np.array([bear for _, bear in ends], dtype=np.bool_)
        moved = np.expm1(-levels) / self.fall
        odds: Float64Vector = np.where(is_bear, 1.0 - moved, -moved)
        return odds

    def _last_turn(self, path: Float64Vector, high: float) -> tuple[float, bool]:
        """Return the trough of the bear market that a path ends in, or else its peak, and whether it ends in one."""
        down, up = math.log1p(-self.fall), math.log1p(self.fall)
        level, at, is_bear = max(high, float(path[0])), 0, False
        while at < len(path):
            rest = path[at:]
            if is_bear:
                levels = np.minimum(np.minimum.accumulate(rest), level)
                turns = rest >= levels + up
            else:
                levels = np.maximum(np.maximum.accumulate(rest), level)
                turns = rest <= levels + down
            first = int(turns.argmax())
            if not turns[first]:
                return float(levels[-1]), is_bear
            level, at, is_bear = float(rest[first]), at + first + 1, not is_bear
        return level, is_bear

    def _odds_after_falls(self, path: Float64Matrix, high: Float64Vector) -> Float64Vector:
        down, up = math.log1p(-self.fall), math.log1p(self.fall)
        peak = np.maximum(high, path[0])
        trough = np.full(len(high), np.inf)  # of no bear market
        is_bear = np.zeros(len(high), dtype=np.bool_)
        for price in path:
            np.minimum(trough, price, out=trough, where=is_bear)
            is_over = price >= trough + up
            np.maximum(peak, price, out=peak, where=~is_bear)
            peak[is_over] = price[is_over]
            trough[is_over] = np.inf
            begins = ~is_bear & (price <= peak + down)
            trough[begins] = price[begins]
            is_bear = (is_bear & ~is_over) | begins
        risen = np.expm1(-np.where(is_bear, trough, 0.0))
        return np.where(is_bear, 1.0 - risen / self.fall, -np.expm1(-peak) / self.fall)

    def probabilities(self, vectors: Float32Matrix) -> Float64Vector:
        """Return the probability that each date lies in a bear market, shape (n,)."""
        return sigmoid(INTERCEPT + SLOPE * log_odds(self.odds(vectors)))

    def probability_of(self, raw: Float64Vector) -> float:
        """Return the probability that `probabilities` gives of one vector, whose descriptors are in their own units."""
        path = np.zeros(len(_ROOTS) + 1)
        np.multiply(raw[_PRICE_PATH], _ROOTS, out=path[-2::-1])
        path[:-1] *= -np.exp(raw[_UNIT])
        high, bear = self._last_turn(path, max(-float(raw[_HIGH]), 0.0))
        moved = float(np.expm1(-high)) / self.fall
        odds = min(max(1.0 - moved if bear else -moved, 0.0), 1.0)
        return sigmoid_of(INTERCEPT + SLOPE * float(np.log((odds + _EDGE) / (1.0 + _EDGE - odds))))

    def chances(self, vectors: Float32Matrix, n_back: int) -> BearChances:
        """Return what is said of each date after the first ``n_back - 1``, on which the states look back.

        Of a few dates the sessions before are read only if the first date does not decide its state itself.
        """
        n_dates = len(vectors) - n_back + 1
        stated = self.probabilities(vectors[n_back - 1 :] if n_dates < n_back else vectors)
        if n_dates == len(stated) and not _turns(stated[:1]).any():
            stated = self.probabilities(vectors)
        return BearChances(stated[-n_dates:], bear_states(stated, n_back, n_dates), self.fall)

    def to_dict(self) -> dict[str, float]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> BearForecast:
        """Return the forecast of a JSON object."""
        return cls(float(document["fall"]))


def known_fall(log_returns: Float64Vector, n_sessions: int) -> float:
    """Return the fall that `BearForecast.fit` finds for the last sessions, from the log returns up to them, shape (n,).

    Their mean square stands for returns that the windows lack.
    """
    squares = log_returns**2
    n_missing = max(N_RETURNS + n_sessions - 1 - len(squares), 0)
    whole = np.concatenate([np.full(n_missing, squares.mean()), squares])[np.newaxis]
    return _fall_of(trailing_means(whole, [_HALF_LIFE], N_RETURNS, n_sessions) + SMALLEST_MOVE**2)


def _fall_of(variances: Float64Matrix) -> float:
    """Return the fall for the mean of variances of daily returns."""
    deviation = math.sqrt(float(variances.mean()) * _SESSIONS_PER_YEAR)
    return round(min(max(FALL_IN_DEVIATIONS * deviation, _LEAST_FALL), _GREATEST_FALL), 3)


def log_odds(odds: Float64Vector) -> Float64Vector:
    """Return log odds of odds in [0, 1], shape (n,), finite at the ends."""
    return np.log((odds + _EDGE) / (1.0 + _EDGE - odds))


def bear_states(probabilities: Float64Vector, n_back: int, n_dates: int | None = None) -> NDArray[np.bool_]:
    """Return whether each of the last dates is called a bear market's, shape (n_dates,).

    It is what the last probability above `ENTER` or below `LEAVE` among the `n_back` up to a date says; without one,
    whether its own lies above their middle. Without `n_dates` all but the first ``n_back - 1`` are meant.
    """
    turns = _turns(probabilities)
    rows = np.arange(len(turns))
    last = np.maximum.accumulate(np.where(turns != 0, rows, -1))
    is_known = (last >= 0) & (last > rows - n_back)
    states: NDArray[np.bool_] = np.where(is_known, turns[last] > 0, probabilities > UNDECIDED)
    return states[n_back - 1 if n_dates is None else len(states) - n_dates :]


def _turns(probabilities: Float64Vector) -> NDArray[np.int64]:
    """Return 1 above `ENTER`, -1 below `LEAVE`, 0 between, shape (n,)."""
    return np.where(probabilities > ENTER, 1, np.where(probabilities < LEAVE, -1, 0))


def _path_and_high(vectors: Float32Matrix) -> tuple[Float64Matrix, Float64Vector]:
    """Return log prices less today's, oldest first, shape (n_lags + 1, n), and the highest of 512 sessions, (n,)."""
    path, high = np.zeros((len(_PATH) + 1, len(vectors))), np.empty(len(vectors))
    for first in range(0, len(vectors), _DATES_AT_ONCE):
        rows = slice(first, first + _DATES_AT_ONCE)
        columns = raw_descriptors(vectors[rows], (*_PATH, "volatility_64", "drawdown_512"))
        moves = columns[:, : len(_PATH)] * _ROOTS * np.exp(columns[:, len(_PATH)])[:, np.newaxis]
        np.negative(moves[:, ::-1].T, out=path[:-1, rows])
        np.maximum(-columns[:, -1], 0.0, out=high[rows])
    return path, high
