"""What a table says of each bar, and which bars a digest tells apart."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import pytest
from tests.reference.descriptors import slow_log_prices
from tests.reference.windows import BAR_FIELDS, Bar, bar_walk, bars_of_histories, sample_bars, walk

from prometheus.encoders.catalogue import create_numeric_model
from prometheus.encoders.numeric.features import (
    CLOSE_VOLUME,
    LOG_PRICES,
    FeatureSet,
    feature_set_of,
    feature_table,
    log_price_table,
    log_returns,
    window_hashes,
)
from prometheus.market.bars import PriceBars

DAY = date(2025, 1, 31)


def bars_with(high: float, low: float, close: float = 100.0, adjusted: float = 50.0) -> PriceBars:
    return bars_of_histories({"X": [(DAY, close, 1.0, adjusted, high, low)]}, fields=LOG_PRICES.bar_fields)


def test_log_returns_are_taken_in_float64() -> None:
    closes = np.array([100.0, 100.0000001])
    assert log_returns(closes)[1] == np.log(100.0000001 / 100.0)


def test_the_first_bar_of_each_instrument_has_return_zero_in_the_shared_table() -> None:
    bars = bars_of_histories({"A": walk(3), "NONE": [], "B": walk(2, seed=8), "END": []})
    table = feature_table(bars)
    assert (table[:, 2] == 0).tolist() == [True, False, False, True, False]


def test_log_prices_are_the_adjusted_close_and_the_range_around_the_quoted_one() -> None:
    table = log_price_table(bars_with(high=110.0, low=80.0))
    assert table.dtype == np.float64
    np.testing.assert_allclose(table, [[math.log(50), math.log(1.1), math.log(1.25)]], rtol=1e-14)


@pytest.mark.parametrize("high", [math.nan, 99.0, 301.0, 1e300])
def test_a_high_that_cannot_be_is_the_close(high: float) -> None:
    np.testing.assert_allclose(log_price_table(bars_with(high, 80.0))[0, 1:], [0.0, math.log(1.25)])


@pytest.mark.parametrize("low", [math.nan, 101.0, 33.0, 5e-324])
def test_a_low_that_cannot_be_is_the_close(low: float) -> None:
    np.testing.assert_allclose(log_price_table(bars_with(110.0, low))[0, 1:], [math.log(1.1), 0.0])


def test_three_times_the_close_is_still_believed() -> None:
    np.testing.assert_allclose(log_price_table(bars_with(300.0, 25.0, close=75.0))[0, 1], 0.0)
    np.testing.assert_allclose(log_price_table(bars_with(300.0, 25.0, close=100.0))[0, 1], math.log(3))
    np.testing.assert_allclose(log_price_table(bars_with(300.0, 25.0, close=75.0))[0, 2], math.log(3))


@pytest.mark.parametrize("close", [5e-324, 1.7e308])
def test_extreme_but_legal_prices_are_finite_and_raise_no_warning(close: float) -> None:
    assert np.isfinite(log_price_table(bars_with(1.7e308, 5e-324, close=close, adjusted=close))).all()


@pytest.mark.parametrize("name", ["AAPL.US", "GSPC.INDX"])
def test_log_prices_of_the_packaged_sample_are_those_of_the_slow_twin(name: str) -> None:
    bars = sample_bars(name)
    table = log_price_table(bars_of_histories({name: bars}, fields=LOG_PRICES.bar_fields))
    np.testing.assert_allclose(table, slow_log_prices(bars), rtol=1e-14, atol=1e-15)


def test_each_model_names_what_it_sees() -> None:
    assert feature_set_of(create_numeric_model("num-regime-core-v1")) is CLOSE_VOLUME
    assert feature_set_of(create_numeric_model("num-regime-core-v2")) is LOG_PRICES


@pytest.mark.parametrize("feature_set", [CLOSE_VOLUME, LOG_PRICES])
@pytest.mark.parametrize("field", BAR_FIELDS)
def test_a_digest_covers_the_fields_of_its_feature_set_and_no_other(feature_set: FeatureSet, field: str) -> None:
    rows = bar_walk(4)
    changed: list[Bar] = [*rows]
    values = list(changed[2])
    values[1 + BAR_FIELDS.index(field)] *= 1.5  # type: ignore[operator]
    changed[2] = tuple(values)  # type: ignore[assignment]
    starts, ends = np.array([0, 2, 3]), np.array([2, 4, 4])
    before, after = (
        window_hashes(bars_of_histories({"X": each}, fields=BAR_FIELDS), starts, ends, feature_set.bar_fields)
        for each in (rows, changed)
    )
    assert (before != after).tolist() == [False, field in feature_set.bar_fields, False]
