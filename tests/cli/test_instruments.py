"""Instruments that were renamed or ended, and days on which a market was closed: told once, followed everywhere."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import pytest
from tests.cli.test_nightly import configure, report_of
from tests.cli.test_skipped import copy_bars
from tests.fixtures.commands import Run
from tests.fixtures.database import TableDigest

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.data.renaming import CarriedHistories

AS_OF = "2025-01-31"
NIGHT = ["nightly", "--as-of", AS_OF, "--since", "2025-01-15"]
RENAMED = "2025-01-22"
VECTORS = "SELECT as_of_date, vector, input_hash FROM numeric_window_embeddings WHERE entity_id = %s ORDER BY 1"
STATES = "SELECT as_of_date, regime_label, confidence, regime_embedding, metadata, input_hash FROM regimes"
FOLLOWED = {"MIX": {"members": {"OLD": 0.7, "AAPL.US": 0.3}}, "ALONE": {"instrument_id": "OLD"}}

pytestmark = pytest.mark.usefixtures("sample")


@pytest.fixture
def renamed(db_manager: DatabaseManager) -> None:
    """OLD has the bars of AAPL.US up to a date, NEW those from it on."""
    copy_bars(db_manager, "OLD", f"trade_date < '{RENAMED}'")
    copy_bars(db_manager, "NEW", f"trade_date >= '{RENAMED}'")


def rows(db_manager: DatabaseManager, query: str, *given: Any) -> list[tuple[Any, ...]]:
    get = db_manager.get_runtime_connection if "regimes" in query else db_manager.get_historical_connection
    with get() as connection:
        return connection.execute(query, given).fetchall()


def test_a_renamed_instrument_goes_on_and_its_regions_follow_without_a_changed_byte(
    run: Run, renamed: None, db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, FOLLOWED)
    report_of(run, "nightly", "--as-of", "2025-01-21", "--since", "2025-01-15")
    before, vectors = rows(db_manager, f"{STATES} ORDER BY region, 1"), rows(db_manager, VECTORS, "OLD")
    late = run("nightly", "--as-of", "2025-01-24", "--since", "2025-01-15")
    assert late.exit_code == 5, "nobody has told where OLD went"

    told = json.loads(run("instruments", "rename", "OLD", "NEW", "--json").stdout)
    assert told["rows"]["prices_daily"] > 1_000
    night = report_of(run, *NIGHT)

    assert night["standings"]["regions"] == {"written": 2}
    assert night["standings"]["instruments"] == {"open": 1, "renamed": 1}
    (named,) = night["standings"]["named"]
    assert (named["name"], named["since"], named["why"]) == ("OLD", RENAMED, "it goes on as NEW")
    assert [night["regions"][name]["sessions_rewritten"] for name in FOLLOWED] == [0, 0]
    after = rows(db_manager, f"{STATES} WHERE as_of_date < '{RENAMED}' ORDER BY region, 1")
    assert after == before, "what was said stays as it was said"
    assert report_of(run, *NIGHT)["written"] == 0
    embed = ["backfill_numeric_embeddings", "--instrument-id", "NEW", "--date-range", "2025-01-15", AS_OF]
    assert run(*embed, "--model-id", "num-regime-core-v2", "--window-days", "513").exit_code == 0
    assert rows(db_manager, VECTORS, "NEW") == rows(db_manager, VECTORS, "OLD"), "the new id has the same bytes"
    assert rows(db_manager, VECTORS, "OLD")[: len(vectors)] == vectors
    assert json.loads(run("record", "verify", "--json").stdout)["fault"] is None


def test_a_region_that_follows_says_what_the_same_region_without_a_rename_says(
    run: Run, renamed: None, db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, {"MIX": FOLLOWED["MIX"]})
    assert run("instruments", "rename", "OLD", "NEW").exit_code == 0
    report_of(run, *NIGHT)
    followed = rows(db_manager, f"{STATES} ORDER BY 1")
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM prices_daily WHERE instrument_id = 'NEW'")
        connection.execute(
            "INSERT INTO prices_daily (instrument_id, trade_date, open, high, low, close, adjusted_close, volume,"
            " currency) SELECT 'OLD', trade_date, open, high, low, close, adjusted_close, volume, currency"
            " FROM prices_daily WHERE instrument_id = 'AAPL.US' ON CONFLICT DO NOTHING"
        )
    for database, query in (("runtime", "DELETE FROM regimes"), ("runtime", "DELETE FROM instrument_renames")):
        with getattr(db_manager, f"get_{database}_connection")() as connection:
            connection.execute(query)

    report_of(run, *NIGHT)

    assert rows(db_manager, f"{STATES} ORDER BY 1") == followed


def test_a_rename_is_done_once_and_can_be_taken_back(
    run: Run, renamed: None, table_digests: TableDigest, db_manager: DatabaseManager
) -> None:
    decided = ["data", "reject", "OLD", "2024-03-15", "--why", "a wrong tick", "--by", "x"]
    assert run(*decided).exit_code == 0
    before = table_digests()
    first = run("instruments", "rename", "OLD", "NEW")
    assert (first.exit_code, first.stdout.startswith(f"OLD goes on as NEW from {RENAMED} on; ")) == (0, True)
    count = "SELECT count(*) FROM price_decisions WHERE instrument_id = %s"
    assert rows(db_manager, count, "NEW") == rows(db_manager, count, "OLD") == [(1,)]
    done = table_digests()
    again = run("instruments", "rename", "OLD", "NEW")
    assert (again.exit_code, table_digests()) == (0, done), again.stderr

    assert run("instruments", "rename", "OLD", "NEW", "--undo").exit_code == 0
    assert [name for name, found in table_digests().items() if found != before[name]] == ["historical.source_digests"]
    emptied = "SELECT DISTINCT n_rows FROM source_digests WHERE key = 'NEW' AND period < 2025"
    assert rows(db_manager, emptied) == [(0,)], "of years that have no bar any longer"
    twice = run("instruments", "rename", "OLD", "NEW", "--undo")
    assert (twice.exit_code, len(twice.errors)) == (5, 1), twice.stderr


def test_the_page_and_the_closes_of_a_region_follow(
    run: Run, renamed: None, db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, {"ALONE": FOLLOWED["ALONE"]})
    assert run("instruments", "rename", "OLD", "NEW").exit_code == 0
    report_of(run, *NIGHT)
    app = App(db_manager)
    (row,) = app.overview.on(date.fromisoformat(AS_OF)).rows
    assert (row.instrument_id, str(row.close_date)) == ("OLD", AS_OF)
    assert str(app.regimes.closes(app.regimes.history("ALONE"), date.min, date.max).dates[-1]) == "2025-07-23"
    listed = {each.instrument.instrument_id: each.close for each in app.overview.instruments(date.fromisoformat(AS_OF))}
    assert listed["OLD"] == listed["NEW"]


def test_a_rename_that_was_killed_between_the_two_databases_is_completed_by_the_next(
    run: Run, renamed: None, table_digests: TableDigest, db_manager: DatabaseManager
) -> None:
    histories = CarriedHistories(db_manager)
    histories.carry("OLD", "NEW", date.fromisoformat(RENAMED))  # and no name is noted
    killed = table_digests()

    done = run("instruments", "rename", "OLD", "NEW")

    assert done.exit_code == 0, done.stderr
    changed = {name for name, found in table_digests().items() if found != killed[name]}
    assert changed == {"runtime.instrument_renames"}
    assert run("instruments", "rename", "OLD", "NEW", "--undo").exit_code == 0
    assert rows(db_manager, "SELECT min(trade_date) FROM prices_daily WHERE instrument_id = 'NEW'") == [
        (date.fromisoformat(RENAMED),)
    ]


def test_an_id_without_bars_of_its_own_takes_all_and_leaves_nothing_behind(
    run: Run, table_digests: TableDigest
) -> None:
    before = table_digests()
    assert run("instruments", "rename", "AAPL.US", "APPLE.US").exit_code == 0
    assert "goes_on_as: APPLE.US" in run("instruments", "show", "AAPL.US").stdout
    assert run("instruments", "rename", "AAPL.US", "APPLE.US", "--undo").exit_code == 0
    changed = {name for name, found in table_digests().items() if found != before[name]}
    assert changed <= {"historical.source_digests", "runtime.state_digests"}


def test_a_market_has_a_renamed_instrument_once(run: Run, renamed: None) -> None:
    listed = json.loads(run("instruments", "list", "--json").stdout)
    assert {each["instrument_id"] for each in listed} == {"AAPL.US", "GSPC.INDX", "NEW", "OLD"}
    assert run("instruments", "rename", "OLD", "NEW").exit_code == 0
    market = ["backfill_numeric_embeddings", "--market-id", "US_EQ", "--as-of", AS_OF, "--limit", "9", "--json"]
    assert json.loads(run(*market).stdout)["planned"] == 2, "AAPL.US and NEW"
    (old,) = [each for each in json.loads(run("instruments", "list", "--json").stdout) if each["goes_on_as"]]
    assert (old["instrument_id"], old["goes_on_as"]) == ("OLD", "NEW")
    assert "goes_on_as: NEW" in run("instruments", "show", "OLD").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rename", "NO.SUCH", "NEW"], "NO.SUCH"),
        (["rename", "OLD", "OLD"], "OLD cannot be renamed to 'OLD'"),
        (["rename", "OLD", ""], "is empty; name one"),
        (["rename", "OLD", "GSPC.INDX"], "GSPC.INDX lacks bars that OLD has"),
        (["rename", "AAPL.US", "NEW", "--from", "2024-01-02"], "NEW lacks bars that AAPL.US has from 2024-01-02 on"),
        (["rename", "OLD", "NEW", "--undo"], "OLD was not renamed to NEW"),
        (["end", "NO.SUCH"], "NO.SUCH"),
        (["end", "OLD", "--on", "2024-01-02"], "OLD has bars up to 2025-01-21, after 2024-01-02"),
        (["end", "OLD", "--reason", " "], "say why"),
        (["show", "NO.SUCH"], "there is no instrument 'NO.SUCH'"),
        (["list", "--market-id", "NO"], "NO"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_changes_nothing(
    run: Run, renamed: None, table_digests: TableDigest, arguments: list[str], said: str
) -> None:
    before = table_digests()
    done = run("instruments", *arguments)
    assert done.exit_code not in (0, 1)
    assert len(done.errors) == 1
    assert said in done.errors[0]
    assert table_digests() == before


def test_a_second_name_and_a_circle_are_refused(run: Run, renamed: None, db_manager: DatabaseManager) -> None:
    copy_bars(db_manager, "THIRD", "trade_date > '2025-03-01'")
    assert run("instruments", "rename", "OLD", "NEW").exit_code == 0
    other = run("instruments", "rename", "OLD", "THIRD")
    assert (other.exit_code, "instruments rename OLD NEW --undo" in other.errors[0]) == (2, True)
    assert run("instruments", "rename", "NEW", "OLD").exit_code == 2


def test_an_end_that_is_told_lets_a_night_go_on_at_once(
    run: Run, renamed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, {"ALONE": {"instrument_id": "OLD"}, "AAPL": {"instrument_id": "AAPL.US"}})
    night = ["nightly", "--as-of", "2025-01-24", "--since", "2025-01-15"]
    assert run(*night).exit_code == 5
    assert run("instruments", "end", "OLD", "--reason", "bought").stdout == "OLD ended on 2025-01-21\n"

    report = report_of(run, *night)

    assert report["standings"]["regions"] == {"settled": 1, "ended": 1}
    assert run("instruments", "end", "OLD", "--reason", "bought").stdout.endswith("as was told before\n")
    assert run("instruments", "end", "OLD", "--undo").exit_code == 0
    assert run(*night).exit_code == 5


def test_a_day_that_is_told_to_be_closed_is_not_owed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, {"APPLE": {"instrument_id": "AAPL.US"}})
    last = date(2025, 7, 23)
    day = str(last + timedelta(days=1))
    night = ["nightly", "--as-of", day, "--since", "2025-07-15"]
    assert run(*night).exit_code == 5
    told = run("calendar", "close", "US_EQ", day, "--reason", "a storm")
    assert (told.exit_code, told.stdout) == (0, f"US_EQ was closed on {day}\n")

    report = report_of(run, *night)

    assert report["standings"] == {
        "regions": {"closed": 1},
        "instruments": {"open": 1},
        "named": [
            {"name": "APPLE", "standing": "closed", "since": day, "why": "US_EQ was closed: a storm", "sessions": None}
        ],
    }
    assert report["regions"]["APPLE"]["newest"]["as_of_date"] == str(last)
    assert run("calendar", "close", "US_EQ", day, "--reason", "a storm").stdout.endswith("as was told before\n")
    assert day in run("calendar", "closed").stdout
    assert run("calendar", "reopen", "US_EQ", day).exit_code == 0
    assert run(*night).exit_code == 5
    assert run("calendar", "close", "US_EQ", "2025-07-26", "--reason", "x").exit_code == 2, "a Saturday"
    assert run("calendar", "close", "NO_EQ", day, "--reason", "x").exit_code == 5
