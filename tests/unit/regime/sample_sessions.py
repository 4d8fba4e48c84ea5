"""Real sessions to calibrate on and to label: the packaged index up to 2018, encoded once."""

from __future__ import annotations

from datetime import date
from functools import cache

import numpy as np
from tests.reference.windows import MemoryBars, NoDatabase, WeekdayCalendar, bars_of_histories, sample_bars

from prometheus.arrays import Float64Vector
from prometheus.encoders import NumericEmbeddingStore, NumericWindowBuilder, NumericWindowEncoder
from prometheus.encoders.numeric.features import LOG_PRICES
from prometheus.encoders.numeric.scale_free import ScaleFreeNumericEmbeddingModel
from prometheus.encoders.numeric.windows import WindowBatch, windows_in_range
from prometheus.market.outcomes import forward_log_volatility
from prometheus.regime import PrototypeSet, RegimeLabel, RegimePrototype
from prometheus.regime.calibration import CalibrationSettings, DescribedSessions, RegimeCalibration, calibrate

LAST_DATE = date(2018, 12, 31)
BEFORE_THE_CRISIS = date(2007, 12, 31)
SPAN = 3_000

Calibrated = tuple[tuple[RegimePrototype, ...], RegimeCalibration]


@cache
def sample_windows(until: date = LAST_DATE) -> WindowBatch:
    """Return the windows of GSPC.INDX from a table that ends on a date."""
    bars = [bar for bar in sample_bars("GSPC.INDX") if bar[0] <= until]
    known = bars_of_histories({"GSPC.INDX": bars}, fields=LOG_PRICES.bar_fields)
    return windows_in_range(known, date.min, date.max, 513, LOG_PRICES).windows


@cache
def sample_sessions(until: date = LAST_DATE) -> DescribedSessions:
    """Return what a calibration sees of all sessions up to a date."""
    windows = sample_windows(until)
    return DescribedSessions.of(windows.as_of_dates, windows.vectors(ScaleFreeNumericEmbeddingModel()))


def sessions_between(start: date, end: date) -> slice:
    """Return where the sessions of a span lie in `sample_sessions`."""
    dates = sample_sessions().dates
    first = int(np.searchsorted(dates, np.datetime64(start, "D")))
    return slice(first, int(np.searchsorted(dates, np.datetime64(end, "D"), side="right")))


def followed(until: date = LAST_DATE) -> Float64Vector:
    """Return the forward log volatility of every session, as known on a date."""
    windows = sample_windows(until)
    closes: Float64Vector = np.exp(windows.features[: int(windows.ends[-1]), 0])
    return forward_log_volatility(closes)[windows.ends - 1]


@cache
def calibrated_until(until: date = BEFORE_THE_CRISIS, settings: CalibrationSettings | None = None) -> Calibrated:
    """Return prototypes and calibration from the 3,000 sessions up to a date."""
    stop = sessions_between(date.min, until).stop
    span = slice(max(0, stop - SPAN), stop)
    known = followed()[span].copy()
    known[-21:] = np.nan
    return calibrate(sample_sessions().take(span), known, settings)


def sample_set(until: date = BEFORE_THE_CRISIS, settings: CalibrationSettings | None = None) -> PrototypeSet:
    """Return what the command ``calibrate`` would write."""
    prototypes, calibration = calibrated_until(until, settings)
    return PrototypeSet(
        region="SPX",
        prototypes=tuple(sorted(prototypes, key=lambda each: each.label.name)),
        windows={},
        encoder_model_id="num-regime-core-v2",
        window_days=513,
        calibration=calibration,
    )


def encoder_without_database() -> NumericWindowEncoder:
    """Return an encoder that may not store."""
    return NumericWindowEncoder(
        builder=NumericWindowBuilder(MemoryBars({}), WeekdayCalendar(), LOG_PRICES),
        model=ScaleFreeNumericEmbeddingModel(),
        store=NumericEmbeddingStore(NoDatabase()),  # type: ignore[arg-type]
        model_id="num-regime-core-v2",
    )


def names(labels: list[RegimeLabel]) -> set[str]:
    """Return the names of the labels there are."""
    return {label.name for label in labels}
