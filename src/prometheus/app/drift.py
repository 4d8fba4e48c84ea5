"""The drift of a region away from the span its model was calibrated on, as known on a date."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import date, timedelta

import numpy as np

from prometheus.app.calibrations import all_windows, describe_windows, followed_by
from prometheus.app.histories import Histories
from prometheus.app.wiring import Subject, UseCase
from prometheus.arrays import DateVector, Float64Matrix, Float64Vector
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
from prometheus.regime.history import RegimeHistory
from prometheus.regime.model_persistent import calibrated_of, decode
from prometheus.regime.types import RegimePrototype

logger = logging.getLogger(__name__)

KIND = "drift"
_REACH = timedelta(days=2 * max(WINDOWS))
"""Holds the sessions of the longest window and those whose outcome is not known yet."""


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
        asked = asked or Histories(self._wired)
        history, calibrated = self._calibrated(region, model_id, as_of, asked)
        if calibrated is None or calibrated[1].end >= as_of:
            return None
        norms = self._stored(history)
        if norms is None and not only_kept:
            norms = self._fit(history, *calibrated)
        if not norms:
            return None
        figures = self._figures(history, calibrated[1], as_of, asked)
        return None if figures is None else Drift(as_of, calibrated[1].end, watch(norms, figures))

    def _calibrated(
        self, region: str, model_id: str | None, as_of: date, asked: Histories
    ) -> tuple[RegimeHistory, tuple[tuple[RegimePrototype, ...], RegimeCalibration] | None]:
        history = asked.choose(region, model_id, as_of)
        history = replace(history, last=min(history.last, as_of))
        return history, calibrated_of(asked.model_config(history.model_id), history.model_id)

    def _stored(self, history: RegimeHistory) -> tuple[DriftNorm, ...] | None:
        kept = self._wired.registry.load_config(_norms_id(history))
        return None if kept is None else norms_of(kept)

    def _figures(
        self, history: RegimeHistory, calibration: RegimeCalibration, as_of: date, asked: Histories
    ) -> Float64Matrix | None:
        """Return what is watched of the last sessions up to a date, as known on it; None where they are too few."""
        start = as_of - _REACH
        timeline, _, vectors = self._wired.timelines.evidence(history.region, history.model_id, start, as_of)
        if len(timeline.dates) < min(WINDOWS):
            return None
        closes = asked.closes_behind(history, start, as_of)
        came = _came(_followed_on(closes, timeline.dates), calibration)
        return drift_figures(vectors, timeline.confidences, timeline.high_volatilities, came)

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
