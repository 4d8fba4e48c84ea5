"""A history is checked once, and its parts are the parts of its columns."""

from __future__ import annotations

import numpy as np
import pytest
from tests.fixtures.market import bars_of, weekdays
from tests.unit.evaluation.sample_market import history_of, sample_history

from prometheus.errors import InputRefusedError, WindowShapeError
from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.labeller import Predictions, join_predictions
from prometheus.market.bars import PriceBars


def test_parts_cut_every_column() -> None:
    history = sample_history()
    for part in (history.until(300), history.last(300), history.since(history.dates[-300])):
        assert len(part) == 300
        for column in (part.closes, part.high_over_close, part.low_over_close, part.volumes):
            assert column is not None
            assert len(column) == 300
    assert len(history.until(-1)) == 0
    assert len(history.last(10**6)) == len(history)
    assert history.log_returns[0] == 0.0
    assert history.log_returns[5] == np.log(history.closes[5] / history.closes[4])


@pytest.mark.parametrize("closes", [[1.0, 0.0], [1.0, np.nan], [1.0, -2.0], [1.0, np.inf]])
def test_closes_that_are_no_prices_are_refused(closes: list[float]) -> None:
    with pytest.raises(InputRefusedError, match="not positive and finite"):
        history_of(np.array(closes))


def test_dates_out_of_order_and_columns_of_other_length_are_refused() -> None:
    dates = np.array(["2020-01-02", "2020-01-02"], dtype="M8[D]")
    with pytest.raises(InputRefusedError, match="strictly increasing"):
        MarketHistory("X", dates, np.ones(2))
    with pytest.raises(InputRefusedError, match="differ in length"):
        MarketHistory("X", dates, np.ones(2), volumes=np.ones(3))


def test_bars_become_a_history() -> None:
    dates = weekdays(3)
    plain = MarketHistory.from_bars(bars_of([1, 2, 3], [4, 5, 6], dates))
    assert plain.closes.tolist() == [1, 2, 3]
    assert plain.volumes is not None
    assert plain.high_over_close is None

    fields = ("adjusted_close", "close", "high", "low")
    values = np.array([[0.5, 1], [1, 2], [1.5, np.nan], [0.5, 2]])
    full = MarketHistory.from_bars(PriceBars(("X",), np.array([0, 2]), dates[:2], fields, values))
    assert full.closes.tolist() == [0.5, 1]
    assert full.high_over_close is not None
    assert full.high_over_close[0] == 1.5
    assert np.isnan(full.high_over_close[1])
    assert full.low_over_close is not None
    assert full.low_over_close.tolist() == [0.5, 1]

    with pytest.raises(InputRefusedError, match="one instrument, not of 2"):
        MarketHistory.from_bars(PriceBars(("X", "Y"), np.array([0, 1, 2]), dates[:2], fields, values))


def test_predictions_of_other_length_are_refused() -> None:
    with pytest.raises(WindowShapeError, match="predictions"):
        Predictions(np.array([True]), np.zeros(2), np.zeros(1))
    with pytest.raises(WindowShapeError, match="labels"):
        Predictions(np.array([True]), np.zeros(1), np.zeros(1), ("CRISIS", "CARRY"))


def test_joined_predictions_keep_labels_only_if_all_have_them() -> None:
    plain = Predictions(np.array([True]), np.zeros(1), np.zeros(1))
    named = Predictions(np.array([False]), np.ones(1), np.zeros(1), ("CARRY",))
    assert join_predictions([named, named]).labels == ("CARRY", "CARRY")
    joined = join_predictions([named, plain])
    assert joined.labels is None
    assert [joined.says(0), joined.says(1), named.says(0)] == ["risk-on", "risk-off", "CARRY"]
