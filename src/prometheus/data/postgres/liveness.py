"""Whether the server behind an open connection still answers, asked without waiting for ever."""

from __future__ import annotations

import selectors
import time
from typing import Any

import psycopg


def require_answer(connection: psycopg.Connection[Any], timeout_s: float) -> None:
    """Send an empty query and wait for the answer; a connection that brings none in time is closed.

    A server that was stopped, or a network that swallows everything, leaves connections open and silent: psycopg's own
    check would wait with them.

    Raises
    ------
    psycopg.OperationalError
        The connection is lost, or nothing came.
    """
    link = connection.pgconn
    link.send_query(b"")
    link.flush()
    deadline = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        selector.register(link.socket, selectors.EVENT_READ)
        while True:
            while link.is_busy():
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    connection.close()
                    raise psycopg.OperationalError(f"no answer within {timeout_s:.0f} s")
                link.consume_input()
            if link.get_result() is None:
                return
