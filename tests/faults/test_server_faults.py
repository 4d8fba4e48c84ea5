"""Faults of the embedded server that its next start mends, or names with the way out."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.faults.harness import PATIENCE_S, wait_for
from tests.faults.workloads import Ground, workloads
from tests.fixtures.embedded_homes import Driver, Playground, needs_linux, needs_root, wait_until
from tests.fixtures.examples import share_of
from tests.fixtures.receivers import receiving

from prometheus.core.runs import EmbeddedServerDownError
from prometheus.errors import EmbeddedServerError
from prometheus.server import cluster, faults, process, server, supervisor
from prometheus.server.supervisor import Record, Supervisor, Task, process_start

pytest_plugins = ["tests.fixtures.embedded"]
pytestmark = [needs_linux, pytest.mark.timeout(600)]

DISK_MIB, LEFT_MIB = 300, 30
ENSURE = """
import sys
from pathlib import Path
from prometheus.errors import EmbeddedServerError
from prometheus.server import EmbeddedServer, EmbeddedSettings
try:
    EmbeddedServer(EmbeddedSettings(Path(sys.argv[1]))).ensure_running()
except EmbeddedServerError as error:
    print(error)
"""


@pytest.fixture
def running_one(playground: Playground) -> Driver:
    """A running server that the test may break."""
    driver = playground.server()
    driver.ensure_running()
    return driver


@pytest.fixture
def stopped(playground: Playground) -> Driver:
    """A complete server that does not run."""
    return playground.server()


def test_a_stopped_supervisor_of_a_dead_server_is_replaced(running_one: Driver) -> None:
    old = running_one.supervisor_pid
    os.kill(old, signal.SIGSTOP)
    os.kill(running_one.pid, signal.SIGKILL)
    wait_until(lambda: running_one.status().state == "stopped")
    running_one.ensure_running()
    assert running_one.query("SELECT 1") == 1
    assert running_one.supervisor_pid != old
    assert process_start(old) is None


def test_a_stopped_supervisor_obeys_a_stop(running_one: Driver) -> None:
    os.kill(running_one.supervisor_pid, signal.SIGSTOP)
    assert running_one.stop() is True
    assert running_one.is_gone()


def test_a_supervisor_says_that_it_ends_before_its_directory_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_lock = supervisor.open_lock(str(tmp_path / "supervisor.lock"))
    task = Task(
        [], {}, None, None, str(tmp_path), str(tmp_path / "socket"), str(tmp_path / "lock"),
        str(tmp_path / "supervisor.lock"), str(tmp_path / "log"), "", 1.0, [], adopted_pid=os.getpid(),
    )  # fmt: skip
    found: list[Record | None] = []
    monkeypatch.setattr(
        supervisor, "remove_socket_directory", lambda *_: found.append(supervisor.read_record(own_lock))
    )
    ending = Supervisor(task, own_lock)
    ending.is_ready = True
    ending.record()
    ending.retire()
    os.close(own_lock)
    assert [each and each.is_ready for each in found] == [False]


def test_a_socket_directory_that_a_cleaner_removed_is_made_anew(running_one: Driver) -> None:
    first = running_one.pid
    shutil.rmtree(running_one.status().socket_directory)
    running_one.ensure_running()
    assert running_one.query("SELECT 1") == 1
    assert process_start(first) is None


@needs_root
def test_a_server_behind_another_tmp_is_named_as_such(running_one: Driver) -> None:
    hidden = f'mount -t tmpfs tmpfs /tmp && exec "{sys.executable}" -c "$0" "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", hidden, ENSURE, str(running_one.settings.home)],
        capture_output=True, text=True, check=False, cwd="/", env={**os.environ, "PYTHONPATH": _source()},
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"no namespace can be made here: {done.stderr}")
    assert "cannot be seen from here (another container, or a private /tmp?)" in done.stdout
    assert running_one.query("SELECT 1") == 1


def _source() -> str:
    return str(Path(server.__file__).parents[2])


def test_a_server_of_another_container_is_named_soon(stopped: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "NAMELESS_S", 0.3)
    lock = supervisor.open_lock(str(stopped.layout.supervisor_lock))
    assert supervisor.try_lock(lock)
    stranger = Record(2**22 - 1, "1", 2**22 - 2, str(stopped.layout.data), "/tmp/x", 1.0, is_ready=True)
    supervisor.write_record(lock, stranger)
    try:
        with pytest.raises(EmbeddedServerError, match=r"cannot be seen from here \(another container\?\)"):
            stopped.ensure_running()
    finally:
        os.close(lock)
    stopped.ensure_running()


def own(path: Path, driver: Driver) -> None:
    """Give a file to the server's account."""
    os.chown(path, driver.account.uid, driver.account.gid)


@pytest.mark.parametrize("text", ["", "garbage\nmore\n"])
def test_a_file_without_a_process_id_stands_in_no_way(stopped: Driver, text: str) -> None:
    path = stopped.layout.data / "postmaster.pid"
    path.write_text(text)
    own(path, stopped)
    stopped.ensure_running()
    assert stopped.query("SELECT 1") == 1


