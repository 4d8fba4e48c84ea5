"""The two databases as they are configured: a server of the user's own, or the embedded one."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from prometheus.core.config import get_config
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


@cache
def get_db_manager() -> DatabaseManager:
    """Return the manager of this process, for `get_config()`."""
    return DatabaseManager(get_config())
