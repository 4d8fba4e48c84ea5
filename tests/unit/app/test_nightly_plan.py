"""What a night decides before it touches a row."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from prometheus.app.prices import NightlyRequest, first_date_wanted
from prometheus.app.standings import n_sessions_owed
from prometheus.data.told import Closure, Told
from prometheus.errors import UsageError

FIRST = date(1990, 1, 2)
EVENING = datetime(2025, 1, 31, 22, 0, tzinfo=UTC)


def owed(newest: date, *, market: str = "US_EQ", as_of: date = date(2025, 1, 31), **wanted: object) -> int:
    request = NightlyRequest(**{"now_utc": EVENING, **wanted})  # type: ignore[arg-type]
    return n_sessions_owed(newest, market, as_of, request, Told())


def test_the_bar_of_the_session_is_owed_and_sessions_are_counted() -> None:
    assert owed(date(2025, 1, 31)) == 0
    assert owed(date(2025, 1, 30)) == 1
    assert owed(date(2025, 1, 17)) == 9, "the 20th was a holiday"


def test_a_day_that_was_told_to_be_closed_is_not_owed() -> None:
    days = [date(2025, 1, 8), date(2025, 1, 9)]  # of these the 9th is no session anyway
    told = Told(closures={("US_EQ", day): Closure("US_EQ", day, "mourning", "x", EVENING) for day in days})
    request = NightlyRequest(EVENING, date(2025, 1, 10))
    assert n_sessions_owed(date(2025, 1, 7), "US_EQ", date(2025, 1, 10), request, told) == 1
    assert n_sessions_owed(date(2025, 1, 7), "US_EQ", date(2025, 1, 10), request, Told()) == 2
    assert n_sessions_owed(date(2025, 1, 7), "US_EQ", date(2025, 1, 8), request, told) == 0
    assert n_sessions_owed(date(2025, 1, 7), "XNYS", date(2025, 1, 8), request, told) == 1, "of another market"


def test_a_member_owes_no_bar_of_its_own_holiday() -> None:
    assert owed(date(2025, 5, 2), market="UK_EQ", as_of=date(2025, 5, 5), as_of_date=date(2025, 5, 5)) == 0


def test_a_member_owes_no_bar_of_a_session_that_goes_on() -> None:
    morning = datetime(2025, 1, 31, 7, 0, tzinfo=UTC)  # Tokyo has closed, New York has not opened
    assert owed(date(2025, 1, 30), now_utc=morning) == 0
    assert owed(date(2025, 1, 29), now_utc=morning) == 1
    assert owed(date(2025, 1, 30), now_utc=morning, as_of_date=date(2025, 1, 31)) == 1, "the date was asked for"


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
