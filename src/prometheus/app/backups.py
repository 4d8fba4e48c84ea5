"""A backup of both databases as a folder, and databases made of such a folder."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg.conninfo import conninfo_to_dict

import prometheus
from prometheus.core.files import reason_of, sync_folder
from prometheus.data.migrations import DATABASE_NAMES, DatabaseName
from prometheus.data.postgres import dumps
from prometheus.errors import DatabaseError, FileAccessError, NotMigratedError

if TYPE_CHECKING:
    from prometheus.app import App

MANIFEST = "backup.json"
NEWEST_SERVER = 18
"""Major version of the programs that come with Prometheus; they dump servers of it and of older ones."""


@dataclass(frozen=True, slots=True)
class Dump:
    """The dump of one database: the schema's revision, and the file's size and digest."""

    schema: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Backup:
    """A folder with a dump of each database, `historical.dump` and `runtime.dump`; one that serves as both is once."""

    folder: Path
    dumps: Mapping[DatabaseName, Dump]

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"folder": str(self.folder), "dumps": {name: asdict(each) for name, each in self.dumps.items()}}


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did: databases that were restored, and those that were so before."""

    restored: tuple[DatabaseName, ...]
    unchanged: tuple[DatabaseName, ...]
    behind: tuple[DatabaseName, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON; `behind` have an older schema than this version uses."""
        return {name: list(value) for name, value in asdict(self).items()}


class BackUp:
    """Dumps both databases, and restores them where no row is."""

    def __init__(self, app: App) -> None:
        self._databases = app.db_manager

    def write(self, folder: Path) -> Backup:
        """Dump both databases into a new folder, which appears when it is whole.

        The historical database is dumped first. What commands write in between is in the runtime database alone, and
        the next run computes the rest of it.
        """
        _require_new(folder)
        self._databases.start_embedded_server()
        with _appearing(folder) as scratch:
            written = {name: self._dump(name, scratch / f"{name}.dump") for name in self._distinct()}
            made = {"prometheus": prometheus.__version__, "made_at": datetime.now(UTC).isoformat()}
            told = {**made, "dumps": {name: asdict(each) for name, each in written.items()}}
            (scratch / MANIFEST).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        return Backup(folder, written)

    def restore(self, folder: Path) -> Restored:
        """Make both databases what they were; a second time nothing.

        Raises
        ------
        FileAccessError
            No backup, or one that was damaged.
        DatabaseError
            A database has rows; no row of either was changed.
        """
        backup = read_backup(folder)
        self._databases.start_embedded_server()
        names = [name for name in self._distinct() if not self._is_restored(name, backup)]
        for name in names:
            programs = self._programs(name)
            dumps.restore(
                programs, self._databases.owner_conninfo(name), name, folder / f"{name}.dump", backup.dumps[name].sha256
            )
            with self._databases.connect_as_owner(name) as connection:
                dumps.tidy(connection)
        if self._databases.config.uses_embedded_server:
            self._databases.upgrade()
        behind = [
            name for name, found in self._databases.schema_revisions().items()
            if found != self._databases.newest_revision(name)
        ]  # fmt: skip
        unchanged = [name for name in self._distinct() if name not in names]
        return Restored(tuple(names), tuple(unchanged), tuple(behind))

    def _distinct(self) -> tuple[DatabaseName, ...]:
        """Return the names of the databases, one for those that are one."""
        keys = ("host", "hostaddr", "port", "service", "dbname")
        places = [conninfo_to_dict(self._databases.owner_conninfo(name)) for name in DATABASE_NAMES]
        first, second = ([str(place.get(key)) for key in keys] for place in places)
        return DATABASE_NAMES[:1] if first == second else DATABASE_NAMES

    def _dump(self, name: DatabaseName, target: Path) -> Dump:
        schema = self._databases.schema_revisions()[name]
        if schema is None:
            raise NotMigratedError(name, None, self._databases.newest_revision(name))
        dumps.dump(self._programs(name), self._databases.owner_conninfo(name), name, target)
        return Dump(schema, target.stat().st_size, _digest(target))

    def _is_restored(self, name: DatabaseName, backup: Backup) -> bool:
        """Whether a database was made of this backup; refuse what cannot be."""
        if name not in backup.dumps:
            there = ", ".join(backup.dumps)
            raise FileAccessError(str(backup.folder), f"has a dump of {there} alone; name one database for both DSNs")
        wanted, known = backup.dumps[name].schema, self._databases.newest_revision(name)
        if wanted > known:
            raise NotMigratedError(name, wanted, known)
        with self._databases.connect_as_owner(name) as connection:
            if dumps.restored_from(connection, name) == backup.dumps[name].sha256:
                return True
            filled = dumps.filled_tables(connection)
        if filled:
            raise DatabaseError(
                f"{name} database has rows ({', '.join(filled[:3])}); restore into another PROMETHEUS_HOME, or into "
                "databases without rows"
            )
        return False

    def _programs(self, name: DatabaseName) -> Path:
        from prometheus.server.binaries import INSTALLATION, find_package  # noqa: PLC0415 -- only here

        with self._databases.connect_as_owner(name) as connection:
            major = connection.info.server_version // 10_000
        if major > NEWEST_SERVER:
            raise DatabaseError(f"{name} database: dump PostgreSQL {major} by its own pg_dump; ours is {NEWEST_SERVER}")
        return find_package() / INSTALLATION / "bin"


def read_backup(folder: Path) -> Backup:
    """Read what a folder holds and compare each dump with its digest; FileAccessError where it is not as it was."""
    path = folder / MANIFEST
    try:
        told = json.loads(path.read_text(encoding="utf-8"))["dumps"]
        found: dict[DatabaseName, Dump] = {name: Dump(**told[name]) for name in DATABASE_NAMES if name in told}
        digests = {name: _digest(folder / f"{name}.dump") for name in found}
    except OSError as error:
        fault = f"cannot be read ({reason_of(error)}); name a folder of db backup"
        raise FileAccessError(str(error.filename or path), fault) from error
    except (ValueError, KeyError, TypeError) as error:
        raise FileAccessError(str(path), "is not what db backup wrote") from error
    for name, digest in digests.items():
        if digest != found[name].sha256:
            raise FileAccessError(str(folder / f"{name}.dump"), "was changed since it was written; take another backup")
    return Backup(folder, found)


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """Yield a folder for its owner alone, which takes its name at the end; after an error nothing is left of it."""
    try:
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            yield scratch
            sync_folder(scratch)
            scratch.rename(folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise FileAccessError(str(folder), f"cannot be written ({reason_of(error)}); name another folder") from error


def _require_new(folder: Path) -> None:
    if folder.exists() or folder.is_symlink():
        raise FileAccessError(str(folder), "exists; name a new folder")
    if not folder.parent.is_dir():
        raise FileAccessError(str(folder.parent), "is no folder; make it first")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
