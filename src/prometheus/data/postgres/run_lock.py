"""One run of a kind at a time, by an advisory lock of a session that ends with its process, however that ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

import psycopg

from prometheus.data.postgres.connections import RuntimeDatabase
from prometheus.errors import RunUnderWayError

_SINCE = "since "
_INSTANT = "%Y-%m-%d %H:%M:%S UTC"
# two keys: a space of their own beside the claims on chunks, which have one
_TRY = "SELECT pg_try_advisory_lock(hashtext('prometheus run'), hashtext(%s))"
_RELEASE = "SELECT pg_advisory_unlock(hashtext('prometheus run'), hashtext(%s))"
_HOLDER = """
    SELECT application_name FROM pg_stat_activity
    WHERE pid = (
        SELECT pid FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND objsubid = 2
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND classid = hashtext('prometheus run')::oid AND objid = hashtext(%s)::oid
    )
"""
_PREPARE = (
    "SELECT set_config('application_name', %s, false), set_config('tcp_keepalives_idle', '30', false), "
    "set_config('tcp_keepalives_interval', '10', false), set_config('tcp_keepalives_count', '3', false)"
)
"""Who asks can read since when; a machine that lost its power would else hold the lock for two hours."""


@contextmanager
def only_run(databases: RuntimeDatabase, kind: str, now_utc: datetime) -> Iterator[None]:
    """Hold the lock of a kind of run on the runtime database meanwhile; nobody waits for it.

    Parameters
    ----------
    now_utc
        What a second run is told.

    Raises
    ------
    RunUnderWayError
        Another session holds it; the message says since when.
    """
    with databases.get_runtime_connection() as connection:
        connection.autocommit = True  # an hour of work is no transaction
        try:
            _acquire(connection, kind, now_utc)
            try:
                yield
            finally:
                with suppress(psycopg.Error):
                    connection.execute(_RELEASE, (kind,))
                    connection.execute("RESET application_name")
        finally:
            with suppress(psycopg.Error):
                connection.autocommit = False


def _acquire(connection: psycopg.Connection, kind: str, now_utc: datetime) -> None:
    row = connection.execute(_TRY, (kind,)).fetchone()
    if row is not None and row[0]:
        connection.execute(_PREPARE, (f"prometheus {kind} {_SINCE}{now_utc.strftime(_INSTANT)}",))
        return
    holder = connection.execute(_HOLDER, (kind,)).fetchone()
    name = str(holder[0]) if holder else ""
    raise RunUnderWayError(kind, name.partition(_SINCE)[2] or "a moment ago")
