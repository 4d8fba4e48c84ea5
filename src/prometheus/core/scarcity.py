"""How a server says that it has no connection left."""

from __future__ import annotations

from prometheus.errors import DatabaseUnreachableError

_SIGNS = (
    "too many clients already",
    "connection slots are reserved",
    "too many connections for",
    "no more connections allowed",
    "lent no session in",
)
"""Of PostgreSQL for its limit, slots kept for others, a role's or database's limit; of pgbouncer; of a pool used up."""


def is_short_of_connections(error: BaseException) -> bool:
    """Return whether a connection was refused because all that may be had are in use."""
    return isinstance(error, DatabaseUnreachableError) and any(sign in error.reason for sign in _SIGNS)