@settings(max_examples=share_of(80), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60))
def test_only_a_file_that_names_no_process_is_removed(tmp_path: Path, content: bytes) -> None:
    layout = cluster.layout_of(tmp_path / "home")
    layout.data.mkdir(parents=True, exist_ok=True)
    path = layout.data / "postmaster.pid"
    path.write_bytes(content)
    names_one = process.stale_pid(layout) is not None
    assert faults.clear_pid_file(layout) is not names_one
    assert path.exists() is names_one
    assert faults.clear_pid_file(layout) is False


def test_what_cannot_be_a_file_of_the_server_is_left_and_named(stopped: Driver) -> None:
    path = stopped.layout.data / "postmaster.pid"
    path.mkdir()
    with pytest.raises(EmbeddedServerError, match="is no file, and PostgreSQL keeps its process id there; remove it"):
        stopped.ensure_running()
    assert path.is_dir()
    path.rmdir()


def test_settings_that_postgresql_refuses_are_named_with_the_way_out(stopped: Driver) -> None:
    file = stopped.layout.data / "postgresql.auto.conf"
    kept = file.read_text()
    file.write_text("nonsense = = 'x\n")
    with pytest.raises(EmbeddedServerDownError, match=f"contains errors; empty {file}"):
        stopped.ensure_running()
    file.write_text(kept)
    stopped.ensure_running()


@pytest.mark.parametrize("part", ["base", "base/1", "global", "pg_wal", "."])
@pytest.mark.parametrize("mode", [0o000, 0o500])
def test_data_that_the_server_may_not_use_are_named_at_once(stopped: Driver, part: str, mode: int) -> None:
    path = stopped.layout.data / part
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        with pytest.raises(EmbeddedServerError, match=f"{path}.* has mode {mode:04o}; give it back: chmod"):
            stopped.ensure_running()
        assert path.stat().st_mode & 0o777 == mode
    finally:
        path.chmod(before)


@needs_root
def test_a_name_that_another_user_has_taken_is_left_to_them(playground: Playground) -> None:
    driver = playground.server()
    usual = driver.status().socket_directory
    usual.mkdir(mode=0o700)
    os.chown(usual, 12345, 12345)
    try:
        driver.ensure_running()
        taken = driver.status().socket_directory
        assert taken != usual
        assert taken.name.startswith(f"{usual.name}-")
        assert Driver(driver.settings.home).query("SELECT 1") == 1
        assert list(usual.iterdir()) == []
        assert driver.stop() is True
        assert not taken.exists()
    finally:
        usual.rmdir()
    driver.ensure_running()
    assert driver.status().socket_directory == usual


MOMENT = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age_s", "message", "is_told"),
    [(5, "No space left on device", True), (600, "No space left on device", False), (5, "out of memory", False)],
)
def test_a_full_disk_is_read_from_the_log_while_it_is_new(
    tmp_path: Path, age_s: int, message: str, is_told: bool
) -> None:
    layout = cluster.layout_of(tmp_path)
    layout.root.mkdir()
    at = (MOMENT - timedelta(seconds=age_s)).strftime("%Y-%m-%d %H:%M:%S.000 UTC")
    layout.log.write_text(f'{at} [7] PANIC:  could not write to file "pg_wal/xlogtemp.7": {message}\n')
    found = faults.full_disk(layout, MOMENT)
    assert (found is not None) is is_told
    if found is not None:
        assert found.startswith('could not write to file "pg_wal/xlogtemp.7": No space left on device; ')
        assert f"the disk that holds {layout.data} is full, make room on it" in found


@pytest.fixture
def small_disk(playground: Playground, tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Fill the disk of a home of its own up to some MiB; returns what takes the room."""
    place = playground.top / "disk"
    place.mkdir(mode=0o755)
    options = f"size={DISK_MIB}m,mode=755"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    subprocess.run(["cp", "-a", str(playground.prepared), str(place / "home")], check=True)

    def fill(n_left_mib: int) -> Path:
        ballast = place / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(place).free - (n_left_mib << 20)))
        return ballast

    yield fill
    (place / "ballast").unlink(missing_ok=True)
    Driver(place / "home").stop()
    shutil.rmtree(place / "home")
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.deep
@needs_root
@pytest.mark.parametrize("makes_room", [True, False])
def test_a_run_waits_for_room_on_a_full_disk_and_names_it(
    small_disk: Callable[[int], Path], playground: Playground, tmp_path: Path, makes_room: bool
) -> None:
    with receiving() as receiver:
        driver = Driver(playground.top / "disk" / "home")
        ground, workload = Ground(driver, tmp_path, receiver, ["numeric"]), workloads()["numeric"]
        ground.run(*workload.command)
        expected = ground.rows(workload)
        ground.forget(workload)
        driver.query("CHECKPOINT")
        ballast = small_disk(LEFT_MIB)
        run = ground.start(*workload.command)
        if makes_room:
            wait_for(lambda: "No space left" in "".join(process.last_lines(driver.layout.log)))
            time.sleep(2)
            ballast.unlink()
        _, words = run.communicate(timeout=PATIENCE_S)
        last = words.splitlines()[-1]
        assert run.returncode == (0 if makes_room else 4), words
        assert "container" not in words
        assert "is full, make room on it" in words if makes_room else "No space left on device" in last
        ballast.unlink(missing_ok=True)
        driver.ensure_running()
        ground.run(*workload.command)
        assert ground.rows(workload) == expected
