"""Crashes, idleness, shutdown: the server comes back, goes when unused, and leaves nothing behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from tests.fixtures.embedded_homes import Driver, Playground, needs_linux, wait_until

from prometheus.errors import EmbeddedServerError
from prometheus.server import APPLICATION_ROLE, process
from prometheus.server.binaries import find_installation, server_environment
from prometheus.server.supervisor import LOG_BYTES, STOPPED_ON_REQUEST, process_arguments, process_start

pytest_plugins = ["tests.fixtures.embedded"]

SOON = 0.02
"""Idle minutes: 1.2 seconds."""


def test_after_a_crash_the_next_start_recovers(playground: Playground) -> None:
    server = playground.server()
    server.ensure_running()
    server.query("CREATE TABLE kept AS SELECT generate_series(1, 20000) AS n")
    server.kill()
    assert server.status().state == "stopped"
    assert server.status().socket_directory.exists()

    server.words.clear()
    server.ensure_running()
    assert server.query("SELECT count(*) FROM kept") == 20000
    assert any("recovers" in word for word in server.words)
    assert "not properly shut down" in server.layout.log.read_text()


def test_a_killed_postmaster_alone_is_replaced(playground: Playground) -> None:
    server = playground.server()
    server.ensure_running()
    first = server.pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: process_start(first) is None)
    server.ensure_running()
    assert server.pid != first


@pytest.mark.deep
@needs_linux
def test_a_start_waits_for_what_a_killed_server_left(playground: Playground) -> None:
    server = playground.server()
    server.ensure_running()
    with server.connect() as connection:
        left = connection.info.backend_pid
        os.kill(left, signal.SIGSTOP)
        server.kill()
        try:
            server.words.clear()
            starting = threading.Thread(target=server.ensure_running)
            starting.start()
            wait_until(lambda: any(f"process {left}" in word for word in server.words))
            assert starting.is_alive()
            assert "pre-existing shared memory block" in server.layout.log.read_text()
        finally:
            os.kill(left, signal.SIGCONT)
        starting.join(30)
    assert not starting.is_alive()
    assert server.query("SELECT 1") == 1


@needs_linux
def test_a_recovery_is_waited_for_and_announced(playground: Playground) -> None:
    server = playground.server()
    with held_recovery(server) as (starting, failures):
        wait_until(lambda: any(word.startswith("starting") for word in server.words))
        assert server.status().state == "starting"
        assert starting.is_alive()
    starting.join(30)
    assert not starting.is_alive()
    assert failures == []
    assert server.query("SELECT count(*) FROM much") == 500_000


@contextmanager
def held_recovery(server: Driver) -> Iterator[tuple[threading.Thread, list[str]]]:
    """Crash, start in a thread, and hold up the process that recovers: to all others this is a long recovery."""
    failures: list[str] = []

    def start() -> None:
        try:
            server.ensure_running()
        except EmbeddedServerError as error:
            failures.append(str(error))

    server.ensure_running()
    server.query("CREATE TABLE much (n integer)")
    server.query("INSERT INTO much SELECT generate_series(1, 500000)")  # made with its rows it would not be in the WAL
    for _ in range(5):  # it may be done before we see it
        server.kill()
        server.words.clear()
        starting = threading.Thread(target=start)
        starting.start()
        held = hold_startup_process(server, starting)
        if held is not None:
            break
    assert held is not None
    try:
        yield starting, failures
    finally:
        os.kill(held, signal.SIGCONT)


def hold_startup_process(server: Driver, starting: threading.Thread) -> int | None:
    """Stop the process that recovers, as soon as there is one; None if it came and went unseen."""
    while starting.is_alive():
        record = process.supervisor_of(server.layout)
        if record is None or not record.postmaster_pid:
            continue
        with suppress(OSError):
            children = Path(f"/proc/{record.postmaster_pid}/task/{record.postmaster_pid}/children").read_text().split()
            for pid in map(int, children):
                if any("startup" in argument for argument in process_arguments(pid)):
                    os.kill(pid, signal.SIGSTOP)
                    return pid
    return None


@pytest.fixture
def stranger(playground: Playground) -> subprocess.Popen[bytes]:
    """A process of the server's own user that has nothing to do with it."""
    privileges = playground.server(playground.top).account.privileges
    return subprocess.Popen(["sleep", "300"], cwd="/", **privileges)


