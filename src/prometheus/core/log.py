"""Logging to standard error: short lines for people, one format everywhere."""

from __future__ import annotations

import logging
import sys
from typing import TextIO


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
    logger = logging.getLogger("prometheus")
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    if not any(isinstance(handler, _StandardErrorHandler) for handler in logger.handlers):
        handler = _StandardErrorHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
        logger.propagate = False
