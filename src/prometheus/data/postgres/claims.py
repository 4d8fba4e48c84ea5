"""Claims on pieces of work, so that two runs over the same range share it instead of doing it twice.

A claim is a session-level advisory lock of PostgreSQL: it ends with the connection that took it, however its process
ends, so nothing has to be cleaned up after a crash. It is a courtesy between runs and never what keeps rows right:
that is the upsert on natural keys.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import psycopg

from prometheus.data.postgres.connections import HistoricalDatabase
from prometheus.errors import DatabaseError

POLL_S = 0.1
PATIENCE_S = 600.0
"""Far longer than a chunk takes. A claim given back over another session, as some poolers do it, is held for ever."""

_NOTICE_A_DEAD_CLIENT = (
    "SELECT set_config('tcp_keepalives_idle', '30', false), set_config('tcp_keepalives_interval', '10', false), "
    "set_config('tcp_keepalives_count', '3', false)"
)
"""A machine that lost its power says no goodbye: without this the server would keep its claims for two hours."""
_TRY = "SELECT pg_try_advisory_lock(hashtextextended('chunk', 0) # hashtextextended(%s, 0))"
_RELEASE = "SELECT pg_advisory_unlock(hashtextextended('chunk', 0) # hashtextextended(%s, 0))"


class SessionClaims:
    """Claims of one worker, held on a connection of their own; not for use by several threads.

    Made by `open_claims`. When its connection is lost the claims are lost with it, and the work goes on without them:
    another run may then do the same chunk, with the same result.
    """

    def __init__(self, databases: HistoricalDatabase) -> None:
        self._databases = databases
        self._scope = ExitStack()
        self._connection: psycopg.Connection | None = None
        self._busy_since: dict[str, float] = {}

    def try_claim(self, key: str) -> bool:
        """Claim a piece of work; False while another run holds it, but for `PATIENCE_S` at most."""
        try:
            row = self._open().execute(_TRY, (key,)).fetchone()
        except (psycopg.OperationalError, DatabaseError):
            self.close()
            return True
        if row is None or bool(row[0]):
            return True
        now = time.monotonic()
        return now - self._busy_since.setdefault(key, now) > PATIENCE_S

    def wait_for(self, key: str) -> None:
        """Claim a piece of work as soon as no other run holds it."""
        while not self.try_claim(key):
            time.sleep(POLL_S)

    def release(self, key: str) -> None:
        """Give a claim back; one that was lost is none any more."""
        if self._connection is None:
            return
        try:
            self._connection.execute(_RELEASE, (key,))
        except psycopg.OperationalError:
            self.close()

    def close(self) -> None:
        """Give every claim back."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.closed:
            with suppress(psycopg.Error):
                connection.execute("SELECT pg_advisory_unlock_all()")
                connection.autocommit = False
        with suppress(psycopg.Error, DatabaseError):
            self._scope.close()

    def _open(self) -> psycopg.Connection:
        if self._connection is None:
            self._connection = self._scope.enter_context(self._databases.get_historical_connection())
            self._connection.autocommit = True  # a claim is not part of any transaction
            self._connection.execute(_NOTICE_A_DEAD_CLIENT)
        return self._connection


@contextmanager
def open_claims(databases: HistoricalDatabase) -> Iterator[SessionClaims]:
    """Yield claims that are given back at the end."""
    claims = SessionClaims(databases)
    try:
        yield claims
    finally:
        claims.close()
