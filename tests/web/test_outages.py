"""The database goes away under a running server: 503 in two seconds, and back by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from tests.fixtures.embedded_homes import Driver
from tests.web.serving import REGION, Served, serving, wait_for

from prometheus.server import process

pytest_plugins = ["tests.web.fixtures"]

IN_TIME_S = 10.0
"""Two seconds are promised; the rest is for tests that run beside this one."""
LATEST = f"/v1/regions/{REGION}/regimes/latest"


@pytest.fixture
def database(breakable_home: Path) -> Iterator[Driver]:
    """The server of a home of these tests alone, which every one leaves able to go on."""
    driver = Driver(breakable_home)
    driver.ensure_running()
    yield driver
    let_go_on(process.users_of(driver.layout.data))


def let_go_on(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # one that goes on may end before the next is told to
            os.kill(pid, signal.SIGCONT)


@pytest.fixture
def served(breakable_home: Path, database: Driver) -> Iterator[Served]:
    with serving(breakable_home) as served:
        assert served.get(LATEST).status_code == 200
        yield served


def timed(served: Served, path: str) -> tuple[httpx.Response, float]:
    began = time.monotonic()
    response = served.get(path)
    return response, time.monotonic() - began


def is_answered(served: Served) -> bool:
    return served.get(LATEST).status_code == 200 and served.get("/readyz").status_code == 200


def test_a_killed_server_is_started_again_and_answers_within_seconds(served: Served, database: Driver) -> None:
    database.kill()
    seen = set()

    def is_back() -> bool:
        response, took = timed(served, LATEST)
        seen.add(response.status_code)
        assert took < IN_TIME_S
        if response.status_code == 503:
            assert response.headers["retry-after"] == "2"
            assert set(response.json()) == {"error", "detail", "type", "title", "status"}
            assert str(database.layout.root) not in response.text
        return response.status_code == 200

    wait_for(is_back)
    assert seen == {200, 503}
    assert is_answered(served)
    exit_code, _, stderr = served.stop()
    assert exit_code == 0
    assert stderr.count("requests get 503 until it answers") == 1
    assert stderr.count("the database answers again") == 1


def test_a_server_that_is_stopped_in_its_tracks_costs_nobody_more_than_two_seconds(
    served: Served, database: Driver
) -> None:
    pids = process.users_of(database.layout.data)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(48) as pool:
            answers = list(pool.map(lambda _: timed(served, LATEST), range(48)))
            answers.append(timed(served, "/readyz"))
        assert {response.status_code for response, _ in answers} == {503}
        assert max(took for _, took in answers) < IN_TIME_S, sorted(took for _, took in answers)[-5:]
        alive, took = timed(served, "/healthz")
        assert (alive.status_code, took < IN_TIME_S) == (200, True)
        assert "regime_database_ready 0.0" in served.get("/metrics").text
    finally:
        let_go_on(pids)
    assert wait_for(lambda: is_answered(served)) < 10
    assert "regime_database_ready 1.0" in served.get("/metrics").text


@pytest.mark.deep
def test_a_restart_by_somebody_else_is_survived(served: Served, database: Driver) -> None:
    database.stop()
    database.ensure_running()
    assert wait_for(lambda: is_answered(served)) < 10


@pytest.mark.deep
def test_being_told_to_stop_while_the_database_hangs_ends_in_time(served: Served, database: Driver) -> None:
    pids = process.users_of(database.layout.data)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    assert served.get(LATEST).status_code == 503
    began = time.monotonic()
    exit_code, _, _ = served.stop()
    assert exit_code == 0
    assert time.monotonic() - began < 15
