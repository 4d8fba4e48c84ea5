"""What a market looks like on a date, in numbers without price level, currency or unit: risk, trend, and their path.

Every kernel is cut inside a window of 513 sessions and covers 2**n rows: a sum over ``2**(n+1)`` rows is made of the
two sums over its halves, always in that order. So a value is a function of the rows it covers alone, neither of where a
table begins nor of how many rows are asked for; prefix sums and running averages are not (ADR-0008).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

from prometheus.arrays import FeatureTable, Float64Matrix, Float64Vector, Int64Vector
from prometheus.errors import UsageError, WindowShapeError

WINDOW_DAYS = 513  # sessions a window must hold: 512 returns
N_RETURNS = 512
SMALLEST_MOVE = 1e-4  # added to every mean move, so that a market that stood still has a logarithm: 0.16 % a year
PATH_LAGS = (*range(1, 65), *range(68, 257, 4))
"""Sessions back at which the path is read: each of the last 64, then every fourth up to 256."""

_RANGE_HALF_LIVES = (2, 4, 8, 16, 32, 64)
_DOWN_RANGE_HALF_LIVES = (2, 4, 8, 16, 32, 64, 128)
_VOLATILITY_HALF_LIVES = (4, 8, 16, 32, 64, 128)
_SORTINO_HALF_LIVES = (8, 16, 32, 64, 128)
DRAWDOWN_LENGTHS = (32, 64, 128, 256, 512)
AVERAGE_LENGTHS = (32, 64, 128, 256)
MOMENTUM_LENGTHS = (16, 32, 64, 128, 256, 512)
RISE_LENGTHS = (16, 64, 256)
NORM_HALF_LIFE = 256
MOVES = tuple(
    [("range", h) for h in (*_RANGE_HALF_LIVES, NORM_HALF_LIFE)]
    + [("down_range", h) for h in _DOWN_RANGE_HALF_LIVES]
    + [("move", NORM_HALF_LIFE)]
)
SQUARES = tuple([("volatility", h) for h in _VOLATILITY_HALF_LIVES] + [("downside", h) for h in _SORTINO_HALF_LIVES])
RETURNS = tuple([("return", h) for h in _SORTINO_HALF_LIVES])
"""What decaying means are taken of, by kind and half-life: those of moves, of their squares, and of returns."""
PATH_KERNEL = 256
PATH_RISK_HALF_LIFE = 16
PATH_TREND_HALF_LIFE = 32
_LAGS = np.array(PATH_LAGS)[:, np.newaxis]
_ROOTS = np.sqrt(_LAGS)
_LAG_RUNS = ((slice(0, 64), 1, 1), (slice(64, len(PATH_LAGS)), 68, 4))
"""Places of the lags that stand equally far apart, with the first lag and the step of each."""
_BLOCK_WINDOWS = 128
_SERIES_AT_ONCE = 8
"""Series whose sums a core's cache holds."""

RISK_NAMES = tuple([f"down_range_{h}" for h in (4, 8, 16, 32, 64)] + [f"downside_{h}" for h in (16, 32, 64)])
"""Decide labels: log means of how far sessions fell, by half-life in sessions."""
TREND_NAMES = ("sortino_32", "sortino_64", "sortino_128", "average_128", "drawdown_128", "momentum_128")
"""Decide labels: mean return over downside deviation, distance to the average and to the high, momentum."""
CONTEXT_NAMES = tuple(
    ["range_ratio"]
    + [f"range_{h}" for h in _RANGE_HALF_LIVES]
    + [f"volatility_{h}" for h in _VOLATILITY_HALF_LIVES]
    + [f"down_range_{h}" for h in (2, 128)]
    + [f"downside_{h}" for h in (8, 128)]
    + [f"sortino_{h}" for h in (8, 16)]
    + [f"drawdown_{n}" for n in (32, 64, 256, 512)]
    + [f"average_{n}" for n in (32, 64, 256)]
    + [f"momentum_{n}" for n in (16, 32, 64, 256, 512)]
    + [f"rise_{n}" for n in RISE_LENGTHS]
)


@dataclass(frozen=True, slots=True)
class DescriptorGroup:
    """Descriptors that share their part of the squared distance equally."""

    names: tuple[str, ...]
    share: float


