"""A server that has answered before and is away now is waited for, a minute at most (ADR-0040)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import psycopg
from psycopg_pool import ConnectionPool

from prometheus.core.config import PrometheusConfig
from prometheus.core.runs import TIMEOUT_S, warn_of_outage
from prometheus.data.migrations import DATABASE_NAMES, DatabaseName
from prometheus.errors import DatabaseUnreachableError, RetryableError

T = TypeVar("T")

LOOK_EVERY_S = 1.0
"""How long a pool may take for a connection before somebody looks whether the server is there at all."""
PAUSE_S = 0.25
_REFUSED = ("FATAL:", "is too old")
"""The server, or who speaks for it, has answered: waiting does not change what it says."""
_BETWEEN_TWO_LIVES = "the database system is "
"""Starting up, shutting down, in recovery: it says itself that it comes back."""


class Outage:
    """The absence of one server, as all threads of a process see it.

    A server that was never reached is not waited for, but for one that is just starting; `is_known` says that another
    process has reached it a moment ago, `is_ours` that each attempt starts it first. Without patience, nothing is
    waited for.
    """

    def __init__(self, patience_s: float = TIMEOUT_S, *, is_known: bool = False, is_ours: bool = False) -> None:
        self._patience_s = patience_s
        self._is_known, self._is_ours = is_known, is_ours
        self._since: float | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def wait_out(self, attempt: Callable[[], T]) -> T:
        """Return what `attempt` returns, tried until the server answers; its own error once the patience is over.

        All threads share one patience: the minute begins with the first failure that any of them meets.
        """
        while True:
            ended = self._ended
            try:
                found = attempt()
            except RetryableError as error:
                if not self._may_go_on(error) or ended.wait(PAUSE_S):
                    raise
            else:
                self._is_known, self._since = True, None
                return found

    def stop_waiting(self) -> None:
        """Have every thread that waits give up now: the run is ending."""
        ended, self._ended = self._ended, threading.Event()
        ended.set()

    def _may_go_on(self, error: RetryableError) -> bool:
        if not self._patience_s or not self._may_return(error):
            return False
        with self._lock:
            now = time.monotonic()
            if self._since is None:
                self._since = now
                warn_of_outage(error)
            return now - self._since < self._patience_s

    def _may_return(self, error: RetryableError) -> bool:
        if not isinstance(error, DatabaseUnreachableError):
            return self._is_known  # a server of ours that did not start
        if _BETWEEN_TWO_LIVES in error.reason:
            return True
        was_there = self._is_known or self._is_ours or error.was_connected
        return was_there and not any(sign in error.reason for sign in _REFUSED)


class Outages:
    """One `Outage` for each server behind the two databases; the embedded one holds both.

    Who is not patient, as a reader that answers others, waits for nothing.
    """

    def __init__(self, config: PrometheusConfig, *, is_patient: bool, is_known: bool) -> None:
        n_servers = 1 if config.uses_embedded_server else len(DATABASE_NAMES)
        self._all = [
            Outage(TIMEOUT_S if is_patient else 0.0, is_known=is_known, is_ours=config.uses_embedded_server)
            for _ in range(n_servers)
        ]

    def of(self, database: DatabaseName) -> Outage:
        """Return that of the server which holds a database."""
        return self._all[DATABASE_NAMES.index(database) % len(self._all)]

    def stop_waiting(self) -> None:
        """Have every thread that waits give up now."""
        for each in self._all:
            each.stop_waiting()


def borrow(
    pool_of: Callable[[], ConnectionPool], look: Callable[[ConnectionPool], None], timeout_s: float
) -> tuple[ConnectionPool, psycopg.Connection]:
    """Return a connection and the pool that lends it; `psycopg.OperationalError` if none comes in time.

    A pool tells neither soon nor precisely that its server is gone. `look` is called every second to find that out, and
    raises the reason.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        pool = pool_of()
        try:
            return pool, pool.getconn(timeout=max(0.0, min(LOOK_EVERY_S, deadline - time.monotonic())))
        except psycopg.OperationalError:
            look(pool)
            if time.monotonic() >= deadline:
                raise
