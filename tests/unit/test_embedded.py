"""The parts of the embedded server that need no server."""

from __future__ import annotations

import json
import os
import pickle
import signal
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from prometheus.errors import EmbeddedServerError
from prometheus.server import account, process, supervisor
from prometheus.server.account import Account
from prometheus.server.process import ProgressWait

ACCOUNT = Account("nobody", 65534, 65534, is_other=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(value=TEXT)
def test_libpq_reads_back_what_was_quoted(value: str) -> None:
    assert conninfo_to_dict(f"application_name={account.quote(value)} dbname='x'")["application_name"] == value


@given(value=st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r")))
def test_a_quoted_setting_ends_where_it_should(value: str) -> None:
    quoted = account.quote(value)
    assert quoted[0] == quoted[-1] == "'"
    inside = quoted[1:-1].replace("\\\\", "").replace("\\'", "")
    assert "'" not in inside
    assert "\\" not in inside


def test_a_connection_string_names_everything_that_could_lead_elsewhere() -> None:
    parts = conninfo_to_dict(account.conninfo(Path("/tmp/x y"), ACCOUNT, "base", "role"))
    assert parts["host"] == "/tmp/x y"
    assert (parts["dbname"], parts["user"], parts["requirepeer"]) == ("base", "role", "nobody")
    assert parts["hostaddr"] == parts["options"] == ""


def test_a_socket_directory_is_short_and_of_one_data_directory(tmp_path: Path) -> None:
    one, two = tmp_path / ("x" * 200), tmp_path / "two"
    assert account.socket_directory(one, ACCOUNT) != account.socket_directory(two, ACCOUNT)
    one.mkdir()
    two.symlink_to(one)
    assert account.socket_directory(one, ACCOUNT) == account.socket_directory(two, ACCOUNT)
    assert len(os.fsencode(account.socket_directory(one, ACCOUNT) / f".s.PGSQL.{account.PORT}")) < 104


@pytest.mark.parametrize(
    ("mode", "owner", "group", "expected"),
    [(0o700, 1, 1, False), (0o701, 1, 1, True), (0o710, 1, 65534, True), (0o701, 1, 65534, False),
     (0o100, 65534, 1, True), (0o077, 65534, 65534, False)],
)  # fmt: skip
def test_entering_goes_by_the_first_class_that_fits(mode: int, owner: int, group: int, expected: bool) -> None:
    info = os.stat_result((0o040000 | mode, 1, 1, 1, owner, group, 0, 0, 0, 0))
    assert ACCOUNT.may_enter(info) is expected


LOG = """\
2025-01-01 00:00:00.000 UTC [7] LOG:  starting PostgreSQL 18.4
2025-01-01 00:00:00.001 UTC [8] FATAL:  the database system is starting up
2025-01-01 00:00:00.002 UTC [7] LOG:  redo in progress, elapsed time: 2.00 s, current LSN: 0/3000060
2025-01-01 00:00:00.003 UTC [9] PANIC:  could not locate a valid checkpoint record at 0/2000028
2025-01-01 00:00:00.004 UTC [8] FATAL:  the database system is starting up
2025-01-01 00:00:00.005 UTC [7] LOG:  database system is shut down
""".splitlines()


def test_the_reason_of_a_failure_is_not_what_a_client_was_told() -> None:
    assert process.failure_in(LOG) == "could not locate a valid checkpoint record at 0/2000028"
    assert process.failure_in(["ModuleNotFoundError: No module named 'x'"]).startswith("ModuleNotFoundError")
    assert process.failure_in([])


def test_being_asked_too_early_is_no_progress() -> None:
    assert process.progress_in(LOG[:3]) == ["starting PostgreSQL 18.4", LOG[2].partition("LOG:  ")[2]]


def test_waiting_ends_only_where_nothing_moves() -> None:
    words: list[str] = []
    waiting = ProgressWait(words.append, limit_s=0.2)
    for step in range(20):
        waiting.wait("working", progress=step)
    waiting.wait("stuck", progress="same")
    time.sleep(0.25)
    with pytest.raises(EmbeddedServerError, match="gave up: stuck"):
        waiting.wait("stuck", progress="same")


def test_waiting_speaks_now_and_then() -> None:
    words: list[str] = []
    waiting = ProgressWait(words.append)
    started = time.monotonic()
    while time.monotonic() - started < 1.5:
        waiting.wait("recovering")
    assert len(words) == 1
    assert words[0].startswith("recovering (1 s)")


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    record = supervisor.Record(1, "2", 3, "/дом", "/tmp/x", 1.5, is_ready=True)
    descriptor = supervisor.open_lock(str(tmp_path / "lock"))
    try:
        assert supervisor.read_record(descriptor) is None
        supervisor.write_record(descriptor, record)
        assert supervisor.read_record(descriptor) == record
        os.pwrite(descriptor, b"{", 0)
        os.ftruncate(descriptor, 1)
        assert supervisor.read_record(descriptor) is None
    finally:
        os.close(descriptor)


def test_a_task_travels_as_json() -> None:
    task = supervisor.Task(["a b", "'"], {"A": "дом"}, None, None, "d", "s", "l", "sl", "log", "c", 1.0, ["p"])
    assert supervisor.Task(**json.loads(json.dumps(asdict(task)))) == task


def test_locks_shut_out_and_are_not_inherited(tmp_path: Path) -> None:
    one, two, three = (supervisor.open_lock(str(tmp_path / "lock")) for _ in range(3))
    try:
        assert not os.get_inheritable(one)
        assert supervisor.try_lock(one, shared=True)
        assert supervisor.try_lock(two, shared=True)
        assert not supervisor.try_lock(three)
        os.close(two)
        two = supervisor.open_lock(str(tmp_path / "lock"))
        assert supervisor.try_lock(one)
        assert not supervisor.try_lock(three, shared=True)
    finally:
        for descriptor in (one, two, three):
            os.close(descriptor)


def test_a_process_is_told_from_its_successor() -> None:
    assert supervisor.process_start(os.getpid()) == supervisor.process_start(os.getpid()) is not None
    assert supervisor.process_start(2**22 + 1) is None
    assert not process.is_postgres_on(os.getpid(), Path("/"))
    process.signal_process(os.getpid(), "another start", signal.SIGKILL)  # or this test would end here


def test_only_a_log_past_its_limit_is_rotated(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    supervisor.rotate_log(str(log))
    log.write_text("x" * 100)
    supervisor.rotate_log(str(log), limit=100)
    assert log.stat().st_size == 100
    supervisor.rotate_log(str(log), limit=99)
    assert log.read_text() == ""
    assert (tmp_path / "server.log.1").read_text() == "x" * 100


def test_the_error_pickles_and_ends_a_command_with_4() -> None:
    error = pickle.loads(pickle.dumps(EmbeddedServerError("no; do this")))
    assert (str(error), error.exit_code) == ("no; do this", 4)
