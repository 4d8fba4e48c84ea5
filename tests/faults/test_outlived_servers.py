"""Whatever dies of an embedded server in mid-run: the run starts it anew and goes on, or is gone on with; same rows."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.faults.harness import progress_file
from tests.faults.killing import kill_once, undisturbed, victims_of
from tests.faults.workloads import Ground, workloads
from tests.fixtures.embedded_homes import Playground, needs_linux
from tests.fixtures.receivers import receiving

pytest_plugins = ["tests.fixtures.embedded"]
pytestmark = [needs_linux, pytest.mark.timeout(1_800)]

RECOVERED_S = 60.0
ATTEMPTS = 5
WORKLOADS = workloads()
MakeGround = Callable[[Sequence[str]], Ground]


@pytest.fixture
def make_ground(playground: Playground, tmp_path: Path) -> Iterator[MakeGround]:
    """Return a ground for some workloads."""
    with receiving() as receiver:
        receiver.pause_s = 0.05
        yield lambda names: Ground(playground.server(), tmp_path, receiver, names)


def outlive(ground: Ground, name: str, victims: Sequence[str], seed: int) -> None:
    """Kill each victim once in mid-run."""
    workload, moments = WORKLOADS[name], random.Random(seed)
    expected = undisturbed(ground, workload)
    for victim in victims:
        for attempt in range(ATTEMPTS):
            share = moments.uniform(0.2, 0.9) * 0.7**attempt  # runs after the first find the disk's pages in memory
            kill = kill_once(ground, workload, expected, victim, share)
            if kill.hit:
                break
        assert kill.hit, f"{victim}: at no moment was there one"
        assert kill.is_sound, kill
        if victim != "driver":
            assert kill.ended_well, kill
            assert kill.recovery_s < RECOVERED_S


@pytest.mark.parametrize(
    ("name", "victims"), [("ingest", ["both", "supervisor"]), ("numeric", ["postmaster", "backend"])]
)
def test_a_run_goes_on_after_its_server_died(make_ground: MakeGround, name: str, victims: Sequence[str]) -> None:
    outlive(make_ground([name]), name, victims, seed=4)


@pytest.mark.deep
@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_every_command_outlives_every_victim(make_ground: MakeGround, name: str) -> None:
    outlive(make_ground([name]), name, victims_of(WORKLOADS[name]), seed=11)


@pytest.mark.deep
def test_a_bug_that_marks_progress_before_the_rows_is_caught(make_ground: MakeGround) -> None:
    ground, workload, moments = make_ground(["numeric"]), WORKLOADS["numeric"], random.Random(3)
    expected = undisturbed(ground, workload)
    ground.planted[workload.command[0]] = "tests.faults.planted"
    for _ in range(4 * ATTEMPTS):
        progress_file(ground.server.settings.home).unlink(missing_ok=True)
        kill = kill_once(ground, workload, expected, "driver", moments.uniform(0.3, 0.9))
        if kill.n_lost and not kill.is_sound:
            return
    pytest.fail("the kills do not see rows that are missing")
