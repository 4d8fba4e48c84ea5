"""Warnings of a piece of work, kept so that they are said again where it need not be done again."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_OURS = "prometheus"
Said = tuple[str, int, str]
"""The name of a logger, a level and a message."""


class _Ear(logging.Handler):
    def __init__(self, heard: list[Said]) -> None:
        super().__init__(logging.WARNING)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.append((record.name, record.levelno, record.getMessage()))


@contextmanager
def listening() -> Iterator[list[Said]]:
    """Collect the warnings of the package while they are said as ever; those of every thread."""
    heard: list[Said] = []
    ours, ear = logging.getLogger(_OURS), _Ear(heard)
    ours.addHandler(ear)
    try:
        yield heard
    finally:
        ours.removeHandler(ear)


def say_again(said: Iterable[Any]) -> None:
    """Say what was heard, or what JSON kept of it."""
    for name, level, message in said:
        logging.getLogger(name).log(level, "%s", message)
