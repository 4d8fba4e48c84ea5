"""Statements held against what followed: the fast way says what a slow one says, and nothing that was not known yet."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.market import random_walk, weekdays
from tests.property.strategies import bounded

from prometheus.evaluation.history import MarketHistory
from prometheus.evaluation.statements import (
    MIN_BASE_SESSIONS,
    measure_lateness,
    outcomes_of,
    score_forecasts,
)
from prometheus.market.calendar import session_closes

N = 400
HORIZON = 21


def slow_outcome(closes: list[float], row: int, threshold: float) -> float:
    """1 where the 21 sessions after a row were more volatile than the threshold, NaN where they are not over."""
    if row + HORIZON >= len(closes):
        return math.nan
    squares = [math.log(closes[day + 1] / closes[day]) ** 2 for day in range(row, row + HORIZON)]
    return float(math.sqrt(sum(squares) / HORIZON * 252) > threshold)


@bounded(60)
@given(
    seed=st.integers(0, 50), n=st.integers(30, N), rows=st.lists(st.integers(-3, N + 3), max_size=6),
    thresholds=st.lists(st.sampled_from([0.1, 0.15, 0.16, 0.3, math.nan]), min_size=6, max_size=6),
)  # fmt: skip
def test_outcomes_and_base_rates_are_those_of_a_slow_loop(
    seed: int, n: int, rows: list[int], thresholds: list[float]
) -> None:
    dates, closes = weekdays(N), random_walk(N, seed)[0]
    history = MarketHistory("X", dates[:n], closes[:n])
    asked = np.array([dates[0] + np.timedelta64(row, "D") for row in rows], dtype="M8[D]")
    chosen = np.array(thresholds[: len(rows)])
    followed, base = outcomes_of(history, asked, chosen)
    place = {day: row for row, day in enumerate(dates[:n].tolist())}
    for at, (day, threshold) in enumerate(zip(asked.tolist(), chosen.tolist(), strict=True)):
        row = place.get(day)
        wanted, rate = math.nan, math.nan
        if row is not None and not math.isnan(threshold):
            wanted = slow_outcome(closes[:n].tolist(), row, threshold)
            known = [slow_outcome(closes[: row + 1].tolist(), each, threshold) for each in range(row + 1)]
            known = [each for each in known if not math.isnan(each)]
            rate = sum(known) / len(known) if len(known) >= MIN_BASE_SESSIONS else math.nan
        np.testing.assert_allclose((followed[at], base[at]), (wanted, rate), rtol=1e-12)


@bounded(40)
@given(seed=st.integers(0, 50), row=st.integers(275, N - 40), factor=st.floats(0.2, 5))
def test_no_later_close_changes_what_followed_or_was_known(seed: int, row: int, factor: float) -> None:
    dates, closes = weekdays(N), random_walk(N, seed)[0]
    day, threshold = dates[row : row + 1], np.array([0.16])
    poisoned = closes.copy()
    poisoned[row + HORIZON + 1 :] *= factor
    before = outcomes_of(MarketHistory("X", dates, closes), day, threshold)
    after = outcomes_of(MarketHistory("X", dates, poisoned), day, threshold)
    np.testing.assert_array_equal(before, after)
    cut = outcomes_of(MarketHistory("X", dates[: row + HORIZON], closes[: row + HORIZON]), day, threshold)
    assert math.isnan(cut[0][0]), "one session is still to come"
    assert cut[1] == before[1]


def test_brier_skill_and_tenths_by_hand() -> None:
    nan = math.nan
    score = score_forecasts(
        np.array([0.0, 0.9, 0.95, 1.0, 0.3, nan]), np.array([0, 1, 0, 1, nan, 1.0]), np.array([0.5] * 5 + [0.5])
    )
    assert score.n_scored == 4
    assert score.brier == pytest.approx((0.01 + 0.95**2) / 4)
    assert score.base_brier == 0.25
    assert score.skill == pytest.approx(1 - (0.01 + 0.95**2))
    assert [(each.low, each.n) for each in score.tenths] == [(0.0, 1), (0.9, 3)]
    assert score.tenths[1].stated == pytest.approx(0.95)
    assert score.tenths[1].observed == pytest.approx(2 / 3)
    nothing = score_forecasts(np.array([0.5]), np.array([nan]), np.array([0.5]))
    assert (nothing.n_scored, nothing.brier, nothing.skill, nothing.tenths) == (0, None, None, ())


@pytest.mark.parametrize(
    ("day", "said", "hours", "is_on_time"),
    [
        ("2024-11-27", "2024-11-27T22:00", 1.0, True),  # the eve of Thanksgiving closes at 21:00 UTC
        ("2024-11-29", "2024-11-29T18:30", 0.5, True),  # a half day
        ("2024-11-29", "2024-12-03T18:00", 96.0, True),
        ("2024-11-29", "2024-12-03T18:01", 96 + 1 / 60, False),
        ("2024-11-30", "2024-12-01T01:00", 1.0, True),  # a Saturday ends with its date
        ("2001-09-10", "2001-09-17T20:00", 168.0, True),  # the exchange stayed closed for a week
        ("2001-09-10", "2001-09-17T20:01", 168 + 1 / 60, False),
    ],
)
def test_a_statement_is_on_time_up_to_the_next_close_or_for_four_days(
    day: str, said: str, hours: float, *, is_on_time: bool
) -> None:
    dates = np.array([day], dtype="M8[D]")
    sessions, closes = session_closes("US_EQ", dates[0].item(), dates[0].item())
    lag, on_time = measure_lateness(dates, np.array([said], dtype="M8[us]"), sessions, closes)
    assert (lag[0], on_time[0]) == (pytest.approx(hours), is_on_time)


def test_without_a_calendar_a_date_closes_at_its_end() -> None:
    now = datetime(2024, 1, 10, 6, tzinfo=UTC)
    days = [(now - timedelta(days=n)).date() for n in (1, 4, 5)]
    none = np.empty(0, dtype="M8[D]")
    said = np.full(3, now.replace(tzinfo=None), dtype="M8[us]")
    lags, on_time = measure_lateness(np.array(days, dtype="M8[D]"), said, none, none.astype("M8[us]"))
    assert lags.tolist() == [6.0, 78.0, 102.0]
    assert on_time.tolist() == [True, True, False]
