"""What every run does alike: logging to standard error, and work done again after a lost connection."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO, TypeVar

from prometheus.errors import DatabaseUnreachableError, EmbeddedServerError, RetryableError

T = TypeVar("T")

ATTEMPTS = 5
TIMEOUT_S = 60.0

logger = logging.getLogger(__name__)


class EmbeddedServerDownError(RetryableError, EmbeddedServerError, code="embedded_server_down"):
    """The embedded PostgreSQL did not start and may later: the disk is full, or somebody stopped it just now."""


class _OneWarning:
    """Says once what many threads and attempts notice; later words of the same minute are for ``--debug`` alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due = 0.0

    def say(self, error: Exception) -> None:
        with self._lock:
            now = time.monotonic()
            level = logging.WARNING if now >= self._due else logging.DEBUG
            if level == logging.WARNING:
                self._due = now + TIMEOUT_S
        logger.log(level, "%s; trying again for up to a minute", error)


_outage_warning = _OneWarning()


class _StandardErrorHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever `sys.stderr` is at the time, so that redirecting it later works."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The current standard error."""
        return sys.stderr


def configure_logging(*, verbose: bool = False) -> None:
    """Send the package's log to standard error; calling it again only changes the level."""
    ours = logging.getLogger("prometheus")
    ours.setLevel(logging.DEBUG if verbose else logging.INFO)
    for name in ("psycopg", "stamina"):  # each attempt to reconnect: `warn_of_outage` says it once
        logging.getLogger(name).setLevel(logging.ERROR)
    if not any(isinstance(handler, _StandardErrorHandler) for handler in ours.handlers):
        handler = _StandardErrorHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        ours.addHandler(handler)
        ours.propagate = False


def warn_of_outage(error: Exception) -> None:
    """Say in one line that a server is away and is waited for; the same outage is told once."""
    _outage_warning.say(error)


def retry_lost_connection(work: Callable[[], T]) -> T:
    """Return ``work()``, done again on a new connection if the one in use is lost; gives up after a minute.

    A lost reply to COMMIT is not a failed commit, and the two cannot be told apart. `work` must therefore be one
    transaction of upserts on natural keys, or only read: done twice, it leaves the same rows, and the second time
    counts none as written if the first one was committed after all.
    """
    try:
        return work()
    except DatabaseUnreachableError as error:
        if not error.was_connected:
            raise  # a new connection was waited for already, or nothing was there to begin with
        warn_of_outage(error)
    import stamina  # noqa: PLC0415 -- slow to import, and rarely needed

    try:
        for attempt in stamina.retry_context(on=DatabaseUnreachableError, attempts=ATTEMPTS, timeout=TIMEOUT_S):
            with attempt:
                return work()
    except DatabaseUnreachableError as error:
        # who calls us may try again, too: not what was given up here
        raise DatabaseUnreachableError(error.database, error.reason) from error
    raise AssertionError("stamina returns or raises")
