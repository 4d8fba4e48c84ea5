"""Slow work in the background, for those who cannot wait until it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedAttempt(Generic[T]):
    """Work that one thread does at a time, for all who ask meanwhile.

    Whoever gives up waiting leaves the work going, so that a later question finds it done.

    Parameters
    ----------
    work
        Done on a thread of its own, which does not keep the process alive.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._running: Future[T] | None = None

    def result(self, timeout_s: float) -> T:
        """Return what the work returns, or raise what it raises; begin it unless somebody has.

        Raises
        ------
        TimeoutError
            It goes on for longer.
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
