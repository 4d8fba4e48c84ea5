"""Killed at any moment, the tables of regimes and the forward record say the same, and the chain holds."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import pytest
from tests.faults.harness import PATIENCE_S, kill_client, killer_of, wait_for
from tests.faults.speaker import PER_TRANSACTION
from tests.fixtures.embedded_homes import Driver, Playground, needs_linux

from prometheus.app.databases import DatabaseManager
from prometheus.core.config import PrometheusConfig
from prometheus.data.record import ForwardRecord
from prometheus.server import RUNTIME_DATABASE

pytest_plugins = ["tests.fixtures.embedded"]
pytestmark = [needs_linux, pytest.mark.timeout(1_200)]

LONGEST_S = 0.5
_STATED = "region, model_id, as_of_date, regime_label, confidence"
_DIFFERENT = f"""
    SELECT count(*) FROM (SELECT {_STATED} FROM regimes) AS r FULL JOIN (SELECT {_STATED} FROM forward_record) AS f
    USING ({_STATED}) WHERE r IS NULL OR f IS NULL
"""


def n_said(server: Driver) -> int:
    return int(server.query("SELECT count(*) FROM forward_record", RUNTIME_DATABASE))


def speak(server: Driver, n_before: int) -> subprocess.Popen[str]:
    """Return a process that has added statements, and goes on."""
    environment = {**os.environ, "PROMETHEUS_HOME": str(server.settings.home)}
    run = subprocess.Popen([sys.executable, "-m", "tests.faults.speaker"], env=environment, text=True)
    wait_for(lambda: n_said(server) > n_before or run.poll() is not None)
    return run


@pytest.mark.parametrize("n_kills", [3, pytest.param(60, marks=pytest.mark.deep)])
def test_regimes_and_record_agree_after_every_kill(playground: Playground, n_kills: int) -> None:
    server = playground.server()
    databases = DatabaseManager(PrometheusConfig(home=server.settings.home))
    databases.upgrade()
    chance, n_before = random.Random(17), 0
    for number in range(n_kills):
        run = speak(server, n_before)
        time.sleep(chance.uniform(0, LONGEST_S))
        assert run.poll() is None, "it speaks until it is ended"
        if number % 3 == 2:
            killer_of(server)(run)
        kill_client(run)
        run.wait(PATIENCE_S)
        server.ensure_running()
        databases.close_all()
        verdict = ForwardRecord(databases).verify()
        assert verdict.fault is None
        assert server.query(_DIFFERENT, RUNTIME_DATABASE) == 0
        assert verdict.head.n_statements > n_before
        assert verdict.head.n_statements % (3 * PER_TRANSACTION) == 0
        n_before = verdict.head.n_statements
    databases.close_all()
