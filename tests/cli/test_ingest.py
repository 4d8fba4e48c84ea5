"""Loading files as a user does: what is refused, what is set aside, and that the price of one error is no change."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from tests.fixtures.commands import Run
from tests.fixtures.database import TableDigest

from prometheus.app.databases import DatabaseManager

HEADER = "ticker,Date,Open,High,Low,Close,Adj Close,Volume\n"
GOOD = "AAA,2024-01-02,10,11,9,10.5,10.5,1000\nAAA,2024-01-03,10,11,9,10.6,10.6,1100\n"
BAD = "BBB,2024-01-02,10,11,9,nan,10.5,1000\n"


def write(name: str, text: str) -> str:
    """Write a file into the working directory and return its name."""
    Path(name).write_text(text, encoding="utf-8")
    return name


def n_prices(db_manager: DatabaseManager) -> int:
    with db_manager.get_historical_connection() as connection:
        return int(connection.execute("SELECT count(*) FROM prices_daily").fetchall()[0][0])


def test_one_bad_row_refuses_the_file_by_name_row_and_column(run: Run, table_digests: TableDigest) -> None:
    before = table_digests()

    outcome = run("ingest", "prices", write("prices.csv", HEADER + GOOD + BAD))

    assert outcome.exit_code == 5
    assert outcome.stdout == ""
    assert len(outcome.stderr.splitlines()) == 1
    for text in ("prices.csv", "line 4", "column close", "--on-error quarantine"):
        assert text in outcome.stderr
    assert table_digests() == before
    assert not Path("prices.csv.rejected.csv").exists()


def test_quarantine_stores_the_good_rows_and_sets_the_bad_ones_aside(run: Run, db_manager: DatabaseManager) -> None:
    name = write("prices.csv", HEADER + GOOD + BAD)

    first = run("ingest", "prices", name, "--on-error", "quarantine")
    aside = Path("prices.csv.rejected.csv").read_bytes()
    second = run("ingest", "prices", name, "--on-error", "quarantine", "--json")

    assert first.exit_code == second.exit_code == 3
    assert n_prices(db_manager) == 2
    (rejected,) = csv.DictReader(aside.decode().splitlines())
    assert (rejected["row"], rejected["column"]) == ("4", "close")
    assert Path("prices.csv.rejected.csv").read_bytes() == aside
    facts = json.loads(second.stdout)
    assert (facts["rows_written"], facts["rows_unchanged"], facts["rejected"]) == (0, 2, 1)


def test_a_dry_run_checks_and_stores_nothing(run: Run, table_digests: TableDigest) -> None:
    before = table_digests()

    outcome = run("ingest", "prices", write("prices.csv", HEADER + GOOD), "--dry-run")

    assert (outcome.exit_code, "2 to write" in outcome.stdout) == (0, True)
    assert table_digests() == before


def test_reference_rows_come_with_prices_and_are_changed_by_an_instrument_file(
    run: Run, db_manager: DatabaseManager
) -> None:
    run("ingest", "prices", write("prices.csv", HEADER + GOOD), "--market-id", "UK_EQ", "--currency", "GBP")
    assert run("ingest", "instruments", write("names.csv", "instrument_id,name\nAAA,Triple A\n")).exit_code == 0

    with db_manager.get_runtime_connection() as connection:
        rows = connection.execute("SELECT instrument_id, market_id, currency, name FROM instruments").fetchall()
    assert rows == [("AAA", "UK_EQ", "GBP", "Triple A")]


def test_the_report_names_gaps_dead_volume_and_jumps(run: Run) -> None:
    text = HEADER + "AAA,2024-01-02,10,10,10,10,10,0\nAAA,2024-01-05,30,30,30,30,30,5\n"
    run("ingest", "prices", write("prices.csv", text))

    (report,) = json.loads(run("data", "report", "--json").stdout)
    table = run("data", "report").stdout.splitlines()

    assert report["n_missing_sessions"] == 2
    assert report["first_missing"] == ["2024-01-03", "2024-01-04"]
    assert (report["n_zero_volume"], report["n_flat_bars"], report["n_jumps"]) == (1, 2, 1)
    assert table[0].split()[0] == "instrument"
    assert "2024-01-05" in table[1]


@pytest.mark.parametrize("name", ["NOPE", "AAA "])
def test_a_report_of_an_unknown_instrument_is_refused(name: str, run: Run) -> None:
    outcome = run("data", "report", "--instrument-id", name)

    assert outcome.exit_code == 5
    assert repr(name) in outcome.stderr