GROUPS = (
    DescriptorGroup(RISK_NAMES, 0.36),
    DescriptorGroup(TREND_NAMES, 0.44),
    DescriptorGroup(CONTEXT_NAMES, 0.08),
    *(DescriptorGroup(tuple(f"{kind}_path_{lag}" for lag in PATH_LAGS), 0.04) for kind in ("price", "risk", "trend")),
)
"""The vector, in order; the shares add to 1 and were settled on 1990-2018 (ADR-0009)."""
NAMES = tuple(name for group in GROUPS for name in group.names)
DIM = len(NAMES)
WEIGHTS: Float64Vector = np.concatenate([np.full(len(g.names), g.share / len(g.names)) for g in GROUPS])


def describe(features: FeatureTable, ends: Int64Vector) -> Float64Matrix:
    """Return the descriptors of windows in a table of `LOG_PRICES`, shape (DIM, n_windows), float64.

    `ends`, shape (n_windows,), n_windows > 0, are one past the newest row of each; `WINDOW_DAYS` rows lie before it.
    """
    described = np.empty((DIM, len(ends)))
    for windows, block in described_blocks(features, ends, np.ones(DIM)):
        described[:, windows] = block
    return described


def described_blocks(
    features: FeatureTable, ends: Int64Vector, factors: Float64Vector
) -> Iterator[tuple[slice, Float64Matrix]]:
    """Yield some windows after others, and the descriptors of `describe` times their factors, shape (DIM,).

    A block has the shape (DIM, n), as few windows as a core's cache holds; it is the caller's until the next one.
    """
    first, stop = int(ends.min()), int(ends.max())
    if first < WINDOW_DAYS or stop > len(features):
        raise UsageError(f"windows reach from row {first - WINDOW_DAYS} to {stop} of a table of {len(features)}")
    table = np.asarray(features[first - WINDOW_DAYS : stop], dtype=np.float64)
    newest = ends - first
    log_price = table[:, 0].copy()
    series = _series(log_price, table)
    columns = _risk_and_trend(series, newest)
    unit = np.exp(columns["volatility_64"])
    columns |= _place(log_price, unit, newest)
    paths = _Paths.of(log_price, unit, series, newest)
    n_single, scale = DIM - 3 * len(PATH_LAGS), factors[:, np.newaxis]
    singles = np.stack([columns[name] for name in NAMES[:n_single]])
    buffer = np.empty((DIM, min(_BLOCK_WINDOWS, len(ends))))
    for begin in range(0, len(ends), _BLOCK_WINDOWS):
        windows = slice(begin, min(begin + _BLOCK_WINDOWS, len(ends)))
        block = buffer[:, : windows.stop - begin]
        np.multiply(singles[:, windows], scale[:n_single], out=block[:n_single])
        paths.fill(windows, block[n_single:].reshape(3, len(PATH_LAGS), -1), scale[n_single:].reshape(3, -1, 1))
        yield windows, block


def _series(log_price: Float64Vector, table: Float64Matrix) -> dict[str, Float64Vector]:
    """Return what each session moved, shape (n_rows - 1,), by kind."""
    returns = np.diff(log_price)
    down_range = np.maximum(table[1:, 2] - returns, 0.0)
    return {
        "return": returns,
        "move": np.abs(returns),
        "volatility": returns * returns,
        "downside": np.minimum(returns, 0.0) ** 2,
        "down_range": down_range,
        "range": down_range + np.maximum(table[1:, 1] + returns, 0.0),
    }


def _risk_and_trend(series: Mapping[str, Float64Vector], newest: Int64Vector) -> dict[str, Float64Vector]:
    """Return log means of ranges, log deviations of returns and falls, and Sortino ratios, per session.

    Ranges are divided by their own long ratio to absolute returns: sources differ in how highs and lows are made, and
    without any the ratio is 1.
    """
    wanted = (*MOVES, *SQUARES, *RETURNS)
    stacked = np.stack([series[kind] for kind, _ in wanted])
    every = trailing_means(stacked, [h for _, h in wanted], N_RETURNS, int(newest.max()) + 1)
    means = every[:, _as_slice(newest)]
    moves = np.log(means[: len(MOVES)] + SMALLEST_MOVE)
    deviations = 0.5 * np.log(means[len(MOVES) : -len(RETURNS)] + SMALLEST_MOVE**2)
    norm = moves[MOVES.index(("range", NORM_HALF_LIFE))] - moves[MOVES.index(("move", NORM_HALF_LIFE))]
    ratios = means[-len(RETURNS) :] / np.exp(deviations[-len(_SORTINO_HALF_LIVES) :])
    columns = {"range_ratio": norm}
    columns |= {f"{kind}_{h}": row for (kind, h), row in zip(MOVES, moves - norm, strict=True)}
    columns |= {f"{kind}_{h}": row for (kind, h), row in zip(SQUARES, deviations, strict=True)}
    return columns | {f"sortino_{h}": row for h, row in zip(_SORTINO_HALF_LIVES, ratios, strict=True)}