@pytest.mark.parametrize("user", ["ours", "theirs"])
def test_a_stranger_with_a_dead_servers_id_is_left_alone(
    playground: Playground, stranger: subprocess.Popen[bytes], user: str
) -> None:
    server = playground.server()
    server.ensure_running()
    server.kill()
    pid = stranger.pid if user == "ours" else 1
    for name in (server.layout.data / "postmaster.pid", server.status().socket_directory / ".s.PGSQL.5432.lock"):
        lines = name.read_text().splitlines(keepends=True)
        name.write_text("".join([f"{pid}\n", *lines[1:]]))
    try:
        assert server.status().state == "stopped"
        assert server.stop() is False
        server.ensure_running()
        assert server.query("SELECT 1") == 1
        assert server.pid != pid
        assert server.stop() is True
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.deep
@needs_linux
def test_another_postgres_with_a_dead_servers_id_is_left_alone(playground: Playground) -> None:
    server, other = playground.server(), playground.server()
    for each in (server, other):
        each.ensure_running()
    server.kill()
    file = server.layout.data / "postmaster.pid"
    file.write_text("".join([f"{other.pid}\n", *file.read_text().splitlines(keepends=True)[1:]]))
    assert server.stop() is False
    server.ensure_running()
    assert server.pid != other.pid
    server.stop()
    assert other.query("SELECT 1") == 1


@pytest.mark.deep
def test_a_start_that_fails_quotes_the_servers_last_word(playground: Playground) -> None:
    server = playground.server()
    server.ensure_running()
    server.stop()
    os.truncate(server.layout.data / "global" / "pg_control", 100)
    with pytest.raises(EmbeddedServerError) as caught:
        server.ensure_running()
    message = str(caught.value)
    assert "pg_control" in message
    assert str(server.layout.log) in message
    assert "\n" not in message
    assert server.status().state == "stopped"
    assert server.is_gone()


def test_an_unused_server_stops_by_itself(playground: Playground) -> None:
    server = playground.server(idle_minutes=SOON)
    server.ensure_running()
    directory = server.status().socket_directory
    assert server.query("SELECT 1") == 1
    assert wait_until(server.is_gone, 20) > 0.5
    assert not directory.exists()
    assert server.status().state == "stopped"
    assert "database system is shut down" in server.layout.log.read_text()


@pytest.mark.deep
def test_an_open_session_keeps_it_up(playground: Playground) -> None:
    server = playground.server(idle_minutes=SOON)
    server.ensure_running()
    with server.connect(role=APPLICATION_ROLE) as connection:
        time.sleep(3)
        assert connection.execute("SELECT 1").fetchone() == (1,)
    wait_until(server.is_gone, 20)


@pytest.mark.deep
def test_short_use_between_two_looks_keeps_it_up(playground: Playground) -> None:
    later = 0.06  # a busy machine may wait a second more between two uses
    commanded, asked = playground.server(idle_minutes=later), playground.server(idle_minutes=later)
    for server in (commanded, asked):
        server.ensure_running()
    first = commanded.pid, asked.pid
    for _ in range(10):
        time.sleep(0.5)
        commanded.ensure_running()
        asked.query("SELECT 1")
    assert (commanded.pid, asked.pid) == first


@pytest.mark.deep
def test_a_command_during_idle_shutdown_finds_a_server(playground: Playground) -> None:
    server = playground.server(idle_minutes=0.01)
    chance = random.Random(20250101)
    seen = set()
    for _ in range(8):
        server.ensure_running()
        assert server.query("SELECT 1", role=APPLICATION_ROLE) == 1
        seen.add(server.pid)
        time.sleep(0.6 + chance.random() * 0.35)
    assert len(seen) > 1


@pytest.mark.deep
@needs_linux
def test_without_its_supervisor_the_server_stops(playground: Playground) -> None:
    server = playground.server()
    server.ensure_running()
    first = server.pid
    os.kill(server.supervisor_pid, signal.SIGKILL)
    wait_until(lambda: process_start(first) is None, 20)
    assert "received fast shutdown request" in server.layout.log.read_text()
    assert server.status().state == "stopped"

    for _ in range(2):
        server.ensure_running()
        second = server.pid
        os.kill(server.supervisor_pid, signal.SIGKILL)
        wait_until(lambda: process.supervisor_of(server.layout) is None)
        server.ensure_running()  # at once, while the other one shuts down
        assert server.query("SELECT 1") == 1
        assert server.pid != second


def start_without_supervisor(server: Driver) -> subprocess.Popen[bytes]:
    """A server as macOS has it after its supervisor was killed: alive and well."""
    server.ensure_running()
    server.stop()
    directory = server.status().socket_directory
    directory.mkdir(mode=0o700)
    os.chown(directory, server.account.uid, server.account.gid)
    program = find_installation(server.account, server.layout.copies) / "bin" / "postgres"
    orphan = subprocess.Popen(
        [str(program), "-D", str(server.layout.data), f"--config-file={server.layout.configuration}"],
        env=server_environment(), cwd="/", stderr=subprocess.DEVNULL, **server.account.privileges,
    )  # fmt: skip
    wait_until(lambda: server.status().state == "running")
    return orphan


