"""What leads to a connection, and whether one that is open, or still being opened, answers in time."""

from __future__ import annotations

import selectors
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Generic, Protocol, TypeVar

import psycopg

T = TypeVar("T")


class HistoricalDatabase(Protocol):
    """Leads to prices, embeddings and models."""

    def get_historical_connection(self) -> AbstractContextManager[psycopg.Connection]:
        """Yield a connection; committed at the end, rolled back on an error."""


class RuntimeDatabase(Protocol):
    """Leads to instruments and regimes."""

    def get_runtime_connection(self) -> AbstractContextManager[psycopg.Connection]:
        """Yield a connection; committed at the end, rolled back on an error."""


class Databases(HistoricalDatabase, RuntimeDatabase, Protocol):
    """Leads to both."""


class SharedAttempt(Generic[T]):
    """Slow work done by one background thread for all callers; it goes on after a caller gives up waiting."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._running: Future[T] | None = None

    def result(self, timeout_s: float) -> T:
        """Return what the work returns, or raise what it raises; start it if it is not running.

        After `TimeoutError` it goes on.
        """
        with self._lock:
            running = self._running
            if running is None:
                running = self._running = Future()
                threading.Thread(target=self._run, args=(running,), daemon=True).start()
        return running.result(timeout_s)

    def _run(self, running: Future[T]) -> None:
        try:
            found = self._work()
        except BaseException as error:
            self._running = None
            running.set_exception(error)
        else:
            self._running = None
            running.set_result(found)


def require_answer(connection: psycopg.Connection[Any], timeout_s: float) -> None:
    """Send an empty query; `psycopg.OperationalError`, and the connection closed, without an answer in time.

    A stopped server, or a network that drops packets, leaves connections open and silent; psycopg's own check blocks.
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
