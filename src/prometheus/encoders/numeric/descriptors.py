"""What a market looks like on a date, in numbers without price level, currency or unit: risk, trend, and their path.

Every kernel is cut inside a window of 513 sessions and covers 2**n rows: a sum over ``2**(n+1)`` rows is made of the
two sums over its halves, always in that order. So a value is a function of the rows it covers alone, neither of where a
table begins nor of how many rows are asked for; prefix sums and running averages are not (ADR-0008).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view

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
_DRAWDOWN_LENGTHS = (32, 64, 128, 256, 512)
_AVERAGE_LENGTHS = (32, 64, 128, 256)
_MOMENTUM_LENGTHS = (16, 32, 64, 128, 256, 512)
_RISE_LENGTHS = (16, 64, 256)
_NORM_HALF_LIFE = 256
_MOVES = tuple(
    [("range", h) for h in (*_RANGE_HALF_LIVES, _NORM_HALF_LIFE)]
    + [("down_range", h) for h in _DOWN_RANGE_HALF_LIVES]
    + [("move", _NORM_HALF_LIFE)]
)
_SQUARES = tuple([("volatility", h) for h in _VOLATILITY_HALF_LIVES] + [("downside", h) for h in _SORTINO_HALF_LIVES])
_RETURNS = tuple([("return", h) for h in _SORTINO_HALF_LIVES])
_PATH_KERNEL = 256
_PATH_RISK_HALF_LIFE = 16
_PATH_TREND_HALF_LIFE = 32
_LAGS = np.array(PATH_LAGS)[:, np.newaxis]

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
    + [f"rise_{n}" for n in _RISE_LENGTHS]
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
    first, stop = int(ends.min()), int(ends.max())
    if first < WINDOW_DAYS or stop > len(features):
        raise UsageError(f"windows reach from row {first - WINDOW_DAYS} to {stop} of a table of {len(features)}")
    table = np.asarray(features[first - WINDOW_DAYS : stop], dtype=np.float64)
    newest = ends - first
    log_price = table[:, 0].copy()
    returns = np.diff(log_price)
    down_range = np.maximum(table[1:, 2] - returns, 0.0)
    series = {
        "return": returns,
        "move": np.abs(returns),
        "volatility": returns * returns,
        "downside": np.minimum(returns, 0.0) ** 2,
        "down_range": down_range,
        "range": down_range + np.maximum(table[1:, 1] + returns, 0.0),
    }
    columns = _risk_and_trend(series, newest)
    unit = np.exp(columns["volatility_64"])
    columns |= _place(log_price, unit, newest)
    described = np.empty((DIM, len(ends)))
    for row, name in enumerate(NAMES[: -3 * len(PATH_LAGS)]):
        described[row] = columns[name]
    paths = described[-3 * len(PATH_LAGS) :].reshape(3, len(PATH_LAGS), len(ends))
    now = newest + N_RETURNS
    np.divide(log_price[now] - _at_lags(log_price, now), unit * np.sqrt(_LAGS), out=paths[0])
    _fill_paths(series, newest, paths)
    return described


def _risk_and_trend(series: Mapping[str, Float64Vector], newest: Int64Vector) -> dict[str, Float64Vector]:
    """Return log means of ranges, log deviations of returns and falls, and Sortino ratios, per session.

    Ranges are divided by their own long ratio to absolute returns: sources differ in how highs and lows are made, and
    without any the ratio is 1.
    """
    wanted = (*_MOVES, *_SQUARES, *_RETURNS)
    stacked = np.stack([series[kind] for kind, _ in wanted])
    means = trailing_means(stacked, [h for _, h in wanted], N_RETURNS, int(newest.max()) + 1)[:, newest]
    moves = np.log(means[: len(_MOVES)] + SMALLEST_MOVE)
    deviations = 0.5 * np.log(means[len(_MOVES) : -len(_RETURNS)] + SMALLEST_MOVE**2)
    norm = moves[_MOVES.index(("range", _NORM_HALF_LIFE))] - moves[_MOVES.index(("move", _NORM_HALF_LIFE))]
    ratios = means[-len(_RETURNS) :] / np.exp(deviations[-len(_SORTINO_HALF_LIVES) :])
    columns = {"range_ratio": norm}
    columns |= {f"{kind}_{h}": row for (kind, h), row in zip(_MOVES, moves - norm, strict=True)}
    columns |= {f"{kind}_{h}": row for (kind, h), row in zip(_SQUARES, deviations, strict=True)}
    return columns | {f"sortino_{h}": row for h, row in zip(_SORTINO_HALF_LIVES, ratios, strict=True)}


def _place(log_price: Float64Vector, unit: Float64Vector, newest: Int64Vector) -> dict[str, Float64Vector]:
    n_last, now = int(newest.max()) + 1, newest + N_RETURNS
    price = log_price[now]
    extremes = trailing_maxima(np.stack([log_price, -log_price]), _DRAWDOWN_LENGTHS + _RISE_LENGTHS, n_last)
    averages = trailing_averages(log_price, _AVERAGE_LENGTHS, n_last)
    columns = {f"drawdown_{n}": price - extremes[n][0, newest] for n in _DRAWDOWN_LENGTHS}
    columns |= {f"rise_{n}": price + extremes[n][1, newest] for n in _RISE_LENGTHS}
    columns |= {f"average_{n}": (price - averages[n][newest]) / (unit * math.sqrt(n)) for n in _AVERAGE_LENGTHS}
    columns |= {f"momentum_{n}": (price - log_price[now - n]) / (unit * math.sqrt(n)) for n in _MOMENTUM_LENGTHS}
    return columns


def _fill_paths(series: Mapping[str, Float64Vector], newest: Int64Vector, paths: Float64Matrix) -> None:
    """Fill in the paths of risk and trend; `paths` has shape (3, n_lags, n_windows).

    Risk is how much greater the mean fall is now than at each lag, in logs; trend is the Sortino ratio at each lag.
    """
    kinds = ("down_range", "return", "downside")
    half_lives = (_PATH_RISK_HALF_LIFE, _PATH_TREND_HALF_LIFE, _PATH_TREND_HALF_LIFE)
    stacked = np.stack([series[kind] for kind in kinds])
    falls, means, squares = trailing_means(stacked, half_lives, _PATH_KERNEL, int(newest.max()) + 1 + PATH_LAGS[-1])
    now = newest + PATH_LAGS[-1]
    risk = np.log(falls + SMALLEST_MOVE)
    np.subtract(risk[now], _at_lags(risk, now), out=paths[1])
    paths[2] = _at_lags(means / np.sqrt(squares + SMALLEST_MOVE**2), now)


def _at_lags(values: Float64Vector, now: Int64Vector) -> Float64Matrix:
    """Return the values at each of `PATH_LAGS` before some rows, shape (n_lags, n_rows)."""
    n_rows = len(now)
    if n_rows > 1 and now[-1] - now[0] == n_rows - 1 and (np.diff(now) == 1).all():  # whole stretches are copied faster
        found: Float64Matrix = sliding_window_view(values, n_rows)[now[0] - _LAGS[:, 0]]
    else:
        found = values[now - _LAGS]
    return found


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
    decay = 0.5 ** (1.0 / np.asarray(half_lives, dtype=np.float64))[:, np.newaxis]
    sums, span = values[:, values.shape[1] - n_needed :], 1
    while span < min(n_rows, n_last):  # neighbouring stretches share their halves: every sum is taken once
        older = decay**span * sums[:, :-span]
        sums, span = np.add(older, sums[:, span:], out=older), 2 * span
    # the rest lie apart: axis 1 counts the stretches of `span` rows, axis 2 the rows they lead up to
    by_series, by_row = sums.strides
    blocks = as_strided(sums, (len(sums), n_rows // span, n_last), (by_series, span * by_row, by_row), writeable=False)
    while span < n_rows:
        older = (decay**span)[:, np.newaxis] * blocks[:, 0::2]
        blocks, span = np.add(older, blocks[:, 1::2], out=older), 2 * span
    means: Float64Matrix = blocks[:, 0] * ((1.0 - decay) / (1.0 - decay**n_rows))
    return means


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
