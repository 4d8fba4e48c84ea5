"""The private directory of the server's socket: short (a socket path has 107 bytes), ours, and nobody else's."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from prometheus.errors import EmbeddedServerError
from prometheus.server.account import Account, user_name

PORT = 5432
"""Only part of the socket's name; no TCP port is opened."""

_BASE = Path("/tmp")  # noqa: S108 -- the one short directory that is the same for cron, login and service sessions


def socket_directory(data_directory: Path, account: Account) -> Path:
    """Return the socket directory that belongs to a data directory; creates nothing.

    The name follows from which directory the data is (not from its path: a directory that was removed and made anew is
    another one, and the server of the old one may still be about), so every process computes the same one, whatever
    its ``TMPDIR`` or ``XDG_RUNTIME_DIR``. A running server keeps the number of its directory in use.
    """
    try:
        info = data_directory.stat()
    except FileNotFoundError:
        identity = os.fsencode(data_directory)  # nothing can run there yet
    else:
        identity = f"{info.st_dev}:{info.st_ino}".encode()
    return _BASE / f"prometheus-{account.uid}-{hashlib.sha256(identity).hexdigest()[:16]}"


def create_socket_directory(path: Path, account: Account) -> None:
    """Make the directory, private to the server's account, or check that what is there already is exactly that."""
    if account.is_other and _is_our_unfinished(path):
        path.rmdir()
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        check_socket_directory(path, account)
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o700)  # a umask may have taken from it
        if account.is_other:
            os.fchown(descriptor, account.uid, account.gid)
    finally:
        os.close(descriptor)
    check_socket_directory(path, account)


def check_socket_directory(path: Path, account: Account) -> None:
    """Refuse a directory somebody else made: a link, a file, another owner, or open to others.

    Raises
    ------
    FileNotFoundError
        There is none.
    EmbeddedServerError
        It must not be used; nothing about it was changed.
    """
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        problem = "is a symbolic link"
    elif not stat.S_ISDIR(info.st_mode):
        problem = "is not a directory"
    elif info.st_uid != account.uid:
        problem = f"belongs to user {user_name(info.st_uid)}, not to {account.name}"
    elif stat.S_IMODE(info.st_mode) != 0o700:
        problem = f"has mode {stat.S_IMODE(info.st_mode):04o}, not 0700"
    else:
        return
    raise EmbeddedServerError(f"the socket directory {path} {problem}; it was not made by Prometheus, remove it")


def _is_our_unfinished(path: Path) -> bool:
    """Whether we (root) were interrupted between making the directory and giving it away."""
    try:
        info = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid() and not any(path.iterdir())


def quote(value: str) -> str:
    """Quote a value of a libpq connection string."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def conninfo(directory: Path, account: Account, database: str, role: str) -> str:
    """Return a connection string that no ``PG*`` variable of the environment can lead elsewhere.

    The server must run as `account`: ``requirepeer`` makes libpq check that before it says anything to it.
    """
    fixed = {
        "host": str(directory),
        "hostaddr": "",
        "port": str(PORT),
        "dbname": database,
        "user": role,
        "password": "",
        "options": "",
        "requirepeer": account.name,
        "require_auth": "",
        "sslmode": "disable",
        "sslnegotiation": "postgres",
        "gssencmode": "disable",
        "channel_binding": "disable",
        "target_session_attrs": "any",
        "client_encoding": "UTF8",
    }
    return " ".join(f"{name}={quote(value)}" for name, value in fixed.items())
