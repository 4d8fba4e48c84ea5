"""What every run does alike: logging to standard error, and work done again after a lost connection."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TextIO, TypeVar

from prometheus.errors import DatabaseUnreachableError
from prometheus.spelling import shown

T = TypeVar("T")

ATTEMPTS = 5
TIMEOUT_S = 60.0

logger = logging.getLogger(__name__)


class _StandardErrorHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever `sys.stderr` is at the time, so that redirecting it later works."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The current standard error."""
        return sys.stderr


class OneLineFormatter(logging.Formatter):
    """Formats a record so that no name or text in its message can steer a terminal or begin a line of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- the name that logging calls
        """Return the line of a record; a traceback follows on lines of its own."""
        return shown(super().formatMessage(record))


def configure_logging(*, verbose: bool = False) -> None:
    """Send the package's log to standard error; calling it again only changes the level."""
    ours = logging.getLogger("prometheus")
    ours.setLevel(logging.DEBUG if verbose else logging.INFO)
    if not any(isinstance(handler, _StandardErrorHandler) for handler in ours.handlers):
        handler = _StandardErrorHandler()
        handler.setFormatter(OneLineFormatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        ours.addHandler(handler)
        ours.propagate = False


def retry_lost_connection(work: Callable[[], T]) -> T:
    """Return ``work()``, done again on a new connection if the one in use is lost; gives up after a minute.

    A lost reply to COMMIT is not a failed commit, and the two cannot be told apart. `work` must therefore be one
    transaction of upserts on natural keys: done twice, it leaves the same rows, and the second time counts none as
    written if the first one was committed after all.
    """
    try:
        return work()
    except DatabaseUnreachableError as error:
        if not error.was_connected:
            raise  # nothing was there to begin with: say so at once
        logger.warning("%s; trying again", error)
    import stamina  # noqa: PLC0415 -- slow to import, and rarely needed

    for attempt in stamina.retry_context(on=DatabaseUnreachableError, attempts=ATTEMPTS, timeout=TIMEOUT_S):
        with attempt:
            return work()
    raise AssertionError("stamina returns or raises")
