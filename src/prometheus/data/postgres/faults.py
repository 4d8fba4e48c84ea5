"""What the errors of a server mean to the user, and what to do about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg

from prometheus.data.migrations import DatabaseName
from prometheus.data.postgres.connections import one_line
from prometheus.data.postgres.pooler import REFUSED_PARAMETER
from prometheus.errors import (
    DatabaseAuthenticationError,
    DatabaseError,
    DatabaseRefusedError,
    DatabaseUnreachableError,
    PrometheusError,
)


@contextmanager
def explained(database: DatabaseName, connection: psycopg.Connection) -> Iterator[None]:
    """Turn errors of a connection into those that say what to do; a defect of ours is raised as it is."""
    try:
        yield
    except psycopg.Error as error:
        known = _statement_error(database, error, was_lost=connection.closed)
        if known is None:
            raise
        raise known from error


def connection_error(database: DatabaseName, error: psycopg.OperationalError) -> PrometheusError:
    """Return what it means that no connection could be made."""
    text = one_line(error)
    if any(
        sign in text
        for sign in ("authentication failed", "no password supplied", "permission denied", "no pg_hba.conf")
    ):
        return DatabaseAuthenticationError(database, text)
    if REFUSED_PARAMETER in text:
        way_out = f"add ignore_startup_parameters = {text.rpartition(':')[2].strip()} to pgbouncer.ini"
        return DatabaseError(f"{database} database: the pooler refuses what connections are set to ({text}); {way_out}")
    return DatabaseUnreachableError(database, text)


_WAYS_OUT: Mapping[type[psycopg.Error], str] = {
    psycopg.errors.ReadOnlySqlTransaction: "is it a replica? the DSN must name a server and a role that may write",
    psycopg.errors.DiskFull: "make room on the server's disk, then run it again",
}


def _statement_error(database: DatabaseName, error: psycopg.Error, *, was_lost: bool) -> PrometheusError | None:
    """Return what an error inside a transaction means to the user, None where it is a defect of ours."""
    if isinstance(error, psycopg.OperationalError) and was_lost:
        return DatabaseUnreachableError(database, one_line(error), was_connected=True)
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return DatabaseAuthenticationError(database, one_line(error))
    if isinstance(error, psycopg.errors.QueryCanceled):
        return DatabaseRefusedError(database, "a statement outran PROMETHEUS_STATEMENT_TIMEOUT_S")
    if isinstance(error, psycopg.OperationalError | psycopg.errors.ReadOnlySqlTransaction):
        way_out = next((f"; {words}" for kind, words in _WAYS_OUT.items() if isinstance(error, kind)), "")
        return DatabaseRefusedError(database, one_line(error) + way_out)
    return None


def migration_error(database: DatabaseName, error: BaseException) -> PrometheusError:
    """Return what it means that a schema could not be changed."""
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return DatabaseAuthenticationError(database, one_line(error))
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return DatabaseRefusedError(database, f"{one_line(error)}; {_WAYS_OUT[type(error)]}")
    if isinstance(error, psycopg.OperationalError):
        return connection_error(database, error)
    return DatabaseError(f"{database} database cannot be migrated, nothing was changed: {one_line(error)}")
