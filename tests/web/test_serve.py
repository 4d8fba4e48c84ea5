"""The command itself: where it listens, what it refuses, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import httpx
import pytest
from tests.fixtures.database import set_environment
from tests.fixtures.embedded_homes import Playground
from tests.web.serving import ENVIRONMENT, REGION, TOKEN, Served, serving, wait_for

from prometheus.cli import main

pytest_plugins = ["tests.fixtures.embedded", "tests.web.fixtures"]


def refused(*options: str) -> tuple[int, str]:
    """Run a ``serve`` that ends by itself; return its exit code and its one line."""
    stdout, stderr = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
        set_environment(patch, {"PROMETHEUS_HOME": "/nonexistent"})
        exit_code = main(["serve", *options])
    assert stdout.getvalue() == ""
    assert len(stderr.getvalue().splitlines()) == 1, stderr.getvalue()
    return exit_code, stderr.getvalue().strip()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    return file


def test_it_says_where_it_is_answers_and_ends_when_told_to(filled_home: Path) -> None:
    with serving(filled_home) as served:
        assert served.address.startswith("http://127.0.0.1:")
        latest = served.get(f"/v1/regions/{REGION}/regimes/latest")
        assert (latest.status_code, latest.json()["label"]) == (200, "RISK_OFF")
        assert "server" not in latest.headers
        assert served.get("/v1/regions", Host="evil.example").status_code == 400
        served.process.send_signal(signal.SIGINT)  # others below are ended by SIGTERM
        stdout, stderr = served.process.communicate(timeout=30)
    assert (served.process.returncode, stdout, stderr) == (0, "stopped\n", "")


def test_a_new_home_is_filled_with_nothing_and_says_so(playground: Playground) -> None:
    with serving(playground.home(prepared=False)) as served:
        assert served.get("/v1/regions").json() == {"items": []}
        assert served.get("/readyz").status_code == 200
        assert served.get("/v1/regions/US/regimes").status_code == 404
        _, _, stderr = served.stop()
    assert "nothing is stored yet; fill it with: python -m prometheus quick FILE (or demo)" in stderr


def test_a_port_in_use_is_told_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        exit_code, line = refused("--port", str(port))
    said = f"error: cannot listen on 127.0.0.1:{port}: address already in use; choose another --port or --host"
    assert (exit_code, line) == (1, said)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_that_others_can_reach_needs_a_token(host: str) -> None:
    exit_code, line = refused("--host", host, "--port", "0")
    assert exit_code == 2
    assert line == f"error: {host} can be reached from other machines; give --token-file FILE, or leave --host away"


def test_hosts_and_ports_that_are_none_are_refused() -> None:
    assert refused("--host", "no such host", "--port", "0")[0] == 2
    assert refused("--host", "192.0.2.1", "--port", "0")[0] == 1
    assert refused("--port", "70000")[0] == 2


def test_a_token_file_that_others_can_read_is_refused(token_file: Path) -> None:
    token_file.chmod(0o644)
    exit_code, line = refused("--token-file", str(token_file), "--port", "0")
    assert (exit_code, line) == (5, f"error: {token_file}: others may use it (mode 0644); run: chmod 600 {token_file}")


def test_beyond_this_machine_a_token_and_a_name_let_in(filled_home: Path, token_file: Path) -> None:
    with serving(
        filled_home, "--host", "0.0.0.0", "--token-file", str(token_file), "--allow-host", "Desk.example"
    ) as served:
        port = served.address.rpartition(":")[2]
        address = f"http://127.0.0.1:{port}/v1/regions"
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx.get(address, headers={**bearer, "Host": "desk.example"}).status_code == 200
        assert httpx.get(address, headers=bearer).status_code == 200
        assert httpx.get(address).status_code == 401
        assert httpx.get(address, headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert httpx.get(f"{address}?token={TOKEN}", headers=bearer).status_code == 400
        assert httpx.get(address, headers={**bearer, "Host": "evil.example"}).status_code == 400
        exit_code, stdout, stderr = served.stop()
    assert exit_code == 0
    assert TOKEN not in stdout + stderr


def test_it_imports_no_pandas(filled_home: Path) -> None:
    code = (
        "import sys; from prometheus.web import server; from prometheus.core.config import load_config\n"
        "from prometheus.web.access import *; from starlette.testclient import TestClient\n"
        "with server.open_reading_app(load_config()) as app:\n"
        "    client = TestClient(server.create_app(app, AccessRules(LOOPBACK_HOSTS)), base_url='http://localhost')\n"
        f"    for path in ('regimes', 'regimes/latest', 'transitions', 'analogs?as_of=2020-03-16', 'embeddings'):\n"
        f"        assert client.get('/v1/regions/{REGION}/' + path).status_code == 200, path\n"
        "slow = ('pandas', 'exchange_calendars', 'alembic', 'pyarrow', 'matplotlib', 'plotly', 'torch')\n"
        "print([name for name in slow if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT | {"PROMETHEUS_HOME": str(filled_home)}, capture_output=True,
        text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.deep
def test_several_processes_answer_as_one_and_end_together(filled_home: Path) -> None:
    addresses = [f"/v1/regions/{REGION}/regimes?limit={n}" for n in range(1, 31)]
    route = "/v1/regions/{region}/regimes"
    counted = f'regime_http_requests_total{{method="GET",route="{route}",status="200"}} 30.0'
    with serving(filled_home, "--workers", "2") as served:
        served.get("/healthz", timeout_s=60)
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(served.get, addresses))
        wait_for(lambda: counted in served.get("/metrics").text)
        exit_code, stdout, stderr = served.stop()
    assert [len(each.json()["items"]) for each in answers] == list(range(1, 31))
    assert (exit_code, stdout, stderr) == (0, "stopped\n", "")


@pytest.mark.deep
def test_processes_end_with_one_that_ends_and_with_their_parent(filled_home: Path) -> None:
    with serving(filled_home, "--workers", "2") as served:
        served.get("/healthz", timeout_s=60)
        os.kill(workers_of(served)[0], signal.SIGKILL)
        stdout, stderr = served.process.communicate(timeout=60)
    assert (served.process.returncode, stdout) == (1, "")
    assert "a process of the server ended by itself" in stderr
    with serving(filled_home, "--workers", "2", "--mcp") as served:
        served.get("/healthz", timeout_s=60)
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        accepted = {"Accept": "application/json, text/event-stream"}
        assert httpx.post(f"{served.address}/mcp", json=ping, headers=accepted, timeout=15).status_code == 200
        workers = workers_of(served)
        served.process.kill()
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def workers_of(served: Served) -> list[int]:
    children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text().split()
    return [pid for pid in map(int, children) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
