"""The slow, obvious twin of the scale-free encoder: one window at a time, Python floats, one sum per value.

Names, shares and formulas are written down here a second time, from what the encoder's documents say; nothing is
imported from `prometheus.encoders`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from tests.reference.windows import Bar

LogPrices: TypeAlias = tuple[float, float, float]
"""Log adjusted close, log of high over close, log of close over low."""

LAGS = [*range(1, 65), *range(68, 257, 4)]
RISK = [*(f"down_range_{h}" for h in (4, 8, 16, 32, 64)), "downside_16", "downside_32", "downside_64"]
TREND = ["sortino_32", "sortino_64", "sortino_128", "average_128", "drawdown_128", "momentum_128"]
CONTEXT = [
    "range_ratio", "range_2", "range_4", "range_8", "range_16", "range_32", "range_64",
    "volatility_4", "volatility_8", "volatility_16", "volatility_32", "volatility_64", "volatility_128",
    "down_range_2", "down_range_128", "downside_8", "downside_128", "sortino_8", "sortino_16",
    "drawdown_32", "drawdown_64", "drawdown_256", "drawdown_512", "average_32", "average_64", "average_256",
    "momentum_16", "momentum_32", "momentum_64", "momentum_256", "momentum_512", "rise_16", "rise_64", "rise_256",
]  # fmt: skip
LAYOUT = [
    (RISK, 0.36),
    (TREND, 0.44),
    (CONTEXT, 0.08),
    ([f"price_path_{lag}" for lag in LAGS], 0.04),
    ([f"risk_path_{lag}" for lag in LAGS], 0.04),
    ([f"trend_path_{lag}" for lag in LAGS], 0.04),
]
"""Descriptors in order, group by group, and the share of the squared distance that each group has."""


def slow_log_prices(bars: Sequence[Bar]) -> list[LogPrices]:
    """What the encoder sees of each bar; a high or low that is missing, or beyond 3 times, is the close."""
    return [
        (math.log(adjusted), log_of_sound(high / close), log_of_sound(close / low))
        for _, close, _, adjusted, high, low in bars
    ]


def log_of_sound(ratio: float) -> float:
    return math.log(ratio) if 1 <= ratio <= 3 else 0.0  # NaN is in no interval


def weighted_mean(values: Sequence[float], half_life: float, n_rows: int) -> float:
    """The mean of the last `n_rows` values; a value k rows back weighs 0.5 ** (k / half_life)."""
    weights = [0.5 ** (back / half_life) for back in range(n_rows)]
    newest_first = list(values)[::-1][:n_rows]
    return math.fsum(w * v for w, v in zip(weights, newest_first, strict=True)) / math.fsum(weights)


def slow_descriptors(rows: Sequence[LogPrices]) -> dict[str, float]:
    """Every descriptor of the last 513 rows, by name."""
    rows = list(rows)[-513:]
    assert len(rows) == 513
    price = [row[0] for row in rows]
    returns = [price[t] - price[t - 1] for t in range(1, 513)]
    falls = [min(r, 0.0) for r in returns]
    down = [max(row[2] - r, 0.0) for row, r in zip(rows[1:], returns, strict=True)]
    up = [max(row[1] + r, 0.0) for row, r in zip(rows[1:], returns, strict=True)]
    whole = [a + b for a, b in zip(down, up, strict=True)]
    found: dict[str, float] = {}

    def log_mean(values: Sequence[float], half_life: float) -> float:
        return math.log(weighted_mean(values, half_life, 512) + 1e-4)

    def log_deviation(values: Sequence[float], half_life: float) -> float:
        return 0.5 * math.log(weighted_mean([v * v for v in values], half_life, 512) + 1e-8)

    ratio = log_mean(whole, 256) - log_mean([abs(r) for r in returns], 256)
    found["range_ratio"] = ratio
    for h in (2, 4, 8, 16, 32, 64, 128):
        found[f"range_{h}"] = log_mean(whole, h) - ratio
        found[f"down_range_{h}"] = log_mean(down, h) - ratio
        found[f"volatility_{h}"] = log_deviation(returns, h)
        found[f"downside_{h}"] = log_deviation(falls, h)
        found[f"sortino_{h}"] = weighted_mean(returns, h, 512) / math.exp(log_deviation(falls, h))
    found |= place_of_the_price(price, math.exp(found["volatility_64"]))
    for lag in LAGS:
        found[f"price_path_{lag}"] = (price[-1] - price[-1 - lag]) / (math.exp(found["volatility_64"]) * math.sqrt(lag))
    return found | paths_of_risk_and_trend(returns, falls, down)


def place_of_the_price(price: Sequence[float], volatility: float) -> dict[str, float]:
    """Distance to high, low, average and past price; the last two in units of volatility over that time."""
    found: dict[str, float] = {}
    for n in (16, 32, 64, 128, 256, 512):
        last = price[-n:]
        found[f"drawdown_{n}"] = price[-1] - max(last)
        found[f"rise_{n}"] = price[-1] - min(last)
        found[f"average_{n}"] = (price[-1] - math.fsum(last) / n) / (volatility * math.sqrt(n))
        found[f"momentum_{n}"] = (price[-1] - price[-1 - n]) / (volatility * math.sqrt(n))
    return found


def paths_of_risk_and_trend(
    returns: Sequence[float], falls: Sequence[float], down: Sequence[float]
) -> dict[str, float]:
    """Mean fall now against what it was at each lag, in logs; mean return over downside deviation at each lag."""

    def at(lag: int, values: Sequence[float], half_life: float, of: Callable[[float], float] = float) -> float:
        return weighted_mean([of(v) for v in values[: len(values) - lag]], half_life, 256)

    found: dict[str, float] = {}
    for lag in LAGS:
        found[f"risk_path_{lag}"] = math.log(at(0, down, 16) + 1e-4) - math.log(at(lag, down, 16) + 1e-4)
        deviation = math.sqrt(at(lag, falls, 32, lambda v: v * v) + 1e-8)
        found[f"trend_path_{lag}"] = at(lag, returns, 32) / deviation
    return found


def slow_scale_free_vector(rows: Sequence[LogPrices], scaling: Mapping[str, Sequence[float]]) -> list[float]:
    """The 384 values in order, from the mean and the deviation of each descriptor on the frozen span."""
    found = slow_descriptors(rows)
    return [
        (found[name] - scaling[name][0]) / scaling[name][1] * math.sqrt(share / len(names))
        for names, share in LAYOUT
        for name in names
    ]
