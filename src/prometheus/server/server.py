"""The embedded PostgreSQL as commands see it: make sure it runs, where it is, how it is, stop it."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from signal import Signals
from typing import Literal

from prometheus.core.runs import EmbeddedServerDownError
from prometheus.errors import EmbeddedServerError
from prometheus.server import bootstrap, cluster, faults, process
from prometheus.server.account import resolve_account
from prometheus.server.binaries import find_installation, server_environment
from prometheus.server.bootstrap import Place
from prometheus.server.cluster import APPLICATION_ROLE, Layout, layout_of
from prometheus.server.process import ProgressWait
from prometheus.server.supervisor import Record, Task, open_lock, process_start, rotate_log, try_lock

ENDING_S = 1.0
"""Far longer than a supervisor takes to follow its server, or to end after it said that it does."""
NAMELESS_S = 10.0
"""Far longer than a supervisor takes from its lock to its record; one of another container is never seen."""
State = Literal["absent", "stopped", "starting", "running"]


@dataclass(frozen=True, slots=True)
class EmbeddedSettings:
    """What can be chosen about the embedded server."""

    home: Path
    account: str = "nobody"
    idle_minutes: float = 30.0


@dataclass(frozen=True, slots=True)
class EmbeddedStatus:
    """How the server is; `pid`, `server_version` and `idle_minutes` are of the running one."""

    state: State
    pid: int | None
    data_directory: Path
    socket_directory: Path
    log_path: Path
    server_version: str | None
    size_bytes: int
    idle_minutes: float


class EmbeddedServer:
    """A PostgreSQL server of our own below `EmbeddedSettings.home`.

    It outlives the process that started it, and stops by itself after some time without use. Any number of processes
    may use these methods at the same time. Each raises `EmbeddedServerError`: the fault and the way out, in one line.
    `announce` receives one line whenever something takes noticeable time.
    """

    def __init__(self, settings: EmbeddedSettings, announce: Callable[[str], None] | None = None) -> None:
        self.settings = settings
        self._announce = announce or (lambda _message: None)

    def ensure_running(self) -> None:
        """Return once the server answers and has its databases; start it, or wait for it, where it does not yet."""
        with self._one_line_errors():
            place = self._place()
            if not self._attach(place):
                self._start(place)

    def conninfo(self, database: str, *, role: str = APPLICATION_ROLE) -> str:
        """Return the connection string of a database; the server need not run.

        Ask after `ensure_running`: a first start makes the directory that the address follows from.
        """
        with self._one_line_errors():
            return self._place().conninfo(database, role)

    def full_disk(self) -> str | None:
        """Return what the server's log says of a full disk, if it does just now, with the way out; else None."""
        with self._one_line_errors():
            return faults.full_disk(self._place().layout, datetime.now(UTC))

    def status(self) -> EmbeddedStatus:
        """Look, and start nothing."""
        with self._one_line_errors():
            place = self._place()
            record, idle_minutes = process.supervisor_of(place.layout), self.settings.idle_minutes
            if record is not None and process.has_lost_its_server(record):
                record = None
            pid = record.postmaster_pid or None if record else process.postmaster_of(place.layout)
            if record is not None and record.idle_s:
                idle_minutes = record.idle_s / 60
            state, version = self._look(place, is_up=record is not None or pid is not None)
            return EmbeddedStatus(
                state, pid, place.layout.data, place.socket_directory, place.layout.log, version, place.size_bytes(),
                idle_minutes,
            )  # fmt: skip

    def stop(self, timeout_s: float = 60) -> bool:
        """Shut the server down, ending its sessions; return whether one was running.

        Past the timeout this stops waiting, with an error, and the shutdown goes on by itself.
        """
        with self._one_line_errors():
            place, deadline = self._place(), time.monotonic() + timeout_s
            if not place.layout.lock.exists():
                return False
            was_running = False
            with _open_lock(place.layout) as lock:
                while True:
                    is_alone = try_lock(lock)  # then no run can start it again meanwhile
                    was_running |= _stop_supervised(place, deadline)
                    if (is_alone or try_lock(lock)) and process.supervisor_of(place.layout) is None:
                        was_running |= _stop_orphan(place, deadline)
                        place.remove_socket_directory()
                        return was_running
                    _pause(deadline, "another process is just starting the server")

    def _place(self) -> Place:
        place = Place(resolve_account(self.settings.account), layout_of(self.settings.home))
        cluster.check_root(place.layout.root)
        return place

    @contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        """Say what the operating system refused, where no better message was found."""
        try:
            yield
        except OSError as error:
            place = f"{error.filename or self.settings.home}: {error.strerror or error}"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise EmbeddedServerDownError(f"{place}; make room on that disk") from error
            closed = (
                faults.who_forbids(Path(error.filename)) if error.errno == errno.EACCES and error.filename else None
            )
            if closed is not None:
                place += f" ({closed})"
            raise EmbeddedServerError(f"{place}; set PROMETHEUS_HOME to a directory of yours") from error

    def _attach(self, place: Place) -> bool:
        """Use a server that is up; False if there is no such server, or it needs care."""
        if not place.layout.lock.exists():
            return False
        with _open_lock(place.layout) as lock:
            self._wait_for_lock(lock, shared=True)
            record = process.supervisor_of(place.layout)
            if record is None:
                return False
            place.check_record(record)
            os.utime(lock)  # before we connect: from here on the supervisor counts the server as used
            try:
                return place.ask().is_bootstrapped
            except ConnectionError:
                return False

    def _start(self, place: Place) -> None:
        cluster.prepare_directories(place.layout, place.account)
        with _open_lock(place.layout) as lock:
            self._wait_for_lock(lock, shared=False)
            os.utime(lock)
            if not self._bring_up(place).is_bootstrapped:
                self._bootstrap(place)

    def _bootstrap(self, place: Place) -> None:
        import psycopg  # noqa: PLC0415 -- only when connecting

        cluster.write_identities(place.layout, place.account)  # one that runs may have been started by an older version
        try:
            bootstrap.bootstrap(place.conninfo)
        except psycopg.Error as error:
            reason = str(error).strip().partition("\n")[0]
            raise EmbeddedServerDownError(
                f"the databases could not be created: {reason}; see {place.layout.log}, then try again"
            ) from error

    def _wait_for_lock(self, lock: int, *, shared: bool) -> None:
        waiting = ProgressWait(self._announce, limit_s=float("inf"))
        while not try_lock(lock, shared=shared):
            waiting.wait("waiting for another process that starts or stops the embedded PostgreSQL")

    def _bring_up(self, place: Place) -> bootstrap.Answer:
        """Start, adopt or wait for a server until one answers. The caller holds the lock."""
        waiting = ProgressWait(self._announce)
        while True:
            offset, is_fresh = process.log_size(place.layout.log), False
            if process.supervisor_of(place.layout) is None:
                pid = process.postmaster_of(place.layout)
                if pid is None:
                    offset, is_fresh = self._launch(place), True
                elif process.outlives_its_supervisor(pid) and place.is_answering():
                    process.launch(self._task(place, [], adopted_pid=pid))
                else:
                    waiting.wait(f"waiting for an earlier server (process {pid}) to end", pid)
                    continue
            answer = self._await_answer(place, offset)
            if answer is not None:
                return answer
            failure = process.failure_in(process.last_lines(place.layout.log, offset))
            if is_fresh and not process.will_pass(failure):
                reason = faults.explain(failure, place.layout)
                raise EmbeddedServerDownError(f"the embedded PostgreSQL did not start: {reason}")
            users = process.users_of(place.layout.data)
            names = f" (process {', '.join(map(str, users))})" if users else ""
            waiting.wait(f"waiting for what is left of an earlier server{names} to end; see {place.layout.log}", users)

    def _await_answer(self, place: Place, offset: int) -> bootstrap.Answer | None:
        """Wait as long as the server makes progress; None if it ended."""
        waiting = ProgressWait(self._announce)
        while True:
            record = process.supervisor_of(place.layout)
            if record is None:
                return None
            place.check_record(record)
            try:
                return place.ask()
            except ConnectionError as error:
                reason = str(error)
            if _is_beyond_use(place, record):
                process.end_supervisor(record)
            if record.supervisor_pid == 0 and time.monotonic() - waiting.started > NAMELESS_S:
                raise EmbeddedServerError(
                    f"the data in {place.layout.data} is in use by a server that cannot be seen from here (another "
                    "container?); stop it where it was started"
                )
            words = process.progress_in(process.last_lines(place.layout.log, offset))
            waiting.wait(f"starting the embedded PostgreSQL: {words[-1] if words else reason}", words)

    def _launch(self, place: Place) -> int:
        """Start a server that does not run; return where its part of the log begins."""
        layout, account = place.layout, place.account
        installation = find_installation(account, layout.copies)
        if not cluster.has_cluster(layout, account):
            self._announce(f"creating the embedded PostgreSQL in {layout.data}")
            cluster.create_cluster(layout, account, installation)
        else:
            faults.check_permissions(layout, account)
            if faults.clear_pid_file(layout) or process.stale_pid(layout) is not None:
                self._announce("the embedded PostgreSQL was not shut down cleanly, it recovers now")
        place.make_socket_directory()
        cluster.write_configuration(layout, place.socket_directory, account)
        rotate_log(str(layout.log), limit=1024 * 1024)
        offset = process.log_size(layout.log)
        program = str(installation / "bin" / "postgres")
        process.launch(self._task(place, [program, "-D", str(layout.data), f"--config-file={layout.configuration}"]))
        return offset

    def _task(self, place: Place, command: list[str], adopted_pid: int | None = None) -> Task:
        layout, account, environment = place.layout, place.account, server_environment()
        earlier = process.stale_pid(layout)
        if earlier is not None and adopted_pid is None:
            # PostgreSQL takes this id in postmaster.pid for no rival; here it is free by now, or another program's.
            # Its check for the dead server's shared memory, and so for processes that still use the data, stays.
            environment["PG_GRANDPARENT_PID"] = str(earlier)
        return Task(
            command=command,
            environment=environment,
            uid=account.uid if account.is_other else None,
            gid=account.gid if account.is_other else None,
            data_directory=str(layout.data),
            socket_directory=str(place.socket_directory),
            lock_path=str(layout.lock),
            supervisor_lock_path=str(layout.supervisor_lock),
            log_path=str(layout.log),
            monitor_conninfo=place.conninfo(bootstrap.MAINTENANCE_DATABASE),
            idle_s=self.settings.idle_minutes * 60,
            python_path=[os.path.abspath(entry) for entry in sys.path if entry],  # noqa: PTH100
            adopted_pid=adopted_pid,
            adopted_start=process_start(adopted_pid) if adopted_pid else None,
        )

    def _look(self, place: Place, *, is_up: bool) -> tuple[State, str | None]:
        if is_up:
            try:
                return "running", place.ask().server_version
            except ConnectionError:
                return "starting", None
        version = cluster.data_version(place.layout)
        if place.layout.lock.exists():
            with _open_lock(place.layout) as lock:
                if not try_lock(lock, shared=True):
                    return "starting", version
        return ("stopped" if version else "absent"), version


