"""Workers that die, refuse and come home: every chunk is done, and what cannot be done is named alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fixtures.backfills import Items, LineFactory, LineReport

from prometheus.backfill.local import InProcess, LocalWorkers
from prometheus.backfill.work import BackfillRun, Engine, run_backfill
from prometheus.errors import PrometheusError, UsageError


def carry_out(engine: Engine, file: Path, *chunks: str) -> BackfillRun[LineReport]:
    wanted = [Items(tuple(chunk.split())) for chunk in chunks]
    return run_backfill(engine, LineFactory(file), wanted, LineReport(), lambda _done, _total: None)


def names_in(file: Path) -> list[str]:
    return sorted(line.split()[0] for line in file.read_text().splitlines())


def processes_in(file: Path) -> set[str]:
    return {line.split()[1] for line in file.read_text().splitlines()}


def test_every_chunk_is_done_once_and_by_both_workers(tmp_path: Path) -> None:
    chunks = [f"a{number} b{number}" for number in range(12)]
    run = carry_out(LocalWorkers(2), tmp_path / "lines", *chunks)
    expected = sorted(name for chunk in chunks for name in chunk.split())
    assert names_in(tmp_path / "lines") == sorted(run.report.names) == expected
    assert len(processes_in(tmp_path / "lines")) == 2


def test_one_process_does_the_chunks_in_order_and_alone(tmp_path: Path) -> None:
    for engine in (InProcess(), LocalWorkers(1)):
        assert carry_out(engine, tmp_path / "lines", "a b", "c", "d").report.names == ("a", "b", "c", "d")
    assert len(processes_in(tmp_path / "lines")) == 1


def test_a_dead_workers_chunk_is_done_by_another(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = carry_out(LocalWorkers(2), tmp_path / "lines", "a", "fatal-once b", "c", "d")
    assert run.exit_code == 0
    assert names_in(tmp_path / "lines") == ["a", "b", "c", "d", "fatal-once"]


def test_an_item_that_kills_every_worker_is_named_alone_and_the_others_are_done(tmp_path: Path) -> None:
    run = carry_out(LocalWorkers(2), tmp_path / "lines", "a b", "c deadly d e", "f", "g h")
    assert names_in(tmp_path / "lines") == list("abcdefgh")
    (failure,) = run.failures
    assert isinstance(failure, PrometheusError)
    assert failure.code == "worker_died"
    assert str(failure).startswith("deadly: ")
    assert "exit code 7" in str(failure)
    assert run.exit_code == 3


def test_an_error_of_a_worker_is_the_error_of_the_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="refused is refused"):
        carry_out(LocalWorkers(2), tmp_path / "lines", "a", "refused", "c")


def test_an_unexpected_error_brings_the_traceback_of_its_worker(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="broken is broken") as caught:
        carry_out(LocalWorkers(2), tmp_path / "lines", "a", "broken", "c")
    assert "in encode" in caught.value.__notes__[0]


def test_a_dry_run_only_counts(tmp_path: Path) -> None:
    run = carry_out(InProcess(dry_run=True), tmp_path / "lines", "a b", "deadly")
    assert run.report.names == ("a", "b", "deadly")
    assert not (tmp_path / "lines").exists()


def test_workers_that_cannot_start_end_the_run_instead_of_being_started_for_ever(tmp_path: Path) -> None:
    class HereOnly(LineFactory):
        def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
            return os._exit, (9,)

    chunks = [Items((name,)) for name in "abcd"]
    with pytest.raises(PrometheusError, match="exit code 9 before it began"):
        run_backfill(LocalWorkers(2), HereOnly(tmp_path / "lines"), chunks, LineReport(), lambda _done, _total: None)
