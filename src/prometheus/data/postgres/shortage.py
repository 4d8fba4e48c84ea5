"""A server without a connection to spare: what a run can do without is closed, the rest opened for moments."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakSet

import psycopg

from prometheus.core.scarcity import is_short_of_connections
from prometheus.errors import DatabaseUnreachableError

LASTS_S = 30.0
"""How long pools are left alone after the last refusal."""
PATIENCE_S = 60.0
POLL_S = 0.05

logger = logging.getLogger(__name__)


class Spare(Protocol):
    """Holds a connection that a run can do without."""

    def close(self) -> None:
        """Give it up; called by any thread."""


class Shortage:
    """Whether the server lately refused a connection for want of one.

    While it lasts, a connection is opened for one transaction and closed after it, so that processes and the two
    databases take turns. `give_up` closes what lies idle. `patience_s` is how long one is waited for.
    """

    def __init__(self, patience_s: float, give_up: Callable[[], None]) -> None:
        self._patience_s, self._give_up = patience_s, give_up
        self._until = 0.0
        self._lock = threading.Lock()
        self.spares: WeakSet[Spare] = WeakSet()

    @property
    def is_on(self) -> bool:
        """Whether it lasts."""
        return time.monotonic() < self._until

    def wait_out(self, connect: Callable[[], psycopg.Connection[Any]]) -> psycopg.Connection[Any]:
        """Return a new connection; the error of the last attempt if none is to be had in time."""
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return connect()
            except DatabaseUnreachableError as error:
                if not is_short_of_connections(error):
                    raise
                self.begin(error)
                if time.monotonic() >= deadline:
                    raise
            time.sleep(POLL_S)

    def begin(self, error: DatabaseUnreachableError) -> None:
        """Note a refusal; the first one closes what is not needed."""
        with self._lock:
            is_new = not self.is_on
            self._until = time.monotonic() + LASTS_S
        if not is_new:
            return
        if self._patience_s:  # else another process does this one's work, and says so
            logger.warning("the server is short of connections (%s); going on with fewer", error.reason)
        for spare in list(self.spares):
            spare.close()
        self._give_up()


logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())  # it tells of each refusal; one note is enough
