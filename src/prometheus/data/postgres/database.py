"""Connections to the two databases, with errors that say what to do."""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Protocol
from weakref import WeakSet

import psycopg
from psycopg_pool import ConnectionPool

from prometheus.core.config import PrometheusConfig
from prometheus.core.dsn import invalid_dsn
from prometheus.core.scarcity import is_short_of_connections
from prometheus.data.migrations import DATABASE_NAMES, DatabaseName, head_revision, version_table
from prometheus.data.postgres.connections import (
    SharedAttempt,
    fix_forms,
    require_answer,
    require_utf8,
    with_defaults,
)
from prometheus.data.postgres.durability import DurabilityWatch
from prometheus.data.postgres.faults import connection_error, explained, migration_error
from prometheus.data.postgres.pooler import PooledConnection, open_connection
from prometheus.data.postgres.reconnecting import Outages, borrow
from prometheus.data.postgres.shortage import PATIENCE_S, Shortage
from prometheus.errors import (
    DatabaseRefusedError,
    DatabaseUnreachableError,
    NotMigratedError,
)

MAX_CONNECTIONS_PER_DATABASE, MAX_OF_READERS = 8, 20
"""To one database: of one process that computes, and of the processes of a server that answers many at once."""
MINIMUM_SERVER_VERSION = 140_000
EMBEDDED_CHECK_EVERY_S = 5.0


class EmbeddedPostgres(Protocol):
    """A server of ours; `prometheus.server.EmbeddedServer` is one."""

    def ensure_running(self) -> None:
        """Start it, or tell it that it is in use."""

    def full_disk(self) -> str | None:
        """Return that its disk is full, if it has said so just now."""


