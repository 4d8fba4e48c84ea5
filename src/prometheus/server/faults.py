"""Why a server does not start, or has ended, and what its operator can do about it."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from prometheus.errors import EmbeddedServerError
from prometheus.server import process
from prometheus.server.account import Account, user_name
from prometheus.server.cluster import Layout, read_foreign

FULL = ("No space left on device", "Disk quota exceeded")
_FULL_BYTES = 1024 * 1024
"""With less free than this the server cannot even write into its log why it ended."""
RECENT_S = 60.0
_OWN = re.compile("base|global|pg_")


def explain(failure: str, layout: Layout) -> str:
    """Return the server's last word with the way out of it."""
    if any(sign in failure for sign in FULL):
        return f"{failure}; the disk that holds {layout.data} is full, make room on it"
    if shutil.disk_usage(layout.root).free < _FULL_BYTES:
        return f"the disk that holds {layout.data} is full, make room on it; its log ends with: {failure}"
    if "postgresql.auto.conf" in failure:
        file = layout.data / "postgresql.auto.conf"
        return f"{failure}; empty {file}, Prometheus keeps no setting there (see {layout.log})"
    return f"{failure}; see {layout.log}"


def full_disk(layout: Layout, now_utc: datetime) -> str | None:
    """Return what the server has said of a full disk in the last minute, with the way out; None if nothing."""
    for line in reversed(process.last_lines(layout.log)):
        if any(sign in line for sign in FULL) and _age_s(line, now_utc) < RECENT_S:
            return explain(line.rpartition(":  ")[2], layout)
    is_full = shutil.disk_usage(layout.root).free < _FULL_BYTES
    return f"the disk that holds {layout.data} is full, make room on it" if is_full else None


def _age_s(line: str, now_utc: datetime) -> float:
    try:
        return (now_utc - datetime.fromisoformat(line[:19]).replace(tzinfo=UTC)).total_seconds()
    except ValueError:
        return float("inf")


def check_permissions(layout: Layout, account: Account) -> None:
    """Refuse data of which the server's account may not use a part: PostgreSQL may start, and refuse every session."""
    for path in _parts(layout.data):
        info = path.stat()
        needed, words = (stat.S_IRWXU, "u+rwx") if stat.S_ISDIR(info.st_mode) else (stat.S_IRUSR | stat.S_IWUSR, "u+rw")
        if info.st_uid != account.uid:
            fault = f"belongs to user {user_name(info.st_uid)}; give it back: chown -R {account.name} {path}"
        elif (info.st_mode & needed) != needed:
            fault = f"has mode {stat.S_IMODE(info.st_mode):04o}; give it back: chmod {words} {path}"
        else:
            continue
        raise EmbeddedServerError(f"the server, which runs as {account.name}, cannot use {path}: it {fault}")


def _parts(data: Path) -> Iterator[Path]:
    """Yield the data directory, what of it is PostgreSQL's, and the directory of each database."""
    yield data
    for directory in (data, data / "base"):
        with suppress(PermissionError, FileNotFoundError):  # an ordinary user is told of its mode
            found = sorted(directory.iterdir())
            yield from (path for path in found if path.exists() and (directory != data or _OWN.match(path.name)))


def who_forbids(path: Path) -> str | None:
    """Return the first part of a path that we may not pass or use, and its mode; None if it can be reached."""
    for part in (*reversed(path.parents), path):
        try:
            info = part.stat()
        except OSError:
            return None
        needed = os.R_OK | os.W_OK if stat.S_ISREG(info.st_mode) else os.X_OK
        if not os.access(part, needed):
            return f"{part} has mode {stat.S_IMODE(info.st_mode):04o}"
    return None


def clear_pid_file(layout: Layout) -> bool:
    """Remove a ``postmaster.pid`` without a process id, as a full disk leaves one; say whether there was one.

    The caller holds the lock. One that cannot be the server's, or that a process may still stand behind, is refused.
    """
    path = layout.data / "postmaster.pid"
    if process.stale_pid(layout) is not None or not os.path.lexists(path):
        return False
    if not stat.S_ISREG(path.lstat().st_mode):
        raise EmbeddedServerError(f"{path} is no file, and PostgreSQL keeps its process id there; remove it")
    users = process.users_of(layout.data)
    if users or sys.platform != "linux":
        who = f"process {', '.join(map(str, users))} uses the data" if users else "see with ps that no postgres runs"
        raise EmbeddedServerError(f"{path} holds no process id ({_beginning(path)}); {who}: end it, remove that file")
    path.unlink()
    return True


def _beginning(path: Path) -> str:
    text = read_foreign(path, 40)
    return repr(text) if text else "it is empty"
