"""Work done again after a lost connection, as every run does it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from prometheus.errors import DatabaseUnreachableError

T = TypeVar("T")

ATTEMPTS = 5
TIMEOUT_S = 60.0

logger = logging.getLogger(__name__)


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
