"""Slow clients over real sockets: each has a deadline, and however many there are, health and figures are answered."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp
from tests.web.serving import serving, wait_for

from prometheus.web import server
from prometheus.web.connections import ConnectionLimits, Connections

pytest_plugins = ["tests.web.fixtures"]

SHORT = ConnectionLimits(head_s=1.0, body_s=1.0, answer_s=1.0, most=20, most_kept=5, most_of_a_client=8)
PATIENT = replace(SHORT, head_s=600.0, body_s=600.0, answer_s=600.0)
HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
BODY = b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nab"


class Server:
    """The real server in a thread of this process, with limits of a test's own."""

    def __init__(self, port: int, connections: Connections) -> None:
        self.port, self.connections = port, connections

    def get(self, path: str) -> int:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=10).status_code

    def connect(self, said: bytes = b"") -> socket.socket:
        one = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        one.sendall(said)
        return one


@contextmanager
def running(application: ASGIApp, limits: ConnectionLimits) -> Iterator[Server]:
    connections = Connections(limits)
    with server.bind("127.0.0.1", 0) as listener:
        listener.listen(100)
        config = uvicorn.Config(
            application, log_config=None, ws="none", lifespan="off", http=connections.protocol, access_log=False
        )
        runner = server._Server(config, connections)
        thread = threading.Thread(target=lambda: asyncio.run(runner._serve([listener])))
        thread.start()
        try:
            yield Server(listener.getsockname()[1], connections)
        finally:
            runner.force_exit = runner.should_exit = True
            thread.join(20)


@pytest.fixture
def serve(application: ASGIApp) -> Iterator[Callable[[ConnectionLimits], Server]]:
    with ExitStack() as stack:
        yield lambda limits: stack.enter_context(running(application, limits))


Serve = Callable[[ConnectionLimits], Server]


def answer_of(one: socket.socket) -> bytes:
    """Return all that the server says until it closes."""
    said = b""
    try:
        while part := one.recv(4_096):
            said += part
    except ConnectionResetError:
        pass
    return said


@pytest.mark.parametrize("said", [b"", b"G", HEAD, BODY], ids=["nothing", "a byte", "half a head", "half a body"])
def test_a_request_that_does_not_come_to_its_end_is_answered_408(serve: Serve, said: bytes) -> None:
    with serve(SHORT).connect(said) as slow:
        began = time.monotonic()
        said_back = answer_of(slow)
    assert said_back.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 405 ")), said_back
    assert time.monotonic() - began >= 0.9 or b" 405 " in said_back


def test_a_byte_now_and_then_buys_no_time(serve: Serve) -> None:
    with serve(SHORT).connect(HEAD) as slow:
        began = time.monotonic()
        slow.settimeout(0.2)
        said = b""
        while time.monotonic() - began < 8 and not said:
            try:
                slow.sendall(b"X-Slow: 1\r\n")
                said = slow.recv(100)
            except TimeoutError:
                continue
    assert said.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 6


def test_the_second_request_of_a_connection_has_a_deadline_of_its_own(serve: Serve) -> None:
    with serve(SHORT).connect(HEAD + b"\r\n") as one:
        said = b""
        while b'{"status":"ok"}' not in said:
            said += one.recv(4_096)
        one.sendall(HEAD)
        assert answer_of(one).startswith(b"HTTP/1.1 408 ")


def test_an_answer_that_is_not_read_is_given_up(serve: Serve) -> None:
    async def long(_scope: object, _receive: object, send: Callable[[object], object]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[misc]
        await send({"type": "http.response.body", "body": bytes(50_000_000)})  # type: ignore[misc]

    with running(long, SHORT) as served, served.connect(HEAD + b"\r\n"):  # type: ignore[arg-type]
        wait_for(lambda: len(served.connections) == 1)
        wait_for(lambda: len(served.connections) == 0, timeout_s=15)


@pytest.mark.parametrize("said", [b"", HEAD, BODY], ids=["nothing", "half a head", "half a body"])
def test_any_number_of_slow_clients_leaves_room_for_others(serve: Serve, said: bytes) -> None:
    served = serve(PATIENT)
    with ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(served.connect(said))
        for path in ("/healthz", "/metrics", "/v1/regions"):
            assert served.get(path) == 200, path
        assert len(served.connections) <= PATIENT.most + PATIENT.most_kept


def test_connections_that_are_all_being_answered_leave_room_for_health_and_figures(
    application: ASGIApp,
) -> None:
    async def held_up(scope: dict[str, str], receive: object, send: object) -> None:
        if scope["path"] == "/held":
            await asyncio.sleep(30)
        await application(scope, receive, send)  # type: ignore[arg-type]

    with running(held_up, PATIENT) as served, ExitStack() as stack:  # type: ignore[arg-type]
        for _ in range(PATIENT.most):
            stack.enter_context(served.connect(HEAD.replace(b"/healthz", b"/held") + b"\r\n"))
        wait_for(lambda: _n_working(served.connections) == PATIENT.most)
        assert served.get("/healthz") == 200
        assert served.get("/metrics") == 200
        assert served.get("/v1/regions") == 503


def _n_working(connections: Connections) -> int:
    return sum(each.waits_for is None for each in list(connections._open))


def test_one_other_machine_has_a_part_of_the_connections_alone(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prometheus.web.connections._is_loopback", lambda _host: False)
    served = serve(PATIENT)
    with ExitStack() as stack:
        for _ in range(15):
            stack.enter_context(served.connect(HEAD))
        wait_for(lambda: len(served.connections) == PATIENT.most_of_a_client)
        assert served.get("/healthz") == 200


def test_a_client_that_asks_on_is_not_disturbed(serve: Serve) -> None:
    served = serve(SHORT)
    with httpx.Client(base_url=f"http://127.0.0.1:{served.port}") as client:
        for _ in range(6):
            assert client.get("/healthz").status_code == 200
            time.sleep(0.4)


@pytest.mark.deep
@pytest.mark.parametrize("said", [b"", HEAD, BODY], ids=["nothing", "half a head", "half a body"])
def test_six_hundred_slow_connections_do_not_take_health_away(filled_home: Path, said: bytes) -> None:
    with serving(filled_home) as served, ExitStack() as stack:
        port = int(served.address.rpartition(":")[2])
        slow = []
        for _ in range(600):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            one.sendall(said)
            slow.append(one)
        began = time.monotonic()
        while time.monotonic() - began < 8:
            for path in ("/healthz", "/metrics", "/v1/regions"):
                assert served.get(path).status_code == 200, path
            time.sleep(0.2)
        answers = [answer_of(one) for one in slow]
        assert all(b" 408 " in each or b" 503 " in each or b" 405 " in each or not each for each in answers)
        assert time.monotonic() - began < 40, "all of them are ended by their deadline"