class PostgresDatabases(ABC):
    """Pools of connections to the historical and the runtime database.

    Nothing is opened before the first connection is asked for. That first one proves that the server answers and that
    its schema is the one this version knows; an embedded server is started and migrated on the way. `announce` receives
    one line whenever something takes noticeable time (a server start, a migration). A forked child opens connections of
    its own.

    If `read_only`, every transaction only reads, on the embedded server as a role without other rights, and no call
    waits for a server longer than ``connect_timeout_s``: what takes longer (a start, a recovery) goes on in the
    background. Of `n_processes` readers each has its part of the connections. Others wait for a server that went away
    (`Outage`); `is_known` says that it has answered another process of this run.
    """

    def __init__(
        self,
        config: PrometheusConfig,
        announce: Callable[[str], None] | None = None,
        *,
        read_only: bool = False,
        n_processes: int = 1,
        is_known: bool = False,
    ) -> None:
        self._most_connections = MAX_OF_READERS // n_processes if read_only else MAX_CONNECTIONS_PER_DATABASE
        self.config = config
        self.is_read_only = read_only
        self.durability = DurabilityWatch()
        self._is_one_of_several = n_processes > 1
        self.announce = announce or (lambda _message: None)
        self._outages = Outages(config, is_patient=not read_only, is_known=is_known)
        self._begin()
        _MANAGERS.add(self)

    def _begin(self) -> None:
        self._pools: dict[DatabaseName, ConnectionPool] = {}
        self._lock = threading.Lock()
        self._pooled: set[DatabaseName] = set()
        patience_s = self.config.connect_timeout_s if self.is_read_only else PATIENCE_S
        is_for_others = self._is_one_of_several and not self.is_read_only  # another worker does its work
        self.shortage = Shortage(0.0 if is_for_others else patience_s, self._close_pools)
        self._embedded_check_due = 0.0
        self._openings = {name: SharedAttempt(partial(self._open, name)) for name in DATABASE_NAMES}

    def begin_in_child(self) -> None:
        """Leave the connections to the parent process, whose sockets, locks and threads a fork does not copy."""
        _OF_PARENTS.append(self._pools)
        self._begin()

    def get_historical_connection(self) -> AbstractContextManager[psycopg.Connection]:
        """Yield a connection to prices, embeddings and models; committed at the end, rolled back on an error."""
        return self._connection("historical")

    def get_runtime_connection(self) -> AbstractContextManager[psycopg.Connection]:
        """Yield a connection to instruments and regimes; committed at the end, rolled back on an error."""
        return self._connection("runtime")

    def visible_state(self) -> tuple[str, ...]:
        """Return a mark of what a question would see now: equal marks, equal rows.

        It is the servers' snapshot: it changes whenever a transaction that wrote something ends, in any database.
        """
        connects = [self.get_runtime_connection]
        if not self.config.uses_embedded_server:  # whose databases are on one server
            connects.append(self.get_historical_connection)
        marks = []
        for connect in connects:
            with connect() as connection:
                row = connection.execute("SELECT pg_current_snapshot()::text").fetchone()
                marks.append(str(row and row[0]))
        return tuple(marks)

    @contextmanager
    def get_owner_connection(self, database: DatabaseName) -> Iterator[psycopg.Connection]:
        """Yield a connection that may create tables and indexes, without a deadline; committed at the end."""
        if self.is_read_only:
            raise DatabaseRefusedError(database, "this process may only read")
        opened = self._outages.of(database).wait_out(partial(self._open_own, database))
        with explained(database, opened), opened as connection:
            connection.execute("SET LOCAL statement_timeout = 0")
            yield connection

    def close_all(self) -> None:
        """Close every pool; the next connection opens a new one."""
        self._outages.stop_waiting()
        has_lock = self._lock.acquire(timeout=self.config.connect_timeout_s if self.is_read_only else -1)
        try:
            self._close_pools()
        finally:
            if has_lock:
                self._lock.release()

    def _close_pools(self) -> None:
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            pool.close()

    def upgrade(self) -> dict[DatabaseName, tuple[str | None, str]]:
        """Migrate both databases to the newest schema; return the revision before and after, by database."""
        self._keep_embedded_server()
        return {database: self._upgrade(database) for database in DATABASE_NAMES}

    def schema_revisions(self) -> dict[DatabaseName, str | None]:
        """Return each database's revision, None if not found; starts nothing."""
        revisions: dict[DatabaseName, str | None] = {}
        for database in DATABASE_NAMES:
            revisions[database] = self._stored_revision(database)
        return revisions

    @staticmethod
    def newest_revision(database: DatabaseName) -> str:
        """Return the newest revision of a database's schema that this version knows."""
        return head_revision(database)

    def server_version(self) -> str:
        """Return the version of the server behind the historical database, such as ``18.4``."""
        with self.get_historical_connection() as connection:
            return str(connection.info.parameter_status("server_version"))

    @contextmanager
    def _connection(self, database: DatabaseName) -> Iterator[psycopg.Connection]:
        lent = self._outages.of(database).wait_out(partial(self._lend, database))
        if lent is None:
            alone = self._outages.of(database).wait_out(partial(self._connect, database))
            with explained(database, alone), alone as connection:
                yield connection
            return
        pool, connection = lent
        try:
            with explained(database, connection), connection:
                yield connection
        except DatabaseUnreachableError as error:
            full = self.embedded_server.full_disk() if self.config.uses_embedded_server else None
            if full is None:
                raise
            raise DatabaseUnreachableError(database, full, error.was_connected) from error
        finally:
            if connection.closed:  # the next one starts an embedded server again
                self._embedded_check_due = 0.0
            pool.putconn(connection)

    def _lend(self, database: DatabaseName) -> tuple[ConnectionPool, psycopg.Connection] | None:
        """Return a connection of the pool, None where the server has none for it."""
        self._pool(database)  # proves that the server answers and that the schema is there
        if self.shortage.is_on:
            return None
        try:
            return borrow(partial(self._pool, database), partial(self._look, database), self.config.connect_timeout_s)
        except psycopg.OperationalError as error:
            raise connection_error(database, error) from error
        except DatabaseUnreachableError as error:
            if not is_short_of_connections(error):
                raise
            self.shortage.begin(error)
            return None

    def _look(self, database: DatabaseName, pool: ConnectionPool) -> None:
        """Say why a pool gives no connection, and drop one that leads to a dead server; no effect on a busy one."""
        self._embedded_check_due, leads_to_it = 0.0, False
        try:
            if not self.is_read_only or pool.get_stats().get("connections_errors"):
                self._connect_once(database).close()
            leads_to_it = pool.conninfo == self._conninfo(database)
        except DatabaseUnreachableError as error:
            leads_to_it = is_short_of_connections(error)
            raise
        finally:
            if not leads_to_it:
                self._pools.pop(database, pool).close(timeout=0)

    def _open_own(self, database: DatabaseName) -> psycopg.Connection:
        self._pool(database)  # proves that the server answers and that the schema is there
        return self._connect(database, owner=True)

    def _pool(self, database: DatabaseName) -> ConnectionPool:
        if not self.is_read_only:
            return self._open(database)
        pool = self._pools.get(database)
        if pool is not None and not self._is_embedded_check_due():
            return pool
        try:
            return self._openings[database].result(self.config.connect_timeout_s)
        except TimeoutError:
            reason = f"no answer within {self.config.connect_timeout_s} s"
            raise DatabaseUnreachableError(database, reason) from None

    def _open(self, database: DatabaseName) -> ConnectionPool:
        with self._lock:
            self._keep_embedded_server()
            if database not in self._pools:
                self._prove_ready(database)
                self._pools[database] = self._open_pool(database)
            return self._pools[database]

    def _open_pool(self, database: DatabaseName) -> ConnectionPool:
        half_s = self.config.connect_timeout_s / 2  # so that another connection can be had in time
        return ConnectionPool(
            self._conninfo(database),
            connection_class=PooledConnection if database in self._pooled else psycopg.Connection,
            min_size=0,
            max_size=self._most_connections,
            open=True,
            configure=None if database in self._pooled else fix_forms,
            check=partial(require_answer, timeout_s=half_s) if self.is_read_only else ConnectionPool.check_connection,
            reconnect_timeout=self.config.connect_timeout_s,
            name=f"prometheus-{database}",
        )

    def _prove_ready(self, database: DatabaseName) -> None:
        found, wanted = self._stored_revision(database), head_revision(database)
        if found == wanted:
            return
        if not self.config.uses_embedded_server or (found is not None and found > wanted):
            raise NotMigratedError(database, found, wanted)
        self.announce(f"migrating the {database} database of the embedded server")
        self._upgrade(database)

    def _stored_revision(self, database: DatabaseName) -> str | None:
        opened = self._connect(database)
        with explained(database, opened), opened as connection:  # its COMMIT may be what finds the server dead
            return _read_revision(connection, database)

    def _upgrade(self, database: DatabaseName) -> tuple[str | None, str]:
        wanted, connection = head_revision(database), self._connect(database, owner=True)
        found = _read_revision(connection, database)
        if found == wanted:
            connection.close()
            return found, wanted
        if found is not None and found > wanted:
            connection.close()
            raise NotMigratedError(database, found, wanted)
        require_utf8(database, connection)
        connection.rollback()
        from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 -- slow to import, as is Alembic

        from prometheus.data.migrations.environment import upgrade  # noqa: PLC0415

        try:
            upgrade(connection, database)
        except DBAPIError as error:
            raise migration_error(database, error.orig or error) from error
        return found, wanted

    def _connect(self, database: DatabaseName, *, owner: bool = False) -> psycopg.Connection:
        return self.shortage.wait_out(partial(self._connect_once, database, owner=owner))

    def _connect_once(self, database: DatabaseName, *, owner: bool = False) -> psycopg.Connection:
        try:
            connection, safeguards = open_connection(self._conninfo(database, owner=owner))
            self.durability.look(connection, safeguards)
        except psycopg.OperationalError as error:
            raise connection_error(database, error) from error
        except psycopg.ProgrammingError:  # psycopg itself reads some of the options
            raise invalid_dsn(f"PROMETHEUS_{database.upper()}_DSN") from None
        if isinstance(connection, PooledConnection):
            self._pooled.add(database)
        if connection.info.server_version < MINIMUM_SERVER_VERSION:
            version = connection.info.server_version // 10_000
            connection.close()
            raise DatabaseUnreachableError(database, f"PostgreSQL {version} is too old, 14 or newer is needed")
        return connection

    def _conninfo(self, database: DatabaseName, *, owner: bool = False) -> str:
        if self.config.uses_embedded_server:
            base = self.embedded_conninfo(database, owner=owner)
        else:
            secret = self.config.historical_dsn if database == "historical" else self.config.runtime_dsn
            base = secret.get_secret_value() if secret else ""
        return with_defaults(base, database, self.config, read_only=self.is_read_only and not owner)

    @property
    @abstractmethod
    def embedded_server(self) -> EmbeddedPostgres:
        """The embedded server of this configuration, whether it runs or not."""

    @abstractmethod
    def embedded_conninfo(self, database: DatabaseName, *, owner: bool) -> str:
        """Return how the embedded server is reached: as the owner, or as who may read or write."""

    def _keep_embedded_server(self) -> None:
        """Start the embedded server, or tell it that it is in use; it may have stopped since the last call."""
        if self._is_embedded_check_due():
            now = time.monotonic()
            self.embedded_server.ensure_running()
            self._embedded_check_due = now + EMBEDDED_CHECK_EVERY_S

    def _is_embedded_check_due(self) -> bool:
        return self.config.uses_embedded_server and time.monotonic() >= self._embedded_check_due


def _begin_in_child() -> None:
    for manager in list(_MANAGERS):
        manager.begin_in_child()


_MANAGERS: WeakSet[PostgresDatabases] = WeakSet()
_OF_PARENTS: list[object] = []  # never closed in a child: that would end the sessions of the parent
os.register_at_fork(after_in_child=_begin_in_child)


def _read_revision(connection: psycopg.Connection, database: DatabaseName) -> str | None:
    """Return the stored revision, None where no migration ever ran."""
    table = version_table(database)
    query = psycopg.sql.SQL("SELECT version_num FROM {}").format(psycopg.sql.Identifier(table))
    with explained(database, connection):
        exists = connection.execute("SELECT to_regclass(%s)", (table,)).fetchone() != (None,)
        row = connection.execute(query).fetchone() if exists else None
    return None if row is None else str(row[0])
