"""Where regions and instruments stand: counted on the page and at /v1, each named with why, of no night to come."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.web.serving import REGION, client_of, config_of

from prometheus.app import open_app
from prometheus.data.nightly_runs import NightlyRuns, RunOutcome, RunResult
from prometheus.mcp.tools import TOOLS
from prometheus.web.access import LOOPBACK_HOSTS, AccessRules
from prometheus.web.server import create_app

pytest_plugins = ["tests.web.fixtures"]

WHY = "its market goes on without it"
STANDINGS = {"regions": {"settled": 2, "ended": 1}, "instruments": {"open": 4, "young": 1}}
LEFT_OUT = [
    {"name": REGION, "kind": "region", "why": WHY},
    {"name": "NEW.US", "kind": "instrument", "why": "its bars begin on 2024-06-03"},
]


@pytest.fixture
def night(changeable_home: Path) -> Iterator[TestClient]:
    """A client of a home whose newest night left a region out."""
    with open_app(config_of(changeable_home)) as app:
        log = NightlyRuns(app.db_manager)
        try:
            log.begin("0123456789abcdef", "nightly", None)
            said = RunOutcome(RunResult.COMPLETED, 0, 1.0, standings=STANDINGS, skipped=tuple(LEFT_OUT))
            log.end("0123456789abcdef", "nightly", said)
            with client_of(create_app(app, AccessRules(LOOPBACK_HOSTS, None))) as client:
                yield client
        finally:
            with app.db_manager.get_runtime_connection() as connection:
                connection.execute("DELETE FROM nightly_runs")


def test_the_newest_night_is_told_on_the_front_and_of_its_region(night: TestClient) -> None:
    front = night.get("/").text
    assert "Regions: 1 ended, 2 settled" in front
    assert "Instruments: 4 open, 1 young" in front
    assert front.count("NEW.US: its bars begin on 2024-06-03") == 1
    assert f"Last night: {WHY}." in night.get(f"/regions/{REGION}").text


def test_machines_are_told_the_same(night: TestClient) -> None:
    answer = night.get("/v1/overview").json()
    assert (answer["standings"], answer["left_out"]) == (STANDINGS, LEFT_OUT)


def test_a_night_tells_nothing_on_dates_before_it(night: TestClient) -> None:
    past = str(datetime.now(UTC).date() - timedelta(days=2))
    answer = night.get("/v1/overview", params={"as_of": past}).json()
    assert (answer["standings"], answer["left_out"]) == ({}, [])
    assert "Last night" not in night.get(f"/regions/{REGION}/2020-03-20").text
    assert "1 ended" not in night.get("/", params={"as_of": past}).text


def test_a_language_model_is_told_the_same(changeable_home: Path, night: TestClient) -> None:
    with open_app(config_of(changeable_home)) as app:
        tool, today = TOOLS["list_regions"], datetime.now(UTC).date()
        told = tool.answer(app, tool.parameters(as_of=today), today)
        then = tool.answer(app, tool.parameters(as_of=today), today - timedelta(days=2))
    assert (told["standings"], told["left_out"]) == (STANDINGS, LEFT_OUT)
    assert (then["standings"], then["left_out"]) == ({}, [])
