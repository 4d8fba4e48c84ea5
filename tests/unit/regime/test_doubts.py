"""When a calibration is doubted: faults that nobody noticed, planted in real prices; hardly ever on clean ones."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.property.test_price_quality import real_bars, with_fault
from tests.unit.regime.sample_sessions import SPAN

from prometheus.encoders.numeric.features import LOG_PRICES
from prometheus.encoders.numeric.scale_free import ScaleFreeNumericEmbeddingModel
from prometheus.encoders.numeric.windows import WindowBatch, windows_in_range
from prometheus.encoders.numeric.without import without_bar
from prometheus.market.bars import PriceBars
from prometheus.market.outcomes import forward_log_volatility
from prometheus.regime.calibration import ORDER, CalibrationSettings, DescribedSessions, RegimeCalibration, calibrate
from prometheus.regime.doubts import LoudestBar, find_doubts, loudest_row
from prometheus.regime.types import RegimePrototype

SETTINGS = CalibrationSettings()
INDEX = "GSPC.INDX"
in_the_span = st.integers(1_600, 4_300)
"""Rows of 1996 to 2007."""


def described(windows: WindowBatch) -> DescribedSessions:
    return DescribedSessions.of(windows.as_of_dates, windows.vectors(ScaleFreeNumericEmbeddingModel()))


def believed(bars: PriceBars, year: int = 2007) -> WindowBatch:
    """Return the windows of the 3,000 sessions up to the end of a year, every bar believed."""
    windows = windows_in_range(bars, date.min, date(year, 12, 31), 513, LOG_PRICES).windows
    return windows.take(slice(max(0, len(windows) - SPAN), None))


def calibrated(
    bars: PriceBars, year: int = 2007
) -> tuple[DescribedSessions, tuple[RegimePrototype, ...], RegimeCalibration]:
    windows = believed(bars, year)
    sessions = described(windows)
    followed = forward_log_volatility(windows.closes)[windows.close_ends - 1]
    return sessions, *calibrate(sessions, followed, SETTINGS)


def doubts(bars: PriceBars, year: int = 2007) -> list[str]:
    """Return the doubts about what is learned of bars that are all believed."""
    windows = believed(bars, year)
    sessions, prototypes, calibration = calibrated(bars, year)
    log_returns = np.diff(np.log(windows.closes), prepend=np.nan)[windows.close_ends - 1]
    row = loudest_row(sessions, log_returns, SETTINGS)
    loudest = LoudestBar(row, float(log_returns[row]), described(without_bar(windows, row)).stress)
    return list(find_doubts(sessions, prototypes, calibration, SETTINGS, loudest))


@pytest.mark.parametrize("year", range(2005, 2024, 3))
def test_clean_prices_raise_no_doubt(year: int) -> None:
    assert doubts(real_bars(INDEX), year) == []


@bounded(5)
@given(in_the_span, st.sampled_from([100.0, 0.01, 0.1]))
def test_one_bar_that_is_believed_is_named_wherever_it_lies(row: int, factor: float) -> None:
    bars = real_bars(INDEX)
    (line,) = [line for line in doubts(with_fault(bars, slice(row, row + 1), factor)) if "the bar of" in line]
    found = re.search(r"the bar of (\S+) \(", line)
    assert found is not None
    assert abs(date.fromisoformat(found[1]) - bars.dates[row].item()) <= timedelta(4)


@bounded(5)
@given(in_the_span, st.sampled_from([7.0, 4.0]))
def test_a_split_left_in_and_believed_is_named(row: int, factor: float) -> None:
    bars = real_bars(INDEX)
    found = doubts(with_fault(bars, slice(0, row), factor))
    assert any(f"the bar of {bars.dates[row]} (" in line and "wildest stretches" in line for line in found)


def test_calm_labels_beside_a_forecast_of_storms_are_told_with_share_and_example() -> None:
    sessions, prototypes, calibration = calibrated(real_bars(INDEX))
    louder = replace(sessions, scores=sessions.scores + 9.0)
    (line,) = find_doubts(louder, prototypes, calibration, SETTINGS)
    assert re.fullmatch(
        r"\d+\.\d% of the labels are CARRY or NEUTRAL, but above 0\.9 is the probability of high volatility, "
        r"as on \d{4}-\d\d-\d\d",
        line,
    )


def test_a_crisis_beside_a_forecast_of_calm_is_told() -> None:
    sessions, prototypes, calibration = calibrated(real_bars(INDEX))
    renamed = [RegimePrototype(label, each.center) for label, each in zip(reversed(ORDER), prototypes, strict=True)]
    (line,) = find_doubts(sessions, renamed, calibration, SETTINGS)
    assert "of the labels are CRISIS, but below 0.1 is the probability of high volatility, as on " in line


def test_a_label_nobody_got_is_named() -> None:
    sessions, prototypes, calibration = calibrated(real_bars(INDEX))
    far = [RegimePrototype(each.label, each.center + 9 * (each.label.name == "CRISIS")) for each in prototypes]
    (line,) = find_doubts(sessions, far, calibration, SETTINGS)
    assert line == "no session from 1996-01-31 to 2007-12-31 is labelled CRISIS"


@bounded(5)
@given(in_the_span, st.sampled_from([100.0, 0.5, 1.3]))
def test_without_a_spike_windows_are_those_of_a_day_that_stood_still(row: int, factor: float) -> None:
    bars = real_bars(INDEX)
    spoilt, clean = (believed(each) for each in (with_fault(bars, slice(row, row + 1), factor), bars))
    at = int(np.searchsorted(clean.as_of_dates, bars.dates[row]))
    stress, expected = (described(without_bar(each, at)).stress for each in (spoilt, clean))
    np.testing.assert_allclose(stress, expected, atol=1e-5)
    assert described(clean).stress[: at - 1].tobytes() == expected[: at - 1].tobytes()
