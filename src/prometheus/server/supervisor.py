"""The small process that is the parent of ``postgres``: starts it, and stops it once it is unused.

Runs as a script in an isolated interpreter (``python -I -S supervisor.py``), reads its `Task` as JSON from stdin and
detaches. Hence only the standard library at the top, and psycopg once there is a server to ask. Other modules of the
package import the process and lock helpers from here, never the other way round.
"""

from __future__ import annotations

import ctypes
import dataclasses
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

LOG_BYTES = 5 * 1024 * 1024
"""Size at which the log becomes ``<log>.1``; so the two together stay near twice that."""

STOPPED_ON_REQUEST = "asked to stop the server"
"""What the log says then."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_USE_SQL = (
    "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),"
    " (SELECT coalesce(sum(sessions), 0) FROM pg_stat_database WHERE datname <> 'postgres')"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """Everything the supervisor needs to know; plain values, because it travels as JSON."""

    command: list[str]
    environment: dict[str, str]
    uid: int | None  # None: stay the user we are
    gid: int | None
    data_directory: str
    socket_directory: str
    lock_path: str
    supervisor_lock_path: str
    log_path: str
    monitor_conninfo: str
    idle_s: float
    python_path: list[str]
    adopted_pid: int | None = None  # a running postmaster without a supervisor
    adopted_start: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """What a running supervisor says about itself, in its lock file."""

    supervisor_pid: int
    supervisor_start: str | None
    postmaster_pid: int
    data_directory: str
    socket_directory: str
    idle_s: float
    is_ready: bool


def process_start(pid: int) -> str | None:
    """Return a token that tells this process from a later one of the same id; None if it is gone (or a zombie)."""
    if sys.platform == "linux":
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 -- no pathlib in the supervisor
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            return None
        return None if fields[0] in b"ZX" else fields[19].decode()
    found = _ps(pid, "lstart=")
    return None if not found or _ps(pid, "state=").startswith("Z") else found


def process_arguments(pid: int) -> list[str]:
    """Return the argument list of a process; empty if it is gone (on macOS: one string, all arguments joined)."""
    if sys.platform == "linux":
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
                return [os.fsdecode(part) for part in file.read().split(b"\0")]
        except OSError:
            return []
    found = _ps(pid, "command=")
    return [found] if found else []


def _ps(pid: int, column: str) -> str:
    command = ["/bin/ps", "-ww", "-o", column, "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"LC_ALL": "C"}).stdout.strip()  # noqa: S603


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Take a `flock` without waiting; say whether it was had."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_lock(path: str) -> int:
    """Open (or create) a lock file that no child process inherits."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def rotate_log(path: str, limit: int = LOG_BYTES) -> None:
    """Copy a log past its limit to ``<log>.1`` and truncate it: ``postgres`` keeps appending to the open file."""
    with suppress(OSError):
        if os.stat(path).st_size > limit:  # noqa: PTH116
            shutil.copyfile(path, path + ".1")
            os.chmod(path + ".1", 0o600)  # noqa: PTH101
            os.truncate(path, 0)


def remove_socket_directory(path: str, uids: set[int]) -> None:
    """Remove a socket directory of ours with what a dead server left in it; anything else is left alone."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_uid not in uids:
                return
            for entry in os.listdir(descriptor):  # noqa: PTH208
                if entry.startswith(".s.PGSQL."):
                    os.unlink(entry, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        os.rmdir(path)  # noqa: PTH106


def write_record(descriptor: int, record: Record) -> None:
    """Write the record into the supervisor's own lock file, which stays the right one wherever it is moved to."""
    text = json.dumps(dataclasses.asdict(record)).encode()
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text, 0)


def read_record(descriptor: int) -> Record | None:
    """Return what the lock file says; None in the moment between the lock and the record."""
    try:
        return Record(**json.loads(os.pread(descriptor, 65536, 0)))
    except (ValueError, TypeError):
        return None


