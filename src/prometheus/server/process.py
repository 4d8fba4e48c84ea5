"""Which processes are ours: the supervisor by its lock, a postmaster by what it runs and where."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from prometheus.errors import EmbeddedServerError
from prometheus.server import supervisor
from prometheus.server.binaries import server_environment
from prometheus.server.cluster import Layout, read_foreign
from prometheus.server.supervisor import Record, Task, process_arguments, process_start, try_lock

STALL_S = 300.0
"""How long nothing at all may happen before waiting ends; a recovery that writes to its log may take for ever."""

_FAILURE = re.compile(r" (?:FATAL|PANIC):  (.+)")
_NOT_FINAL = ("the database system is", "peer authentication failed", "no pg_hba.conf entry", "terminating connection")
_WILL_PASS = ("pre-existing shared memory block", "already exists")


class ProgressWait:
    """Waits in small steps, and tells the user every few seconds."""

    def __init__(self, announce: Callable[[str], None], limit_s: float = STALL_S) -> None:
        self._announce, self._limit_s = announce, limit_s
        self.started = self._progressed = time.monotonic()
        self._next_word = self.started + 1.0
        self._seen: object = None

    def wait(self, message: str, progress: object = None) -> None:
        """Sleep a moment; `EmbeddedServerError` where `progress`, any value, did not change for too long."""
        now = time.monotonic()
        if progress != self._seen:
            self._seen, self._progressed = progress, now
        if now - self._progressed > self._limit_s:
            raise EmbeddedServerError(f"gave up: {message} (nothing changed for {self._limit_s:.0f} s)")
        if now >= self._next_word:
            self._announce(f"{message} ({now - self.started:.0f} s)")
            self._next_word = now + 5.0
        time.sleep(min(0.25, 0.01 + (now - self.started) / 20))


def supervisor_of(layout: Layout) -> Record | None:
    """Return the record of the running supervisor; None if its lock is free."""
    try:
        descriptor = os.open(layout.supervisor_lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        if try_lock(descriptor, shared=True):
            return None
        record = supervisor.read_record(descriptor)
    finally:
        os.close(descriptor)
    # No record, or a dead one's: it is between taking the lock and writing.
    if record is None or process_start(record.supervisor_pid) != record.supervisor_start:
        return Record(0, None, 0, str(layout.data), "", 0.0, is_ready=False)
    return record


def has_lost_its_server(record: Record) -> bool:
    """Whether a supervisor's server is dead; a supervisor that is stopped itself takes no note of that."""
    return record.postmaster_pid != 0 and process_start(record.postmaster_pid) is None


def shares_files(pid: int) -> bool:
    """Whether a process sees the same files as we do: it is in no other container, and has no ``/tmp`` of its own."""
    try:
        return Path(f"/proc/{pid}/ns/mnt").readlink() == Path("/proc/self/ns/mnt").readlink()
    except OSError:
        return False


def end_supervisor(record: Record) -> None:
    """End a supervisor without use: its server is dead, or the way to it was removed."""
    is_alone = has_lost_its_server(record)
    for number in (signal.SIGKILL,) if is_alone else (signal.SIGTERM, signal.SIGCONT):
        signal_process(record.supervisor_pid, record.supervisor_start, number)


def stale_pid(layout: Layout) -> int | None:
    """Return the process id that the data's ``postmaster.pid`` names, whatever process has that id by now."""
    try:
        return abs(int(read_foreign(layout.data / "postmaster.pid").split("\n", 1)[0]))
    except (OSError, ValueError):
        return None


def postmaster_of(layout: Layout) -> int | None:
    """Return the process id of a live server on this data; not another program that got a dead one's id."""
    pid = stale_pid(layout)
    if pid is None or process_start(pid) is None or not is_postgres_on(pid, layout.data):
        return None
    return pid


