"""The walk through the years: refitted on the past, applied day by day, never shown what comes after."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from statistics import median
from typing import Literal

import numpy as np

from prometheus.arrays import DateVector, Float64Vector
from prometheus.encoders.numeric.descriptors import WINDOW_DAYS
from prometheus.errors import InputRefusedError, UsageError
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import (
    DEFAULT_SPAN,
    FittedLabeller,
    Labeller,
    Predictions,
    join_predictions,
    said_by,
)
from prometheus.evaluation.readings import Reader, Readings
from prometheus.market.outcomes import HORIZON_SESSIONS, forward_log_volatility
from prometheus.regime.bear import known_fall

Progress = Callable[[int, int | None], None]
Event = Literal["own", "test"]
"""What counts as high volatility: more than the top fifth of the fit span saw, or of the whole test span."""

WARM_UP_START = date(1960, 1, 1)
MIN_SESSIONS_BEFORE = 504
_FEWEST_KNOWN = 252


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """What is declared before anything is run; `UsageError` if the span is empty or a number out of its range.

    Sessions from `warm_up_start` on are looked at, those from `start` to `end` judged. Labellers are fitted on
    `calibration_span` sessions; forward volatility, over `horizon` sessions, is high in the `top_fraction` of those
    (the `event` ``own``, which was known on the day) or of the test span (``test``, which only its end knows). A switch
    costs the share `cost` of the position, trades lag `delay` sessions behind the one they need.
    `has_recession_months` says whether the recessions of the United States mean anything in this market.
    """

    start: date
    end: date
    warm_up_start: date = WARM_UP_START
    calibration_span: int = DEFAULT_SPAN
    horizon: int = HORIZON_SESSIONS
    top_fraction: float = 0.2
    cost: float = 0.001
    delay: int = 0
    min_sessions_before: int = MIN_SESSIONS_BEFORE
    has_recession_months: bool = True
    event: Event = "own"

    def __post_init__(self) -> None:
        if not self.warm_up_start < self.start <= self.end:
            raise UsageError(
                f"the test span {self.start} to {self.end} must follow the start of the warm-up, {self.warm_up_start}; "
                "give a later --start, none for the first that works, or an --end after it"
            )
        if min(self.calibration_span, self.horizon, self.min_sessions_before) < 1 or self.delay < 0:
            raise UsageError("calibration span, horizon and sessions before must be at least 1, the delay at least 0")
        if not (0.0 < self.top_fraction < 1.0 and 0.0 <= self.cost < 1.0):
            raise UsageError("the top fraction must lie between 0 and 1, the cost from 0 up to 1")

    def visible(self, history: MarketHistory) -> MarketHistory:
        """Return the part of a history that may be looked at: from the warm-up to the end of the test span."""
        day_after = np.datetime64(self.end, "D") + 1
        return history.until(history.position_of(day_after)).since(np.datetime64(self.warm_up_start, "D"))

    def first_position(self, visible: MarketHistory) -> int:
        """Return the position of the first session to be labelled, if enough sessions precede it."""
        first = visible.position_of(np.datetime64(self.start, "D"))
        if first < self.min_sessions_before:
            raise InputRefusedError(
                f"{visible.instrument_id}: {first} sessions from {self.warm_up_start} to {self.start}, "
                f"{self.min_sessions_before} are needed to fit on; load older bars or start later"
            )
        if first == len(visible):
            raise InputRefusedError(f"{visible.instrument_id}: no session from {self.start} to {self.end}")
        return first


@dataclass(frozen=True, slots=True, eq=False)
class WalkForward:
    """Predictions over the test span, `dates`, which begins at position `first` of the visible history.

    Above `thresholds`, shape (n,), annualised, forward volatility was high; `falls`, shape (n,), make a bear market of
    the labeller's own. Seconds are medians over the years: of the fit, and of one new session, from the raw history to
    its prediction.
    """

    name: str
    dates: DateVector
    first: int
    thresholds: Float64Vector
    falls: Float64Vector
    predictions: Predictions
    readings: Readings
    fit_seconds: float
    day_seconds: float


def forward_threshold(history: MarketHistory, plan: EvaluationPlan) -> float:
    """Return the annualised forward volatility that the top fraction of the test span lies above."""
    visible = plan.visible(history)
    return _top(visible, plan, len(visible) - plan.first_position(visible), "any session of the test span")


def known_threshold(past: MarketHistory, plan: EvaluationPlan) -> float:
    """Return the annualised forward volatility that the top fraction of the fit span lies above, as far as it is known.

    The fit span is that of num-regime-core-v2: the last sessions that have a window.
    """
    return _top(past, plan, _n_fitted(past, plan), f"any session before {plan.start}")


def own_fall(fitted: FittedLabeller, past: MarketHistory, plan: EvaluationPlan) -> float:
    """Return the fall that makes a bear market of a labeller's own: its stated one, or that of the fit span."""
    stated: float | None = getattr(fitted, "bear_fall", None)
    return known_fall(past.log_returns, _n_fitted(past, plan)) if stated is None else stated


