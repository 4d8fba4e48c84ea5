"""One session more: its vector from the sums of the sessions before it, byte for byte that of its whole window.

A sum over ``2 m`` rows is that over the older half plus that over the newer one (`descriptors`), and the older half of
a new session's sum is the newer half of an earlier session's. So each session keeps its sums over 1, 2, 4, … 256 rows
for as long as a later one needs them, and a new session adds once for each length.
"""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import FeatureTable, Float32Vector, Float64Matrix, Float64Vector
from prometheus.encoders.numeric.descriptors import (
    AVERAGE_LENGTHS,
    DRAWDOWN_LENGTHS,
    MOMENTUM_LENGTHS,
    MOVES,
    N_RETURNS,
    NAMES,
    NORM_HALF_LIFE,
    PATH_KERNEL,
    PATH_LAGS,
    PATH_RISK_HALF_LIFE,
    PATH_TREND_HALF_LIFE,
    RETURNS,
    RISE_LENGTHS,
    SMALLEST_MOVE,
    SQUARES,
    WINDOW_DAYS,
)
from prometheus.encoders.numeric.scale_free import ScaleFreeNumericEmbeddingModel
from prometheus.errors import WindowShapeError

_KINDS = ("range", "down_range", "move", "volatility", "downside", "return", "price")
_SERIES = (*MOVES, *SQUARES, *RETURNS, ("price", 0))
"""What sums are kept of, by kind and half-life; those of prices do not decay."""
_SOURCES = np.array([_KINDS.index(kind) for kind, _ in _SERIES])
_PRICE = len(_SERIES) - 1
_N_LEVELS = N_RETURNS.bit_length() - 1
_SPANS = [2**level for level in range(_N_LEVELS)]
_SLOTS = np.array([[span - 1 + at % span for span in _SPANS] for at in range(N_RETURNS)])
"""By session: where the sums of each length of the session that many rows ago stand, and will be replaced by its own.

Those of one length have as many places as rows."""
_CAPACITY = 4 * WINDOW_DAYS

_N_LAGS = len(PATH_LAGS)
_NEAR, _FAR = slice(0, 64), slice(64, _N_LAGS)
"""Places of the lags that follow each other, and of those that stand four apart."""
_BACK = np.array(MOMENTUM_LENGTHS)
_ROOTS = np.sqrt(np.array(PATH_LAGS, dtype=np.float64))
_LONG_ROOTS = np.sqrt(np.array([*MOMENTUM_LENGTHS, *AVERAGE_LENGTHS], dtype=np.float64))
_AVERAGE_LEVELS = np.array([length.bit_length() - 1 for length in AVERAGE_LENGTHS])
_AVERAGED = np.array(AVERAGE_LENGTHS, dtype=np.float64)
_EXTREMES = sorted({*DRAWDOWN_LENGTHS, *RISE_LENGTHS})
_STRETCHES = np.array([0, *_EXTREMES[:-1]])
_DRAWDOWNS = [_EXTREMES.index(length) for length in DRAWDOWN_LENGTHS]
_RISES = [_EXTREMES.index(length) for length in RISE_LENGTHS]
_N_DECAYING = len(MOVES) + len(SQUARES)
_FLOORS = np.array([SMALLEST_MOVE] * len(MOVES) + [SMALLEST_MOVE**2] * len(SQUARES))
_NORM, _MOVE = MOVES.index(("range", NORM_HALF_LIFE)), MOVES.index(("move", NORM_HALF_LIFE))
_UNIT = SQUARES.index(("volatility", 64))
_PATH_LEVEL = PATH_KERNEL.bit_length() - 1
_PATH_SERIES = np.array([
    _SERIES.index((kind, half_life))
    for kind, half_life in (
        ("down_range", PATH_RISK_HALF_LIFE), ("return", PATH_TREND_HALF_LIFE), ("downside", PATH_TREND_HALF_LIFE),
    )
])  # fmt: skip
_TOLD = (
    [f"{kind}_{half_life}" for kind, half_life in (*MOVES, *SQUARES)]
    + [f"sortino_{half_life}" for _, half_life in RETURNS]
    + [f"momentum_{n}" for n in MOMENTUM_LENGTHS]
    + [f"average_{n}" for n in AVERAGE_LENGTHS]
    + [f"drawdown_{n}" for n in DRAWDOWN_LENGTHS]
    + [f"rise_{n}" for n in RISE_LENGTHS]
    + ["range_ratio"]
)
"""The order in which the descriptors that are no paths are found."""
_LONG_AT = _N_DECAYING + len(RETURNS)
_EXTREMES_AT = _LONG_AT + len(_LONG_ROOTS)
_N_SINGLE = len(NAMES) - 3 * _N_LAGS
_ORDER = np.array([_TOLD.index(name) for name in NAMES[:_N_SINGLE]])


def _decays() -> Float64Vector:
    """Return the weight of a row beside the one after it, shape (n_series,)."""
    half_lives = np.array([half_life for _, half_life in _SERIES[:-1]], dtype=np.float64)
    return np.append(0.5 ** (1.0 / half_lives), 1.0)


def _scales(n_rows: int, chosen: NDArray[np.intp]) -> Float64Vector:
    """Return what makes means of sums over a number of rows."""
    decay = _decays()[chosen]
    scales: Float64Vector = (1.0 - decay) / (1.0 - decay**n_rows)
    return scales


