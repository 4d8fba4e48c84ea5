"""Nights over markets that live: the young, the ended, the missing, the late and the held stop nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cli.test_nightly import configure, report_of
from tests.fixtures.commands import Run
from tests.fixtures.examples import share_of

from prometheus.app.databases import DatabaseManager
from prometheus.app.prices import NightlyRequest
from prometheus.app.standings import NightBars, NightStandings
from prometheus.data.told import Told
from prometheus.market.calendar import trading_days_between
from prometheus.market.standings import Standing

AS_OF = date(2025, 1, 31)
SESSIONS = trading_days_between("US_EQ", date(2022, 6, 1), AS_OF)
NIGHT = ["nightly", "--as-of", str(AS_OF), "--since", "2025-01-27"]

Store = Callable[[str, date, date], None]


@pytest.fixture
def store(db_manager: DatabaseManager, cli_environment: dict[str, str]) -> Store:
    """Store the bars of a seeded walk from one date to another as those of an instrument of the market US_EQ."""

    def insert(name: str, first: date, last: date) -> None:
        days = [day for day in SESSIONS if first <= day <= last]
        steps = np.random.default_rng(sum(map(ord, name))).normal(0, 0.01, len(SESSIONS))
        closes = dict(zip(SESSIONS, (100 * np.exp(np.cumsum(steps))).tolist(), strict=True))
        with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO prices_daily (instrument_id, trade_date, close, adjusted_close, volume, currency)"
                " VALUES (%s, %s, %s, %s, 1000, 'USD')",
                [(name, day, closes[day], closes[day]) for day in days],
            )
        with db_manager.get_runtime_connection() as connection:
            connection.execute(
                "INSERT INTO markets (market_id, name, calendar, currency) VALUES ('US_EQ', 'US', 'XNYS', 'USD')"
                " ON CONFLICT DO NOTHING"
            )
            connection.execute(
                "INSERT INTO instruments (instrument_id, market_id, symbol, currency) VALUES (%s, 'US_EQ', %s, 'USD')",
                (name, name),
            )

    return insert


def regions_of(*names: str) -> dict[str, Any]:
    return {name: {"instrument_id": name} for name in names}


def test_the_young_the_ended_and_the_members_of_both_are_counted_named_once_and_stop_nobody(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("A", "B", "C"):
        store(name, SESSIONS[0], AS_OF)
    store("GONE", SESSIONS[0], date(2024, 3, 28))
    store("YOUNG", date(2024, 12, 2), AS_OF)
    mix = {"members": {"A": 3, "B": 3, "GONE": 1, "YOUNG": 1}}
    configure(monkeypatch, regions_of("A", "B", "C", "GONE", "YOUNG") | {"MIX": mix})

    night = report_of(run, *NIGHT)

    assert night["standings"]["regions"] == {"written": 4, "young": 1, "ended": 1}
    assert night["standings"]["instruments"] == {"open": 3, "young": 1, "ended": 1}
    assert [night["regions"][name]["sessions_added"] for name in ("A", "B", "C", "MIX", "GONE")] == [5, 5, 5, 5, 0]
    named = {(each["name"], each["standing"]): each for each in night["standings"]["named"]}
    assert named["GONE", "ended"]["since"] == "2024-03-28"
    n_known = sum(day >= date(2024, 12, 2) for day in SESSIONS)
    assert any(each["sessions"] == 513 - n_known for each in named.values()), "how long until the young one's label"

    again = report_of(run, *NIGHT)
    assert (again["written"], again["standings"]["instruments"]) == (0, night["standings"]["instruments"])
    assert again["standings"]["regions"] == {"settled": 4, "young": 1, "ended": 1}
    assert report_of(run, *NIGHT, "--strict", exit_code=3)["failed"] == 0
    printed = run(*NIGHT).stdout.splitlines()
    assert "regions: 4 settled, 1 young, 1 ended" in printed
    assert sum("GONE on 2024-03-28" in line for line in printed) == 2, "the region once, and the instrument once"


def test_an_ended_history_stops_nobody_though_the_whole_market_is_behind(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("A", "B", "C"):
        store(name, SESSIONS[0], date(2025, 1, 15))
    store("GONE", SESSIONS[0], date(2023, 6, 30))
    configure(monkeypatch, regions_of("A", "B", "C", "GONE"))
    assert run(*NIGHT).exit_code == 5, "the file has not come yet"

    behind = report_of(run, *NIGHT[:-1], "2025-01-10", "--max-age-sessions", "20")

    assert behind["standings"]["regions"] == {"written": 3, "ended": 1}


def test_a_file_that_lacks_most_of_a_market_is_late_and_no_end_of_it(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("A", "B", "C"):
        store(name, SESSIONS[0], date(2025, 1, 10))
    store("ALONE", SESSIONS[0], AS_OF)
    configure(monkeypatch, regions_of("A", "B", "C", "ALONE"))

    night = report_of(run, *NIGHT, exit_code=5)

    assert night["standings"]["regions"] == {"written": 1, "late": 3}
    assert night["regions"]["ALONE"]["sessions_added"] == 5


def test_an_instrument_without_any_bar_fails_its_regions_alone(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store("A", SESSIONS[0], AS_OF)
    mix = {"members": {"A": 9, "NO.SUCH": 1}}
    configure(monkeypatch, regions_of("A", "NO.SUCH") | {"MIX": mix})

    done = run(*NIGHT)

    assert done.exit_code == 3
    assert "failed: MIX: left out, it lacks NO.SUCH (no bars); load them, or correct the region" in done.stderr
    assert "regions: 1 written, 2 missing" in done.stdout.splitlines()


def test_a_day_on_which_no_instrument_has_a_bar_is_guessed_closed_once_later_bars_are_there(
    run: Run, store: Store, db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, night = date(2025, 1, 30), ["nightly", "--as-of", "2025-01-30", "--since", "2025-01-27"]
    for name in ("A", "B"):
        store(name, SESSIONS[0], AS_OF)
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM prices_daily WHERE trade_date = %s", (closed,))
    configure(monkeypatch, regions_of("A", "B"))

    found = report_of(run, *night)

    assert found["standings"]["regions"] == {"closed": 2}
    assert {each["as_of_date"] for each in found["regions"].values()} == {"2025-01-29"}
    assert found["standings"]["named"][0]["since"] == str(closed)

    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM prices_daily WHERE trade_date > %s", (closed,))
    assert run(*night).exit_code == 5, "tonight nobody can tell a holiday from a file that has not come"


def test_a_label_of_the_past_does_not_change_because_a_member_ended_later(
    run: Run, store: Store, db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("A", "B", "C"):
        store(name, SESSIONS[0], date(2025, 1, 13))
    configure(monkeypatch, {"MIX": {"members": {"A": 2, "B": 2, "C": 1}}})
    report_of(run, "nightly", "--as-of", "2025-01-13", "--since", "2025-01-02")
    before = states(db_manager)
    for name in ("A", "B"):  # C ends
        store_more(db_manager, name)

    night = report_of(run, "nightly", "--as-of", str(AS_OF))

    assert night["standings"]["instruments"] == {"open": 2, "ended": 1}
    assert states(db_manager)[: len(before)] == before
    assert night["regions"]["MIX"]["sessions_rewritten"] == 0


def store_more(db_manager: DatabaseManager, name: str) -> None:
    """Store bars after the last one of an instrument, up to the date of the nights."""
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO prices_daily (instrument_id, trade_date, close, adjusted_close, volume, currency)"
            " VALUES (%s, %s, 100, 100, 1000, 'USD')",
            [(name, day) for day in SESSIONS if day > date(2025, 1, 13)],
        )


def states(db_manager: DatabaseManager) -> list[tuple[Any, ...]]:
    query = "SELECT as_of_date, regime_label, regime_embedding, metadata, input_hash FROM regimes ORDER BY as_of_date"
    with db_manager.get_runtime_connection() as connection:
        return connection.execute(query).fetchall()


class _KnownBars(NightBars):
    """The bars of a market that are given, in place of stored ones."""

    def __init__(self, days: dict[str, list[date]]) -> None:
        super().__init__(None, dict.fromkeys(days, "US_EQ"))  # type: ignore[arg-type]
        self._days = days

    def _load(self, names: Any, day: date) -> dict[str, Any]:
        from prometheus.data.reader import BarExtent

        seen = {name: [each for each in self._days[name] if each <= day] for name in names}
        return {name: BarExtent(days[0], days[-1]) for name, days in seen.items() if days}

    def of_market(self, market: str, day: date) -> Any:
        assert market == "US_EQ"
        return self.up_to(day)


@settings(max_examples=share_of(200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_every_instrument_has_one_standing_by_its_bars_up_to_the_session_alone(data: st.DataObject) -> None:
    """Whatever comes after a session changes no standing of it, but that of a day without any bar in its market."""
    at = data.draw(st.integers(520, len(SESSIONS) - 1))
    session = SESSIONS[at]
    days = {}
    for name in "ABCDE"[: data.draw(st.integers(1, 5))]:
        first, last = sorted(data.draw(st.lists(st.integers(0, len(SESSIONS) - 1), min_size=2, max_size=2)))
        days[name] = SESSIONS[first : last + 1]
    asked = NightlyRequest(None, session)  # type: ignore[arg-type]
    markets = dict.fromkeys(days, "US_EQ")
    whole = NightStandings(_KnownBars(days), markets, Told(), asked)
    cut = {name: [day for day in known if day <= session] or known[:1] for name, known in days.items()}
    past = NightStandings(_KnownBars(cut), markets, Told(), asked)

    for name in days:
        found = whole.of(name, session)
        assert found == past.of(name, session)
        assert found.standing is slow_standing(days, name, session)


def slow_standing(days: dict[str, list[date]], name: str, session: date) -> Standing:
    """Return the standing of an instrument, told in the order of the rule, day by day."""
    own = [day for day in days[name] if day <= session]
    if not own:
        return Standing.YOUNG
    lacking = [day for day in SESSIONS if own[-1] < day <= session]
    if len(lacking) > 5:
        peers = [max(d for d in known if d <= session) for known in days.values() if known[0] <= session]
        as_long = [newest for newest in peers if newest >= own[-1]]
        gone_on = [newest for newest in as_long if sum(own[-1] < day <= newest for day in SESSIONS) > 5]
        is_new = sum(max(peers) < day <= session for day in SESSIONS) <= 5
        if is_new and 2 * len(gone_on) >= len(as_long):
            return Standing.ENDED
    if sum(own[0] <= day <= session for day in SESSIONS) < 513:
        return Standing.YOUNG
    return Standing.LATE if lacking else Standing.OPEN


def test_a_night_is_the_same_in_json_and_in_words(run: Run, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store("A", SESSIONS[0], AS_OF)
    store("B", SESSIONS[0], AS_OF)
    store("GONE", SESSIONS[0], AS_OF - timedelta(days=30))
    configure(monkeypatch, regions_of("A", "B", "GONE"))
    counted = json.loads(run(*NIGHT, "--json").stdout)["standings"]["regions"]
    assert counted == {"written": 2, "ended": 1}
    assert "regions: 2 settled, 1 ended" in run(*NIGHT).stdout.splitlines()
