"""Digests of source rows: kept by the database whatever is written, compared with the rows, and made anew."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fixtures.database import as_owner
from tests.fixtures.examples import share_of
from tests.fixtures.market import LoadPrices, random_walk, weekdays

from prometheus.app.databases import DatabaseManager
from prometheus.data.digests import SourceDigests

Stored = dict[tuple[str, str, int], tuple[int, int]]


@pytest.fixture
def prices(load_prices: LoadPrices) -> None:
    """Two instruments of 300 bars, in two years."""
    for number, name in enumerate("AB"):
        load_prices(name, weekdays(300), *random_walk(300, seed=number))


def stored(connection: psycopg.Connection[Any]) -> Stored:
    rows = connection.execute("SELECT source, key, period, n_rows, digest FROM source_digests WHERE n_rows <> 0")
    return {(source, key, period): (n_rows, digest) for source, key, period, n_rows, digest in rows}


def test_a_digest_tells_every_change_of_a_bar_and_its_return(db_manager: DatabaseManager, prices: None) -> None:
    with db_manager.get_historical_connection() as connection:
        first = stored(connection)
        assert {key: n_rows for key, (n_rows, _) in first.items()} == {
            ("prices_daily", name, year): n_rows
            for name in "AB"
            for year, n_rows in ((2023, 15), (2024, 262), (2025, 23))
        }
        connection.execute("UPDATE prices_daily SET known_from = NULL")
        assert stored(connection) == first
        connection.execute("UPDATE prices_daily SET volume = 0 WHERE trade_date = '2024-06-03'")
        zero = stored(connection)
        connection.execute("UPDATE prices_daily SET volume = '-0' WHERE trade_date = '2024-06-03'")
        minus = stored(connection)
        both = [("prices_daily", name, 2024) for name in "AB"]
        assert all(len({digests[key] for digests in (first, zero, minus)}) == 3 for key in both)
        connection.rollback()
        assert stored(connection) == first


@pytest.mark.parametrize("columns", ["close", "volume", "close, adjusted_close, volume"])
def test_two_bars_that_exchange_values_have_another_digest(
    db_manager: DatabaseManager, prices: None, columns: str
) -> None:
    with db_manager.get_historical_connection() as connection:
        first = stored(connection)
        connection.execute(
            f"UPDATE prices_daily p SET ({columns}) = (SELECT {columns} FROM prices_daily o WHERE o.instrument_id = 'A'"
            " AND o.trade_date = CASE p.trade_date WHEN '2024-06-03' THEN date '2024-06-04' ELSE '2024-06-03' END)"
            " WHERE instrument_id = 'A' AND trade_date IN ('2024-06-03', '2024-06-04')"
        )
        changed = stored(connection)
        assert {key for key in first if first[key] != changed[key]} == {("prices_daily", "A", 2024)}
        connection.rollback()


EDITS = (
    "UPDATE prices_daily SET close = close * 1.01 WHERE extract(doy FROM trade_date)::int % 7 = {n} % 7",
    "UPDATE prices_daily SET trade_date = trade_date + 4000 WHERE instrument_id = 'A'",
    "UPDATE prices_daily SET instrument_id = 'C' WHERE instrument_id = 'B'",
    "DELETE FROM prices_daily WHERE trade_date < date '2024-01-01' + {n}",
    """
    INSERT INTO prices_daily
    SELECT 'D', trade_date + {n}, open, high, low, close, adjusted_close, volume, currency, now()
    FROM prices_daily WHERE instrument_id = 'A' ON CONFLICT (instrument_id, trade_date) DO UPDATE SET close = 5
    """,
    """
    INSERT INTO price_decisions SELECT instrument_id, trade_date, 'ACCEPTED', close, 'me', now(), 'why'
    FROM prices_daily LIMIT {n} ON CONFLICT DO NOTHING
    """,
    """
    UPDATE price_decisions SET reopened_by = 'me', reopened_at = now(), reopened_for = 'why' WHERE reopened_at IS NULL
    """,
    "TRUNCATE price_decisions",
)


@settings(max_examples=share_of(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(EDITS), st.integers(1, 30)), min_size=1, max_size=6))
def test_digests_agree_with_the_rows_after_any_edits(
    db_manager: DatabaseManager, prices: None, edits: list[tuple[str, int]]
) -> None:
    with db_manager.get_owner_connection("historical") as connection:
        for edit, n in edits:
            connection.execute(edit.format(n=n))
        kept = stored(connection)
        connection.execute("TRUNCATE source_digests")
        for table in ("prices_daily", "price_decisions"):  # as if every row had been written at once
            connection.execute(f"CREATE TEMP TABLE all_rows ON COMMIT DROP AS TABLE {table}")
            connection.execute(f"TRUNCATE {table}")
            connection.execute(f"INSERT INTO {table} TABLE all_rows")
            connection.execute("DROP TABLE all_rows")
        assert stored(connection) == kept
        connection.rollback()


def test_a_digest_that_disagrees_is_named_and_made_anew(db_manager: DatabaseManager, prices: None) -> None:
    digests = SourceDigests(db_manager)
    assert digests.check() == []
    with db_manager.get_historical_connection() as connection:
        right = stored(connection)
        connection.execute("UPDATE source_digests SET digest = digest + 1 WHERE key = 'A' AND period = 2024")
    with as_owner(db_manager, "historical") as connection:  # whose triggers rest
        connection.execute("DELETE FROM prices_daily WHERE instrument_id = 'B' AND trade_date >= '2025-01-01'")
    assert [str(each) for each in digests.check()] == [
        "prices_daily: A 2024 has rows that its digest does not tell [digest_disagrees]",
        "prices_daily: B 2025 has rows that its digest does not tell [digest_disagrees]",
    ]
    digests.rebuild()
    assert digests.check() == []
    with db_manager.get_historical_connection() as connection:
        rebuilt = stored(connection)
    assert rebuilt == {key: digest for key, digest in right.items() if key[1:] != ("B", 2025)}


def test_a_trigger_that_rests_is_named(db_manager: DatabaseManager, prices: None) -> None:
    switch = "ALTER TABLE prices_daily {} TRIGGER digest_changed_rows"
    with db_manager.get_owner_connection("historical") as connection:
        connection.execute(switch.format("DISABLE"))
    try:
        (found,) = SourceDigests(db_manager).check()
    finally:
        with db_manager.get_owner_connection("historical") as connection:
            connection.execute(switch.format("ENABLE"))
    assert str(found).startswith("prices_daily: trigger digest_changed_rows is disabled, so changes are not noticed")


def test_nobody_else_can_make_a_trigger_that_runs_expressions_as_the_owner(db_manager: DatabaseManager) -> None:
    query = "SELECT has_function_privilege('public', 'keep_source_digests()', 'EXECUTE')"
    with db_manager.get_historical_connection() as connection:
        assert connection.execute(query).fetchone() == (False,)
    with db_manager.get_owner_connection("historical") as connection:
        connection.execute("CREATE TEMP TABLE own (key text)")
        connection.execute(
            "CREATE TRIGGER mine AFTER INSERT ON own REFERENCING NEW TABLE AS new_rows"
            " FOR EACH STATEMENT EXECUTE FUNCTION keep_source_digests('key', '0', '1')"
        )
        with pytest.raises(psycopg.errors.RaiseException, match="own is no table whose rows are digested"):
            connection.execute("INSERT INTO own VALUES ('x')")
        connection.rollback()
