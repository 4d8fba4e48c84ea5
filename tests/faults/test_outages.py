"""A server of one's own that goes away in mid-run and comes back; what is waited for, and what is not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from tests.fixtures.database import _binaries, _free_port, _server_identity
from tests.fixtures.embedded_homes import SCRATCH, needs_linux, wait_until

from prometheus.app.databases import DatabaseManager
from prometheus.core.config import PrometheusConfig
from prometheus.core.runs import EmbeddedServerDownError
from prometheus.data.postgres.connections import Transactions
from prometheus.data.postgres.reconnecting import Outage
from prometheus.errors import DatabaseUnreachableError, RetryableError

pytestmark = [needs_linux, pytest.mark.timeout(300)]

DOWN = "connection to server failed: Connection refused"
PASSING = ["the database system is starting up", "the database system is shutting down"]
REFUSED = ['FATAL:  database "x" does not exist', "PostgreSQL 13 is too old, 14 or newer is needed"]


class Server:
    """Answers after some failures."""

    def __init__(self, *failures: RetryableError) -> None:
        self.failures, self.n_calls = list(failures), 0

    def __call__(self) -> str:
        self.n_calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "answer"


def unreachable(reason: str, *, was_connected: bool = False) -> DatabaseUnreachableError:
    return DatabaseUnreachableError("historical", reason, was_connected)


@given(
    reason=st.sampled_from([DOWN, *PASSING, *REFUSED]), is_known=st.booleans(), is_ours=st.booleans(),
    was_connected=st.booleans(),
)  # fmt: skip
def test_what_may_return_is_waited_for(reason: str, is_known: bool, is_ours: bool, was_connected: bool) -> None:
    server = Server(unreachable(reason, was_connected=was_connected))
    outage = Outage(1.0, is_known=is_known, is_ours=is_ours)
    waits = reason in PASSING or (reason == DOWN and (is_known or is_ours or was_connected))
    if waits:
        assert outage.wait_out(server) == "answer"
    else:
        with pytest.raises(DatabaseUnreachableError):
            outage.wait_out(server)
    assert server.n_calls == 1 + waits


def test_a_server_of_ours_that_did_not_start_is_waited_for_in_mid_run_alone() -> None:
    fault = EmbeddedServerDownError("the disk is full")
    with pytest.raises(EmbeddedServerDownError):
        Outage(1.0, is_ours=True).wait_out(Server(fault))
    assert Outage(1.0, is_known=True, is_ours=True).wait_out(Server(fault)) == "answer"


def test_the_patience_is_one_for_all_and_ends_with_the_last_reason() -> None:
    outage = Outage(0.6, is_known=True)
    with pytest.raises(DatabaseUnreachableError, match="the last"):
        outage.wait_out(Server(*[unreachable(DOWN)] * 2, *[unreachable("the last")] * 99))
    again = Server(unreachable(DOWN))
    with pytest.raises(DatabaseUnreachableError):
        outage.wait_out(again)
    assert again.n_calls == 1
    assert outage.wait_out(Server()) == "answer"
    assert outage.wait_out(Server(unreachable(DOWN))) == "answer"


def test_a_run_that_ends_waits_no_longer() -> None:
    outage, begin = Outage(60.0, is_known=True), time.monotonic()
    threading.Timer(0.3, outage.stop_waiting).start()
    with pytest.raises(DatabaseUnreachableError):
        outage.wait_out(Server(*[unreachable(DOWN)] * 999))
    assert time.monotonic() - begin < 30


class OwnServer:
    """A PostgreSQL on loopback that can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        uid, gid = _server_identity()
        os.chown(folder, uid, gid)
        as_user = {"user": uid, "group": gid, "extra_groups": []} if os.geteuid() == 0 else {}
        self._begin = partial(
            subprocess.Popen, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **as_user
        )
        data, port = folder / "data", _free_port()
        initdb = self._begin([_binaries() / "initdb", "-D", data, "-U", "p", "-A", "trust", "-E", "UTF8", "--no-sync"])
        assert initdb.wait(120) == 0
        self._command = [
            _binaries() / "postgres", "-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1",
            "-c", "unix_socket_directories=",
        ]  # fmt: skip
        self.dsn = f"host=127.0.0.1 port={port} user=p dbname=postgres"
        self.start()

    def start(self) -> None:
        self._process = self._begin(self._command)

    def answers(self) -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(self.dsn):
            return True
        return False

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)


@pytest.fixture
def own_one() -> Iterator[OwnServer]:
    folder = Path(tempfile.mkdtemp(prefix="away-", dir=SCRATCH))
    server = OwnServer(folder)
    wait_until(server.answers)
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.mark.parametrize("away_s", [11.0, pytest.param(50.0, marks=pytest.mark.deep)])
def test_a_server_of_ones_own_is_waited_for(own_one: OwnServer, tmp_path: Path, away_s: float) -> None:
    dsn = SecretStr(own_one.dsn)
    manager = DatabaseManager(PrometheusConfig(home=tmp_path, historical_dsn=dsn, runtime_dsn=dsn))
    manager.upgrade()
    rows = Transactions(manager.get_historical_connection)
    assert rows.value("SELECT 1") == 1
    own_one.stop()
    threading.Timer(away_s, own_one.start).start()  # longer than one attempt to connect may take
    assert rows.value("SELECT 2") == 2
    manager.close_all()
