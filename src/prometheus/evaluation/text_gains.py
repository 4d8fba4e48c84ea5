"""What texts add to HAR, in figures: how far errors fall, how sure that is, and what could have been seen at all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from prometheus.arrays import DateVector, Float64Vector
from prometheus.evaluation.bootstrap import mean_difference_interval, ratio_interval
from prometheus.evaluation.figures import json_values
from prometheus.evaluation.text_volatility import (
    FIRST_FIT,
    GRID,
    HAR,
    HORIZONS,
    Forecasts,
    JudgedSpan,
    walk_texts,
)

N_PLACEBOS = 19
"""Random shifts of the texts: the fewest of which the best stands for 5 %."""
LEAST_SHIFT = 63
"""Sessions that a placebo moves the texts by, at least."""
SEED = 19_870_413
LEVEL = 0.05
POWER = 0.8
POOLED = "all together"

Key = tuple[int, str]
"""Horizon and set of features."""


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """By session judged, shape (n,): what HAR loses less what HAR with texts loses, and what it is a share of.

    `squares` is of squared errors of log volatility, `likelihoods` of QLIKE; `har` is HAR's squared error, `spread`
    that of the mean of the fitted span.
    """

    dates: DateVector
    squares: Float64Vector
    likelihoods: Float64Vector
    har: Float64Vector
    spread: Float64Vector

    @classmethod
    def of(cls, dates: DateVector, target: Float64Vector, har: Forecasts, texts: Forecasts) -> Losses:
        """Return the losses of the sessions whose outcome is known."""
        known = np.isfinite(target) & np.isfinite(har.values)
        errors, others = ((target - each.values)[known] ** 2 for each in (har, texts))
        variances = np.exp(2.0 * target)
        losses = [_quasi_likelihoods(each.variances, variances)[known] for each in (har, texts)]
        spread = (target - har.base)[known] ** 2
        return cls(dates[known], errors - others, losses[0] - losses[1], errors, spread)

    @classmethod
    def pooled(cls, parts: Sequence[Losses]) -> Losses:
        """Return the mean over instruments of each session, so that what they share counts once."""
        dates, places = np.unique(np.concatenate([part.dates for part in parts]), return_inverse=True)
        counts = np.bincount(places)
        columns = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("squares", "likelihoods", "har", "spread")
        )
        return cls(dates, *(np.bincount(places, weights=column) / counts for column in columns))

    @property
    def gain(self) -> float:
        """The R squared that texts add."""
        return float(self.squares.sum() / self.spread.sum())

    @property
    def error_of_gain(self) -> float:
        """The standard error of `gain`, by Newey and West (Econometrica 55, 1987) with the cube root of n lags."""
        return math.sqrt(_long_run_variance(self.squares) / len(self.squares)) / float(self.spread.mean())


@dataclass(frozen=True, slots=True)
class Gain:
    """What one set of text features added to HAR, on one instrument over one horizon.

    `gain` is the R squared added, out of sample, with its 95 % interval; `qlike` the QLIKE added, below 0 where texts
    help; `mse_ratio` is below 1 where they do. `p_value` is of Diebold and Mariano's test that the squared errors are
    equal (Journal of Business and Economic Statistics 13, 1995), two-sided, `holm` the same corrected for every test of
    the call (Holm, Scandinavian Journal of Statistics 6, 1979). `least_seen` is the smallest true gain that would have
    been found in four of five such samples. `placebo` is the mean gain of shifted texts, `placebo_best` the best, and
    `placebo_p` the share of all that are at least as good, the true one included.
    """

    instrument_id: str
    horizon: int
    features: str
    n_sessions: int
    n_with_texts: int
    r2_har: float
    gain: float
    low: float
    high: float
    qlike: float
    qlike_low: float
    qlike_high: float
    mse_ratio: float
    p_value: float
    holm: float
    least_seen: float
    placebo: float
    placebo_best: float
    placebo_p: float

    @property
    def is_found(self) -> bool:
        """Whether texts help for sure: corrected for the grid, and better than every placebo."""
        return self.gain > 0.0 and self.holm < LEVEL and self.placebo_p <= LEVEL

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**json_values(asdict(self)), "is_found": self.is_found}


@dataclass(frozen=True, slots=True, eq=False)
class JudgedTexts:
    """The losses of one instrument by horizon and features, its sessions with texts, and the losses with placebos."""

    instrument_id: str
    with_texts: DateVector
    losses: Mapping[Key, Losses]
    placebos: Sequence[Mapping[Key, Losses]]


def judge_texts(span: JudgedSpan, n_placebos: int = N_PLACEBOS) -> JudgedTexts:
    """Walk the grid with the texts as they were told, and with them shifted."""
    shifts = np.random.default_rng(SEED).integers(LEAST_SHIFT, len(span) - LEAST_SHIFT, n_placebos)
    placebos = [_losses(span.shifted(int(shift))) for shift in shifts]
    with_texts = span.dates[FIRST_FIT:][span.told.n_texts[FIRST_FIT:] > 0]
    return JudgedTexts(span.instrument_id, with_texts, _losses(span), placebos)


def gains_of(judged: Sequence[JudgedTexts]) -> tuple[Gain, ...]:
    """Return the figures of each instrument, then of all together if there are several; corrected for all of them."""
    everyone = [*judged, _pool(judged)] if len(judged) > 1 else list(judged)
    gains = [_gain(each, key, len(everyone) * len(each.losses)) for each in everyone for key in each.losses]
    corrected = holm([each.p_value for each in gains])
    return tuple(replace(each, holm=value) for each, value in zip(gains, corrected, strict=True))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for having tested all of them.

    >>> holm([0.01, 0.5, 0.03])
    [0.03, 0.5, 0.06]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = highest
    return corrected


def _losses(span: JudgedSpan) -> dict[Key, Losses]:
    walked, dates = walk_texts(span), span.dates[FIRST_FIT:]
    return {
        (horizon, cell): Losses.of(dates, span.targets[FIRST_FIT:, number], walked[horizon, HAR], walked[horizon, cell])
        for number, horizon in enumerate(HORIZONS)
        for cell in GRID
    }


def _pool(judged: Sequence[JudgedTexts]) -> JudgedTexts:
    def pooled(of_each: Sequence[Mapping[Key, Losses]]) -> dict[Key, Losses]:
        return {key: Losses.pooled([each[key] for each in of_each]) for key in of_each[0]}

    placebos = [pooled(each) for each in zip(*(one.placebos for one in judged), strict=True)]
    with_texts = np.unique(np.concatenate([each.with_texts for each in judged]))
    return JudgedTexts(POOLED, with_texts, pooled([each.losses for each in judged]), placebos)


def _gain(judged: JudgedTexts, key: Key, n_tests: int) -> Gain:
    losses, normal = judged.losses[key], NormalDist()
    gain, error = losses.gain, losses.error_of_gain
    shifted = [each[key].gain for each in judged.placebos]
    zero = np.zeros(len(losses.dates))
    qlike_low, qlike_high = mean_difference_interval(zero, losses.likelihoods)
    low, high = ratio_interval(losses.squares, losses.spread)
    total = float(losses.har.sum())
    return Gain(
        judged.instrument_id, *key, len(losses.dates), len(judged.with_texts),
        r2_har=1.0 - total / float(losses.spread.sum()), gain=gain, low=low, high=high,
        qlike=-float(losses.likelihoods.mean()), qlike_low=qlike_low, qlike_high=qlike_high,
        mse_ratio=1.0 - float(losses.squares.sum()) / total,
        p_value=math.erfc(abs(gain / error) / math.sqrt(2.0)) if error > 0.0 else 1.0, holm=math.nan,
        least_seen=error * (normal.inv_cdf(1.0 - LEVEL / 2.0 / n_tests) + normal.inv_cdf(POWER)),
        placebo=float(np.mean(shifted)) if shifted else math.nan, placebo_best=max(shifted, default=math.nan),
        placebo_p=(1 + sum(each >= gain for each in shifted)) / (1 + len(shifted)),
    )  # fmt: skip


def _quasi_likelihoods(forecasts: Float64Vector, variances: Float64Vector) -> Float64Vector:
    """Return QLIKE of each session; see `prometheus.evaluation.figures.quasi_likelihood`."""
    ratios = variances / forecasts
    losses: Float64Vector = ratios - np.log(ratios) - 1.0
    return losses


def _long_run_variance(values: Float64Vector) -> float:
    centred, n = values - values.mean(), len(values)
    n_lags = math.ceil(n ** (1.0 / 3.0))
    total = float((centred**2).mean())
    for lag in range(1, min(n_lags, n - 1) + 1):
        total += 2.0 * (1.0 - lag / (n_lags + 1.0)) * float((centred[lag:] * centred[:-lag]).sum()) / n
    return max(total, 0.0)
