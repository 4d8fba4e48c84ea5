"""Does what was told by a session improve the forecast of the volatility after it? HAR, and HAR with texts, walked.

The grid is declared here, before anything is run: four sets of text features, two horizons. At the first session
judged, and at the first of each later year, every model is fitted anew on all sessions before whose outcome is known by
then. The variance of a session is that of its range, or its squared return where the range is not known (see
`prometheus.evaluation.har`). The regression on texts is a ridge: HAR is free, texts are drawn to zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from prometheus.arrays import DateVector, Float64Matrix, Float64Vector
from prometheus.errors import InputRefusedError
from prometheus.evaluation.har import SPANS, har_regressors, range_variances
from prometheus.evaluation.history import MarketHistory, trailing_windows
from prometheus.evaluation.stories import Stories, ToldSessions

HORIZONS = (1, 5)
"""Sessions ahead."""
GRID: Mapping[str, tuple[str, ...]] = {
    "count": ("count",),
    "novelty": ("novelty",),
    "directions": ("directions",),
    "together": ("count", "novelty", "directions"),
}
"""The sets of text features: each alone, and together."""
HAR = "HAR"
RIDGE = 100.0
"""Standardised text features weigh as if this many sessions had said that they mean nothing."""
FIRST_FIT = 504
"""Sessions before the first one judged."""
LEAST_JUDGED = 250
LEAST_TOLD = 50
"""Sessions with texts among the first fitted ones."""
_LEAST_SHARE = 0.01
"""A session without a move counts as this share of its month's variance: its logarithm must exist."""

Walked = Mapping[tuple[int, str], "Forecasts"]
"""By horizon and set of features, `HAR` for none."""


@dataclass(frozen=True, slots=True, eq=False)
class JudgedSpan:
    """The sessions from the first text on to the last one of an instrument, shape (n,).

    `regressors`, (n, 4), are those of HAR; `targets`, (n, n_horizons), the log volatilities that followed, NaN where
    they are not known; `told` is what was told by each session.
    """

    instrument_id: str
    dates: DateVector
    regressors: Float64Matrix
    targets: Float64Matrix
    told: ToldSessions

    @classmethod
    def of(cls, history: MarketHistory, stories: Stories) -> JudgedSpan:
        """Return the span of a history that texts are about; `InputRefusedError` if it is too short."""
        name, told = history.instrument_id, ToldSessions.of(stories, history.dates)
        with_texts = np.flatnonzero(told.n_texts)
        first, end = (int(with_texts[0]), int(with_texts[-1]) + 1) if len(with_texts) else (0, 0)
        first = max(first, SPANS[-1] - 1)
        needed = FIRST_FIT + LEAST_JUDGED
        if end - first < needed:
            raise InputRefusedError(
                f"{name}: {max(end - first, 0)} sessions lie between its first text and its last, {needed} are needed; "
                "load older prices or more texts"
            )
        n_told = int(np.count_nonzero(told.n_texts[first : first + FIRST_FIT]))
        if n_told < LEAST_TOLD:
            raise InputRefusedError(
                f"{name}: {n_told} of its first {FIRST_FIT} sessions have texts, {LEAST_TOLD} are needed; load more"
            )
        variances = range_variances(history)
        regressors = har_regressors(variances, len(history))[first:end]
        targets = np.column_stack([log_volatility_after(variances, horizon) for horizon in HORIZONS])[first:end]
        return cls(name, history.dates[first:end], regressors, targets, told.since(first, end))

    def __len__(self) -> int:
        return len(self.dates)

    def shifted(self, n_sessions: int) -> JudgedSpan:
        """Return the same sessions with what was told a number of sessions earlier, in a circle."""
        return replace(self, told=self.told.shifted(n_sessions))


@dataclass(frozen=True, slots=True, eq=False)
class Forecasts:
    """Forecasts made at the close of the sessions judged, shape (n,), by one model over one horizon.

    `values` are log volatilities, `variances` what they mean as daily variances, `base` the mean of the fitted span.
    """

    values: Float64Vector
    variances: Float64Vector
    base: Float64Vector


