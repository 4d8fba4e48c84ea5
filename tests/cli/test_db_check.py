"""Digests compared with their rows by command: named, one a line, and made anew."""

from __future__ import annotations

import json

import pytest
from tests.fixtures.commands import Run
from tests.fixtures.database import as_owner

from prometheus.app.databases import DatabaseManager

BACKFILL = ["backfill_numeric_embeddings", "--instrument-id", "AAPL.US", "--date-range", "2020-01-01", "2020-06-30"]


@pytest.mark.usefixtures("sample")
def test_digests_that_disagree_are_named_and_made_anew(run: Run, db_manager: DatabaseManager) -> None:
    assert run(*BACKFILL).exit_code == 0
    sound = run("db", "check")
    assert (sound.exit_code, sound.stdout) == (0, "0 digests disagree, 0 are left\n")
    with as_owner(db_manager, "historical") as connection:  # whose triggers rest
        connection.execute(
            "UPDATE prices_daily SET volume = 1 WHERE (instrument_id, trade_date) = ('AAPL.US', '2018-05-04')"
        )
        connection.execute("DELETE FROM numeric_window_embeddings WHERE as_of_date = '2020-03-20'")

    found = run("db", "check")
    assert found.exit_code == 3
    bars, rows, total = found.stdout.splitlines()
    assert bars == "prices_daily: AAPL.US 2018 has rows that its digest does not tell [digest_disagrees]"
    assert rows.endswith("has 124 rows that are not the 125 known to be stored [coverage_disagrees]")
    assert total == "2 digests disagree, 2 are left"
    facts = json.loads(run("db", "check", "--json").stdout)
    assert [each["code"] for each in facts["found"]] == ["digest_disagrees", "coverage_disagrees"]

    repaired = run("db", "check", "--repair")
    assert repaired.exit_code == 0
    assert repaired.stdout.splitlines() == [bars, rows, "2 digests disagree, 0 are left"]
    assert "1 written" in run(*BACKFILL).stdout
