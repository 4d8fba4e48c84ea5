"""A first fill that is killed, or whose server dies: the rows are all there, or the next run writes them."""

from __future__ import annotations

import signal

import pytest
from tests.faults.harness import PATIENCE_S, Backfill, wait_for
from tests.fixtures.embedded_homes import Playground, needs_linux

pytest_plugins = ["tests.fixtures.embedded"]
pytestmark = [needs_linux, pytest.mark.timeout(600), pytest.mark.deep]

HOLDER = """
    SELECT count(*) FROM pg_locks WHERE relation = 'numeric_window_embeddings'::regclass
    AND mode = 'AccessExclusiveLock' AND granted
"""


def one_process(playground: Playground) -> Backfill:
    """Return a backfill large enough for a first fill."""
    backfill = Backfill(playground.server(), n_instruments=60)
    backfill.use_workers(1)
    return backfill


def test_a_killed_first_fill_leaves_an_empty_table_that_the_next_run_fills(playground: Playground) -> None:
    backfill = one_process(playground)
    run = backfill.start()
    wait_for(lambda: backfill.server.query(HOLDER) > 0 or run.poll() is not None)
    run.kill()
    run.communicate(timeout=PATIENCE_S)
    wait_for(lambda: backfill.server.query(HOLDER) == 0)
    assert backfill.n_stored() == 0
    assert backfill.complete()["written"] == backfill.n_rows
    filled = backfill.digest()
    backfill.use_workers(2)
    assert backfill.undisturbed() == filled


def test_rows_without_wal_outlive_a_server_that_dies(playground: Playground) -> None:
    backfill = one_process(playground)
    assert backfill.complete()["written"] == backfill.n_rows
    filled = backfill.digest()
    backfill.server.kill()
    backfill.server.ensure_running()
    assert backfill.digest() == filled
    assert backfill.complete()["written"] == 0
    found = backfill.server.query("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
    assert found == 0


def test_a_run_that_is_asked_to_stop_says_how_to_go_on(playground: Playground) -> None:
    backfill = one_process(playground)
    run = backfill.start()
    wait_for(lambda: backfill.server.query(HOLDER) > 0 or run.poll() is not None)
    run.send_signal(signal.SIGTERM)
    output, words = run.communicate(timeout=PATIENCE_S)
    assert (run.returncode, output) == (143, ""), words
    assert words.splitlines()[-1] == "error: interrupted; nothing is half-written, run it again to go on"
    n_stored = backfill.n_stored()
    assert n_stored < backfill.n_rows
    assert backfill.complete()["written"] == backfill.n_rows - n_stored
