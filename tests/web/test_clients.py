"""One client that asks too much is told so, and costs no other its answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp
from tests.fixtures.database import set_environment
from tests.web.serving import REGION, client_of, serving

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.core.config import PrometheusConfig
from prometheus.web import clients
from prometheus.web.access import LOOPBACK_HOSTS, AccessRules
from prometheus.web.load import Limits
from prometheus.web.server import create_app

pytest_plugins = ["tests.web.fixtures"]

LATEST = f"/v1/regions/{REGION}/regimes/latest"


@pytest.mark.deep
def test_a_greedy_client_leaves_the_others_their_answers(breakable_home: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, {"PROMETHEUS_HOME": str(breakable_home)})
        writing = DatabaseManager(PrometheusConfig())
    with serving(breakable_home) as served, writing.get_historical_connection() as connection:
        connection.execute("LOCK TABLE backfill_runs IN ACCESS EXCLUSIVE MODE")
        greedy, modest = asyncio.run(_beside_each_other(served.address, connection.rollback))
        figures = served.get("/metrics").text
    writing.close_all()

    assert {each.status_code for each in modest} == {200}
    counts = Counter(each.status_code for each in greedy)
    assert set(counts) <= {200, 429, 503}
    refused = next(each for each in greedy if each.status_code == 429)
    assert refused.headers["retry-after"].isdigit()
    assert refused.json()["type"] == "urn:prometheus-regime:error:too_many_requests"
    assert f'regime_http_requests_refused_total{{error="too_many_requests"}} {counts[429]}.0' in figures


async def _beside_each_other(
    address: str, unlock: Callable[[], None]
) -> tuple[list[httpx.Response], list[httpx.Response]]:
    """Ask 200 questions that wait for a lock, and meanwhile some from another address of this machine."""
    many = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=200))
    elsewhere = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
    async with (
        httpx.AsyncClient(base_url=address, timeout=30.0, transport=many) as greedy,
        httpx.AsyncClient(base_url=address, timeout=30.0, transport=elsewhere) as other,
    ):
        waiting = [asyncio.ensure_future(greedy.get(f"/v1/runs?limit={n}")) for n in range(1, 201)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)  # one is refused: the share is used up
        modest = [await other.get(LATEST), await other.get(f"/regions/{REGION}", headers={"Accept": "text/html"})]
        unlock()
        return list(await asyncio.gather(*waiting)), modest


def test_a_rate_is_a_burst_and_then_one_after_the_other(application: ASGIApp, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    limited = clients.ClientRate(application, 3, lambda _scope, problem: problem.response())
    with client_of(limited) as client:
        assert [client.get("/v1/runs").status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = client.get("/v1/runs")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "20")
        assert refused.json()["detail"] == "a client may make 3 requests a minute; ask again in 20 s"
        assert client.get("/healthz").status_code == 200
        now += 20
        assert [client.get("/v1/runs").status_code for _ in range(2)] == [200, 429]


def test_a_browser_is_told_on_a_page(reading_app: App) -> None:
    application = create_app(reading_app, AccessRules(LOOPBACK_HOSTS), Limits(most_of_a_client=0))
    with client_of(application) as client:
        page = client.get(f"/regions/{REGION}", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (429, "text/html; charset=utf-8")
    assert "ask again in 2 s" in page.text


def test_the_setting_limits_a_server(reading_app: App) -> None:
    config = reading_app.db_manager.config.model_copy(update={"client_requests_per_minute": 1})
    manager = DatabaseManager(config, read_only=True)
    with client_of(create_app(App(manager), AccessRules(LOOPBACK_HOSTS))) as client:
        assert [client.get("/v1/runs").status_code for _ in range(2)] == [200, 429]
    manager.close_all()


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", "", "192.0.2.1"), ("192.0.2.1", "198.51.100.9", "192.0.2.1"),
        ("127.0.0.1", "", "127.0.0.1"), ("127.0.0.1", "10.0.0.1, 198.51.100.9", "198.51.100.9"),
        ("2001:db8:1:2:3::4", "", "2001:db8:1:2::"), ("127.0.0.1", "nonsense", "unknown"),
    ],
)  # fmt: skip
def test_a_client_is_an_address(peer: str, forwarded: str, client: str) -> None:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    assert clients.client_of({"type": "http", "client": (peer, 1), "headers": headers}) == client
