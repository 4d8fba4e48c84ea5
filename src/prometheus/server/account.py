"""The account that the server runs as, the private directory of its socket, and the address made of both."""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from prometheus.errors import EmbeddedServerError

PORT = 5432
"""Only part of the socket's name; no TCP port is opened."""

_SOCKETS = Path("/tmp")  # noqa: S108 -- short (a socket path has 107 bytes), and the same in every kind of session


class Privileges(TypedDict, total=False):
    """Arguments of `subprocess.Popen` that give up root."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """The account that owns the data; another one than ours only when we are root."""

    name: str
    uid: int
    gid: int
    is_other: bool

    @property
    def privileges(self) -> Privileges:
        """How to start a process as this account: user, group and supplementary groups, or nothing to change."""
        return Privileges(user=self.uid, group=self.gid, extra_groups=[self.gid]) if self.is_other else Privileges()

    def may_enter(self, directory: os.stat_result) -> bool:
        """Whether the permission bits let the account pass through a directory."""
        if directory.st_uid == self.uid:
            return bool(directory.st_mode & stat.S_IXUSR)
        if directory.st_gid == self.gid:
            return bool(directory.st_mode & stat.S_IXGRP)
        return bool(directory.st_mode & stat.S_IXOTH)

    def closed_ancestor(self, path: Path) -> Path | None:
        """Return the first existing directory on the way to `path` (itself included) that the account cannot pass."""
        for directory in (*reversed(path.parents), path):
            try:
                info = directory.stat()
            except OSError:
                return None  # from here on nothing exists yet
            if stat.S_ISDIR(info.st_mode) and not self.may_enter(info):
                return directory
        return None


def user_name(uid: int) -> str:
    """Return the login name of a user id, else the number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"with id {uid}"


def current_user() -> str:
    """Return our own login name; PostgreSQL cannot run without one."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise EmbeddedServerError(
            f"the embedded PostgreSQL needs a user name, and user id {os.geteuid()} has none; add one to /etc/passwd"
        ) from None


def resolve_account(name: str) -> Account:
    """Return the account the server is to run as: that of `name` when we are root, else our own."""
    if os.geteuid() != 0:
        return Account(current_user(), os.geteuid(), os.getegid(), is_other=False)
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise EmbeddedServerError(
            f"there is no account {name!r} for the embedded PostgreSQL to run as (root may not run it); "
            "set PROMETHEUS_EMBEDDED_ACCOUNT to an unprivileged account"
        ) from None
    if entry.pw_uid == 0:
        raise EmbeddedServerError(
            f"the embedded PostgreSQL may not run as {name!r}, which is root; "
            "set PROMETHEUS_EMBEDDED_ACCOUNT to an unprivileged account"
        )
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, is_other=True)


def socket_directory(data_directory: Path, account: Account) -> Path:
    """Return the socket directory that belongs to a data directory; creates nothing.

    The name follows from the directory's device and inode, so every process computes the same one whatever its
    ``TMPDIR``, and a directory that was removed and made anew gets another: the old server may still run.
    """
    try:
        info = data_directory.stat()
    except FileNotFoundError:
        identity = os.fsencode(data_directory)  # nothing can run there yet
    else:
        identity = f"{info.st_dev}:{info.st_ino}".encode()
    return _SOCKETS / f"prometheus-{account.uid}-{hashlib.sha256(identity).hexdigest()[:16]}"


def is_anothers(path: Path, account: Account) -> bool:
    """Whether another user has put something at the place of a socket directory; only that user may remove it."""
    try:
        return path.lstat().st_uid not in {account.uid, os.geteuid()}
    except FileNotFoundError:
        return False


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
    """Refuse a directory that we did not make: a link, a file, another owner, open to others; change nothing."""
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
    """Quote a value of a libpq connection string, or of a configuration file of PostgreSQL."""
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
