"""Connections behind a pooler such as pgbouncer, which lends a session of the server for one transaction (ADR-0041).

What is set on such a session is lost, or stays for its next user; so nothing is. Each transaction begins with its own
settings, no statement is prepared by name, and locks belong to transactions. It works as well where the pooler lends
whole sessions, so the two modes need not be told apart.
"""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg import IsolationLevel, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from prometheus.data.postgres.connections import FORMS, require_answer
from prometheus.data.postgres.durability import SAFEGUARDS

REFUSED_PARAMETER = "unsupported startup parameter"
_OPTION = re.compile(r"(?:\\.|[^\s\\])+")
_OF_THE_LINK = "tcp_keepalives_"
_OF_THE_TRANSACTION = "default_transaction_"


class PooledConnection(psycopg.Connection[Any]):
    """A connection to a pooler: each transaction begins with the settings that the ``options`` of its DSN hold."""

    settings: sql.Composed | None = None

    @classmethod
    def connect(cls, conninfo: str = "", **kwargs: Any) -> PooledConnection:
        """Connect, and wait until the pooler has a session of the server; `psycopg.OperationalError` if it has none."""
        parts = {name: str(value) for name, value in conninfo_to_dict(conninfo, **kwargs).items()}
        settings = settings_in(parts.get("options", "")) | FORMS  # which win over what a DSN says
        connection = super().connect(make_conninfo(**{**parts, "options": ""}))
        connection.prepare_threshold = None
        connection.isolation_level = IsolationLevel.READ_COMMITTED
        connection.read_only = settings.get("default_transaction_read_only") == "on" or None
        timeout_s = float(parts.get("connect_timeout", 10))
        try:
            require_answer(connection, timeout_s)
        except psycopg.OperationalError as error:
            reason = f"the pooler lent no session in {timeout_s:.0f} s: its pool_size is used up, or its server away"
            raise psycopg.OperationalError(reason) from error
        connection.settings = _local(settings)
        return connection

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """Return a cursor in a transaction that has its settings."""
        if self.settings and not self.autocommit and self.info.transaction_status == TransactionStatus.IDLE:
            super().cursor().execute(self.settings)
        return super().cursor(*args, **kwargs)


def open_connection(conninfo: str) -> tuple[psycopg.Connection[Any], tuple[str, ...]]:
    """Open a connection, of the class `PooledConnection` if something between here and the server lends sessions.

    pgbouncer refuses ``options`` at the login or leaves them out. A pooler that takes them is known by the number of
    the server's process: it tells clients another one. Returned beside it are the values of `SAFEGUARDS`.
    """
    try:
        connection = psycopg.connect(conninfo)
    except psycopg.OperationalError as error:
        if REFUSED_PARAMETER not in str(error):
            raise
        connection = PooledConnection.connect(conninfo)
        return connection, _ask(connection)[1]
    pid, safeguards = _ask(connection)
    if pid != connection.info.backend_pid:
        connection.close()
        return PooledConnection.connect(conninfo), safeguards
    return connection, safeguards


def _ask(connection: psycopg.Connection[Any]) -> tuple[object, tuple[str, ...]]:
    """Return the number of the process behind an idle connection, and its server's `SAFEGUARDS`.

    The same query sets `FORMS`, but on a session that a pooler lends, which others get after us.
    """
    is_ours = sql.SQL("pg_backend_pid() = {}").format(connection.info.backend_pid)
    forms = [
        sql.SQL("CASE WHEN {} THEN set_config({}, {}, false) END").format(is_ours, name, value)
        for name, value in FORMS.items()
    ]
    asked = [sql.SQL("current_setting({})").format(name) for name in SAFEGUARDS]
    query = sql.SQL("SELECT pg_backend_pid(), {}").format(sql.SQL(", ").join([*asked, *forms]))
    connection.autocommit = True
    row = connection.execute(query, prepare=False).fetchone()
    connection.autocommit = False
    pid, *values = row or (None,)
    return pid, tuple(values[: len(SAFEGUARDS)])


def settings_in(options: str) -> dict[str, str]:
    r"""Return the settings that the ``options`` of a login name, each as ``-c name=value`` or ``--name=value``.

    Examples
    --------
    >>> settings_in(r"-c statement_timeout=9s --search-path=a\ b -cwork_mem=4MB")
    {'statement_timeout': '9s', 'search_path': 'a b', 'work_mem': '4MB'}
    """
    words = [re.sub(r"\\(.)", r"\1", word) for word in _OPTION.findall(options)]
    settings = {}
    for position, word in enumerate(words):
        named = word.removeprefix("--") if word.startswith("--") else word.removeprefix("-c")
        if word == "-c":
            named = words[position + 1] if position + 1 < len(words) else ""
        elif named == word:
            continue
        name, _, value = named.partition("=")
        settings[name.replace("-", "_")] = value
    return settings


def _local(settings: dict[str, str]) -> sql.Composed:
    """Return statements that set a transaction alone, and that may stand before ``SET TRANSACTION``."""
    wanted = [
        (name, value)
        for name, value in settings.items()
        if name and not name.startswith((_OF_THE_LINK, _OF_THE_TRANSACTION))
    ]
    return sql.SQL("; ").join(
        sql.SQL("SET LOCAL {} TO {}").format(sql.Identifier(*name.split(".")), _value(name, value))
        for name, value in wanted
    )


def _value(name: str, value: str) -> sql.Composable:
    parts = value.split(",") if name == "search_path" else [value]  # a list of names, each quoted by itself
    return sql.SQL(", ").join(sql.Literal(part.strip().strip('"')) for part in parts)