class Supervisor:
    """Parent (or, where it died, adoptive parent) of one postmaster."""

    def __init__(self, task: Task, own_lock: int) -> None:
        self.task = task
        self._own_lock = own_lock
        self.child: subprocess.Popen[bytes] | None = None
        self.pid = task.adopted_pid or 0
        self.is_stopping = False
        self.is_ready = False
        self._lock = open_lock(task.lock_path)
        self._connection: Any = None
        self._seen: tuple[float, int] = (0.0, -1)  # last use of the lock file, sessions counted so far

    def start(self) -> None:
        """Start ``postgres`` unless one is to be adopted, and write the record."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop_postgres(STOPPED_ON_REQUEST))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        if not self.pid:
            self.child = start_postgres(self.task)
            self.pid = self.child.pid
        if self.is_stopping:  # asked before there was anything to stop
            self.interrupt_postgres()
        self.record()

    def record(self) -> None:
        """Say who we are."""
        task, me = self.task, os.getpid()
        directories = (task.data_directory, task.socket_directory)
        write_record(self._own_lock, Record(me, process_start(me), self.pid, *directories, task.idle_s, self.is_ready))

    def retire(self) -> None:
        """Say that the server is gone before its directory is: who looks in between is not misled."""
        self.is_ready = False
        with suppress(OSError):
            self.record()
        task = self.task
        remove_socket_directory(task.socket_directory, {os.geteuid(), task.uid or os.geteuid()})

    def is_postgres_alive(self) -> bool:
        """Whether the postmaster still runs."""
        if self.child is not None:
            return self.child.poll() is None
        return process_start(self.pid) == self.task.adopted_start is not None

    def stop_postgres(self, reason: str) -> None:
        """Ask for a fast shutdown (sessions are ended, work is rolled back, the data is left clean)."""
        say(reason)
        self.is_stopping = True
        self.interrupt_postgres()

    def interrupt_postgres(self) -> None:
        """Send what makes the server shut down."""
        if self.is_postgres_alive():
            os.kill(self.pid, signal.SIGINT)

    def watch(self) -> None:
        """Wait until the postmaster is gone, and see to it that an unused one goes."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        interval = max(0.05, min(5.0, self.task.idle_s / 10))
        last_use = time.monotonic()
        while self.is_postgres_alive():
            pause = interval if self.is_ready and not self.is_stopping else min(interval, 0.1)
            if select.select([reader], [], [], pause)[0]:
                os.read(reader, 512)
            rotate_log(self.task.log_path)
            if self.is_stopping:
                continue
            if self.is_used():
                last_use = time.monotonic()
            elif time.monotonic() - last_use >= self.task.idle_s and try_lock(self._lock):
                self.stop_if_still_unused()

    def stop_if_still_unused(self) -> None:
        """Shut down while holding the lock, so that a command that comes now waits and then starts a new server."""
        if self.is_used():
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        else:
            self.stop_postgres("unused for too long, stopping the server")

    def is_used(self) -> bool:
        """Whether sessions are open, or came and went, or a command asked for the server since the last look."""
        import psycopg  # noqa: PLC0415 -- from the path the task names

        try:
            if self._connection is None:
                self._connection = psycopg.connect(self.task.monitor_conninfo, autocommit=True, connect_timeout=5)
            n_clients, n_sessions = self._connection.execute(_USE_SQL).fetchone()
        except psycopg.Error:  # starting up, full, or broken: look again later, never stop on a guess
            self._connection = None
            return True
        if not self.is_ready:
            self.is_ready = True
            with suppress(OSError):
                self.record()
        seen = (os.fstat(self._lock).st_mtime, int(n_sessions))
        is_changed, self._seen = seen != self._seen, seen
        return is_changed or n_clients > 0


def start_postgres(task: Task) -> subprocess.Popen[bytes]:
    """Start the server as the account of the task; on Linux it shuts down if this process dies."""
    parent = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def follow_parent() -> None:  # in the child, after setuid, which would clear it
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    return subprocess.Popen(  # noqa: S603 -- an argument list from our own package
        task.command,
        stdin=subprocess.DEVNULL,
        stdout=2,
        cwd="/",
        env=task.environment,
        user=task.uid,
        group=task.gid,
        extra_groups=None if task.gid is None else [task.gid],
        preexec_fn=follow_parent,  # noqa: PLW1509 -- this process has one thread
        umask=0o077,
    )


def say(message: str) -> None:
    """Write one line to the log, in the form of the server's own."""
    moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    with suppress(OSError):
        os.write(2, f"{moment} [{os.getpid()}] SUPERVISOR:  {message}\n".encode())


def detach(log_path: str) -> tuple[bool, int]:
    """Fork into a session of our own that writes to the log; False and where to report there, else True and a pipe."""
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        return True, reader
    os.close(reader)
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    null = os.open(os.devnull, os.O_RDWR)
    for source, target in ((null, 0), (null, 1), (log, 2)):
        os.dup2(source, target)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    return False, writer


def main() -> int:
    """Start, report to the waiting parent, watch to the end."""
    task = Task(**json.load(sys.stdin))
    sys.path[:] = task.python_path
    own_lock = open_lock(task.supervisor_lock_path)
    deadline = time.monotonic() + 10
    while not try_lock(own_lock):  # others only look whether it is held, for a moment
        if time.monotonic() > deadline:
            sys.stderr.write("another supervisor is running\n")
            return 1
        time.sleep(0.005)
    is_parent, pipe = detach(task.log_path)
    if is_parent:
        return 0 if os.read(pipe, 1) else 1
    supervisor = Supervisor(task, own_lock)
    supervisor.start()
    os.write(pipe, b"1")
    os.close(pipe)
    supervisor.watch()
    supervisor.retire()
    return 0


if __name__ == "__main__":
    sys.exit(main())
