"""Histories that have ended, or have not begun: skipped in a run over a market, a failure where they are named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.fixtures.commands import Outcome, Run

from prometheus.app.databases import DatabaseManager

AS_OF = "2025-01-31"
EMBED = ["backfill_numeric_embeddings", "--window-days", "63", "--model-id", "num-regime-core-v1"]
MARKET = [*EMBED, "--market-id", "US_EQ", "--limit", "500", "--workers", "1"]
ENDED = "skipped: 1 instrument ended (GSPC.INDX on 2023-12-28)"
"""The index of the sample ends there; AAPL.US goes on to 2025-07-23."""

pytestmark = pytest.mark.usefixtures("sample")


def copy_bars(db_manager: DatabaseManager, name: str, where: str) -> None:
    """Store the bars of AAPL.US that meet a condition as those of another instrument of its market."""
    with db_manager.get_historical_connection() as connection:
        connection.execute(
            "INSERT INTO prices_daily (instrument_id, trade_date, open, high, low, close, adjusted_close, volume,"
            " currency) SELECT %s, trade_date, open, high, low, close, adjusted_close, volume, currency"
            f" FROM prices_daily WHERE instrument_id = 'AAPL.US' AND ({where})",
            (name,),
        )
    with db_manager.get_runtime_connection() as connection:
        connection.execute(
            "INSERT INTO instruments (instrument_id, market_id, symbol, currency) VALUES (%s, 'US_EQ', %s, 'USD')",
            (name, name),
        )


def delete_bars(db_manager: DatabaseManager, where: str) -> None:
    with db_manager.get_historical_connection() as connection:
        connection.execute(f"DELETE FROM prices_daily WHERE instrument_id = 'AAPL.US' AND ({where})")


def rows_of(db_manager: DatabaseManager) -> list[tuple[Any, ...]]:
    """Return every embedding, but for when it was written."""
    query = "SELECT entity_id, as_of_date, model_id, window_days, vector, input_hash FROM numeric_window_embeddings"
    with db_manager.get_historical_connection() as connection:
        return connection.execute(f"{query} ORDER BY 1, 2").fetchall()


def summary_of(done: Outcome, exit_code: int = 0) -> dict[str, Any]:
    assert done.exit_code == exit_code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_missions_market_run_on_the_sample_ends_well_and_names_the_index_that_ended(run: Run) -> None:
    first = run(*MARKET, "--as-of", AS_OF)
    assert (first.exit_code, first.errors) == (0, []), first.stderr
    assert first.stdout.rstrip().endswith(f"; {ENDED}")
    assert "1 windows, 1 written, 0 unchanged, 0 failed" in first.stdout

    again = summary_of(run(*MARKET, "--as-of", AS_OF, "--json"))
    assert again["skipped"] == {"ended": {"GSPC.INDX": "2023-12-28"}, "not_begun": {}}
    assert (again["failed"], again["failures"], again["unchanged"]) == (0, [], 1)


def test_a_named_instrument_that_ended_stays_a_failure(run: Run) -> None:
    named = run(*EMBED, "--instrument-id", "GSPC.INDX", "--instrument-id", "AAPL.US", "--as-of", AS_OF)
    both = run(*MARKET, "--instrument-id", "GSPC.INDX", "--as-of", AS_OF)
    for done in (named, both):
        assert (done.exit_code, "skipped" in done.stdout) == (3, False)
        assert "failed: GSPC.INDX: last bar before 2025-01-31 is of 2023-12-28" in done.stderr
    in_range = run(*EMBED, "--instrument-id", "GSPC.INDX", "--date-range", "2024-01-01", AS_OF)
    assert (in_range.exit_code, "no bar from 2024-01-01" in in_range.stderr) == (3, True)
    assert "skipped" not in summary_of(run(*EMBED, "--instrument-id", "AAPL.US", "--as-of", AS_OF, "--json"))


def test_a_range_skips_what_ended_before_it_and_stores_the_same_rows_of_the_others(
    run: Run, db_manager: DatabaseManager
) -> None:
    done = run(*MARKET, "--date-range", "2024-01-01", AS_OF)
    assert (done.exit_code, done.stdout.rstrip().endswith(ENDED)) == (0, True), done.stderr
    whole = summary_of(run(*MARKET, "--date-range", "2023-12-01", "2024-01-31", "--json"))
    assert whole["skipped"] == {"ended": {}, "not_begun": {}}, "it has windows in this range"

    by_market = rows_of(db_manager)
    assert len(by_market) == 311
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM numeric_window_embeddings")
    named = ["--instrument-id", "AAPL.US", "--instrument-id", "GSPC.INDX"]
    assert run(*EMBED, *named, "--date-range", "2024-01-01", AS_OF).exit_code == 3
    assert run(*EMBED, *named, "--date-range", "2023-12-01", "2024-01-31").exit_code == 0
    assert rows_of(db_manager) == by_market


def test_a_history_that_has_not_begun_is_skipped_with_its_first_bar(run: Run, db_manager: DatabaseManager) -> None:
    copy_bars(db_manager, "YOUNG.US", "trade_date >= '2025-01-13'")
    copy_bars(db_manager, "LATER.US", "trade_date >= '2025-03-03'")
    copy_bars(db_manager, "SHORT.US", "trade_date BETWEEN '2024-01-02' AND '2024-02-01'")
    for dates in (["--as-of", AS_OF], ["--date-range", "2025-01-02", AS_OF]):
        done = summary_of(run(*MARKET, *dates, "--json"))
        assert done["skipped"] == {
            "ended": {"GSPC.INDX": "2023-12-28", "SHORT.US": "2024-02-01"},
            "not_begun": {"LATER.US": "2025-03-03", "YOUNG.US": "2025-01-13"},
        }
    said = run(*MARKET, "--as-of", AS_OF).stdout
    assert "2 instruments not begun (LATER.US from 2025-03-03, YOUNG.US from 2025-01-13)" in said
    named = run(*EMBED, "--instrument-id", "YOUNG.US", "--as-of", AS_OF)
    assert (named.exit_code, "found 14" in named.stderr) == (3, True), named.stderr


def test_a_life_shorter_than_a_window_is_skipped_also_where_the_range_holds_it_whole(
    run: Run, db_manager: DatabaseManager
) -> None:
    copy_bars(db_manager, "SHORT.US", "trade_date BETWEEN '2024-01-02' AND '2024-02-01'")
    copy_bars(db_manager, "GAPS.US", "trade_date BETWEEN '2023-01-03' AND '2023-01-20' OR trade_date = '2024-06-03'")
    for start in ("2023-12-01", "2024-01-16"):
        done = run(*MARKET, "--date-range", start, AS_OF, "--json")
        found = json.loads(done.stdout)
        assert found["skipped"]["ended"].get("SHORT.US") == "2024-02-01"
        failures = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("failed: ")]
        assert failures == ["GAPS.US:"], done.stderr


def test_a_gap_a_hole_and_an_unknown_instrument_stay_failures(run: Run, db_manager: DatabaseManager) -> None:
    copy_bars(db_manager, "LIVE.US", "trade_date >= '2020-01-02'")
    copy_bars(db_manager, "HOLE.US", "trade_date BETWEEN '2023-01-03' AND '2023-01-31' OR trade_date > '2025-01-13'")
    copy_bars(db_manager, "NONE.US", "false")
    delete_bars(db_manager, "trade_date BETWEEN '2025-01-03' AND '2025-02-28'")

    done = run(*MARKET, "--as-of", AS_OF)

    assert done.exit_code == 3
    assert done.stdout.rstrip().endswith(ENDED)
    failures = sorted(line for line in done.stderr.splitlines() if line.startswith("failed: "))
    assert [line.split()[1] for line in failures] == ["AAPL.US:", "HOLE.US:", "unknown"], failures
    assert "last bar before 2025-01-31 is of 2025-01-02" in failures[0]


def test_nothing_counts_as_ended_while_the_whole_market_lacks_its_bars(run: Run) -> None:
    done = run(*MARKET, "--as-of", "2025-12-30")
    assert done.exit_code == 3
    assert [line.split()[1] for line in done.stderr.splitlines() if line.startswith("failed: ")] == [
        "AAPL.US:", "GSPC.INDX:",
    ]  # fmt: skip
