"""The files of the embedded server: where they are, who may own them, how they come into being."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prometheus.core.files import sync_folder
from prometheus.errors import EmbeddedServerError
from prometheus.server.account import PORT, Account, current_user, quote, user_name
from prometheus.server.binaries import MAJOR_VERSION, run_as

OWNER_ROLE = "prometheus_owner"
APPLICATION_ROLE = "prometheus_app"
READER_ROLE = "prometheus_reader"
IDENTITY_MAP = "prometheus"

_SCRATCH_PREFIX = ".data-"

_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "128MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "effective_cache_size": "1GB",
    # Nothing is sent to another server, so a table that is filled in the transaction that emptied it needs no WAL.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # A checkpoint between a load and the VACUUM of its rows makes the server log their pages whole.
    "max_wal_size": "4GB",
    # What a load took is given back at the next checkpoint, not kept for the next load.
    "wal_recycle": "off",
    "wal_buffers": "16MB",
    "synchronous_commit": "on",
    # Floating point sums must not depend on how many workers happened to be free.
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "lc_messages": "C",
    "cluster_name": "prometheus",
    # The supervisor gives the server its log file and bounds it.
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_startup_progress_interval": "2s",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Every path of one embedded server. All but `data` belong to the user who runs commands.

    `lock` is held shared to look, exclusively to start or stop, and its modification time is the last use;
    `supervisor_lock` is held by the supervisor as long as it lives, and says which process that is. `copies` is for
    the programs, where the account cannot reach the installed ones. `socket` holds the name of the socket directory
    if the usual one is taken.
    """

    home: Path
    root: Path
    data: Path
    lock: Path
    supervisor_lock: Path
    log: Path
    configuration: Path
    authentication: Path
    identities: Path
    copies: Path
    socket: Path


def layout_of(home: Path) -> Layout:
    """Return the layout below the real path of `home`; refuse one that PostgreSQL's configuration cannot hold."""
    real = os.path.realpath(home)
    try:
        real.encode()
    except UnicodeEncodeError:
        raise EmbeddedServerError(f"the path {real!r} is not valid UTF-8; set PROMETHEUS_HOME to one that is") from None
    if any(ord(character) < 32 or ord(character) == 127 for character in real):
        raise EmbeddedServerError(f"the path {real!r} has control characters; set PROMETHEUS_HOME to one that has none")
    root = Path(real, "postgresql")
    names = (
        "data", "lock", "supervisor.lock", "server.log", "postgresql.conf", "pg_hba.conf", "pg_ident.conf", "binaries",
        "socket",
    )  # fmt: skip
    return Layout(Path(real), root, *(root / name for name in names))


def prepare_directories(layout: Layout, account: Account) -> None:
    """Make home and the server's directory where missing; refuse what is not ours. No existing mode is changed."""
    check_home(layout, account)
    mode = 0o755 if account.is_other else 0o700
    for directory in (*reversed(layout.root.parents), layout.root):
        if not directory.exists():
            with suppress(FileExistsError):
                directory.mkdir(mode=mode)
                directory.chmod(mode)
    check_home(layout, account)


def check_home(layout: Layout, account: Account) -> None:
    """Refuse, in one line, directories that exist and cannot be used."""
    if layout.home.exists() and not layout.home.is_dir():
        raise EmbeddedServerError(f"{layout.home} is not a directory; set PROMETHEUS_HOME to one")
    check_root(layout.root)
    closed = account.closed_ancestor(layout.root) if account.is_other else None
    if closed is not None:
        raise EmbeddedServerError(
            f"the account {account.name!r}, which runs the embedded PostgreSQL, may not enter {closed}; "
            "set PROMETHEUS_HOME to a directory it can reach, such as /var/lib/prometheus-regime"
        )