class RollingEncoder:
    """The sums behind the newest window of one instrument; each new session costs no more than one window's values.

    `rows` is the table of `LOG_PRICES` up to some session, shape (n, 3), n at least 513; its last 513 rows count. The
    vectors are those that the model makes of the windows of the same rows. Not for several threads at once.
    """

    def __init__(self, model: ScaleFreeNumericEmbeddingModel, rows: FeatureTable) -> None:
        if rows.ndim != 2 or rows.shape[1] != 3 or len(rows) < WINDOW_DAYS:
            raise WindowShapeError("rows to begin with", rows.shape, (f"at least {WINDOW_DAYS}", 3))
        self._factors, self._offsets = model.scaling
        decay = _decays()
        self._powers = np.stack([decay**span for span in _SPANS])
        self._scales = _scales(N_RETURNS, np.arange(_PRICE))
        self._path_scales = _scales(PATH_KERNEL, _PATH_SERIES)
        self._kept = np.zeros((sum(_SPANS), len(_SERIES)))
        self._chain = np.empty((_N_LEVELS + 1, len(_SERIES)))
        self._sums = np.empty_like(self._chain)
        self._seen = np.empty((3, _CAPACITY))  # log price, risk and trend of each session, newest first from `_now` on
        self._now, self._age = _CAPACITY, -1
        self._told = np.empty(len(_TOLD))
        recent = np.asarray(rows[-WINDOW_DAYS:], dtype=np.float64).tolist()
        self._price = recent[0][0]
        for row in recent:
            self._advance(*row)

    def append(self, row: Float64Vector) -> Float32Vector:
        """Return the vector of the window that ends with one more row of `LOG_PRICES`, shape (3,); float32, (384,)."""
        self._advance(*row.tolist())
        return self.vector()

    def _advance(self, price: float, high: float, low: float) -> None:
        log_return, self._price = price - self._price, price
        down = max(low - log_return, 0.0)
        fall = min(log_return, 0.0)
        said = [
            down + max(high + log_return, 0.0), down, abs(log_return), log_return * log_return, fall * fall, log_return,
            price,
        ]  # fmt: skip
        self._age += 1
        slots = _SLOTS[self._age % N_RETURNS]
        chain = self._chain
        chain[0] = np.array(said)[_SOURCES]
        np.multiply(self._powers, self._kept[slots], out=chain[1:])
        np.add.accumulate(chain, axis=0, out=self._sums)
        self._kept[slots] = self._sums[:-1]
        falls, mean, square = (self._sums[_PATH_LEVEL][_PATH_SERIES] * self._path_scales).tolist()
        risk, trend = float(np.log(falls + SMALLEST_MOVE)), mean / math.sqrt(square + SMALLEST_MOVE**2)
        self._remember(price, risk, trend)

    def _remember(self, price: float, risk: float, trend: float) -> None:
        if not self._now:
            self._now = _CAPACITY - WINDOW_DAYS
            self._seen[:, self._now :] = self._seen[:, :WINDOW_DAYS]
        self._now -= 1
        self._seen[:, self._now] = price, risk, trend

    def vector(self) -> Float32Vector:
        """Return the vector of the newest window, shape (384,), float32."""
        unit = self._tell_risk_and_trend()
        self._tell_place(unit)
        described = np.empty(len(NAMES))
        described[:_N_SINGLE] = self._told[_ORDER]
        self._fill_paths(described[_N_SINGLE:].reshape(3, _N_LAGS), unit)
        described *= self._factors
        described -= self._offsets
        return described.astype(np.float32)

    def _tell_risk_and_trend(self) -> float:
        """Tell log means and deviations, Sortino ratios and the norm of ranges; return the unit of prices."""
        told = self._told
        means = self._sums[-1, :_PRICE] * self._scales
        logs = np.log(means[:_N_DECAYING] + _FLOORS, out=told[:_N_DECAYING])
        norm = told[-1] = logs[_NORM] - logs[_MOVE]
        logs[: len(MOVES)] -= norm
        logs[len(MOVES) :] *= 0.5
        deviations = np.exp(logs[len(MOVES) :])
        np.divide(means[_N_DECAYING:], deviations[-len(RETURNS) :], out=told[_N_DECAYING:_LONG_AT])
        return float(deviations[_UNIT])

    def _tell_place(self, unit: float) -> None:
        """Tell how far the price is from earlier ones, from averages, and from the highest and the lowest."""
        prices, now, told = self._seen[0], self._now, self._told
        ways = told[_LONG_AT:_EXTREMES_AT]
        ways[: len(_BACK)] = prices[now + _BACK]
        np.divide(self._sums[:, _PRICE][_AVERAGE_LEVELS], _AVERAGED, out=ways[len(_BACK) :])
        np.subtract(self._price, ways, out=ways)
        ways /= unit * _LONG_ROOTS
        recent = prices[now : now + N_RETURNS]
        highs = list(accumulate(np.maximum.reduceat(recent, _STRETCHES).tolist(), max))
        lows = list(accumulate(np.minimum.reduceat(recent, _STRETCHES).tolist(), min))
        price = self._price
        told[_EXTREMES_AT:-1] = [price - highs[at] for at in _DRAWDOWNS] + [price - lows[at] for at in _RISES]

    def _fill_paths(self, paths: Float64Matrix, unit: float) -> None:
        """Fill in the paths of price, risk and trend, shape (3, n_lags)."""
        seen, now = self._seen, self._now
        paths[:, _NEAR] = seen[:, now + 1 : now + 65]
        paths[:, _FAR] = seen[:, now + 68 : now + 257 : 4]
        np.subtract(seen[:2, now : now + 1], paths[:2], out=paths[:2])
        paths[0] /= unit * _ROOTS
