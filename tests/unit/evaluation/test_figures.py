"""Each figure against a slow twin, a bound or a path whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.unit.evaluation.sample_market import sample_history

from prometheus.evaluation.bears import bear_market_days
from prometheus.evaluation.figures import (
    area_under_curve,
    balanced_accuracy,
    brier_skill,
    calibration_error,
    count_switches,
    explained_variance,
    f1_score,
    mean_duration,
    recession_days,
    reliability_bins,
    switches_per_year,
)

few_scores = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=25)
labelled = st.lists(st.tuples(st.floats(-1e3, 1e3), st.booleans()), min_size=1, max_size=40)


def columns(pairs: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([value for value, _ in pairs], dtype=np.float64), np.array([flag for _, flag in pairs])


@bounded(200)
@given(few_scores)
def test_the_area_is_the_share_of_pairs_in_order(pairs: list[tuple[float, bool]]) -> None:
    scores, is_high = columns(pairs)
    wins = [
        (high > low) + 0.5 * (high == low) for high in scores[is_high].tolist() for low in scores[~is_high].tolist()
    ]

    area = area_under_curve(scores, is_high)

    assert math.isnan(area) if not wins else area == pytest.approx(sum(wins) / len(wins))


@bounded(200)
@given(labelled)
def test_explained_variance_is_a_share(pairs: list[tuple[float, bool]]) -> None:
    values, is_risk_off = columns(pairs)

    eta2 = explained_variance(is_risk_off, values)

    assert math.isnan(eta2) or 0.0 <= eta2 <= 1.0
    if not math.isnan(eta2):
        assert explained_variance(~is_risk_off, values) == pytest.approx(eta2, abs=1e-12)
        assert explained_variance(np.ones_like(is_risk_off), values) == pytest.approx(0.0, abs=1e-9)


def test_values_whose_squares_vanish_are_explained_too() -> None:
    label = np.array([True, False, True, False])
    assert explained_variance(label, 1e-200 * label) == 1.0


def test_a_label_that_is_the_value_explains_all_of_it() -> None:
    label = np.array([True, False, True, False])
    assert explained_variance(label, label.astype(np.float64)) == 1.0


def test_a_forecast_that_is_always_right_has_skill_one_and_the_base_rate_none() -> None:
    is_high = np.arange(100) % 5 == 0
    assert brier_skill(is_high.astype(np.float64), is_high) == 1.0
    assert brier_skill(np.full(100, 0.2), is_high) == pytest.approx(0.0)
    assert brier_skill(1.0 - is_high, is_high) < -1.0
    assert math.isnan(brier_skill(np.full(100, 0.2), np.zeros(100, dtype=np.bool_)))


def test_equal_probabilities_share_a_bin_in_whatever_order_they_come() -> None:
    is_high = np.repeat([False, True], [80, 20])
    assert calibration_error(np.full(100, 0.2), is_high) == pytest.approx(0.0)
    assert reliability_bins(np.full(100, 0.2), is_high).tolist() == [[pytest.approx(0.2), 0.2, 100]]


def test_bins_hold_equally_many_sessions_and_their_gaps_are_averaged() -> None:
    stated = (np.arange(1000) + 0.5) / 1000
    is_high = np.random.default_rng(3).random(1000) < stated
    assert reliability_bins(stated, is_high)[:, 2].tolist() == [100.0] * 10
    assert calibration_error(stated, is_high) < 0.06
    assert calibration_error(stated * 0.0, is_high) == pytest.approx(is_high.mean())


def test_bear_markets_run_from_peak_to_trough() -> None:
    closes = np.array([90, 100, 95, 85, 79, 70, 75, 60, 70, 73, 90, 110, 95, 89, 110], dtype=np.float64)
    assert np.flatnonzero(bear_market_days(closes)).tolist() == [2, 3, 4, 5, 6, 7]


def test_a_bear_market_that_has_not_ended_lasts_to_the_lowest_close() -> None:
    assert np.flatnonzero(bear_market_days(np.array([100.0, 79.0, 60.0, 65.0]))).tolist() == [1, 2]
    assert not bear_market_days(np.array([100.0, 81.0, 100.0])).any()


@bounded(100)
@given(st.lists(st.floats(-0.3, 0.3), min_size=1, max_size=60), st.floats(1e-3, 1e3))
def test_bear_markets_do_not_depend_on_the_unit_of_the_price(steps: list[float], unit: float) -> None:
    closes = np.round(np.exp(np.cumsum(steps)), 3) + 0.0137
    assert bear_market_days(closes).tolist() == bear_market_days(closes * 2.0 ** round(math.log2(unit))).tolist()


def test_the_bear_markets_of_the_index_are_the_known_ones() -> None:
    history = sample_history()
    is_bear = bear_market_days(history.closes)
    years = np.unique(history.dates[is_bear].astype("M8[Y]").astype(int) + 1970)
    assert years.tolist() == [2000, 2001, 2002, 2007, 2008, 2009]


def test_recession_months_begin_after_the_peak_and_end_with_the_trough() -> None:
    dates = np.array(["2007-12-31", "2008-01-02", "2009-06-30", "2009-07-01"], dtype="M8[D]")
    assert recession_days(dates).tolist() == [False, True, True, False]


def test_accuracy_and_f1_of_known_labels() -> None:
    said, actual = np.array([True, True, False, False]), np.array([True, False, False, False])
    assert balanced_accuracy(said, actual) == pytest.approx((1 + 2 / 3) / 2)
    assert f1_score(said, actual) == pytest.approx(2 / 3)
    assert f1_score(~actual, actual) == 0.0
    assert math.isnan(balanced_accuracy(said, np.zeros(4, dtype=np.bool_)))
    assert math.isnan(f1_score(np.zeros(4, dtype=np.bool_), np.zeros(4, dtype=np.bool_)))


def test_switches_and_durations() -> None:
    label = np.repeat([False, True, False], [100, 52, 100])
    assert count_switches(label) == 2
    assert switches_per_year(label) == 2.0
    assert mean_duration(label) == 84.0