def _place(log_price: Float64Vector, unit: Float64Vector, newest: Int64Vector) -> dict[str, Float64Vector]:
    n_last, now = int(newest.max()) + 1, newest + N_RETURNS
    price = log_price[now]
    extremes = trailing_maxima(np.stack([log_price, -log_price]), DRAWDOWN_LENGTHS + RISE_LENGTHS, n_last)
    averages = trailing_averages(log_price, AVERAGE_LENGTHS, n_last)
    columns = {f"drawdown_{n}": price - extremes[n][0, newest] for n in DRAWDOWN_LENGTHS}
    columns |= {f"rise_{n}": price + extremes[n][1, newest] for n in RISE_LENGTHS}
    columns |= {f"average_{n}": (price - averages[n][newest]) / (unit * math.sqrt(n)) for n in AVERAGE_LENGTHS}
    columns |= {f"momentum_{n}": (price - log_price[now - n]) / (unit * math.sqrt(n)) for n in MOMENTUM_LENGTHS}
    return columns


@dataclass(frozen=True, slots=True, eq=False)
class _Lagged:
    """The values of rows, shape (n_rows,), and those at each of `PATH_LAGS` before them, seen where they lie."""

    now: Float64Vector
    before: Sequence[tuple[slice, Float64Matrix]]

    @classmethod
    def of(cls, values: Float64Vector) -> _Lagged:
        """Return those of all rows but the first 256; `before` has the places of some lags with each matrix."""
        n_rows, size = len(values) - PATH_LAGS[-1], values.itemsize
        runs = []
        for places, first, step in _LAG_RUNS:
            shape, strides = (places.stop - places.start, n_rows), (-step * size, size)
            runs.append((places, as_strided(values[PATH_LAGS[-1] - first :], shape, strides, writeable=False)))
        return cls(values[PATH_LAGS[-1] :], runs)


@dataclass(frozen=True, slots=True, eq=False)
class _Paths:
    """What the paths of some windows are read from.

    `rows` and `unit`, shape (n_windows,), say where each window ends in the lagged values and what divides its prices.
    """

    price: _Lagged
    risk: _Lagged
    trend: _Lagged
    rows: Int64Vector
    unit: Float64Vector

    @classmethod
    def of(
        cls, log_price: Float64Vector, unit: Float64Vector, series: Mapping[str, Float64Vector], newest: Int64Vector
    ) -> _Paths:
        """Return the mean falls of every row, in logs, and its Sortino ratio."""
        kinds = ("down_range", "return", "downside")
        half_lives = (PATH_RISK_HALF_LIFE, PATH_TREND_HALF_LIFE, PATH_TREND_HALF_LIFE)
        stacked = np.stack([series[kind] for kind in kinds])
        n_rows = int(newest.max()) + 1 + PATH_LAGS[-1]
        falls, means, squares = trailing_means(stacked, half_lives, PATH_KERNEL, n_rows)
        price = log_price[len(log_price) - n_rows :]
        risk, trend = np.log(falls + SMALLEST_MOVE), means / np.sqrt(squares + SMALLEST_MOVE**2)
        return cls(_Lagged.of(price), _Lagged.of(risk), _Lagged.of(trend), newest, unit)

    def fill(self, windows: slice, paths: Float64Matrix, scale: Float64Matrix) -> None:
        """Fill in the paths of price, risk and trend of some windows, times `scale`, shape (3, n_lags, 1).

        `paths` has the shape (3, n_lags, n_windows). Risk is how much greater the mean fall is now than at each lag, in
        logs; trend is the Sortino ratio at each lag.
        """
        rows = _as_slice(self.rows[windows])
        np.multiply(self.unit[windows], _ROOTS, out=paths[1])
        for lags, price in self.price.before:
            np.subtract(self.price.now[rows], price[:, rows], out=paths[0, lags])
        np.divide(paths[0], paths[1], out=paths[0])
        for lags, risk in self.risk.before:
            np.subtract(self.risk.now[rows], risk[:, rows], out=paths[1, lags])
        np.multiply(paths[:2], scale[:2], out=paths[:2])
        for lags, trend in self.trend.before:
            np.multiply(trend[:, rows], scale[2, lags], out=paths[2, lags])


