"""Locks between runs: claims on pieces of work, and one run of a kind at a time.

Both are advisory locks of PostgreSQL, of a session, or behind a pooler of a transaction that stays open meanwhile: they
end with the connection that took them, however its process ends, so nothing has to be cleaned up after a crash. A claim
saves two runs over the same range from doing a chunk twice; what keeps rows right is the upsert on natural keys.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime
from typing import LiteralString

import psycopg

from prometheus.core.runs import retry_lost_connection
from prometheus.data.postgres.connections import RuntimeDatabase
from prometheus.data.postgres.database import PostgresDatabases
from prometheus.data.postgres.pooler import PooledConnection
from prometheus.errors import DatabaseError, PrometheusError, run_under_way

POLL_S = 0.1
CLAIM_TIMEOUT_S = 600.0
"""Far longer than a chunk takes."""

_NOTICE_A_DEAD_CLIENT = (
    "SELECT set_config('tcp_keepalives_idle', '30', false), set_config('tcp_keepalives_interval', '10', false), "
    "set_config('tcp_keepalives_count', '3', false)"
)
"""Without this the server would keep the locks of a machine that lost its power for two hours."""
_TRY_CLAIM = "SELECT pg_try_advisory_lock(hashtextextended('chunk', 0) # hashtextextended(%s, 0))"
_TRY_LENT_CLAIM = "SELECT pg_try_advisory_xact_lock(hashtextextended('chunk', 0) # hashtextextended(%s, 0))"
_RELEASE_CLAIM = "SELECT pg_advisory_unlock(hashtextextended('chunk', 0) # hashtextextended(%s, 0))"
# runs lock two keys, claims one: PostgreSQL keeps the two spaces apart
_SINCE = "since "
_INSTANT = "%Y-%m-%d %H:%M:%S UTC"
_TRY_RUN = "SELECT pg_try_advisory_lock(hashtext('prometheus run'), hashtext(%s))"
_TRY_LENT_RUN = "SELECT pg_try_advisory_xact_lock(hashtext('prometheus run'), hashtext(%s))"
_RELEASE_RUN = "SELECT pg_advisory_unlock(hashtext('prometheus run'), hashtext(%s))"
_HOLDER = """
    SELECT application_name FROM pg_stat_activity
    WHERE pid = (
        SELECT pid FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND objsubid = 2
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND classid = hashtext('prometheus run')::oid AND objid = hashtext(%s)::oid
    )
"""


_IS_HELD = """
    SELECT EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND objsubid = 2
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND classid = hashtext('prometheus run')::oid AND objid = hashtext(%s)::oid
    ), clock_timestamp()
