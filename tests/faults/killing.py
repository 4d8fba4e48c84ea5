"""Kills of every process that a run consists of, at any moment, and what is left of the run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from tests.faults.harness import is_alive, wait_for, workers_of
from tests.faults.workloads import Ground, Rows, Workload
from tests.fixtures.embedded_homes import Driver

_BACKENDS = """
    SELECT pid FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND usename = 'prometheus_app' AND pid <> pg_backend_pid() ORDER BY pid
"""
GIVEN_UP_S = 100.0
"""The minute in which a run waits for its server, and a start of it."""

Victim = Callable[[Driver, subprocess.Popen[str]], bool]
"""Ends something of a run, and says whether there was anything to end."""


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """What a workload leaves if nothing goes wrong, and how long it takes."""

    seconds: float
    rows: Rows
    told: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill, and its outcome.

    Attributes
    ----------
    hit
        Whether the victim was there; else nothing was killed.
    exit_code
        Of the run whose victim was killed.
    recovery_s
        From the kill to the run's end, less what an undisturbed run would still have needed.
    n_lost, n_partial
        Rows that are missing after the command was run again; rows that are not those of an undisturbed run, before or
        after that.
    equal
        Whether rows, and alerts in their order, are those of an undisturbed run in the end.
    """

    command: str
    victim: str
    moment: float
    hit: bool
    exit_code: int
    recovery_s: float
    n_lost: int
    n_partial: int
    equal: bool
    words: str

    @property
    def ended_well(self) -> bool:
        """Whether the run needed nobody."""
        return self.exit_code == 0

    @property
    def is_sound(self) -> bool:
        """Whether everything is as if nothing had happened."""
        return self.equal and not self.n_lost and not self.n_partial


def undisturbed(ground: Ground, workload: Workload) -> Undisturbed:
    """Run a workload from nothing to its end."""
    ground.forget(workload)
    seconds = ground.run(*workload.command)
    found = Undisturbed(seconds, ground.rows(workload), ground.told(workload))
    assert all(rows.total() for rows in found.rows.values()), f"{workload.name} leaves no row of a table"
    return found


def kill_once(ground: Ground, workload: Workload, expected: Undisturbed, name: str, moment: float) -> Kill:
    """Run a workload from nothing, kill a victim after a share of its duration, and run it again."""
    ground.server.ensure_running()
    ground.forget(workload)
    run = ground.start(*workload.command)
    time.sleep(moment * expected.seconds)
    workers, at = workers_of(run.pid), time.monotonic()
    hit = False
    while not hit and run.poll() is None:  # at a moment without one, the next one that there is
        hit = VICTIMS[name](ground.server, run)
    try:
        _, words = run.communicate(timeout=GIVEN_UP_S + expected.seconds)
    except subprocess.TimeoutExpired:
        run.kill()
        _, words = run.communicate()
    recovery_s = time.monotonic() - at - (1 - moment) * expected.seconds
    wait_for(lambda: not any(is_alive(pid) for pid in workers))
    ground.server.ensure_running()
    _, n_partial = _differences(expected.rows, ground.rows(workload), workload)
    ground.run(*workload.command)
    rows = ground.rows(workload)
    n_lost, n_wrong = _differences(expected.rows, rows, workload)
    is_equal = rows == expected.rows and ground.told(workload) == expected.told
    return Kill(
        workload.name, name, round(moment, 3), hit, run.returncode, round(max(recovery_s, 0.0), 2), n_lost,
        n_partial + n_wrong, is_equal, "\n".join(words.splitlines()[-6:]),
    )  # fmt: skip


def _differences(expected: Rows, found: Rows, workload: Workload) -> tuple[int, int]:
    """Return how many rows are missing, and how many are there that should not be.

    An alert's row changes while it is sent: it is judged in the end alone.
    """
    lost, strange = Counter[str](), Counter[str]()
    for table, rows in expected.items():
        lost.update(rows - found[table])
        if table not in {"alert_deliveries", "regime_transitions"}:
            strange.update(found[table] - rows)
    return lost.total(), strange.total()


def kill_driver(_server: Driver, run: subprocess.Popen[str]) -> bool:
    """End the command itself."""
    run.kill()
    return True


def kill_worker(_server: Driver, run: subprocess.Popen[str]) -> bool:
    """End one of its workers."""
    workers = workers_of(run.pid)
    return bool(workers) and _end(workers[0])


def kill_backend(server: Driver, _run: subprocess.Popen[str]) -> bool:
    """End the server's process that serves a connection; the server then ends all others, and recovers."""
    with server.connect() as connection:
        found = connection.execute(_BACKENDS).fetchall()
    return bool(found) and _end(found[0][0])


def kill_postmaster(server: Driver, _run: subprocess.Popen[str]) -> bool:
    """End the server's first process."""
    return _end(server.pid)


def kill_supervisor(server: Driver, _run: subprocess.Popen[str]) -> bool:
    """End the server's parent, whose death shuts it down."""
    return _end(server.supervisor_pid)


def kill_both(server: Driver, _run: subprocess.Popen[str]) -> bool:
    """End both at once, as when the power fails."""
    server.kill()
    return True


def stop_server(server: Driver, _run: subprocess.Popen[str]) -> bool:
    """Stop it in good order, as ``db stop`` does."""
    return server.stop()


VICTIMS: dict[str, Victim] = {
    "driver": kill_driver,
    "worker": kill_worker,
    "backend": kill_backend,
    "postmaster": kill_postmaster,
    "supervisor": kill_supervisor,
    "both": kill_both,
    "db stop": stop_server,
}


def victims_of(workload: Workload) -> list[str]:
    """Return what can be killed of a workload."""
    return [name for name in VICTIMS if name != "worker" or workload.has_workers]


def _end(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False