def _n_fitted(past: MarketHistory, plan: EvaluationPlan) -> int:
    return min(plan.calibration_span, max(len(past) - WINDOW_DAYS + 1, _FEWEST_KNOWN))


def _top(history: MarketHistory, plan: EvaluationPlan, n_last: int, what: str) -> float:
    logs = forward_log_volatility(history.closes, plan.horizon)[-n_last:]
    known: Float64Vector = logs[np.isfinite(logs)]
    if not len(known):
        raise InputRefusedError(f"{history.instrument_id}: no {plan.horizon} sessions follow {what}")
    return math.exp(float(np.quantile(known, 1.0 - plan.top_fraction)))


def year_spans(dates: DateVector, first: int) -> list[tuple[int, int]]:
    """Return (begin, end) positions of the sessions of each calendar year, from position `first` on."""
    years = dates[first:].astype("M8[Y]")
    begins = [first, *(first + 1 + np.flatnonzero(years[1:] != years[:-1])).tolist()]
    return list(zip(begins, [*begins[1:], len(dates)], strict=True))


def walk_forward(
    labeller: Labeller, history: MarketHistory, plan: EvaluationPlan, progress: Progress | None = None
) -> WalkForward:
    """Fit on the first session of each calendar year, on what precedes it, and label online within the year.

    `progress` receives (years done, years).
    """
    visible = plan.visible(history)
    first = plan.first_position(visible)
    of_test = forward_threshold(history, plan) if plan.event == "test" else None
    spans, reader = year_spans(visible.dates, first), Reader(plan.calibration_span, plan.horizon)
    parts, readings, thresholds, falls, fit_seconds, day_seconds = [], [], [], [], [], []
    for n_done, (begin, end) in enumerate(spans):
        if progress is not None:
            progress(n_done, len(spans))
        past, shown = visible.until(begin), visible.until(end)
        limit = known_threshold(past, plan) if of_test is None else of_test
        clock = time.perf_counter()
        fitted = labeller.fit(past, limit)
        fit_seconds.append(time.perf_counter() - clock)
        parts.append(said_by(fitted, shown, end - begin))
        _require_said(labeller.name, visible, begin, parts[-1])
        thresholds.append(np.full(end - begin, limit))
        falls.append(np.full(end - begin, own_fall(fitted, past, plan)))
        readings.append(reader.read(fitted, past, parts[-1], float(falls[-1][0])))
        clock = time.perf_counter()
        fitted.predictions(shown, 1)
        day_seconds.append(time.perf_counter() - clock)
    return WalkForward(
        labeller.name, visible.dates[first:], first, np.concatenate(thresholds), np.concatenate(falls),
        join_predictions(parts), Readings.join(readings), median(fit_seconds), median(day_seconds),
    )  # fmt: skip


def _require_said(name: str, visible: MarketHistory, begin: int, said: Predictions) -> None:
    silent = np.flatnonzero(~np.isfinite(said.scores))
    if len(silent):
        raise InputRefusedError(
            f"{visible.instrument_id}: {name} has no value on {visible.dates[begin + int(silent[0])]}; "
            "give a span that it covers"
        )