def _is_beyond_use(place: Place, record: Record) -> bool:
    """Whether a supervisor is left without its server, or without the way to it, for longer than an end takes."""
    is_hidden = not place.socket_directory.exists() and process.shares_files(record.supervisor_pid)
    if not process.has_lost_its_server(record) and not is_hidden:
        return False
    deadline = time.monotonic() + ENDING_S
    while process.supervisor_of(place.layout) == record:
        if time.monotonic() > deadline:
            return True
        time.sleep(0.02)
    return False


@contextmanager
def _open_lock(layout: Layout) -> Iterator[int]:
    """Open the lock file; whatever lock is taken on it ends with the block."""
    descriptor = open_lock(str(layout.lock))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _stop_supervised(place: Place, deadline: float) -> bool:
    """Have the supervisor shut down, and wait until its server and itself are gone."""
    asked, servers, started = 0, set(), time.monotonic()
    while (record := process.supervisor_of(place.layout)) is not None:
        if record.supervisor_pid not in (0, asked):
            asked = record.supervisor_pid
            servers.add((record.postmaster_pid, process_start(record.postmaster_pid)))
            for number in (Signals.SIGTERM, Signals.SIGCONT):
                process.signal_process(asked, record.supervisor_start, number)
        elif not asked and time.monotonic() - started > 2:  # it never said who it is; it ends with its server
            asked = -int(_stop_orphan(place, deadline))
        _pause(deadline, f"the server is still shutting down, see {place.layout.log}")
    for pid, start in servers:
        _await_end(pid, start, place, deadline)
    return bool(asked)


def _stop_orphan(place: Place, deadline: float) -> bool:
    """Shut down a server directly."""
    pid = process.postmaster_of(place.layout)
    if pid is None:
        return False
    start = process_start(pid)
    process.signal_process(pid, start, Signals.SIGINT)
    _await_end(pid, start, place, deadline)
    return True


def _await_end(pid: int, start: str | None, place: Place, deadline: float) -> None:
    while start is not None and process_start(pid) == start:
        _pause(deadline, f"the server (process {pid}) is still shutting down, see {place.layout.log}")


def _pause(deadline: float, message: str) -> None:
    if time.monotonic() > deadline:
        raise EmbeddedServerError(message)
    time.sleep(0.02)