def _as_slice(rows: Int64Vector) -> Int64Vector | slice:
    """Return consecutive rows as a slice, which needs no copy; others as they are."""
    first, last = int(rows[0]), int(rows[-1])
    follow = last - first == len(rows) - 1 and bool((np.diff(rows) == 1).all())
    return slice(first, last + 1) if follow else rows


def trailing_means(values: Float64Matrix, half_lives: Sequence[float], n_rows: int, n_last: int) -> Float64Matrix:
    """Return exponentially weighted means of series, one half-life each, ending at each of the last `n_last` values.

    A value ``k`` of `n_rows` (a power of two) rows back weighs ``0.5 ** (k / half_life)``; the weights of a mean add to
    1. Values have shape (n_series, n), n at least ``n_rows + n_last - 1``; means have shape (n_series, n_last).

    Examples
    --------
    >>> trailing_means(np.array([[9.0, 1.0, 2.0]]), [1.0], 2, 1).round(3)
    array([[1.667]])
    """
    _require_power_of_two(n_rows)
    n_needed = n_rows + n_last - 1
    if values.shape[1] < n_needed:
        raise WindowShapeError("series", values.shape, (len(half_lives), n_needed))
    decays = 0.5 ** (1.0 / np.asarray(half_lives, dtype=np.float64))[:, np.newaxis]
    reach = values[:, values.shape[1] - n_needed :]
    means = np.empty((len(values), n_last))
    for first in range(0, len(values), _SERIES_AT_ONCE):
        some = slice(first, first + _SERIES_AT_ONCE)
        np.multiply(
            _decaying_sums(reach[some], decays[some], n_rows, n_last),
            (1.0 - decays[some]) / (1.0 - decays[some] ** n_rows),
            out=means[some],
        )
    return means


def _decaying_sums(sums: Float64Matrix, decay: Float64Matrix, n_rows: int, n_last: int) -> Float64Matrix:
    """Return the sums of `trailing_means` of some series, shape (n_series, n_last); decays are a column."""
    span = 1
    while span < min(n_rows, n_last):  # neighbouring stretches share their halves: every sum is taken once
        older = decay**span * sums[:, :-span]
        sums, span = np.add(older, sums[:, span:], out=older), 2 * span
    # the rest lie apart: axis 1 counts the stretches of `span` rows, axis 2 the rows they lead up to
    by_series, by_row = sums.strides
    blocks = as_strided(sums, (len(sums), n_rows // span, n_last), (by_series, span * by_row, by_row), writeable=False)
    while span < n_rows:
        older = (decay**span)[:, np.newaxis] * blocks[:, 0::2]
        blocks, span = np.add(older, blocks[:, 1::2], out=older), 2 * span
    return blocks[:, 0]


def trailing_averages(values: Float64Vector, lengths: Sequence[int], n_last: int) -> dict[int, Float64Vector]:
    """Return plain means ending at each of the last `n_last` values, shape (n_last,), per length, a power of two."""
    return {length: sums / length for length, sums in _doubled(values, lengths, n_last, np.add).items()}


def trailing_maxima(values: Float64Matrix, lengths: Sequence[int], n_last: int) -> dict[int, Float64Matrix]:
    """Return the greatest values, likewise, shape (n_series, n_last), per length, a power of two."""
    return {length: maxima.copy() for length, maxima in _doubled(values, lengths, n_last, np.maximum).items()}


def _doubled(values: Float64Matrix, lengths: Sequence[int], n_last: int, join: np.ufunc) -> dict[int, Float64Matrix]:
    found, span = {}, 1
    for length in sorted(lengths):
        _require_power_of_two(length)
        while span < length:
            values, span = join(values[..., span:], values[..., :-span]), 2 * span
        found[length] = values[..., values.shape[-1] - n_last :]
    return found


def _require_power_of_two(n_rows: int) -> None:
    if n_rows < 1 or n_rows & (n_rows - 1):
        raise UsageError(f"a trailing stretch must be a power of two long, got {n_rows}")
