"""What was stated around given dates, session by session, against dates drawn at random from the same span.

Session 0 of an event is the first one on or after its date. Dates, not events of single regions, are drawn: what moves
all regions on one day is drawn together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from prometheus.arrays import DateVector, Float64Matrix, Float64Vector, Int64Vector
from prometheus.errors import InputRefusedError, UsageError
from prometheus.evaluation.bootstrap import N_RESAMPLES, SEED, interval_of
from prometheus.evaluation.figures import json_values
from prometheus.market.bars import Closes
from prometheus.market.outcomes import HORIZON_SESSIONS, forward_log_volatility
from prometheus.regime.history import LABELS, RegimeTimeline
from prometheus.regime.types import RegimeLabel

LATEST_SESSION_DAYS = 7
"""Calendar days after an event by which its session 0 must come."""
MAX_SESSIONS = 252

HIGH, BEAR, RETURN, VOLATILITY = "high_volatility", "bear", "log_return", "realised_volatility"
MEASURES = (HIGH, BEAR, *(label.name for label in RegimeLabel), RETURN, VOLATILITY)
"""Probabilities stated, shares of the labels, the log return since the session before the event, and the annualised
volatility of the 21 sessions up to each."""


@dataclass(frozen=True, slots=True)
class Event:
    """A date that something happened on, and what."""

    day: date
    name: str = ""

    def __str__(self) -> str:
        return f"{self.day} {self.name}".rstrip()


@dataclass(frozen=True, slots=True)
class EventWindow:
    """The sessions looked at, `before` and `after` session 0; UsageError if they are negative or more than a year."""

    before: int = 21
    after: int = 63

    def __post_init__(self) -> None:
        if not (0 <= self.before <= MAX_SESSIONS and 0 <= self.after <= MAX_SESSIONS):
            raise UsageError(f"--before {self.before} --after {self.after}: name numbers from 0 to {MAX_SESSIONS}")

    @property
    def offsets(self) -> Int64Vector:
        """The sessions relative to session 0, shape (n_offsets,)."""
        return np.arange(-self.before, self.after + 1)


@dataclass(frozen=True, slots=True, eq=False)
class StatedSessions:
    """What was stated of one region, session by session, shape (n,) each, dates strictly ascending.

    Labels are positions in `LABELS`. Probabilities are NaN where the model states none, volatilities, annualised, where
    fewer than 21 returns led up to the session; closes are adjusted.
    """

    region: str
    dates: DateVector
    labels: Int64Vector
    high_volatility: Float64Vector
    bear: Float64Vector
    closes: Float64Vector
    realised_volatility: Float64Vector

    @classmethod
    def of(cls, timeline: RegimeTimeline, bear: Float64Vector, closes: Closes, learned: date | None) -> StatedSessions:
        """Return what a timeline states after the last date that its model learned from, where there is a close.

        `bear`, shape (n,), are probabilities of a bear market beside the timeline's rows.
        """
        begin = 0 if learned is None else int(np.searchsorted(timeline.dates, np.datetime64(learned, "D"), "right"))
        days, at, rows = np.intersect1d(timeline.dates[begin:], closes.dates, return_indices=True)
        at += begin
        followed = np.exp(forward_log_volatility(closes.values))
        trailing = np.concatenate([np.full(HORIZON_SESSIONS, np.nan), followed])[: len(followed)]
        return cls(
            timeline.region, days, timeline.labels[at], timeline.high_volatilities[at], bear[at], closes.values[rows],
            trailing[rows],
        )  # fmt: skip

    def sessions_zero(self, days: DateVector) -> Int64Vector:
        """Return the position of session 0 of each day, shape (n_days,); -1 where the region has none."""
        at = np.searchsorted(self.dates, days)
        found = self.dates[np.minimum(at, len(self.dates) - 1)]
        is_near = (found >= days) & (found - days <= np.timedelta64(LATEST_SESSION_DAYS, "D"))
        return np.where(is_near, at, -1)

    def path(self, measure: str, at: Int64Vector, window: EventWindow) -> Float64Matrix:
        """Return a measure around positions, shape (n_positions, n_offsets); NaN where it is not known."""
        if measure == RETURN:
            logs = np.log(self.closes)
            begin = np.where(at > 0, logs[np.maximum(at - 1, 0)], np.nan)
            since: Float64Matrix = self._around(logs, at, window) - begin[:, np.newaxis]
            return since
        return self._around(self._measure(measure), at, window)

    def _measure(self, measure: str) -> Float64Vector:
        is_share = measure in RegimeLabel.__members__
        values: Float64Vector = (
            (self.labels == LABELS.index(RegimeLabel[measure])).astype(np.float64)
            if is_share
            else getattr(self, measure)
        )
        return values

    def _around(self, values: Float64Vector, at: Int64Vector, window: EventWindow) -> Float64Matrix:
        rows = at[:, np.newaxis] + window.offsets
        is_known = (rows >= 0) & (rows < len(values)) & (at >= 0)[:, np.newaxis]
        return np.where(is_known, values[np.clip(rows, 0, len(values) - 1)], np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class EventPath:
    """A measure by session relative to the event, shape (n_offsets,) each; NaN where no event has it.

    `n` counts the events that have it, in all regions. `low` and `high` bound 95 % of the means over as many dates
    drawn at random.
    """

    measure: str
    n: Int64Vector
    mean: Float64Vector
    median: Float64Vector
    low: Float64Vector
    high: Float64Vector

    def is_unusual(self, row: int) -> bool:
        """Return whether the mean lies outside what random dates give."""
        return bool(self.mean[row] < self.low[row] or self.mean[row] > self.high[row])


@dataclass(frozen=True, slots=True, eq=False)
class EventStudy:
    """The paths around events, of one region or of several together.

    `used` are the events that at least one region has a session 0 of, `outside` the others; `spans` are the first and
    last session that each region states something of.
    """

    window: EventWindow
    paths: Mapping[str, EventPath]
    used: tuple[Event, ...]
    outside: tuple[Event, ...]
    spans: Mapping[str, tuple[date, date]]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "regions": {name: [str(day) for day in span] for name, span in self.spans.items()},
            "n_events": len(self.used), "outside": [str(each) for each in self.outside],
            "sessions": [
                {"session": offset, **{name: self._cell(path, row) for name, path in self.paths.items()}}
                for row, offset in enumerate(self.window.offsets.tolist())
            ],
        }  # fmt: skip

    def _cell(self, path: EventPath, row: int) -> dict[str, Any]:
        names = ("mean", "median", "low", "high")
        return {"n": int(path.n[row]), **json_values({name: float(getattr(path, name)[row]) for name in names})}


def study_events(
    regions: Sequence[StatedSessions], events: Sequence[Event], window: EventWindow,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> EventStudy:  # fmt: skip
    """Return the mean and median path around events, and the bounds that as many random dates of the span give.

    InputRefusedError if no event falls into the span of any region.
    """
    calendar = np.unique(np.concatenate([each.dates for each in regions]))
    days = np.array([event.day for event in events], dtype="M8[D]")
    has_session = np.any([each.sessions_zero(days) >= 0 for each in regions], axis=0)
    used = tuple(event for event, is_in in zip(events, has_session.tolist(), strict=True) if is_in)
    outside = tuple(event for event in events if event not in used)
    if not used:
        raise InputRefusedError(
            f"none of {len(events)} dates lies in what is stored, {calendar[0]} to {calendar[-1]}; label more sessions "
            "with run_numeric_regime, or give other dates"
        )
    draws = _draws(len(used), len(calendar))
    paths = {}
    for number, measure in enumerate(MEASURES):
        progress(number, len(MEASURES))
        paths[measure] = _path(measure, regions, days[has_session], calendar, draws, window)
    spans = {each.region: (each.dates[0].item(), each.dates[-1].item()) for each in regions}
    return EventStudy(window, paths, used, outside, spans)


def _draws(n_events: int, n_days: int) -> Int64Vector:
    """Return positions in a calendar, shape (N_RESAMPLES, n_events): every day is as likely."""
    return np.random.default_rng(SEED).integers(0, n_days, (N_RESAMPLES, n_events))


def _path(
    measure: str, regions: Sequence[StatedSessions], days: DateVector, calendar: DateVector, draws: Int64Vector,
    window: EventWindow,
) -> EventPath:  # fmt: skip
    own = np.concatenate([each.path(measure, each.sessions_zero(days), window) for each in regions])
    known = [column[np.isfinite(column)] for column in own.T]
    bounds = np.array([interval_of(column) for column in _means_drawn(measure, regions, calendar, draws, window).T])
    return EventPath(
        measure=measure,
        n=np.array([len(column) for column in known]),
        mean=np.array([column.mean() if len(column) else math.nan for column in known]),
        median=np.array([np.median(column) if len(column) else math.nan for column in known]),
        low=bounds[:, 0],
        high=bounds[:, 1],
    )


def _means_drawn(
    measure: str, regions: Sequence[StatedSessions], calendar: DateVector, draws: Int64Vector, window: EventWindow
) -> Float64Matrix:
    """Return the mean path over the days of each draw, all regions together, shape (n_draws, n_offsets)."""
    shape = (len(calendar), len(window.offsets))
    sums, counts = np.zeros(shape), np.zeros(shape)
    for each in regions:
        around = each.path(measure, each.sessions_zero(calendar), window)
        sums += np.nan_to_num(around)
        counts += np.isfinite(around)
    totals, n_known = (np.array([column[draw].sum(axis=0) for draw in draws]) for column in (sums, counts))
    means: Float64Matrix = np.divide(totals, n_known, out=np.full_like(totals, np.nan), where=n_known > 0)
    return means