"""


class SessionClaims:
    """Claims of one worker, on a connection of their own; not for use by several threads.

    Where the connection is lost, or the server needs it for rows, work goes on without claims: another run may do the
    same chunk, with the same result.
    """

    def __init__(self, databases: PostgresDatabases) -> None:
        self._databases = databases
        databases.shortage.spares.add(self)
        self._scope = ExitStack()
        self._connection: psycopg.Connection | None = None
        self._held: list[str] = []  # behind a pooler, where only the end of the transaction releases a lock
        self._busy_since: dict[str, float] = {}

    def try_claim(self, key: str) -> bool:
        """Claim a piece of work; False while another run holds it, `CLAIM_TIMEOUT_S` at most."""
        if self._databases.shortage.is_on:  # rows come first
            return True
        try:
            is_free = self._take(self._open(), key)
        except (psycopg.OperationalError, DatabaseError):
            self.close()
            return True
        if is_free:
            return True
        now = time.monotonic()
        return now - self._busy_since.setdefault(key, now) > CLAIM_TIMEOUT_S

    def wait_for(self, key: str) -> None:
        """Claim a piece of work as soon as no other run holds it."""
        while not self.try_claim(key):
            time.sleep(POLL_S)

    def release(self, key: str) -> None:
        """Release a claim; no effect if already lost."""
        connection = self._connection
        if connection is None:
            return
        try:
            self._give_back(connection, key)
        except psycopg.OperationalError:
            self.close()

    def close(self) -> None:
        """Release every claim."""
        connection, self._connection = self._connection, None
        self._held.clear()
        if isinstance(connection, PooledConnection):
            with suppress(psycopg.Error):
                connection.rollback()
        elif connection is not None and not connection.closed:
            with suppress(psycopg.Error):
                connection.execute("SELECT pg_advisory_unlock_all()")
                connection.autocommit = False
        with suppress(psycopg.Error, DatabaseError):
            self._scope.close()

    def _open(self) -> psycopg.Connection:
        connection = self._connection
        if connection is None:
            connection = self._scope.enter_context(self._databases.get_historical_connection())
            if not isinstance(connection, PooledConnection):
                connection.autocommit = True  # a claim is not part of any transaction
                connection.execute(_NOTICE_A_DEAD_CLIENT)
            self._connection = connection
        return connection

    def _take(self, connection: psycopg.Connection, key: str) -> bool:
        if not isinstance(connection, PooledConnection):
            return _is_granted(connection, _TRY_CLAIM, key)
        if not self._held:
            _stay_open(connection)
        is_free = _is_granted(connection, _TRY_LENT_CLAIM, key)
        if is_free:
            self._held.append(key)
        elif not self._held:
            connection.rollback()  # the session goes back to the pooler
        return is_free

    def _give_back(self, connection: psycopg.Connection, key: str) -> None:
        """Release one claim; behind a pooler all are, and the others taken again at once."""
        if not isinstance(connection, PooledConnection):
            connection.execute(_RELEASE_CLAIM, (key,))
        elif key in self._held:
            still_held = [each for each in self._held if each != key]
            self._held.clear()
            connection.rollback()
            for each in still_held:
                self._take(connection, each)


def open_claims(databases: PostgresDatabases) -> closing[SessionClaims]:
    """Return claims for a ``with``, at whose end they are released."""
    return closing(SessionClaims(databases))


@contextmanager
def only_run(databases: RuntimeDatabase, kind: str, now_utc: datetime) -> Iterator[None]:
    """Hold the lock of a kind of run; `RetryableError` at once, with since when, if another session holds it.

    If the server dies meanwhile, the lock is gone and the run goes on without it.
    """
    with ExitStack() as held:
        retry_lost_connection(lambda: held.push(_locked(databases, kind, now_utc)))
        yield


def _locked(databases: RuntimeDatabase, kind: str, now_utc: datetime) -> ExitStack:
    """Take the lock; the stack returned holds its connection and releases both."""
    with ExitStack() as stack:
        connection = stack.enter_context(databases.get_runtime_connection())
        if isinstance(connection, PooledConnection):
            stack.callback(_roll_back, connection)
            _acquire_lent(connection, kind, now_utc)
            return stack.pop_all()
        stack.callback(_set_autocommit, connection, value=False)
        _set_autocommit(connection, value=True)  # an hour of work is no transaction
        _acquire(connection, kind, now_utc)
        stack.callback(_release, connection, kind)
        return stack.pop_all()


def _roll_back(connection: psycopg.Connection) -> None:
    with suppress(psycopg.Error):
        connection.rollback()


def _set_autocommit(connection: psycopg.Connection, *, value: bool) -> None:
    with suppress(psycopg.Error):
        connection.autocommit = value


def _release(connection: psycopg.Connection, kind: str) -> None:
    with suppress(psycopg.Error):
        connection.execute(_RELEASE_RUN, (kind,))
        connection.execute("RESET application_name")


def holds_run(connection: psycopg.Connection, kind: str) -> tuple[bool, datetime]:
    """Return whether any session holds the lock of a kind of run, and when that was seen, by the server's clock."""
    row = connection.execute(_IS_HELD, (kind,)).fetchone()
    if row is None:
        raise AssertionError("a query without FROM has a row")
    return row[0], row[1]


def _acquire(connection: psycopg.Connection, kind: str, now_utc: datetime) -> None:
    if not _is_granted(connection, _TRY_RUN, kind):
        raise _under_way(connection, kind)
    connection.execute("SELECT set_config('application_name', %s, false)", (_name(kind, now_utc),))
    connection.execute(_NOTICE_A_DEAD_CLIENT)


def _acquire_lent(connection: psycopg.Connection, kind: str, now_utc: datetime) -> None:
    _stay_open(connection)
    if not _is_granted(connection, _TRY_LENT_RUN, kind):
        raise _under_way(connection, kind)
    connection.execute("SELECT set_config('application_name', %s, true)", (_name(kind, now_utc),))


def _stay_open(connection: psycopg.Connection) -> None:
    """Begin a transaction that may idle: the session is kept from the pooler's other clients until it ends."""
    connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")


def _is_granted(connection: psycopg.Connection, query: LiteralString, key: str) -> bool:
    row = connection.execute(query, (key,)).fetchone()
    return row is None or bool(row[0])


def _name(kind: str, now_utc: datetime) -> str:
    """Return the name of a session that holds the lock of a run, which a second run reads."""
    return f"prometheus {kind} {_SINCE}{now_utc.strftime(_INSTANT)}"


def _under_way(connection: psycopg.Connection, kind: str) -> PrometheusError:
    holder = connection.execute(_HOLDER, (kind,)).fetchone()
    name = str(holder[0]) if holder else ""
    return run_under_way(kind, name.partition(_SINCE)[2] or "a moment ago")