def test_a_server_without_supervisor_gets_one(playground: Playground) -> None:
    server = playground.server(idle_minutes=SOON)
    orphan = start_without_supervisor(server)
    with server.connect() as connection:
        server.ensure_running()
        assert server.pid == orphan.pid
        assert connection.execute("SELECT 1").fetchone() == (1,)
    orphan.wait(20)
    wait_until(server.is_gone)
    assert not server.status().socket_directory.exists()


@pytest.mark.deep
def test_stop_ends_a_server_without_supervisor(playground: Playground) -> None:
    server = playground.server()
    orphan = start_without_supervisor(server)
    stopping = threading.Thread(target=orphan.wait)  # its parent, here, must take note of its end
    stopping.start()
    assert server.stop() is True
    stopping.join(10)
    assert server.is_gone()
    assert not server.status().socket_directory.exists()


@pytest.mark.deep
def test_stop_copes_with_a_supervisor_that_does_not_say_who_it_is(playground: Playground) -> None:
    server = playground.server()
    server.ensure_running()
    server.layout.supervisor_lock.write_text("")
    server.ensure_running()
    assert server.stop() is True
    assert server.is_gone()


def test_stop_ends_sessions_and_leaves_nothing(playground: Playground) -> None:
    server = playground.server()
    server.ensure_running()
    directory, pids = server.status().socket_directory, [server.pid, server.supervisor_pid]
    with server.connect() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
        assert server.stop() is True
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert [process_start(pid) for pid in pids] == [None, None]
    assert server.is_gone()
    assert not directory.exists()
    assert not (server.layout.data / "postmaster.pid").exists()
    assert server.stop() is False
    server.ensure_running()
    assert server.query("SELECT n FROM kept") == 1


@pytest.mark.deep
def test_stop_gives_up_waiting_after_its_time(playground: Playground) -> None:
    server = playground.server()
    server.ensure_running()
    pid = server.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(EmbeddedServerError, match="still shutting down"):
            server.stop(timeout_s=0.5)
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(server.is_gone)


@needs_linux
def test_a_start_that_is_stopped_says_so(playground: Playground) -> None:
    server = playground.server()
    with held_recovery(server) as (starting, failures):
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        wait_until(lambda: STOPPED_ON_REQUEST in server.layout.log.read_text())
    starting.join(30)
    stopping.join(30)
    assert len(failures) == 1
    assert "stopped by another process" in failures[0]
    assert server.is_gone()


@pytest.mark.deep
def test_starting_and_stopping_at_once_ends_well(playground: Playground) -> None:
    home = playground.home()
    failures: list[BaseException] = []

    def run(seed: int) -> None:
        server, chance = playground.server(home), random.Random(seed)
        for _ in range(3):
            try:
                server.stop() if chance.random() < 0.4 else server.ensure_running()
            except EmbeddedServerError as error:
                if "stopped by another process" not in str(error):
                    failures.append(error)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    server = playground.server(home)
    server.ensure_running()
    assert server.query("SELECT 1") == 1


def test_the_log_is_bounded(playground: Playground) -> None:
    server = playground.server(idle_minutes=0.1)
    server.ensure_running()
    with server.layout.log.open("a") as log:
        log.write("noise\n" * (LOG_BYTES // 6 + 1))
    kept = server.layout.log.with_name("server.log.1")
    wait_until(kept.exists)
    wait_until(lambda: process.log_size(server.layout.log) < 1000)
    with pytest.raises(psycopg.errors.DivisionByZero):
        server.query("SELECT 1/0")
    wait_until(lambda: "division by zero" in server.layout.log.read_text())
    assert process.log_size(server.layout.log) < 10_000
    assert {path.stat().st_mode & 0o777 for path in (kept, server.layout.log)} == {0o600}


def test_a_home_moved_under_a_running_server_must_be_stopped_first(playground: Playground) -> None:
    server = playground.server()
    server.ensure_running()
    moved = Driver(server.settings.home.rename(server.settings.home.with_name("moved")))
    playground.homes.append(moved.settings.home)
    with pytest.raises(EmbeddedServerError, match="in use as") as caught:
        moved.ensure_running()
    assert str(server.layout.data) in str(caught.value)
    assert moved.stop() is True
    moved.ensure_running()
    assert moved.query("SELECT 1") == 1


@pytest.mark.deep
def test_a_home_removed_under_a_running_server_can_be_made_anew(playground: Playground) -> None:
    server = playground.server()
    server.ensure_running()
    first = server.pid
    moved = server.settings.home.rename(server.settings.home.with_name("trash"))
    server.ensure_running()
    assert server.pid != first
    assert server.query("SELECT 1") == 1
    assert Driver(Path(moved)).stop() is True
    assert process_start(first) is None
    assert server.query("SELECT 1") == 1
    assert server.stop() is True
