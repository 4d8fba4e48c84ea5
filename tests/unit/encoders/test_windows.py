"""What a window holds, where its limits are, and what is said when there is none."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from tests.reference.windows import Histories, MemoryBars, WeekdayCalendar, bars_of_histories, walk

from prometheus.encoders import NumericWindowBuilder, NumericWindowSpec
from prometheus.encoders.numeric.windows import windows_in_range, windows_on_date
from prometheus.errors import (
    CalendarRangeError,
    InputRefusedError,
    InsufficientHistoryError,
    StaleHistoryError,
    UsageError,
)
from prometheus.market.calendar import TradingCalendar

FRIDAY = date(2025, 1, 31)


def builder(histories: Histories) -> NumericWindowBuilder:
    return NumericWindowBuilder(MemoryBars(histories), WeekdayCalendar())


def spec(window_days: int, name: str = "X") -> NumericWindowSpec:
    return NumericWindowSpec("INSTRUMENT", name, window_days)


def test_a_window_is_close_volume_and_log_return_of_each_session_oldest_first() -> None:
    rows = [(date(2025, 1, 29), 100.0, 5.0), (date(2025, 1, 30), 110.0, 7.0), (FRIDAY, 99.0, 0.0)]
    window = builder({"X": rows}).build_window(spec(3), FRIDAY)
    expected = [[100, 5, 0], [110, 7, np.log(1.1)], [99, 0, np.log(0.9)]]
    np.testing.assert_allclose(window, np.array(expected, dtype=np.float32), rtol=1e-6)


def test_a_window_is_float32_and_belongs_to_the_caller() -> None:
    build = builder({"X": walk(70)})
    window = build.build_window(spec(63), FRIDAY)
    assert window.shape == (63, 3)
    assert window.dtype == np.float32
    untouched = window.copy()
    window[:] = 0
    np.testing.assert_array_equal(build.build_window(spec(63), FRIDAY), untouched)


def test_the_windows_of_a_batch_share_no_memory() -> None:
    windows = builder({"X": walk(20)}).build_range(["X"], FRIDAY - timedelta(days=10), FRIDAY, 5).windows
    cube = windows.values()
    untouched = cube[1].copy()
    cube[0] = -1
    np.testing.assert_array_equal(cube[1], untouched)
    np.testing.assert_array_equal(windows.values()[1], untouched)


def test_the_first_log_return_of_a_window_is_zero_although_older_bars_exist() -> None:
    window = builder({"X": walk(200)}).build_window(spec(63), FRIDAY)
    assert window[0, 2] == 0
    assert np.count_nonzero(window[1:, 2]) == 62


def test_a_window_of_one_session_has_return_zero() -> None:
    rows = walk(3)
    window = builder({"X": rows}).build_window(spec(1), FRIDAY)
    assert window.tolist() == [[np.float32(rows[-1][1]), np.float32(rows[-1][2]), 0]]


def test_exactly_enough_bars_make_a_window_and_one_less_does_not() -> None:
    assert builder({"X": walk(63)}).build_window(spec(63), FRIDAY).shape == (63, 3)
    with pytest.raises(InsufficientHistoryError) as caught:
        builder({"X": walk(62)}).build_window(spec(63), FRIDAY)
    assert str(caught.value).startswith("X: window ending 2025-01-31 needs 63 sessions, found 62;")


def test_bars_after_the_date_do_not_count() -> None:
    with pytest.raises(InsufficientHistoryError, match="needs 63 sessions, found 60;"):
        builder({"X": walk(63)}).build_window(spec(63), date(2025, 1, 28))


def test_no_bars_at_all_are_zero_found() -> None:
    with pytest.raises(InsufficientHistoryError, match="needs 3 sessions, found 0;"):
        builder({}).build_window(spec(3), FRIDAY)


def test_a_last_bar_five_sessions_old_is_fresh_and_six_sessions_old_is_stale() -> None:
    build = builder({"X": walk(10)})
    assert build.build_window(spec(10), date(2025, 2, 7)).shape == (10, 3)
    with pytest.raises(StaleHistoryError) as caught:
        build.build_window(spec(10), date(2025, 2, 10))
    assert "X: last bar before 2025-02-10 is of 2025-01-31, 6 sessions old (at most 5)" in str(caught.value)


def test_closed_days_of_the_exchange_do_not_age_a_bar() -> None:
    # 2001-09-10 to 2001-09-21: eleven days, nine weekdays, five sessions
    build = NumericWindowBuilder(MemoryBars({"X": walk(10, date(2001, 9, 10))}), TradingCalendar())
    assert build.build_window(spec(10), date(2001, 9, 21)).shape == (10, 3)
    with pytest.raises(StaleHistoryError, match="6 sessions old"):
        build.build_window(spec(10), date(2001, 9, 24))


class EveryDay:
    """A market that never closes: as many sessions as days."""

    def n_sessions_after(self, start: date, end: date) -> int:
        return (end - start).days


def test_where_every_day_is_a_session_the_sixth_day_is_stale() -> None:
    build = NumericWindowBuilder(MemoryBars({"X": walk(3)}), EveryDay())
    assert build.build_window(spec(3), FRIDAY + timedelta(days=5)).shape == (3, 3)
    with pytest.raises(StaleHistoryError, match="6 sessions old"):
        build.build_window(spec(3), FRIDAY + timedelta(days=6))


def test_a_weekend_shows_the_window_of_friday() -> None:
    build = builder({"X": walk(10)})
    friday = build.build_one(spec(10), FRIDAY)
    sunday = build.build_one(spec(10), date(2025, 2, 2))
    np.testing.assert_array_equal(friday.values(), sunday.values())
    assert friday.input_hashes.tolist() == sunday.input_hashes.tolist()
    assert sunday.as_of_dates.tolist() == [date(2025, 2, 2)]
    assert sunday.last_sessions.tolist() == [FRIDAY]


def test_too_few_bars_are_named_before_their_age() -> None:
    with pytest.raises(InsufficientHistoryError):
        builder({"X": walk(9)}).build_window(spec(10), date(2025, 6, 30))


@pytest.mark.parametrize("window_days", [0, -1, 20_001])
def test_an_impossible_length_is_refused(window_days: int) -> None:
    with pytest.raises(UsageError, match=f"between 1 and 20000, got {window_days}"):
        spec(window_days)
    with pytest.raises(UsageError):
        builder({}).build_date(["X"], FRIDAY, window_days)
    with pytest.raises(UsageError):
        builder({}).build_range(["X"], FRIDAY, FRIDAY, window_days)


HISTORIES = {"LONG": walk(40, seed=1), "SHORT": walk(12, seed=2), "MIDDLE": walk(25, seed=3)}
ASKED = ["LONG", "GONE", "SHORT", "NEVER", "MIDDLE", "LAST"]


def test_instruments_of_one_batch_do_not_leak_into_each_other() -> None:
    build = builder(HISTORIES)
    together = build.build_date(ASKED, FRIDAY, 10)
    assert [failure.args[0] for failure in together.failures] == ["GONE", "NEVER", "LAST"]
    batch = together.windows
    assert [batch.entity_ids[index] for index in batch.entity_index] == ["LONG", "SHORT", "MIDDLE"]
    for row, name in enumerate(["LONG", "SHORT", "MIDDLE"]):
        alone = build.build_one(spec(10, name), FRIDAY)
        assert batch.values()[row].tobytes() == alone.values()[0].tobytes()
        assert batch.input_hashes[row] == alone.input_hashes[0]


def test_a_range_has_a_window_per_session_with_enough_bars_and_names_who_has_none() -> None:
    start = date(2025, 1, 1)
    build = builder(HISTORIES).build_range(ASKED, start, FRIDAY, 10)
    assert {failure.args[0] for failure in build.failures} == {"GONE", "NEVER", "LAST"}
    found: dict[str, list[date]] = {}
    for index, day in zip(build.windows.entity_index, build.windows.as_of_dates.tolist(), strict=True):
        found.setdefault(build.windows.entity_ids[index], []).append(day)
    assert found == {
        "LONG": [day for day, _, _ in HISTORIES["LONG"] if day >= start],
        "SHORT": [day for day, _, _ in HISTORIES["SHORT"][9:]],
        "MIDDLE": [day for day, _, _ in HISTORIES["MIDDLE"][9:] if day >= start],
    }
    assert build.windows.last_sessions.tolist() == build.windows.as_of_dates.tolist()


def test_an_instrument_asked_for_twice_is_one() -> None:
    build = builder(HISTORIES)
    twice = build.build_date(["SHORT", "LONG", "SHORT"], FRIDAY, 10).windows
    assert twice.entity_ids == ("SHORT", "LONG")
    assert len(twice) == 2


def test_a_gap_in_the_bars_is_neither_filled_nor_refused() -> None:
    rows = walk(20)
    window = builder({"X": rows[:8] + rows[12:]}).build_window(spec(10), FRIDAY)
    assert window[:, 0].tolist() == [np.float32(row[1]) for row in (rows[:8] + rows[12:])[-10:]]


def test_a_range_without_bars_says_so_instead_of_counting_old_ones() -> None:
    with pytest.raises(InputRefusedError, match="X: no bar from 2025-03-01 to 2025-03-31") as caught:
        raise builder({"X": walk(100)}).build_range(["X"], date(2025, 3, 1), date(2025, 3, 31), 63).failures[0]
    assert not isinstance(caught.value, InsufficientHistoryError)


def test_a_range_of_too_young_an_instrument_names_the_counts() -> None:
    failure = builder({"X": walk(30)}).build_range(["X"], date(2025, 1, 1), FRIDAY, 63).failures[0]
    assert str(failure).startswith("X: window ending 2025-01-31 needs 63 sessions, found 30;")


class CalendarFrom1927:
    """Knows nothing of earlier dates."""

    def n_sessions_after(self, start: date, end: date) -> int:
        if start < date(1927, 1, 3):
            raise CalendarRangeError("US_EQ", start, date(1927, 1, 3), date(2035, 12, 31))
        return (end - start).days


def test_a_history_from_before_all_calendars_fails_alone() -> None:
    bars = bars_of_histories({"OLD": walk(5, date(1926, 12, 10)), "X": walk(5)})
    build = windows_on_date(bars, FRIDAY, 5, CalendarFrom1927())
    assert len(build.windows) == 1
    assert str(build.failures[0]).startswith("OLD: the age of its last bar, of 1926-12-10, is unknown")


def test_extreme_but_legal_prices_raise_no_warning() -> None:
    rows = [(date(2025, 1, 30), 5e-324, 0.0), (FRIDAY, 1.7e308, 1.7e308)]
    windows = windows_in_range(bars_of_histories({"X": rows, "Y": rows}), FRIDAY, FRIDAY, 2).windows
    assert not np.isfinite(windows.values()).all()  # refused later, with the vector


def test_no_windows_are_an_empty_batch() -> None:
    build = builder({}).build_date([], FRIDAY, 5)
    assert build.failures == ()
    assert build.windows.values().shape == (0, 5, 3)
    assert builder({}).build_range([], FRIDAY, FRIDAY, 5).windows.values().shape == (0, 5, 3)