def check_root(root: Path) -> None:
    """Refuse a server directory that others own or could change; a missing one is fine."""
    try:
        info = root.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(info.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(info.st_mode) else "not a directory"
        raise EmbeddedServerError(f"{root} is {what}; set PROMETHEUS_HOME to the directory that is to hold the data")
    if info.st_uid != os.geteuid():
        raise EmbeddedServerError(
            f"{root} belongs to user {user_name(info.st_uid)}, not to {user_name(os.geteuid())}; "
            "run as that user, or set PROMETHEUS_HOME to a directory of your own"
        )
    if stat.S_IMODE(info.st_mode) & 0o022:
        raise EmbeddedServerError(
            f"{root} can be written to by others; take that away or set PROMETHEUS_HOME elsewhere"
        )


def has_cluster(layout: Layout, account: Account) -> bool:
    """Return whether there is a data directory; refuse one of another owner or major version, or that is no cluster."""
    try:
        info = layout.data.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(info.st_mode):
        raise EmbeddedServerError(f"{layout.data} is not a directory; remove it or set PROMETHEUS_HOME elsewhere")
    if info.st_uid != account.uid:
        raise EmbeddedServerError(
            f"{layout.data} belongs to user {user_name(info.st_uid)}, the server runs as {account.name}; "
            "run as that user, or as root set PROMETHEUS_EMBEDDED_ACCOUNT to it, or set PROMETHEUS_HOME elsewhere"
        )
    if (info.st_mode & stat.S_IRWXU) != stat.S_IRWXU:
        mode = stat.S_IMODE(info.st_mode)
        raise EmbeddedServerError(f"{layout.data} has mode {mode:04o}; give it back: chmod 0700 {layout.data}")
    found = data_version(layout)
    if found != MAJOR_VERSION:
        what = f"was made by PostgreSQL {found}" if found else "holds no PostgreSQL cluster"
        raise EmbeddedServerError(
            f"{layout.data} {what}, this version of Prometheus runs PostgreSQL {MAJOR_VERSION}; "
            "set PROMETHEUS_HOME to another directory, or move that one away"
        )
    return True


def data_version(layout: Layout) -> str | None:
    """Return the major version that made the data, if that can be told."""
    try:
        return read_foreign(layout.data / "PG_VERSION").strip() or None
    except OSError:
        return None


def read_foreign(path: Path, limit: int = 4096) -> str:
    """Read the start of a file in a directory of another account: no link is followed, no pipe waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(limit).decode(errors="replace")


def create_cluster(layout: Layout, account: Account, installation: Path) -> None:
    """Run ``initdb`` in a temporary sibling of the data directory and rename it; an earlier attempt is removed.

    The caller holds the lock. What an interruption leaves is either no data directory or a complete one.
    """
    remove_scratch(layout)
    scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH_PREFIX, dir=layout.root))
    if account.is_other:
        os.chown(scratch, account.uid, account.gid)
    command = [
        str(installation / "bin" / "initdb"),
        *("--pgdata", str(scratch), "--username", OWNER_ROLE, "--encoding", "UTF8", "--locale", "C"),
        *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--data-checksums", "--no-instructions"),
        *("--auth-local", "peer", "--auth-host", "reject", "--text-search-config", "english"),
    ]
    try:
        done = run_as(account, command)
        if done.returncode != 0:
            lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if "error:" in line]
            reason = lines[0] if lines else f"exit status {done.returncode}"
            raise EmbeddedServerError(f"initdb could not create {layout.data}: {reason}")
        scratch.rename(layout.data)
    finally:
        remove_scratch(layout)
    sync_folder(layout.root)


def remove_scratch(layout: Layout) -> None:
    """Remove what interrupted first starts left; an orphaned ``initdb`` may still write there for a moment."""
    for scratch in layout.root.glob(f"{_SCRATCH_PREFIX}*"):
        for _ in range(50):
            shutil.rmtree(scratch, ignore_errors=True)
            if not scratch.exists():
                break
            time.sleep(0.1)


def write_configuration(layout: Layout, socket_directory: Path, account: Account) -> None:
    """Write the server's configuration anew; it lies outside the data, where the server itself cannot change it."""
    settings = _SETTINGS | {
        "unix_socket_directories": str(socket_directory),
        "hba_file": str(layout.authentication),
        "ident_file": str(layout.identities),
    }
    mode = _mode(account)
    _replace(layout.authentication, f"local all all peer map={IDENTITY_MAP}\n", mode)
    write_identities(layout, account)
    lines = ["# Written anew at each start of the embedded server."]
    lines += [f"{name} = {quote(value)}" for name, value in settings.items()]
    _replace(layout.configuration, "\n".join(lines) + "\n", mode)


def write_identities(layout: Layout, account: Account) -> None:
    """Write anew which roles our user may log in as; a running server reads it when told to reload."""
    user = current_user()
    lines = [f'{IDENTITY_MAP} "{user}" {role}\n' for role in (OWNER_ROLE, APPLICATION_ROLE, READER_ROLE)]
    _replace(layout.identities, "".join(lines), _mode(account))


def _mode(account: Account) -> int:
    return 0o644 if account.is_other else 0o600


def _replace(path: Path, text: str, mode: int) -> None:
    scratch = path.with_suffix(".new")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    scratch.replace(path)
