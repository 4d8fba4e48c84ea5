"""Descriptors of markets so plain that each value can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.reference.descriptors import LAYOUT

from prometheus.arrays import FeatureTable, Float64Matrix
from prometheus.encoders.numeric import descriptors
from prometheus.encoders.numeric.descriptors import describe
from prometheus.errors import UsageError

DAILY = 0.01
AVERAGE_MOVE = DAILY + 1e-4
DEVIATION = math.hypot(DAILY, 1e-4)


def table_of(returns: Float64Matrix | list[float], up: float = 0.0, down: float = 0.0) -> FeatureTable:
    """Log prices with these returns up to the last row, and the same high and low in each session."""
    log_price = 4.6 + np.concatenate([[0.0], np.cumsum(returns)])
    return np.column_stack([log_price, np.full(len(log_price), up), np.full(len(log_price), down)])


def described(table: FeatureTable) -> dict[str, float]:
    values = describe(table, np.array([len(table)], dtype=np.int64))[:, 0]
    return dict(zip(descriptors.NAMES, values.tolist(), strict=True))


def test_the_layout_is_the_one_written_down_twice() -> None:
    assert [(list(group.names), group.share) for group in descriptors.GROUPS] == LAYOUT
    assert len(set(descriptors.NAMES)) == len(descriptors.NAMES) == descriptors.DIM == 384


def test_the_shares_add_to_one_and_are_split_equally_within_a_group() -> None:
    assert math.fsum(group.share for group in descriptors.GROUPS) == pytest.approx(1, abs=1e-15)
    assert math.fsum(descriptors.WEIGHTS) == pytest.approx(1, abs=1e-12)
    first = len(descriptors.RISK_NAMES)
    assert set(descriptors.WEIGHTS[:first].tolist()) == {0.36 / 8}
    assert set(descriptors.WEIGHTS[first : first + 6].tolist()) == {0.44 / 6}


def test_a_market_that_stands_still_has_the_smallest_moves_and_no_trend() -> None:
    found = described(table_of([0.0] * 512))
    for name, value in found.items():
        kind = name.rpartition("_")[0]
        is_risk = kind in {"range", "down_range", "volatility", "downside"}
        assert value == pytest.approx(math.log(1e-4) if is_risk and name != "range_ratio" else 0.0, abs=1e-12), name


def test_a_steady_rise_is_known_in_full() -> None:
    found = described(table_of([DAILY] * 512))
    for name, value in found.items():
        kind, _, number = name.rpartition("_")
        expected = {
            "range": math.log(AVERAGE_MOVE), "down_range": math.log(1e-4),
            "volatility": math.log(DEVIATION), "downside": math.log(1e-4),
            "sortino": DAILY / 1e-4, "trend_path": DAILY / 1e-4, "risk_path": 0.0, "drawdown": 0.0,
        }  # fmt: skip
        if number.isdigit():
            n = int(number)
            expected |= {"rise": (n - 1) * DAILY, "average": (n - 1) / 2 * DAILY / (DEVIATION * math.sqrt(n))}
            expected |= dict.fromkeys(("momentum", "price_path"), n * DAILY / (DEVIATION * math.sqrt(n)))
        assert value == pytest.approx(0.0 if name == "range_ratio" else expected[kind], rel=1e-9, abs=1e-9), name


def test_a_crash_of_one_session_shows_where_it_should() -> None:
    found = described(table_of([DAILY] * 508 + [-0.2] + [DAILY] * 3))
    assert found["drawdown_32"] == pytest.approx(-0.2 + 3 * DAILY)
    assert found["rise_16"] == pytest.approx(3 * DAILY)
    assert found["downside_8"] > found["downside_64"] > math.log(0.01)
    assert found["sortino_8"] < 0 < found["sortino_128"]
    assert found["risk_path_3"] < 0 < found["risk_path_4"], "less risk than on the day, more than on the day before"
    assert found["trend_path_3"] < found["trend_path_4"] == pytest.approx(100)


def test_without_highs_and_lows_ranges_are_absolute_returns_to_the_last_bit() -> None:
    found = described(table_of(np.random.default_rng(2).normal(0, 0.01, 512)))
    assert found["range_ratio"] == 0.0


def test_a_source_with_wider_highs_and_lows_tells_the_same_story() -> None:
    returns = [DAILY, -DAILY] * 256
    narrow, wide = described(table_of(returns)), described(table_of(returns, up=DAILY, down=DAILY))
    # from the close before to the high after a rise, to the low after a fall: twice the return
    assert wide["range_ratio"] == pytest.approx(math.log((2 * DAILY + 1e-4) / AVERAGE_MOVE))
    assert wide["range_32"] == pytest.approx(narrow["range_32"], abs=1e-9)
    assert narrow["range_ratio"] == 0.0


def test_rows_outside_the_window_are_not_read() -> None:
    table = table_of(np.random.default_rng(3).normal(0, 0.01, 600), up=0.004, down=0.006)
    ends = np.array([550], dtype=np.int64)
    poisoned = table.copy()
    poisoned[: 550 - 513] = poisoned[550:] = np.nan
    poisoned[550 - 513, 1:] = np.nan  # of the oldest session only the price counts
    assert describe(poisoned, ends).tobytes() == describe(table, ends).tobytes()


def test_every_row_of_the_window_is_read() -> None:
    table = table_of(np.random.default_rng(3).normal(0, 0.01, 512), up=0.004, down=0.006)
    ends = np.array([513], dtype=np.int64)
    for row in range(513):
        poisoned = table.copy()
        poisoned[row, 0] += 0.05
        assert (describe(poisoned, ends) != describe(table, ends)).any(), row


@pytest.mark.parametrize("ends", [[512], [513, 601], [700, 0]])
def test_a_window_beyond_the_table_is_refused(ends: list[int]) -> None:
    with pytest.raises(UsageError, match="of a table of 600"):
        describe(np.zeros((600, 3)), np.array(ends, dtype=np.int64))
