"""Which session is over is told by closes, not by dates."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from prometheus.errors import NotFoundError
from prometheus.market.calendar import last_closed_session


@pytest.mark.parametrize(
    ("market", "now", "session"),
    [
        ("US_EQ", "2025-01-31T20:59:59", "2025-01-30"),  # a second before the close of a winter Friday
        ("US_EQ", "2025-01-31T21:00:00", "2025-01-31"),
        ("US_EQ", "2025-07-23T19:59:59", "2025-07-22"),  # in summer an hour earlier in UTC
        ("US_EQ", "2025-07-23T20:00:00", "2025-07-23"),
        ("US_EQ", "2025-02-01T12:00:00", "2025-01-31"),  # Saturday
        ("US_EQ", "2025-02-03T00:30:00", "2025-01-31"),  # Monday in UTC, Sunday evening in New York
        ("US_EQ", "2024-11-28T23:00:00", "2024-11-27"),  # Thanksgiving
        ("US_EQ", "2024-11-29T17:59:59", "2024-11-27"),  # the half day after it closes at one
        ("US_EQ", "2024-11-29T18:00:00", "2024-11-29"),
        ("US_EQ", "2024-12-24T18:00:00", "2024-12-24"),  # Christmas Eve
        ("US_EQ", "2024-12-26T10:00:00", "2024-12-24"),
        ("JP_EQ", "2025-01-31T07:00:00", "2025-01-31"),  # Tokyo is done before New York begins
        ("JP_EQ", "2025-01-06T03:00:00", "2024-12-30"),  # the first morning after New Year
        ("CRYPTO", "2025-01-31T23:59:59", "2025-01-30"),
        ("CRYPTO", "2025-02-01T00:00:00", "2025-01-31"),
    ],
)
def test_a_session_counts_from_its_close_on(market: str, now: str, session: str) -> None:
    instant = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert last_closed_session(market, instant) == date.fromisoformat(session)


def test_the_zone_of_the_instant_does_not_matter() -> None:
    instant = datetime(2025, 1, 31, 16, 0, tzinfo=ZoneInfo("America/New_York"))
    assert last_closed_session("US_EQ", instant) == date(2025, 1, 31)


def test_an_unknown_market_is_named() -> None:
    with pytest.raises(NotFoundError, match="NOWHERE"):
        last_closed_session("NOWHERE", datetime(2025, 1, 31, tzinfo=UTC))
