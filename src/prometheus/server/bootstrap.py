"""Where a server is, whether the one that answers there is ours, and its databases and roles."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus.errors import EmbeddedServerError
from prometheus.server import account, process
from prometheus.server.account import Account
from prometheus.server.cluster import APPLICATION_ROLE, OWNER_ROLE, READER_ROLE, Layout
from prometheus.server.supervisor import Record, remove_socket_directory

if TYPE_CHECKING:
    import psycopg

HISTORICAL_DATABASE = "prometheus_historical"
RUNTIME_DATABASE = "prometheus_runtime"
MAINTENANCE_DATABASE = "postgres"

_HOPELESS = ("requirepeer", "authentication failed", "does not exist", "no pg_hba.conf entry")
_DONE = "prometheus bootstrap 2"
"""Comment on the maintenance database once all steps are done; raise the number when a step is added."""

_LOOK_SQL = (
    "SELECT current_setting('data_directory'), current_setting('server_version'),"
    " coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE datname = current_database()"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server says about itself."""

    server_version: str
    is_bootstrapped: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server's files and its socket are, and who it runs as."""

    account: Account
    layout: Layout

    @property
    def socket_directory(self) -> Path:
        """The private directory of the server's socket; under another name if the usual one is taken."""
        usual = account.socket_directory(self.layout.data, self.account)
        try:
            chosen = self.layout.socket.read_text(encoding="utf-8")
        except (FileNotFoundError, UnicodeDecodeError):
            return usual
        return Path(chosen) if re.fullmatch(re.escape(f"{usual}-") + r"[0-9a-f]{16}", chosen) else usual

    def make_socket_directory(self) -> None:
        """Make the socket's directory anew; if another user has taken its name, take one that cannot be foreseen."""
        self.remove_socket_directory()
        self.layout.socket.unlink(missing_ok=True)
        usual = self.socket_directory
        if account.is_anothers(usual, self.account):
            self.layout.socket.write_text(f"{usual}-{secrets.token_hex(8)}", encoding="utf-8")
        account.create_socket_directory(self.socket_directory, self.account)

    def remove_socket_directory(self) -> None:
        """Remove the socket's directory with what a dead server left in it, if it is ours."""
        remove_socket_directory(str(self.socket_directory), {os.geteuid(), self.account.uid})

    def conninfo(self, database: str, role: str = OWNER_ROLE) -> str:
        """Return the connection string of a database."""
        return account.conninfo(self.socket_directory, self.account, database, role)

    def ask(self) -> Answer:
        """Look at the socket directory, then ask the server; `ConnectionError` where none answers."""
        import psycopg  # noqa: PLC0415 -- only when connecting

        try:
            account.check_socket_directory(self.socket_directory, self.account)
            with _connect(self.conninfo(MAINTENANCE_DATABASE)) as connection:
                data_directory, version, comment = connection.execute(_LOOK_SQL).fetchall()[0]
        except (psycopg.OperationalError, FileNotFoundError) as error:
            reason = str(error).strip().partition("\n")[0]
            if any(sign in reason for sign in _HOPELESS):
                raise EmbeddedServerError(f"the server in {self.socket_directory}: {reason}") from error
            raise ConnectionError(reason) from error
        if not self.is_ours(data_directory):
            raise EmbeddedServerError(
                f"the server in {self.socket_directory} works on {data_directory}, not on {self.layout.data}; "
                "stop it, then try again"
            )
        return Answer(version, comment == _DONE)

    def is_ours(self, data_directory: str) -> bool:
        """Whether that path leads to our data directory, possibly on another way than ours."""
        try:
            return self.layout.data.samefile(data_directory)
        except FileNotFoundError:
            return False

    def is_answering(self) -> bool:
        """Whether a server answers here."""
        try:
            self.ask()
        except ConnectionError:
            return False
        return True

    def check_record(self, record: Record) -> None:
        """Refuse a server that is up, but for others: under another path, or behind another ``/tmp``."""
        if not self.is_ours(record.data_directory):
            raise EmbeddedServerError(
                f"the data is in use as {record.data_directory}; use that path, "
                "or stop the server: python -m prometheus db stop"
            )
        if not record.is_ready or self.socket_directory.exists():
            return
        again = process.supervisor_of(
            self.layout
        )  # it may just be ending; then it says so before it removes the directory
        if again == record and not process.shares_files(record.supervisor_pid):
            raise EmbeddedServerError(
                f"the server runs (process {record.postmaster_pid}), but its socket directory {self.socket_directory} "
                "cannot be seen from here (another container, or a private /tmp?); stop it where it was started"
            )

    def size_bytes(self) -> int:
        """Return the size of all data files; those that vanish meanwhile do not count."""
        total = 0
        for parent, _, names in os.walk(self.layout.data):
            for name in names:
                with suppress(OSError):
                    total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118 -- thousands of them
        return total