def log_volatility_after(variances: Float64Vector, horizon: int) -> Float64Vector:
    """Return half the log of the mean variance of the next sessions, shape (n,); NaN where not all are known.

    It is at least that of a hundredth of the month's mean up to the session.
    """
    months = trailing_windows(variances, len(variances), SPANS[-1]).mean(axis=1)
    after = np.full(len(variances), np.nan)
    if len(variances) > horizon:
        windows = np.lib.stride_tricks.sliding_window_view(variances[1:], horizon)
        after[: len(windows)] = np.ascontiguousarray(windows).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs: Float64Vector = 0.5 * np.log(np.maximum(after, _LEAST_SHARE * months))
    logs[~np.isfinite(logs)] = np.nan
    return logs


def walk_texts(span: JudgedSpan) -> Walked:
    """Return the forecasts of every model for the sessions from `FIRST_FIT` on; nothing later moves one."""
    parts: dict[tuple[int, str], list[Forecasts]] = {}
    for fitted, judged in _fits(span.dates):
        features = _features(span.told, fitted)
        for number, horizon in enumerate(HORIZONS):
            target = span.targets[:, number]
            for cell, names in {HAR: (), **GRID}.items():
                texts = [features[name] for name in names]
                made = _fit_and_forecast(span.regressors, texts, target, fitted, judged)
                parts.setdefault((horizon, cell), []).append(made)
    return {key: _joined(made) for key, made in parts.items()}


def _joined(parts: list[Forecasts]) -> Forecasts:
    columns = zip(*((part.values, part.variances, part.base) for part in parts), strict=True)
    return Forecasts(*map(np.concatenate, columns))


def _fits(dates: DateVector) -> Iterator[tuple[slice, slice]]:
    """Yield the rows fitted, whose outcomes are known on the first row judged, and the rows judged."""
    years = dates.astype("M8[Y]")
    begins = np.flatnonzero(years[1:] > years[:-1]) + 1
    begins = np.unique([FIRST_FIT, *begins[begins > FIRST_FIT].tolist()]).tolist()
    for first, end in zip(begins, [*begins[1:], len(dates)], strict=True):
        yield slice(0, first - max(HORIZONS) + 1), slice(first, end)


def _features(told: ToldSessions, fitted: slice) -> dict[str, Float64Matrix]:
    """Return text features, standardised over the fitted sessions that have them; 0 where nothing was told of them."""
    found = {
        "count": told.counts(),
        "novelty": told.novelty[:, np.newaxis],
        "directions": told.directions(fitted),
    }
    return {name: _standardised(values, fitted) for name, values in found.items()}


def _standardised(values: Float64Matrix, fitted: slice) -> Float64Matrix:
    seen = values[fitted]
    seen = seen[np.isfinite(seen).all(axis=1)]
    if not len(seen):
        return np.zeros_like(values)
    deviations = seen.std(axis=0)
    scores: Float64Matrix = (values - seen.mean(axis=0)) / np.where(deviations > 0.0, deviations, np.inf)
    scores[~np.isfinite(scores)] = 0.0
    return scores


def _fit_and_forecast(
    regressors: Float64Matrix, texts: list[Float64Matrix], target: Float64Vector, fitted: slice, judged: slice
) -> Forecasts:
    design = np.column_stack([regressors, *texts])
    rows = np.arange(len(target))[fitted]
    rows = rows[np.isfinite(target[rows]) & np.isfinite(design[rows]).all(axis=1)]
    penalty = np.where(np.arange(design.shape[1]) < regressors.shape[1], 0.0, RIDGE)
    weights = _ridge(design[rows], target[rows], penalty)
    logs = (design * weights).sum(axis=1)
    smearing = float(np.exp(2.0 * (target[rows] - logs[rows])).mean())  # Duan, Journal of the ASA 78, 1983
    values = logs[judged]
    base = np.full(len(values), float(target[rows].mean()))
    return Forecasts(values, smearing * np.exp(2.0 * values), base)


def _ridge(design: Float64Matrix, target: Float64Vector, penalty: Float64Vector) -> Float64Vector:
    """Return the weights of least squares with ``penalty * weight ** 2`` added (Hoerl and Kennard, 1970)."""
    scale = np.sqrt((design**2).mean(axis=0))
    scale = np.where(scale > 0.0, scale, 1.0)
    scaled = design / scale
    curvature = scaled.T @ scaled + np.diag(penalty / scale**2 + 1e-9)
    weights: Float64Vector = np.linalg.solve(curvature, scaled.T @ target) / scale
    return weights
