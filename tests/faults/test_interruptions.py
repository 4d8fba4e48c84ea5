"""A backfill that is asked to stop, meets another one, or finds the disk full: it says so, and nothing is lost."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.harness import PATIENCE_S, Backfill, is_alive, wait_for, workers_of
from tests.fixtures.embedded_homes import Driver, Playground, needs_linux, needs_root

from prometheus.backfill.plan import CHUNK_WINDOWS

pytest_plugins = ["tests.fixtures.embedded"]
pytestmark = [needs_linux, pytest.mark.timeout(600)]

DISK_MIB = 400


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.deep)]
)
def test_a_run_that_is_asked_to_stop_ends_cleanly_and_says_how_to_go_on(
    playground: Playground, number: signal.Signals, exit_code: int
) -> None:
    backfill = Backfill(playground.server(), n_instruments=25)
    run = backfill.start()
    wait_for(lambda: backfill.n_stored() > 0 or run.poll() is not None)
    workers = workers_of(run.pid)
    run.send_signal(number)
    output, words = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == exit_code, words
    assert output == ""
    assert words.splitlines()[-1] == "error: interrupted; nothing is half-written, run it again to go on"
    assert "Traceback" not in words
    wait_for(lambda: not any(is_alive(pid) for pid in workers))
    n_stored = backfill.n_stored()
    assert 0 < n_stored < backfill.n_rows
    assert backfill.complete()["written"] == backfill.n_rows - n_stored


@pytest.mark.deep
def test_two_runs_at_once_share_the_work(playground: Playground) -> None:
    backfill = Backfill(playground.server(), n_instruments=60)
    runs = [backfill.start() for _ in range(2)]
    ends = [run.communicate(timeout=PATIENCE_S) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], ends
    summaries = [json.loads(output) for output, _ in ends]
    assert sum(summary["written"] for summary in summaries) == backfill.n_rows
    assert all(summary["written"] + summary["unchanged"] == backfill.n_rows for summary in summaries)
    assert backfill.n_stored() == backfill.n_rows
    # insertions that were rolled back are counted, too, so this is what both have done together
    inserted = "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'numeric_window_embeddings'"
    assert backfill.n_rows <= backfill.server.query(inserted) <= backfill.n_rows + CHUNK_WINDOWS


@pytest.fixture
def small_disk(playground: Playground, tmp_path: Path) -> Iterator[Path]:
    """A file system of its own for a home, too small for the rows."""
    place = playground.top / "disk"
    place.mkdir(mode=0o755)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=755", "tmpfs", str(place)], check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    assert playground.prepared is not None
    subprocess.run(["cp", "-a", str(playground.prepared), str(place / "home")], check=True)
    server = Driver(place / "home")
    yield place
    server.stop()
    shutil.rmtree(place / "home")
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.deep
@needs_root
def test_a_full_disk_ends_the_run_with_one_line_and_nothing_is_lost(small_disk: Path) -> None:
    backfill = Backfill(Driver(small_disk / "home"), n_instruments=120)
    run = backfill.start()
    _, words = run.communicate(timeout=PATIENCE_S)
    errors = [line for line in words.splitlines() if line.startswith("error:")]
    assert run.returncode in (1, 4), words
    assert len(errors) == 1
    assert "Traceback" not in words
    subprocess.run(["mount", "-o", "remount,size=2g", str(small_disk)], check=True)
    backfill.server.ensure_running()
    n_stored = backfill.n_stored()
    assert 0 < n_stored < backfill.n_rows
    assert backfill.complete()["written"] == backfill.n_rows - n_stored
