"""Nights that are killed at any moment and run again: every change reaches the receiver, none of them twice."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.docs.pages import ROOT
from tests.faults.harness import PATIENCE_S
from tests.fixtures.database import set_environment
from tests.fixtures.embedded_homes import Driver, Playground, needs_linux
from tests.fixtures.receivers import SECRET, Receiver, receiving

from prometheus.cli import main
from prometheus.ingest.sample import PRICES

pytest_plugins = ["tests.fixtures.embedded"]
pytestmark = [needs_linux, pytest.mark.timeout(3_600)]

CALM, LATER = "2008-08-29", "2009-06-30"
REGIONS = {name: {"instrument_id": "GSPC.INDX", "prototypes": "p.json"} for name in ("A", "B")}
KINDS = {"change", "probability"}
LOST = "alerts are lost, or out of order"
COMMAND = (sys.executable, "-m", "prometheus", "nightly")
PLANTED = (sys.executable, "-m", "tests.faults.planted_alerts")
_UNTOLD = """
    TRUNCATE alert_deliveries;
    UPDATE nightly_marks SET told_until = '2008-08-29';
    DELETE FROM regimes WHERE as_of_date > '2008-08-29';
    DELETE FROM regime_transitions WHERE as_of_date > '2008-08-29';
"""


class Nights:
    """Two regions labelled up to a calm day, and nights from there on that can be killed."""

    def __init__(self, server: Driver, folder: Path) -> None:
        self.command: Sequence[str] = COMMAND
        self._server, self._folder = server, folder
        index = ["--region", "A", "--instrument-id", "GSPC.INDX"]
        for words in (
            ["ingest", "prices", str(PRICES)],
            ["calibrate", *index, "--until", "2007-12-31", "--output", "p.json"],
            ["nightly", "--as-of", CALM],
        ):
            assert main(words) == 0, words

    def forget(self) -> None:
        """Go back to the calm day."""
        self._server.query(_UNTOLD, "prometheus_runtime")

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command, "--as-of", LATER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=self._folder, env=dict(os.environ),
        )  # fmt: skip

    def kill_when(self, is_time: Callable[[], bool]) -> bool:
        """Kill a night once it is time; False if it had ended by then."""
        night = self.start()
        while night.poll() is None and not is_time():
            time.sleep(0.002)
        was_running = night.poll() is None
        night.kill()
        night.communicate()
        return was_running

    def complete(self) -> float:
        """Run a night to its end and return how long it took."""
        began = time.monotonic()
        night = self.start()
        _, words = night.communicate(timeout=PATIENCE_S)
        if night.returncode == 1 and "under way" in words:  # the server has not seen yet that its client is dead
            return self.complete()
        assert night.returncode == 0, words
        return time.monotonic() - began


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        receiver.pause_s = 0.02  # so that some kills land between an alert taken and its note
        receiver.busy_every = 4  # and some between two attempts
        yield receiver


@pytest.fixture
def nights(
    playground: Playground, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Nights]:
    server = playground.server()
    server.ensure_running()
    (tmp_path / "key").write_text(SECRET)
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "alerts.toml").write_text(
        f'[channels.desk]\ntype = "webhook"\naddress = "{receiver.address}"\nsecret = {{file = "key"}}\n'
        'allow_private = true\n[[rules]]\nname = "all"\nkinds = ["change", "probability"]\nlevel = 0.5\n'
    )
    monkeypatch.chdir(tmp_path)
    set_environment(
        monkeypatch,
        {
            "PROMETHEUS_HOME": str(server.settings.home),
            "PROMETHEUS_REGIONS": json.dumps(REGIONS),
            "PROMETHEUS_ALERTS_FILE": "alerts.toml",
            "PYTHONPATH": str(ROOT),
        },
    )
    yield Nights(server, tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)


def killed_nights(nights: Nights, receiver: Receiver, n_kills: int, seed: int) -> None:
    nights.forget()
    duration = nights.complete()
    expected = {region: receiver.of(region) for region in REGIONS}
    assert {each.split()[1] for told in expected.values() for each in told} == KINDS
    n_requests = receiver.n_requests
    assert n_requests - receiver.n_busy == len(receiver.taken) == sum(map(len, expected.values())) > 5

    moments, n_repeated, n_mid_run = random.Random(seed), 0, 0
    for turn in range(n_kills):
        nights.forget()
        receiver.forget()
        n_mid_run += nights.kill_when(
            after(moments.uniform(0.2, 1) * duration)
            if turn % 2
            else while_sent(receiver, moments.randint(1, n_requests))
        )
        nights.complete()
        assert {region: receiver.of(region) for region in REGIONS} == expected, LOST
        assert not receiver.forged
        n_repeated += receiver.n_requests - receiver.n_busy - len(receiver.taken)
    assert n_mid_run >= n_kills / 2, "hardly a kill came before the end"
    assert n_repeated <= n_kills, "a kill repeats at most the request that was under way"


def after(seconds: float) -> Callable[[], bool]:
    until = time.monotonic() + seconds
    return lambda: time.monotonic() >= until


def while_sent(receiver: Receiver, n: int) -> Callable[[], bool]:
    """Return whether the alerts under way are so many, however slow the machine is."""
    return lambda: receiver.n_requests >= n


@pytest.mark.parametrize(("n_kills", "seed"), [(1, 3), pytest.param(200, 17, marks=pytest.mark.deep)])
def test_every_alert_arrives_after_every_kill(nights: Nights, receiver: Receiver, n_kills: int, seed: int) -> None:
    killed_nights(nights, receiver, n_kills, seed)


@pytest.mark.deep
def test_a_bug_that_counts_an_alert_as_sent_before_it_is_sent_is_caught(nights: Nights, receiver: Receiver) -> None:
    nights.command = PLANTED
    with pytest.raises(AssertionError, match=LOST):
        killed_nights(nights, receiver, 20, seed=3)
