"""The drift of a region away from the span its model was calibrated on, as known on a date."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np

from prometheus.app.calibrations import all_windows, describe_windows, followed_by
from prometheus.app.histories import Histories
from prometheus.app.wiring import Subject, UseCase
from prometheus.arrays import DateVector, Float32Matrix, Float64Vector
from prometheus.encoders.identity import NUM_REGIME_CORE_V2
from prometheus.errors import DatabaseError, PrometheusError
from prometheus.market.bars import Closes
from prometheus.market.outcomes import forward_log_volatility
from prometheus.regime.calibration import RegimeCalibration
from prometheus.regime.drift import (
    FEWEST_SESSIONS,
    WINDOWS,
    Drift,
    DriftNorm,
    drift_figures,
    fit_norms,
    norms_of,
    norms_to_dict,
    watch,
)
from prometheus.regime.history import RegimeHistory, RegimeTimeline
from prometheus.regime.model_persistent import calibrated_of, decode
from prometheus.regime.types import RegimePrototype

logger = logging.getLogger(__name__)

KIND = "drift"
_REACH = timedelta(days=2 * max(WINDOWS))
"""Holds the sessions of the longest window and those whose outcome is not known yet."""


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """The sessions of a span, their vectors, shape (n, 384), and the closes behind them."""

    timeline: RegimeTimeline
    vectors: Float32Matrix
    closes: Closes
    calibration: RegimeCalibration

    def drift_on(self, day: date, norms: Sequence[DriftNorm]) -> Drift | None:
        """Return the drift as known on a day; None where the sessions up to it are too few."""
        rows, known = (_between(dates, day - _REACH, day) for dates in (self.timeline.dates, self.closes.dates))
        dates = self.timeline.dates[rows]
        if len(dates) < min(WINDOWS):
            return None
        closes = Closes(self.closes.instrument_id, self.closes.dates[known], self.closes.values[known])
        came = _came(_followed_on(closes, dates), self.calibration)
        confidences, stated = self.timeline.confidences[rows], self.timeline.high_volatilities[rows]
        return Drift(
            day, self.calibration.end, watch(norms, drift_figures(self.vectors[rows], confidences, stated, came))
        )


class WatchDrift(UseCase):
    """Holds the newest sessions of a calibrated model against its calibration span."""

    def keep_norms(self, region: str, model_id: str, as_of: date) -> None:
        """Simulate and store the limits of a calibrated model, once, as soon as a window of sessions is labelled."""
        history, calibrated = self._calibrated(region, model_id, as_of, Histories(self._wired))
        if calibrated is None or history.n_dates < min(WINDOWS) or self._stored(history) is not None:
            return
        norms = self._fit(history, *calibrated)
        if norms:
            self._wired.registry.register(_norms_id(history), KIND, norms_to_dict(norms))

    def on(
        self, region: str, as_of: date, model_id: str | None = None, asked: Histories | None = None,
        *, only_kept: bool = True,
    ) -> Drift | None:  # fmt: skip
        """Return the drift as known on a date; nothing later counts.

        None for a model that was not calibrated before the date; where the limits are not kept, unless they may be
        simulated now, which takes a second or two and the bars of the calibration span; and where fewer sessions are
        stored than the shortest window holds. NoRegimesError without the model.
        """
        return self.over(region, [as_of], model_id, asked, only_kept=only_kept)[0]

    def over(
        self, region: str, days: Sequence[date], model_id: str | None = None, asked: Histories | None = None,
        *, only_kept: bool = True,
    ) -> list[Drift | None]:  # fmt: skip
        """Return the drift as known on each of some dates, ascending, of the model that answers on the last of them."""
        asked = asked or Histories(self._wired)
        nothing: list[Drift | None] = [None] * len(days)
        history, calibrated = self._calibrated(region, model_id, days[-1], asked)
        if calibrated is None or calibrated[1].end >= days[-1]:
            return nothing
        norms = self._stored(history)
        if norms is None and not only_kept:
            norms = self._fit(history, *calibrated)
        if not norms:
            return nothing
        seen = self._seen(history, calibrated[1], (days[0] - _REACH, days[-1]), asked)
        return [seen.drift_on(day, norms) if calibrated[1].end < day else None for day in days]

    def _calibrated(
        self, region: str, model_id: str | None, as_of: date, asked: Histories
    ) -> tuple[RegimeHistory, tuple[tuple[RegimePrototype, ...], RegimeCalibration] | None]:
        history = asked.choose(region, model_id, as_of)
        history = replace(history, last=min(history.last, as_of))
        return history, calibrated_of(asked.model_config(history.model_id), history.model_id)

    def _stored(self, history: RegimeHistory) -> tuple[DriftNorm, ...] | None:
        kept = self._wired.registry.load_config(_norms_id(history))
        return None if kept is None else norms_of(kept)

    def _seen(
        self, history: RegimeHistory, calibration: RegimeCalibration, span: tuple[date, date], asked: Histories
    ) -> _Seen:
        timeline, _, vectors = self._wired.timelines.evidence(history.region, history.model_id, *span)
        return _Seen(timeline, vectors, asked.closes_behind(history, *span), calibration)

    def _fit(
        self, history: RegimeHistory, prototypes: tuple[RegimePrototype, ...], calibration: RegimeCalibration
    ) -> tuple[DriftNorm, ...]:
        """Return the norms of a calibration span; none where its windows are not there."""
        try:
            subject = self._subject(history)
            windows = all_windows(self._wired, subject, calibration.start, calibration.end)
        except DatabaseError:
            raise
        except PrometheusError as error:
            logger.info("the drift of %s cannot be watched: %s", history.region, error)
            return ()
        sessions = describe_windows(subject, windows)
        decoded = decode(sessions.vectors, sessions.scores, prototypes, calibration)
        n_before = len(sessions) - len(decoded.confidences)
        came = _came(followed_by(windows), calibration)[n_before:]
        figures = drift_figures(sessions.vectors[n_before:], decoded.confidences, decoded.high_volatility, came)
        known = figures[np.isfinite(figures).all(axis=1)]
        return fit_norms(known) if len(known) >= FEWEST_SESSIONS else ()

    def _subject(self, history: RegimeHistory) -> Subject:
        source = self._wired.timelines.vector_source(history.region, history.encoder_model_id, history.last)
        instrument_id = None if source is None else source.instrument_id
        window_days = None if source is None else source.window_days
        return self._wired.subject_of(
            history.region, instrument_id, history.encoder_model_id, window_days, NUM_REGIME_CORE_V2
        )


def _norms_id(history: RegimeHistory) -> str:
    return f"{KIND}:{history.region}:{history.model_id}"


def _between(dates: DateVector, first: date, last: date) -> slice:
    """Return the rows of ascending dates from one to another."""
    start, stop = np.searchsorted(dates, [np.datetime64(first), np.datetime64(last + timedelta(days=1))])
    return slice(int(start), int(stop))


def _came(followed: Float64Vector, calibration: RegimeCalibration) -> Float64Vector:
    """Return 1 where volatility was high, 0 where not, NaN where that is not known."""
    is_high = followed > np.log(calibration.high_volatility.threshold)
    return np.where(np.isfinite(followed), is_high.astype(np.float64), np.nan)


def _followed_on(closes: Closes, dates: DateVector) -> Float64Vector:
    """Return the forward log volatility of some dates; NaN where there is no close, or too few follow."""
    followed = np.append(forward_log_volatility(closes.values), np.nan)
    at = np.searchsorted(closes.dates, dates)
    is_there = np.append(closes.dates, np.datetime64("NaT"))[at] == dates
    return np.where(is_there, followed[at], np.nan)
