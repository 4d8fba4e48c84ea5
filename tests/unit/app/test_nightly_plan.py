"""What a night decides before it touches a row."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from prometheus.app.prices import NightlyRequest, describe_staleness, first_date_wanted
from prometheus.data.reader import BarExtent
from prometheus.errors import UsageError

FIRST = date(1990, 1, 2)
EVENING = datetime(2025, 1, 31, 22, 0, tzinfo=UTC)


def lacks(newest: date, *, market: str = "US_EQ", as_of: date = date(2025, 1, 31), **wanted: object) -> str | None:
    request = NightlyRequest(**{"now_utc": EVENING, **wanted})  # type: ignore[arg-type]
    return describe_staleness("X", BarExtent(FIRST, newest), market, as_of, request)


def test_the_bar_of_the_session_is_wanted_and_sessions_are_counted() -> None:
    assert lacks(date(2025, 1, 31)) is None
    assert lacks(date(2025, 1, 30)) == "X (last bar 2025-01-30, 1 session missing)"
    assert lacks(date(2025, 1, 17)) == "X (last bar 2025-01-17, 9 sessions missing)"  # the 20th was a holiday
    assert describe_staleness("X", None, "US_EQ", EVENING.date(), NightlyRequest(EVENING)) == "X (no bars)"


def test_some_sessions_may_be_missing_where_that_is_said() -> None:
    assert lacks(date(2025, 1, 29), max_age_sessions=2) is None
    assert lacks(date(2025, 1, 28), max_age_sessions=2) == "X (last bar 2025-01-28, 3 sessions missing)"


def test_a_member_owes_no_bar_of_its_own_holiday() -> None:
    assert lacks(date(2025, 5, 2), market="UK_EQ", as_of=date(2025, 5, 5), as_of_date=date(2025, 5, 5)) is None


def test_a_member_owes_no_bar_of_a_session_that_goes_on() -> None:
    morning = datetime(2025, 1, 31, 7, 0, tzinfo=UTC)  # Tokyo has closed, New York has not opened
    assert lacks(date(2025, 1, 30), now_utc=morning) is None
    assert lacks(date(2025, 1, 29), now_utc=morning) == "X (last bar 2025-01-29, 1 session missing)"
    assert lacks(date(2025, 1, 30), now_utc=morning, as_of_date=date(2025, 1, 31)) is not None, "the date was asked for"


@pytest.mark.parametrize(
    ("since", "stored", "calibrated", "wanted"),
    [
        (None, None, None, FIRST),
        (None, None, date(2007, 12, 31), date(2008, 1, 1)),
        (None, date(2008, 1, 2), date(2007, 12, 31), date(2008, 1, 2)),
        (None, date(2005, 1, 3), date(2007, 12, 31), date(2005, 1, 3)),
        (date(2020, 1, 1), date(2008, 1, 2), date(2007, 12, 31), date(2020, 1, 1)),
    ],
)
def test_a_night_begins_where_the_stored_rows_do_or_after_the_calibration(
    since: date | None, stored: date | None, calibrated: date | None, wanted: date
) -> None:
    assert first_date_wanted(since, stored, calibrated, FIRST) == wanted


def test_dates_and_ages_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="--since 2025-02-01 lies after 2025-01-31"):
        NightlyRequest(EVENING, since=date(2025, 2, 1))
    with pytest.raises(UsageError, match="--max-age-sessions -1"):
        NightlyRequest(EVENING, max_age_sessions=-1)
