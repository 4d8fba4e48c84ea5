"""The date ``latest``: the newest one stored of what is asked, and no other."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from tests.fixtures.commands import US, Run

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.stored import Asked

EVENTS = '{"event_type": "CPI", "timestamp": "2025-01-15T13:30:00Z", "country": "US", "description": "Prices rose."}\n'
NEWS = '{"published_at": "2025-01-29T19:00:00Z", "headline": "The central bank waits", "language": "en"}\n'
SERIES = "DATE,DGS10\n2025-01-02,4.5\n2025-01-03,4.6\n"
STOCK, INDEX = date(2025, 7, 23), date(2023, 12, 28)
"""The last sessions of the packaged prices of AAPL.US and GSPC.INDX."""


@pytest.fixture
def stored(run: Run, sample: None, db_manager: DatabaseManager) -> App:
    """Prices, texts, a series, and the regimes of January 2025."""
    for name, text in (("events.jsonl", EVENTS), ("news.jsonl", NEWS), ("DGS10.csv", SERIES)):
        Path(name).write_text(text)
    loads = (["macro", "events.jsonl"], ["news", "news.jsonl"], ["series", "DGS10.csv"])
    for load in loads:
        assert run("ingest", *load).exit_code == 0
    assert run("run_numeric_regime", *US, "--start", "2025-01-02", "--end", "2025-01-31").exit_code == 0
    return App(db_manager)


def test_the_newest_date_is_that_of_what_is_asked(stored: App, run: Run) -> None:
    newest = stored.stored.newest
    assert newest(Asked("prices")) == STOCK
    assert newest(Asked("prices", ["GSPC.INDX"])) == INDEX
    assert newest(Asked("prices", ["GSPC.INDX", "AAPL.US"])) == newest(Asked("prices", market="US_EQ")) == STOCK
    assert newest(Asked("prices", ["NOPE"])) is None
    assert newest(Asked("regimes")) == newest(Asked("regimes", regions=["US"])) == date(2025, 1, 31)
    assert newest(Asked("regimes", regions=["EU"])) is newest(Asked("joint", regions=["US"])) is None
    assert newest(Asked("news")) == newest(Asked("texts")) == date(2025, 1, 29)
    assert newest(Asked("macro")) == date(2025, 1, 15)
    assert newest(Asked("prices", series=["DGS10"])) == date(2025, 1, 3)

    by_market = run(
        "backfill_numeric_embeddings", "--as-of", "latest", "--market-id", "US_EQ", "--limit", "1", "--json"
    )
    assert json.loads(by_market.stdout)["planned"] == 1
    assert "latest is 2025-07-23, the newest date stored of US_EQ" in by_market.stderr
    removed = run("data", "remove", "--texts", "news", "--start", "latest", "--plan", "--json")
    assert json.loads(removed.stdout)["removed"]["news texts"]["news_articles"] == 1
    assert run("show_regimes", "--region", "US", "--start", "latest", "--limit", "9").stdout.count("\n") == 2


@pytest.mark.usefixtures("sample")
def test_latest_of_regions_is_that_of_their_members(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_REGIONS", '{"SPX": {"instrument_id": "GSPC.INDX"}}')
    night = run("nightly", "--as-of", "latest", "--dry-run")
    assert "latest is 2023-12-28, the newest date stored" in night.stderr
    alone = run("run_numeric_regime", "--as-of", "latest", "--dry-run")
    assert "region SPX: the only one that is configured" in alone.stderr
    assert "latest is 2023-12-28, the newest date stored of SPX" in alone.stderr
    unnamed = run("run_numeric_regime", "--instrument-id", "AAPL.US", "--as-of", "latest", "--dry-run")
    assert unnamed.errors == ["error: --instrument-id AAPL.US: name the region that it stands for (--region)"]
    monkeypatch.delenv("PROMETHEUS_REGIONS")
    assert "no region is configured; name one and its" in run("calibrate", "--until", "2010-12-31").errors[0]


@pytest.mark.parametrize(
    ("command", "exit_code", "named"),
    [
        (["quick", "prices.csv", "--until", "latest"], 2, "name a date"),
        (["show_regimes", "--region", "US", "--start", "latest"], 5, "latest: nothing is stored of what is asked"),
        (["compute_regime_prototypes", "--region", "US", "--window", "CRISIS=2020-03-01:latest", "--output", "p"], 2,
         "'latest' is no date"),
    ],
)  # fmt: skip
def test_where_latest_is_not_known_one_line_says_so(run: Run, command: list[str], exit_code: int, named: str) -> None:
    done = run(*command)
    assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (exit_code, "", 1)
    assert named in done.stderr
