"""Many requests at once: queues, room for every kind, and answers kept while nothing changes."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Send
from tests.fixtures.database import set_environment
from tests.web.serving import REGION, client_of, serving

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.core.config import PrometheusConfig
from prometheus.errors import DatabaseUnreachableError
from prometheus.web.access import LOOPBACK_HOSTS, AccessRules
from prometheus.web.load import ENTRY_BYTES, KeptAnswers, Limiter, Limits, SharedState, kind_of
from prometheus.web.server import create_app

pytest_plugins = ["tests.web.fixtures"]

LATEST = f"/v1/regions/{REGION}/regimes/latest"


def test_a_burst_waits_in_order_and_none_is_refused(breakable_home: Path) -> None:
    addresses = [f"/v1/regions/{REGION}/regimes?limit={n}" for n in range(1, 101)]
    with serving(breakable_home) as served, ThreadPoolExecutor(100) as pool:
        served.get(LATEST)
        answers = list(pool.map(lambda address: served.get(address, timeout_s=20.0), addresses))
    assert {(each.status_code, each.text[:120] * (each.status_code != 200)) for each in answers} == {(200, "")}


def test_a_locked_table_leaves_the_others_their_room(breakable_home: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, {"PROMETHEUS_HOME": str(breakable_home)})
        writing = DatabaseManager(PrometheusConfig())
    with serving(breakable_home) as served, ThreadPoolExecutor(60) as pool:
        served.get("/v1/runs")
        with writing.get_runtime_connection() as connection:
            connection.execute("LOCK TABLE regimes IN ACCESS EXCLUSIVE MODE")
            stuck = [pool.submit(served.get, LATEST, 20.0) for _ in range(40)]
            time.sleep(0.5)
            answers = [served.get(f"/v1/runs?limit={n}") for n in range(1, 6)]
            connection.rollback()
        waited = [each.result() for each in stuck]
    writing.close_all()
    assert {each.status_code for each in answers} == {200}
    assert {each.status_code for each in waited} <= {200, 503}


def test_one_too_many_is_told_to_come_again_as_a_page_to_a_browser(reading_app: App) -> None:
    application = create_app(reading_app, AccessRules(LOOPBACK_HOSTS), Limits(most_waiting=0))
    with client_of(application) as client:
        page = client.get(f"/regions/{REGION}", headers={"Accept": "text/html"})
    assert page.status_code == 503
    assert page.headers["content-type"].startswith("text/html")
    assert "ask again soon" in page.text


def test_an_answer_is_kept_until_a_transaction_has_changed_something(
    client: TestClient, filled_config: PrometheusConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = client.get(LATEST)
    monkeypatch.setattr("prometheus.data.timelines.RegimeTimelines.histories", None)
    again, known = client.get(LATEST), client.get(LATEST, headers={"If-None-Match": first.headers["etag"]})

    assert (again.status_code, again.content) == (200, first.content)
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", first.headers["etag"])
    writing = DatabaseManager(filled_config)
    with writing.get_runtime_connection() as connection:
        connection.execute("UPDATE regimes SET confidence = confidence WHERE as_of_date = '2019-01-02'")
    writing.close_all()
    assert client.get(LATEST).status_code == 500, "it was asked anew"


def test_who_asks_for_the_head_of_a_page_has_it_ready(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"/regions/{REGION}/2020-03-16"
    head = client.head(address)
    monkeypatch.setattr("prometheus.app.briefings.BriefRegion.of", None)
    page = client.get(address, headers={"Accept": "text/html"})

    assert (head.content, page.status_code) == (b"", 200)
    assert page.headers["etag"] == head.headers["etag"]


def test_a_read_leaves_answers_kept_and_a_write_never_serves_what_was(
    client: TestClient, filled_config: PrometheusConfig
) -> None:
    writing = DatabaseManager(filled_config)
    address = f"/v1/regions/{REGION}/regimes?start=2019-01-02&end=2019-01-02"
    try:
        (before,) = client.get(address).json()["items"]
        for confidence in (0.25, 0.5, before["confidence"]):
            with writing.get_runtime_connection() as connection:
                connection.execute(
                    "UPDATE regimes SET confidence = %s WHERE region = %s AND as_of_date = '2019-01-02'",
                    (confidence, REGION),
                )
            assert client.get(address).json()["items"][0]["confidence"] == confidence
    finally:
        writing.close_all()


def test_the_state_is_asked_for_after_each_came_and_once_for_many() -> None:
    asked: list[float] = []

    def state() -> float:
        asked.append(time.monotonic())
        time.sleep(0.05)
        return asked[-1]

    async def many() -> list[tuple[float, float]]:
        shared = SharedState(state)

        async def one(delay: float) -> tuple[float, float]:
            await asyncio.sleep(delay)
            came = time.monotonic()
            return came, await shared.now()

        return await asyncio.gather(*(one(0.002 * n) for n in range(100)))

    for came, state_from in asyncio.run(many()):
        assert state_from >= came
    assert len(asked) <= 10


def test_those_who_waited_while_the_database_was_away_share_the_failure() -> None:
    n_asked = 0

    def away() -> None:
        nonlocal n_asked
        n_asked += 1
        time.sleep(0.1)
        raise DatabaseUnreachableError("runtime", "no answer")

    async def many() -> list[object]:
        shared = SharedState(away)
        return await asyncio.gather(*(_awaited(shared) for _ in range(50)), return_exceptions=True)

    async def _awaited(shared: SharedState) -> object:
        return await shared.now()

    assert all(isinstance(each, DatabaseUnreachableError) for each in asyncio.run(many()))
    assert n_asked == 1


def test_a_wait_that_is_given_up_takes_no_place() -> None:
    begun, answered = asyncio.Event(), list[int]()

    async def answer(_scope: object, _receive: object, send: Send) -> None:
        begun.set()
        await asyncio.sleep(0.2)
        answered.append(1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask(limiter: Limiter, path: str) -> None:
        async def drop(_message: Message) -> None: ...

        await limiter({"type": "http", "path": path, "method": "GET", "headers": []}, _nothing, drop)

    async def give_up() -> None:
        limits = Limits(most_at_once=1, most_of_a_kind=2)
        limiter = Limiter(answer, limits, lambda _scope, problem: problem.response())
        paths = ["/v1/overview", "/v1/runs", "/v1/runs"]
        first, *waiting = (asyncio.ensure_future(ask(limiter, path)) for path in paths)
        await begun.wait()
        for each in waiting:
            each.cancel()
        await asyncio.gather(first, *waiting, return_exceptions=True)
        n_before = len(answered)
        await asyncio.wait_for(ask(limiter, "/v1/runs"), 5)
        assert len(answered) == n_before + 1

    asyncio.run(give_up())


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def test_addresses_that_are_none_share_one_queue_and_small_answers_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {kind_of(f"/v1/{n}") for n in range(99)} | {kind_of(f"/v1/regions/US/x{n}") for n in range(99)} == {"other"}
    monkeypatch.setattr("prometheus.web.load.KEPT_BYTES", 10 * ENTRY_BYTES)
    n_computed = 0

    async def answer(_scope: object, _receive: object, send: Send) -> None:
        nonlocal n_computed
        n_computed += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def ask_all() -> None:
        kept = KeptAnswers(answer, lambda: 1, lambda _scope, problem: problem.response(), lambda _error: None)

        async def drop(_message: Message) -> None: ...

        for number in [*range(20), 19, 0]:
            scope = {"type": "http", "path": f"/v1/{number}", "method": "GET", "query_string": b"", "headers": []}
            await kept(scope, _nothing, drop)

    asyncio.run(ask_all())
    assert n_computed == 21, "the newest is there, the oldest is gone"
