"""A backfill killed at any moment and run again leaves what an undisturbed one leaves; only the rest is computed."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from itertools import cycle, islice

import pytest
from tests.faults.harness import (
    Backfill,
    Digest,
    Kill,
    Killed,
    kill_client,
    kill_worker,
    killer_of,
    progress_file,
)
from tests.fixtures.embedded_homes import Playground, needs_linux

pytest_plugins = ["tests.fixtures.embedded"]
pytestmark = [needs_linux, pytest.mark.timeout(1_200)]

PLANTED = (sys.executable, "-m", "tests.faults.planted")
MAX_ATTEMPTS_PER_KILL = 5
LATEST = 0.8  # so that most kills leave rows to compute


def kills(backfill: Backfill, kinds: dict[str, Kill], n_kills: int, seed: int) -> Iterator[tuple[str, Killed, Digest]]:
    """Kill so many runs mid-run, one kind after the other, each once a random share of the rows is stored."""
    expected = backfill.undisturbed()
    moments = random.Random(seed)
    for kind in islice(cycle(kinds), n_kills):
        for _ in range(MAX_ATTEMPTS_PER_KILL):
            killed = backfill.kill_at(moments.uniform(0, LATEST), kinds[kind])
            if killed is not None:
                break
        assert killed is not None, f"{kind}: no moment was mid-run"
        yield kind, killed, expected


def check(kind: str, killed: Killed, expected: Digest) -> None:
    assert killed.digest == expected, f"{kind}: {killed.n_stored} rows were stored, {killed.n_again} written again"
    assert killed.n_stored + killed.n_again == expected[0]
    if kind == "worker":
        assert (killed.exit_code, killed.n_again) == (0, 0), killed.words
    if kind == "server":
        assert killed.exit_code in (0, 4), killed.words


def all_kinds(backfill: Backfill) -> dict[str, Kill]:
    return {"client": kill_client, "worker": kill_worker, "server": killer_of(backfill.server)}


@pytest.mark.deep
def test_three_kills(playground: Playground) -> None:
    backfill = Backfill(playground.server(), n_instruments=60)
    for kind, killed, expected in kills(backfill, all_kinds(backfill), 3, seed=5):
        check(kind, killed, expected)


@pytest.mark.deep
@pytest.mark.parametrize("seed", [11])
def test_twenty_kills(playground: Playground, seed: int) -> None:
    backfill = Backfill(playground.server(), n_instruments=150)
    n_left_over = 0
    for kind, killed, expected in kills(backfill, all_kinds(backfill), 20, seed):
        check(kind, killed, expected)
        n_left_over += killed.n_again > 0
    assert n_left_over >= 6, "hardly a kill left anything to do"


@pytest.mark.deep
def test_a_bug_that_marks_progress_before_the_rows_is_caught(playground: Playground) -> None:
    server = playground.server()
    backfill = Backfill(server, n_instruments=40, command=PLANTED)
    progress = progress_file(server.settings.home)

    expected = backfill.undisturbed()
    moments = random.Random(3)
    for _ in range(2 * MAX_ATTEMPTS_PER_KILL):
        progress.unlink(missing_ok=True)
        killed = backfill.kill_at(moments.uniform(0, LATEST), kill_client)
        if killed is not None and killed.digest != expected:
            return
    pytest.fail("the kill test does not see rows that are missing")
