"""Whether the sessions of late still look like those a model was calibrated on; if not, it is time to calibrate again.

Means over the last sessions are held against limits. Calibration spans that were resampled in blocks leave one of the
limits, of any figure and any window, in one year of `YEARS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np

from prometheus.arrays import Float32Matrix, Float64Matrix, Float64Vector
from prometheus.encoders.numeric.scale_free import raw_descriptors
from prometheus.market.resampling import stationary_rows
from prometheus.regime.forecasts import logit

WINDOWS = (63, 252)
"""Sessions: a quarter and a year."""
YEARS = 20
"""A market that goes on as in its calibration span gives a false alarm in one year of this number."""
MEAN_BLOCK = 252
"""Sessions: shorter blocks would mix calm and wild years more than markets do."""
N_SIMULATED = 2_000
FEWEST_SESSIONS = 504
"""A calibration span of fewer known sessions says too little about years."""
_SEED = 20_080_915
_YEAR = 252
_AT_ONCE = 100
_DIGITS = 6
_SLACK = 1e-5
"""Beyond each limit, in any unit: a figure that did not move in the span has no width of its own."""


@dataclass(frozen=True, slots=True)
class _Figure:
    """How a reason names what is watched, how it writes a mean, and whether more is written as less."""

    text: str
    show: Callable[[float], str]
    is_inverted: bool = False


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _a_year(log_deviation: float) -> str:
    return f"{_percent(math.exp(log_deviation) * math.sqrt(_YEAR))} a year"


def _fall(log_return: float) -> str:
    return _percent(-math.expm1(log_return))


_DESCRIPTORS: Mapping[str, _Figure] = {
    "volatility_32": _Figure("volatility", _a_year),
    "downside_32": _Figure("downside volatility", _a_year),
    "sortino_64": _Figure("return per unit of downside", "{:+.2f}".format),
    "drawdown_128": _Figure("the drawdown from the 128-session high", _fall, is_inverted=True),
    "momentum_128": _Figure("momentum over 128 sessions, in units of volatility,", "{:+.2f}".format),
}
_SAID: Mapping[str, _Figure] = {
    "confidence": _Figure("the confidence in the label", _percent),
    "bias": _Figure("the stated probability of high volatility less its frequency", _percent),
    "log_loss": _Figure("the log loss of that probability less what it implies", "{:+.2f}".format),
}
_FIGURES = {**_DESCRIPTORS, **_SAID}


def drift_figures(
    vectors: Float32Matrix, confidences: Float64Vector, stated: Float64Vector, came: Float64Vector
) -> Float64Matrix:
    """Return what is watched of n sessions, shape (n, 8).

    `vectors` have the shape (n, 384), the others (n,): the probability of the label, that of high volatility, and
    whether it came, 1 or 0, NaN where that is not known yet.
    """
    misses = stated - came
    surprise = misses * logit(stated)  # -ln(what was said of what came) less its expectation, the entropy
    return np.column_stack([raw_descriptors(vectors, tuple(_DESCRIPTORS)), confidences, misses, surprise])


@dataclass(frozen=True, slots=True)
class DriftNorm:
    """What one figure was in a calibration span, and the limits of its mean over a window of `n_sessions`.

    `mean` and `deviation` are those of single sessions, in the figure's unit.
    """

    figure: str
    n_sessions: int
    mean: float
    deviation: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class WatchedFigure:
    """The mean of one figure over its last sessions, None where too few are known, and the norm it is held against."""

    norm: DriftNorm
    value: float | None

    @property
    def is_out(self) -> bool:
        """Whether the mean has left its limits."""
        return self.value is not None and not self.norm.low <= self.value <= self.norm.high

    @property
    def strength(self) -> float:
        """How far the mean is from the norm, as a multiple of the limit's distance; above 1 where it is out."""
        if self.value is None:
            return 0.0
        limit = self.norm.high if self.value > self.norm.mean else self.norm.low
        return abs(self.value - self.norm.mean) / abs(limit - self.norm.mean)

    @property
    def text(self) -> str:
        """What was seen against the norm, in the field's units; empty where it is not known."""
        if self.value is None:
            return ""
        norm, figure = self.norm, _FIGURES[self.norm.figure]
        above = self.value - norm.mean
        size = f"{abs(above) / norm.deviation:.1f} standard deviations " if norm.deviation > _SLACK else ""
        sessions = "sessions" if norm.figure in _DESCRIPTORS or norm.figure == "confidence" else "known outcomes"
        side = "above" if (above > 0) != figure.is_inverted else "below"
        return (
            f"{figure.text} of the last {norm.n_sessions} {sessions} is {size}{side} the calibration span "
            f"({figure.show(self.value)} against {figure.show(norm.mean)})"
        )


