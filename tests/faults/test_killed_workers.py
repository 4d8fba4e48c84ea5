"""Worker processes that are killed, before they are ready and after: others do what they left."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fixtures.backfills import Items, LineFactory, LineReport

from prometheus.backfill.local import LocalWorkers
from prometheus.backfill.work import BackfillRun, OpenedWork, run_backfill
from prometheus.errors import PrometheusError

NAMES = tuple("abcdefghij")


@dataclass(frozen=True, slots=True)
class KilledAtStart(LineFactory):
    """Its first workers are killed while they open their connections."""

    n_killed: int = 1
    signal_number: int = signal.SIGKILL

    @contextmanager
    def open(self, n_processes: int) -> Iterator[OpenedWork]:
        starts = self.file.with_suffix(".starts")
        with starts.open("a") as file:
            file.write("start\n")
        if len(starts.read_text().splitlines()) <= self.n_killed:
            os.kill(os.getpid(), self.signal_number)
        with LineFactory(self.file).open(n_processes) as opened:
            yield opened


def carry_out(factory: LineFactory) -> BackfillRun[LineReport]:
    chunks = [Items((name,)) for name in NAMES]
    return run_backfill(LocalWorkers(2), factory, chunks, LineReport(), lambda _done, _total: None)


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_killed_before_it_is_ready_is_replaced(
    signal_number: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "prometheus"):
        run = carry_out(KilledAtStart(tmp_path / "lines", 1, signal_number))
    assert run.exit_code == 0
    assert sorted(run.report.names) == list(NAMES)
    (line,) = [record.getMessage() for record in caplog.records if "a worker" in record.getMessage()]
    assert f"killed by signal {signal_number}" in line


def test_workers_that_are_all_killed_before_they_are_ready_end_the_run_with_one_line_that_says_why(
    tmp_path: Path,
) -> None:
    with pytest.raises(PrometheusError) as caught:
        carry_out(KilledAtStart(tmp_path / "lines", 1_000))
    assert caught.value.code == "worker_start"
    assert "4 worker processes in a row were killed by signal 9 (SIGKILL), which the system sends when memory" in str(
        caught.value
    )
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.deep), pytest.param(3, marks=pytest.mark.deep)])
def test_workers_killed_at_any_moment_leave_no_chunk_undone(seed: int, tmp_path: Path) -> None:
    moments, is_over = random.Random(seed), threading.Event()
    before = set(multiprocessing.active_children())

    def kill() -> None:
        for _ in range(3):
            if is_over.wait(moments.uniform(0.01, 1.0)):
                return
            alive = sorted((each.pid or 0) for each in set(multiprocessing.active_children()) - before)
            if alive:
                os.kill(moments.choice(alive), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        run = carry_out(LineFactory(tmp_path / "lines"))
    finally:
        is_over.set()
        killer.join()
    assert run.exit_code == 0
    assert sorted(run.report.names) == list(NAMES)
    assert set((tmp_path / "lines").read_text().split()[::2]) == set(NAMES)
