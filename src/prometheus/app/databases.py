"""The two databases as they are configured: a server of the user's own, or the embedded one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import psycopg
from pydantic import SecretStr

from prometheus.core.config import PrometheusConfig, get_config
from prometheus.data.migrations import DatabaseName
from prometheus.data.postgres.database import PostgresDatabases

if TYPE_CHECKING:
    from prometheus.server import EmbeddedServer


class DatabaseManager(PostgresDatabases):
    """Pools of connections to the historical and the runtime database; see `PostgresDatabases`.

    Without DSNs they live on the embedded server, which is started and migrated when the first connection is asked for.
    """

    @property
    def embedded_server(self) -> EmbeddedServer:
        """The embedded server of this configuration, running or not."""
        from prometheus.server import EmbeddedServer, EmbeddedSettings  # noqa: PLC0415 -- own servers skip it

        config = self.config
        settings = EmbeddedSettings(config.home, config.embedded_account, config.embedded_idle_minutes)
        return EmbeddedServer(settings, announce=self.announce)

    def embedded_conninfo(self, database: DatabaseName, *, owner: bool) -> str:
        """Return the connection string of the embedded server, by role: owner, writer or reader."""
        from prometheus import server  # noqa: PLC0415 -- own servers skip it

        names = {"historical": server.HISTORICAL_DATABASE, "runtime": server.RUNTIME_DATABASE}
        user = server.READER_ROLE if self.is_read_only else server.APPLICATION_ROLE
        return self.embedded_server.conninfo(names[database], role=server.OWNER_ROLE if owner else user)

    def start_embedded_server(self) -> None:
        """Start the embedded server without migrating it; nothing on a server of the user's own."""
        self._keep_embedded_server()

    def owner_conninfo(self, database: DatabaseName) -> str:
        """Return the connection string of the role that owns the tables."""
        return self._conninfo(database, owner=True)

    @contextmanager
    def connect_as_owner(self, database: DatabaseName) -> Iterator[psycopg.Connection]:
        """Yield a connection to a database that needs no schema yet; closed at the end."""
        with self._connect(database, owner=True) as connection:
            yield connection


def find_running_databases(config: PrometheusConfig, timeout_s: int) -> DatabaseManager | None:
    """Return a manager that only reads, and neither starts nor migrates anything; None if the embedded server is down.

    `timeout_s` limits the wait for a connection, and each statement.
    """
    changed: dict[str, object] = {"connect_timeout_s": timeout_s, "statement_timeout_s": timeout_s}
    if config.uses_embedded_server:
        reading = DatabaseManager(config, read_only=True)
        if reading.embedded_server.status().state != "running":
            return None
        names: tuple[DatabaseName, DatabaseName] = ("historical", "runtime")
        changed |= {f"{name}_dsn": SecretStr(reading.embedded_conninfo(name, owner=False)) for name in names}
    return DatabaseManager(config.model_copy(update=changed), read_only=True)


@cache
def get_db_manager() -> DatabaseManager:
    """Return the manager of this process, for `get_config()`."""
    return DatabaseManager(get_config())
