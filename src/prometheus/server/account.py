"""Which operating system account the server runs as, and what that account can reach."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from prometheus.errors import EmbeddedServerError


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
    """Return the login name of a user id, or the number where there is none."""
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
    """Return the account the server is to run as.

    Parameters
    ----------
    name
        The account to use when we are root; ignored otherwise, the server then runs as ourselves.

    Raises
    ------
    EmbeddedServerError
        There is no such account, or it is root again.
    """
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
