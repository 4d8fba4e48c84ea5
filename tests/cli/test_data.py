"""Findings, decisions, corrections and removals as a user goes through them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.fixtures.commands import Run
from tests.fixtures.database import TableDigest

HEADER = "instrument_id,date,open,high,low,close,volume\n"
BARS = {f"2024-03-{day:02d}": 50.0 + day / 10 for day in (1, 4, 5, 6, 7, 8, 11, 12)}


def load(run: Run, closes: dict[str, float]) -> str:
    """Load closes as a file and return what was noted."""
    rows = [f"ACME.US,{day},50,52,49,{close},80000\n" for day, close in closes.items()]
    Path("prices.csv").write_text(HEADER + "".join(rows))
    done = run("ingest", "prices", "prices.csv", "--currency", "USD")
    assert done.exit_code == 0, done.stderr
    return done.stderr


def test_a_finding_is_told_decided_and_taken_back(run: Run) -> None:
    assert "ACME.US 2024-03-06: error, close 5060" in load(run, BARS | {"2024-03-06": 5060})
    told = run("data", "check")
    assert told.exit_code == 3
    assert "load the bar again if it is known" in told.stdout

    done = run("data", "reject", "ACME.US", "2024-03-06", "--why", "in cents", "--by", "desk")

    assert (done.exit_code, done.stdout) == (0, "rejected: 1 bar of ACME.US; run the regimes of these dates again\n")
    assert run("data", "check").stdout == "no findings\n"
    assert "ACME.US 2024-03-06" not in load(run, BARS | {"2024-03-06": 5060}), "a load tells open findings only"
    decided = json.loads(run("data", "check", "--decided", "--json").stdout)
    assert [(each["verdict"], each["decided_by"], each["reason"]) for each in decided] == [
        ("REJECTED", "desk", "in cents")
    ]
    assert run("data", "reopen", "ACME.US", "2024-03-06", "--why", "ask again").exit_code == 0
    assert run("data", "check").exit_code == 3
    assert "ask again" in run("data", "check", "--decided").stdout


def test_a_corrected_bar_is_listed_with_what_it_was(run: Run) -> None:
    load(run, BARS)
    assert run("data", "revisions").stdout == "no revisions\n"
    load(run, BARS | {"2024-03-06": 51.5})
    (revision,) = json.loads(run("data", "revisions", "--json").stdout)
    assert (revision["trade_date"], revision["close"], revision["next_close"]) == ("2024-03-06", 50.6, 51.5)
    load(run, BARS | {"2024-03-06": 51.5})
    assert len(run("data", "revisions").stdout.splitlines()) == 2


def test_what_is_removed_is_planned_first_and_gone_after(run: Run, table_digests: TableDigest) -> None:
    load(run, BARS)
    before = table_digests()
    planned = run("data", "remove", "--instrument-id", "ACME.US", "--plan")
    assert "8 prices_daily" in planned.stdout
    assert planned.stdout.endswith("to remove\n")
    assert table_digests() == before
    assert run("data", "remove", "--instrument-id", "ACME.US").exit_code == 0
    assert run("data", "check").stdout == "no findings\n"
    after = table_digests()
    assert after["historical.prices_daily"][0] == after["runtime.instruments"][0] == 0
    assert after["historical.price_revisions"][0] == len(BARS), "known_at still answers"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (("accept", "ACME.US", "2024-03-06", "--why", "x"), 5, "ACME.US has no open finding on 2024-03-06"),
        (("accept", "ACME.US", "2024-03-06"), 2, "--why"),
        (("accept", "ACME.US", "2024-03-06", "--why", " "), 2, "say why"),
        (("reject", "ACME.US", "2024-03-06", "--why", "x", "--by", ""), 2, "--by is empty"),
        (("reject", "ACME.US", "2024-03-06", "--until", "2024-03-01", "--why", "x"), 2, "before it starts"),
        (("reject", "ACME.US", "2024-03-09", "--why", "x"), 5, "ACME.US has no bar from 2024-03-09"),
        (("reject", "ACME.US", "2024-03-01", "--until", "2024-03-12", "--why", "x"), 5, "no bar would be left"),
        (("reopen", "ACME.US", "2024-03-06", "--why", "x"), 5, "nothing is decided of ACME.US"),
        (("revisions", "--instrument-id", "NO.US"), 5, "unknown instrument 'NO.US'"),
        (("remove",), 2, "--instrument-id ID or --texts"),
        (("remove", "--instrument-id", "ACME.US", "--series", "X"), 2, "give one of --series NAME"),
        (("remove", "--series", "NO"), 5, "series NO has no value"),
        (("remove", "--texts", "news"), 2, "say which texts"),
        (("remove", "--instrument-id", "ACME.US", "--instrument-id", "NO.US"), 5, "NO.US has no bar"),
        (("remove", "--instrument-id", "ACME.US", "--source", "x"), 2, "--source belongs to --texts"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_is_one_line_and_no_change(
    run: Run, table_digests: TableDigest, arguments: tuple[str, ...], exit_code: int, message: str
) -> None:
    load(run, BARS)
    before = table_digests()
    done = run("data", *arguments)
    assert done.exit_code == exit_code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert table_digests() == before