def is_postgres_on(pid: int, data: Path) -> bool:
    """Whether a process runs ``postgres`` on that data directory, by its program, arguments and working directory."""
    arguments = process_arguments(pid)
    if sys.platform != "linux":
        return bool(arguments) and bool(re.match(rf"\S.*/postgres -D {re.escape(str(data))} ", arguments[0] + " "))
    if not arguments or not Path(arguments[0]).name.startswith("postgres"):
        return False
    with suppress(OSError):  # unreadable for other users' processes, which then have to do without
        if not Path(f"/proc/{pid}/exe").readlink().name.startswith("postgres"):
            return False
    with suppress(OSError):
        return Path(f"/proc/{pid}/cwd").samefile(data)
    return "-D" in arguments and arguments[arguments.index("-D") + 1 :][:1] == [str(data)]


def outlives_its_supervisor(pid: int) -> bool:
    """Whether a server found without supervisor is there to stay; on Linux the death of one shuts it down as a rule."""
    start, deadline = process_start(pid), time.monotonic() + (1.0 if sys.platform == "linux" else 0.0)
    while start is not None and process_start(pid) == start:
        if time.monotonic() >= deadline:
            return True
        time.sleep(0.02)
    return False


def users_of(data: Path) -> list[int]:
    """Return the processes whose working directory is the data directory, as every PostgreSQL process's is (Linux)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").samefile(data):
                found.append(int(entry.name))
    return sorted(found)


def signal_process(pid: int, start: str | None, number: signal.Signals) -> None:
    """Send a signal to exactly the process of that start token; not to another that has its id by now."""
    if not pid or start is None:
        return
    with suppress(ProcessLookupError):
        handle = _hold_process(pid)
        try:
            if process_start(pid) != start:
                return
            if handle is None:
                os.kill(pid, number)
            elif sys.platform == "linux":  # held since before we looked, so the id cannot have changed hands
                signal.pidfd_send_signal(handle, number)
        finally:
            if handle is not None:
                os.close(handle)


def _hold_process(pid: int) -> int | None:
    """Return a descriptor that stands for this very process; None where the system has no such thing."""
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError:  # an old kernel, or a sandbox that forbids it
        return None


def launch(task: Task) -> None:
    """Start a supervisor; when this returns it holds its lock and has started (or adopted) the server."""
    if not sys.executable:
        raise EmbeddedServerError("this Python cannot say where its interpreter is; start it by its full path")
    done = subprocess.run(  # noqa: S603 -- an argument list
        [sys.executable, "-I", "-S", str(Path(supervisor.__file__))],
        input=json.dumps(asdict(task)).encode(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd="/",
        env=server_environment(),
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or last_lines(Path(task.log_path))
        raise EmbeddedServerError(
            f"the supervisor of the embedded PostgreSQL did not start: {lines[-1] if lines else done.returncode}; "
            f"see {task.log_path}"
        )


def log_size(log: Path) -> int:
    """Return the length of the log."""
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0


def last_lines(log: Path, offset: int = 0) -> list[str]:
    """Return what was written to the log after `offset`, at most the last 64 KiB."""
    try:
        with log.open("rb") as file:
            file.seek(max(offset, log_size(log) - 65536))
            return file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def progress_in(lines: list[str]) -> list[str]:
    """Return what the server itself reports, without the answers it gave to those who asked too early."""
    return [line.rpartition(":  ")[2] for line in lines if not any(sign in line for sign in _NOT_FINAL)]


def failure_in(lines: list[str]) -> str:
    """Return the last FATAL or PANIC message that is about the server, not about one session; else the last line."""
    if any(line.endswith(supervisor.STOPPED_ON_REQUEST) for line in lines):
        return "it was stopped by another process meanwhile; try again"
    found = [match[1] for line in lines if (match := _FAILURE.search(line)) and not match[1].startswith(_NOT_FINAL)]
    return (found or lines or ["it ended without a word"])[-1]


def will_pass(failure: str) -> bool:
    """Whether a failure to start only means that processes of an earlier server have not ended yet."""
    return any(sign in failure for sign in _WILL_PASS)
