"""How worker processes end before their time, in words."""

from __future__ import annotations

import signal

from prometheus.errors import PrometheusError, worker_not_started

KILLED_STARTS_IN_A_ROW = 4
"""So many workers that were killed before they were ready end a run; a ready one in between begins the count anew."""


class Starts:
    """Counts the workers that were killed before they were ready, one after the other."""

    def __init__(self) -> None:
        self._n_killed = 0

    def note_ready(self) -> None:
        """Begin the count anew."""
        self._n_killed = 0

    def note_end(self, exit_code: int | None) -> None:
        """Allow another start after a worker that was not ready yet.

        `PrometheusError`, code ``worker_start``: it ended by itself, as the next one would, or too many were killed.
        """
        if exit_code is None or exit_code >= 0:
            raise worker_not_started(exit_code)
        self._n_killed += 1
        if self._n_killed >= KILLED_STARTS_IN_A_ROW:
            raise PrometheusError(
                f"{self._n_killed} worker processes in a row were {how_killed(exit_code)} before they began; free "
                "memory or use fewer --workers, then run it again: what is stored stays",
                code="worker_start",
            )


def how_killed(exit_code: int) -> str:
    """Return what a negative exit code of a process means.

    Examples
    --------
    >>> how_killed(-9)
    'killed by signal 9 (SIGKILL), which the system sends when memory runs out'
    >>> how_killed(-15)
    'killed by signal 15 (SIGTERM)'
    """
    number = -exit_code
    name = signal.Signals(number).name if number in set(signal.Signals) else "unknown"
    why = ", which the system sends when memory runs out" if number == signal.SIGKILL else ""
    return f"killed by signal {number} ({name}){why}"
