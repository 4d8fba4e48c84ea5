"""The embedded PostgreSQL server: started when needed, private to one user, gone when unused (ADR-0002)."""

import sys

from prometheus.errors import EmbeddedServerError

if sys.platform not in ("linux", "darwin"):  # before anything that needs fcntl or pwd is imported
    raise EmbeddedServerError(
        f"there is no embedded PostgreSQL for {sys.platform}; "
        "set PROMETHEUS_HISTORICAL_DSN and PROMETHEUS_RUNTIME_DSN to a server of your own"
    )

from prometheus.server.bootstrap import HISTORICAL_DATABASE, RUNTIME_DATABASE
from prometheus.server.cluster import APPLICATION_ROLE, OWNER_ROLE, READER_ROLE
from prometheus.server.server import EmbeddedServer, EmbeddedSettings, EmbeddedStatus

__all__ = [
    "APPLICATION_ROLE",
    "HISTORICAL_DATABASE",
    "OWNER_ROLE",
    "READER_ROLE",
    "RUNTIME_DATABASE",
    "EmbeddedServer",
    "EmbeddedSettings",
    "EmbeddedStatus",
]
