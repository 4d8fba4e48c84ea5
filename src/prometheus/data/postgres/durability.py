"""Whether a server keeps what it says is stored."""

from __future__ import annotations

import logging
from multiprocessing import parent_process

import psycopg

logger = logging.getLogger(__name__)

SAFEGUARDS = ("fsync", "full_page_writes", "synchronous_commit")
"""Settings of PostgreSQL without which a crash takes committed rows: the first two any, the last one the newest."""


class DurabilityWatch:
    """Warns of a server whose safeguards are off, once for each server, and remembers what it found."""

    def __init__(self) -> None:
        self._found: set[tuple[str, int, tuple[str, ...]]] = set()

    def look(self, connection: psycopg.Connection, values: tuple[str, ...]) -> None:
        """Take the values of `SAFEGUARDS` on a connection."""
        off = tuple(name for name, value in zip(SAFEGUARDS, values, strict=True) if value == "off")
        place = (connection.info.host, connection.info.port, off)
        if off and place not in self._found:
            self._found.add(place)
            if parent_process() is None:  # else the process that started this one has said it
                logger.warning("%s", _warning(off))

    @property
    def off(self) -> list[str]:
        """Names of the safeguards that are off on a server that was looked at."""
        return [name for name in SAFEGUARDS if any(name in off for _, _, off in self._found)]


def _warning(off: tuple[str, ...]) -> str:
    settings = ", ".join(f"{name} = off" for name in off)
    lost = "rows stored just before a crash of the server are lost"
    if off != ("synchronous_commit",):
        lost = "a crash of the server's machine can take any stored row, or the whole database"
    return f"the server runs with {settings}: {lost}; set {'it' if len(off) == 1 else 'them'} to on"