def bootstrap(conninfo_to: Callable[[str], str]) -> None:
    """Create the roles, databases and privileges that are missing, under the lock; every step may be repeated."""
    import psycopg  # noqa: PLC0415 -- only once there is a server

    for attempt in range(20):
        try:
            _run_steps(conninfo_to)
        except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateDatabase, psycopg.errors.ObjectInUse):
            # The session of a killed predecessor still works on the same step.
            if attempt == 19:
                raise
            time.sleep(0.25)
        else:
            return


def _run_steps(conninfo_to: Callable[[str], str]) -> None:
    with _connect(conninfo_to(MAINTENANCE_DATABASE)) as connection:
        connection.execute("SELECT pg_reload_conf()")  # our user may log in as the roles that the caller wrote down
        for role in (APPLICATION_ROLE, READER_ROLE):
            _create_role(connection, role)
        connection.execute(f"ALTER ROLE {READER_ROLE} SET default_transaction_read_only = on")
        for database in (HISTORICAL_DATABASE, RUNTIME_DATABASE):
            _create_database(connection, database)
    for database in (HISTORICAL_DATABASE, RUNTIME_DATABASE):
        with _connect(conninfo_to(database)) as connection:
            _grant(connection)
            if database == HISTORICAL_DATABASE:
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    with _connect(conninfo_to(MAINTENANCE_DATABASE)) as connection:
        connection.execute(f"COMMENT ON DATABASE {MAINTENANCE_DATABASE} IS '{_DONE}'")


def _create_role(connection: psycopg.Connection, role: str) -> None:
    row = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
    if row is None:
        connection.execute(f"CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS")


def _create_database(connection: psycopg.Connection, database: str) -> None:
    row = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
    if row is None:
        connection.execute(f"CREATE DATABASE {database} OWNER {OWNER_ROLE} ENCODING 'UTF8'")
    connection.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    connection.execute(f"GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {APPLICATION_ROLE}")
    connection.execute(f"GRANT CONNECT ON DATABASE {database} TO {READER_ROLE}")


def _grant(connection: psycopg.Connection) -> None:
    """Let the application role use and vacuum, and the reader read, and nothing more, what the owner creates."""
    tables, sequences = "SELECT, INSERT, UPDATE, DELETE, MAINTAIN ON", "USAGE, SELECT ON"
    later = f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER_ROLE} IN SCHEMA public"
    for statement in (
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        f"GRANT USAGE ON SCHEMA public TO {APPLICATION_ROLE}, {READER_ROLE}",
        f"GRANT {tables} ALL TABLES IN SCHEMA public TO {APPLICATION_ROLE}",
        f"GRANT {sequences} ALL SEQUENCES IN SCHEMA public TO {APPLICATION_ROLE}",
        f"{later} GRANT {tables} TABLES TO {APPLICATION_ROLE}",
        f"{later} GRANT {sequences} SEQUENCES TO {APPLICATION_ROLE}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER_ROLE}",
        f"{later} GRANT SELECT ON TABLES TO {READER_ROLE}",
    ):
        connection.execute(statement)


def _connect(conninfo: str) -> psycopg.Connection:
    import psycopg  # noqa: PLC0415 -- only once there is a server

    return psycopg.connect(conninfo, autocommit=True, connect_timeout=10)