@dataclass(frozen=True, slots=True)
class Drift:
    """What a model's last sessions up to a date are like, against those it was calibrated on."""

    as_of_date: date
    calibrated_until: date
    figures: tuple[WatchedFigure, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why to calibrate again, the strongest first; none while every mean is inside its limits."""
        out = sorted((each for each in self.figures if each.is_out), key=lambda each: -each.strength)
        return tuple(each.text for each in out)

    @property
    def advice(self) -> str | None:
        """Return one line that says to calibrate again, and why; None without a reason."""
        if not self.reasons:
            return None
        n_more = len(self.reasons) - 1
        return f"calibrate again: {self.reasons[0]}{f', and {n_more} more' if n_more else ''}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"calibrated_until": str(self.calibrated_until), "reasons": list(self.reasons)}


def fit_norms(figures: Float64Matrix) -> tuple[DriftNorm, ...]:
    """Return norms and limits of a calibration span, shape (n, 8), without NaN; the same rows give the same ones.

    Every figure, window and side has the same share of the false alarms.
    """
    rows = stationary_rows(np.random.default_rng(_SEED), len(figures), MEAN_BLOCK, N_SIMULATED * 2 * _YEAR)
    paths = rows.reshape(N_SIMULATED, 2 * _YEAR)
    parts = [_extremes(figures[paths[at : at + _AT_ONCE]]) for at in range(0, N_SIMULATED, _AT_ONCE)]
    lows, highs = _limits(np.concatenate(parts))
    lows, highs = lows - _SLACK, highs + _SLACK
    pairs = ((name, n) for n in WINDOWS for name in _FIGURES)
    columns = (np.tile(each, len(WINDOWS)) for each in (figures.mean(axis=0), figures.std(axis=0)))
    return tuple(
        DriftNorm(name, n, *(float(f"{value:.{_DIGITS}g}") for value in values))
        for (name, n), *values in zip(pairs, *columns, lows, highs, strict=True)
    )


def watch(norms: Sequence[DriftNorm], figures: Float64Matrix) -> tuple[WatchedFigure, ...]:
    """Return the means of the last sessions, given what is watched of them, shape (n, 8), oldest first."""
    columns = dict(zip(_FIGURES, figures.T, strict=True))
    found = []
    for norm in norms:
        known = columns[norm.figure][np.isfinite(columns[norm.figure])][-norm.n_sessions :]
        is_enough = len(known) == norm.n_sessions
        found.append(WatchedFigure(norm, float(np.ascontiguousarray(known).mean()) if is_enough else None))
    return tuple(found)


def norms_to_dict(norms: Sequence[DriftNorm]) -> dict[str, Any]:
    """Return JSON values by which norms are kept."""
    return {"family": "drift", "code_version": 1, "norms": [asdict(each) for each in norms]}


def norms_of(document: Mapping[str, Any]) -> tuple[DriftNorm, ...]:
    """Return norms that were kept."""
    return tuple(DriftNorm(**each) for each in document["norms"])


def _extremes(paths: Float64Matrix) -> Float64Matrix:
    """Return the least and greatest means of each window and figure in each path's second year, shape (n, 32).

    Paths have the shape (n, 504, 8). The least come first, as their negatives: then greater is rarer.
    """
    sums = np.cumsum(paths, axis=1)
    means = [(sums[:, _YEAR:] - sums[:, _YEAR - n : -n]) / n for n in WINDOWS]
    return np.concatenate([*(-each.min(axis=1) for each in means), *(each.max(axis=1) for each in means)], axis=1)


def _limits(extremes: Float64Matrix) -> tuple[Float64Vector, Float64Vector]:
    """Return the limits that one simulated year of `YEARS` leaves, each left equally often, shape (16,) both."""
    rarest_first = np.argsort(-extremes, axis=0, kind="stable")
    ranks = np.argsort(rarest_first, axis=0).min(axis=1)
    n_beyond = int(np.sort(ranks)[len(extremes) // YEARS])
    limits = np.take_along_axis(extremes, rarest_first[n_beyond : n_beyond + 1], axis=0)[0]
    lows, highs = np.split(limits, 2)
    return -lows, highs
