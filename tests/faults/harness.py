"""Backfills that are killed, and what is left of them.

A run is one real command in a process of its own, with two workers, on an embedded server of its own. A kill falls once
a random share of the rows is stored, and a moment later, however fast the machine is. It counts only if it lands
mid-run: the command is still running, some chunk is stored, and not all of them are.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.servers import load_random_walks
from tests.fixtures.embedded_homes import Driver

from prometheus.app.databases import DatabaseManager
from prometheus.core.config import PrometheusConfig

WINDOW_DAYS = 63
N_DATES = 2_500
COMMAND = (sys.executable, "-m", "prometheus", "backfill_numeric_embeddings")
PATIENCE_S = 120.0
LONGEST_CHUNK_S = 0.1
_DIGEST = """
    SELECT count(*), md5(string_agg(md5(vector) || entity_id || as_of_date || input_hash || dim || window_spec, ''
                                    ORDER BY entity_id, as_of_date))
    FROM numeric_window_embeddings
"""

Digest = tuple[int, str]
Kill = Callable[[subprocess.Popen[str]], bool]
"""Ends something of a run, and tells whether there was anything to end."""


@dataclass(frozen=True, slots=True)
class Killed:
    """A run that was killed mid-run.

    Attributes
    ----------
    n_stored
        Rows that were there after it ended.
    n_again
        Rows that the run after it wrote.
    """

    exit_code: int
    words: str
    n_stored: int
    n_again: int
    digest: Digest


class Backfill:
    """One backfill that can be run, killed and run again."""

    def __init__(self, server: Driver, n_instruments: int, command: Sequence[str] = COMMAND) -> None:
        self.server = server
        self._environment = {**os.environ, "PROMETHEUS_HOME": str(server.settings.home)}
        self._databases = DatabaseManager(PrometheusConfig(home=server.settings.home))
        self._names = load_random_walks(self._databases, n_instruments, N_DATES + WINDOW_DAYS - 1)
        self._databases.close_all()
        self._program = command
        self.use_workers(2)
        self.n_rows = n_instruments * N_DATES

    def use_workers(self, n_workers: int) -> None:
        """Begin later runs with so many."""
        self._command = [
            *self._program, "--workers", str(n_workers), "--date-range", "2000-01-01", "2025-01-31", "--json",
            *(word for name in self._names for word in ("--instrument-id", name)),
        ]  # fmt: skip

    def start(self) -> subprocess.Popen[str]:
        """Begin a run."""
        return subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def complete(self) -> dict[str, Any]:
        """Run to the end and return the closing summary."""
        done = subprocess.run(self._command, env=self._environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        summary: dict[str, Any] = json.loads(done.stdout)
        return summary

    def forget(self) -> None:
        """Empty the table."""
        self.server.query("TRUNCATE numeric_window_embeddings")

    def n_stored(self) -> int:
        """Rows that are there."""
        return int(self.server.query("SELECT count(*) FROM numeric_window_embeddings"))

    def digest(self) -> Digest:
        """Count and digest of all rows, but for when they were written."""
        with self.server.connect() as connection:
            row = connection.execute(_DIGEST).fetchone()
        assert row is not None
        return int(row[0]), str(row[1])

    def undisturbed(self) -> Digest:
        """Run from nothing to the end, and return what is stored then."""
        self.forget()
        self.complete()
        return self.digest()

    def kill_at(self, moment: float, kill: Kill) -> Killed | None:
        """Run from nothing, kill once a share of the rows is stored, run again; None for a kill in vain."""
        self.forget()
        run = self.start()
        wait_for(lambda: self.n_stored() > moment * self.n_rows or run.poll() is not None)
        time.sleep(random.Random(moment).uniform(0, LONGEST_CHUNK_S))
        is_mid_run = run.poll() is None and 0 < self.n_stored() < self.n_rows
        workers = workers_of(run.pid)
        is_mid_run = is_mid_run and kill(run)
        _, words = run.communicate(timeout=PATIENCE_S)
        wait_for(lambda: not any(is_alive(pid) for pid in workers))
        if not is_mid_run:
            return None
        self.server.ensure_running()
        n_stored = self.n_stored()
        n_again = int(self.complete()["written"])
        return Killed(run.returncode, words, n_stored, n_again, self.digest())


def kill_client(run: subprocess.Popen[str]) -> bool:
    """End the driver at once; its workers find themselves alone."""
    run.kill()
    return True


def kill_worker(run: subprocess.Popen[str]) -> bool:
    """End one worker at once; False when there is none left."""
    workers = workers_of(run.pid)
    if workers:
        with suppress(ProcessLookupError):
            os.kill(workers[0], signal.SIGKILL)
            return True
    return False


def killer_of(server: Driver) -> Kill:
    """Return what ends the server at once, as in a power failure."""

    def kill(_run: subprocess.Popen[str]) -> bool:
        server.kill()
        return True

    return kill


def workers_of(driver_pid: int) -> list[int]:
    """Return the worker processes of a driver."""
    found = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,command="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 3) for line in found.stdout.splitlines()]
    return [
        int(row[0])
        for row in rows
        if len(row) == 4 and int(row[1]) == driver_pid and "spawn_main" in row[3] and not row[2].startswith("Z")
    ]


def is_alive(pid: int) -> bool:
    """Return whether a process still runs."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_for(condition: Callable[[], bool]) -> float:
    """Wait for something that must become true; return when it did."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.03)
    return time.monotonic()


def progress_file(home: Path) -> Path:
    """Where the planted bug keeps its progress."""
    return home / "progress.txt"
