"""Backfills on a real Ray cluster of two nodes: the rows of the local run, and the end of whoever does not survive."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import date
from pathlib import Path

import pytest
from tests.fixtures.commands import run_process
from tests.fixtures.market import LoadPrices, random_walk, weekdays
from tests.fixtures.ray_cluster import TroubledFactory

from prometheus.app.backfills import NumericWorkFactory
from prometheus.app.databases import DatabaseManager
from prometheus.backfill import ray as ray_engine
from prometheus.backfill.local import InProcess
from prometheus.backfill.plan import BackfillReport, DateSpan, NumericChunk
from prometheus.backfill.ray import RayEngine
from prometheus.backfill.work import BackfillRun, Engine, WorkFactory, run_backfill
from prometheus.data.postgres.locks import open_claims
from prometheus.encoders.identity import NUM_REGIME_CORE_V1
from prometheus.errors import PrometheusError, PrototypeError, UsageError

pytest.importorskip("ray", reason="needs Ray; run: make test-ray")

# Ray leaves sockets and child processes to the end of its process
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
NAMES = ("A", "B", "C", "D", "E", "F")
SPAN = DateSpan.of_range(date(2024, 6, 3), date(2025, 1, 31))
ROWS = """
    SELECT entity_type, entity_id, model_id, window_days, as_of_date, window_spec::text, vector, dim, input_hash
    FROM numeric_window_embeddings ORDER BY entity_id, as_of_date
"""


@pytest.fixture
def factory(db_manager: DatabaseManager, load_prices: LoadPrices) -> NumericWorkFactory:
    """Work over six random walks of different lengths."""
    for number, name in enumerate(NAMES):
        n_rows = 120 + 10 * number
        load_prices(name, weekdays(n_rows), *random_walk(n_rows, seed=number))
    return NumericWorkFactory(db_manager.config, NUM_REGIME_CORE_V1)


def chunks_of(*groups: str) -> list[NumericChunk]:
    """One chunk per group of one-letter instruments."""
    return [NumericChunk(tuple(group), "US_EQ", SPAN, 63, NUM_REGIME_CORE_V1) for group in groups]


def carry_out(engine: Engine, factory: WorkFactory, *groups: str) -> BackfillRun[BackfillReport]:
    return run_backfill(engine, factory, chunks_of(*groups or NAMES), BackfillReport(), lambda _done, _total: None)


def rows_of(db_manager: DatabaseManager) -> list[tuple[object, ...]]:
    """Every stored row, but for when it was written."""
    with db_manager.get_historical_connection() as connection:
        return connection.execute(ROWS).fetchall()


def rows_of_a_local_run(db_manager: DatabaseManager, factory: WorkFactory) -> list[tuple[object, ...]]:
    """What a run in this process stores; nothing of it is left."""
    carry_out(InProcess(), factory)
    rows = rows_of(db_manager)
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM numeric_window_embeddings")
    return rows


def test_two_nodes_store_the_rows_of_the_local_run_byte_by_byte(
    ray_address: str, db_manager: DatabaseManager, factory: NumericWorkFactory, tmp_path: Path
) -> None:
    expected = rows_of_a_local_run(db_manager, factory)
    noted = TroubledFactory(factory, tmp_path)
    done = carry_out(RayEngine(ray_address, None, is_local_database=True), noted)
    assert rows_of(db_manager) == expected
    assert done.exit_code == 0
    assert done.report.written == len(expected) > 400
    assert len(set(noted.lines("nodes"))) == 2
    assert len(noted.lines("opened")) == len(set(noted.lines("opened"))) <= len(NAMES)
    assert carry_out(RayEngine(ray_address, 1, is_local_database=True), factory).report.written == 0


def test_the_chunk_of_a_killed_worker_is_done_by_another(
    ray_address: str,
    db_manager: DatabaseManager,
    factory: NumericWorkFactory,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    expected = rows_of_a_local_run(db_manager, factory)
    troubled = TroubledFactory(factory, tmp_path, kills="C")
    done = carry_out(RayEngine(ray_address, None, is_local_database=True), troubled)
    assert len(troubled.lines("deaths")) == 1
    assert done.failures == ()
    assert rows_of(db_manager) == expected
    assert capfd.readouterr().out == "", "standard output belongs to data"


def test_an_instrument_that_kills_every_worker_is_named_and_the_others_are_stored(
    ray_address: str, db_manager: DatabaseManager, factory: NumericWorkFactory, tmp_path: Path
) -> None:
    expected = [row for row in rows_of_a_local_run(db_manager, factory) if row[1] != "C"]
    troubled = TroubledFactory(factory, tmp_path, kills="C", is_deadly_each_time=True)
    done = carry_out(RayEngine(ray_address, None, is_local_database=True), troubled, "ABCD", "EF")
    (failure,) = done.failures
    assert isinstance(failure, PrometheusError)
    assert " of C, " in str(failure)
    assert done.exit_code == 3
    assert rows_of(db_manager) == expected


def test_a_model_that_wants_a_gpu_gets_one_where_there_is_one(
    ray_address: str, db_manager: DatabaseManager, factory: NumericWorkFactory, tmp_path: Path
) -> None:
    noted = TroubledFactory(factory, tmp_path, wants_gpu=True)
    carry_out(RayEngine(ray_address, None, is_local_database=True), noted)
    assert noted.lines("gpus") == ["0"], "one actor, as there is one GPU"
    assert len(set(noted.lines("nodes"))) == 1
    assert len({row[1] for row in rows_of(db_manager)}) == len(NAMES)


def test_an_error_on_a_node_arrives_as_itself_with_its_traceback(
    ray_address: str, factory: NumericWorkFactory, tmp_path: Path
) -> None:
    with pytest.raises(PrototypeError, match="refused on purpose") as caught:
        carry_out(RayEngine(ray_address, None, is_local_database=True), TroubledFactory(factory, tmp_path, refuses="B"))
    assert caught.value.exit_code == 5
    assert any("Traceback" in note for note in caught.value.__notes__)


def test_a_chunk_that_another_run_is_at_comes_last(
    ray_address: str, db_manager: DatabaseManager, factory: NumericWorkFactory
) -> None:
    chunks = chunks_of(*NAMES)
    with open_claims(db_manager) as other_run:
        assert other_run.try_claim(chunks[0].key)

        def release_when_the_others_are_stored() -> None:
            deadline = time.monotonic() + 120
            while len({row[1] for row in rows_of(db_manager)}) < len(NAMES) - 1 and time.monotonic() < deadline:
                time.sleep(0.1)
            other_run.release(chunks[0].key)

        release = threading.Thread(target=release_when_the_others_are_stored)
        release.start()
        outcomes = list(RayEngine(ray_address, None, is_local_database=True).run(factory, chunks))
        release.join()
    order = [chunk.key for chunk, _report in outcomes]
    assert all(isinstance(report, BackfillReport) for _chunk, report in outcomes)
    assert order[-1] == chunks[0].key
    assert sorted(order) == sorted(chunk.key for chunk in chunks)


def test_a_database_of_this_machine_is_refused_for_a_cluster_of_several(
    ray_address: str, factory: NumericWorkFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_engine, "is_own_address", lambda _address: False)
    for dry_run in (False, True):
        engine = RayEngine(ray_address, None, is_local_database=True, dry_run=dry_run)
        with pytest.raises(UsageError, match=r"nodes elsewhere .* set PROMETHEUS_HISTORICAL_DSN"):
            carry_out(engine, factory)
    assert carry_out(RayEngine(ray_address, None, is_local_database=False), factory, "A").report.written > 0


def test_a_dry_run_counts_and_stores_nothing(
    ray_address: str, db_manager: DatabaseManager, factory: NumericWorkFactory
) -> None:
    done = carry_out(RayEngine(ray_address, None, is_local_database=True, dry_run=True), factory)
    assert done.report.written > 400
    assert rows_of(db_manager) == []


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_interrupted_leaves_whole_chunks_and_is_resumed(
    ray_address: str,
    db_manager: DatabaseManager,
    factory: NumericWorkFactory,
    server_environment: dict[str, str],
    number: int,
    exit_code: int,
) -> None:
    expected = rows_of_a_local_run(db_manager, factory)
    # one chunk: all six instruments
    words = [sys.executable, "-m", "prometheus", "backfill_numeric_embeddings", "--engine", "ray", "--ray-address"]
    words += [ray_address, "--date-range", str(SPAN.start), str(SPAN.end)]
    words += [word for name in NAMES for word in ("--instrument-id", name)]
    environment = {**os.environ, **server_environment}
    with open_claims(db_manager) as other_run:  # so that it is under way when the signal comes
        (chunk,) = chunks_of("".join(NAMES))
        assert other_run.try_claim(chunk.key)
        process = subprocess.Popen(
            words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        wait_for_a_second_claim(db_manager)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (exit_code, ""), stderr
    assert stderr.splitlines() == ["error: interrupted; nothing is half-written, run it again to go on"]
    assert rows_of(db_manager) == []
    again = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert (again.returncode, again.stderr) == (0, "")
    assert rows_of(db_manager) == expected


def wait_for_a_second_claim(db_manager: DatabaseManager) -> None:
    """Wait until a worker asks for a claim."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%%pg_try_advisory_lock%%' AND pid <> ALL (%s)"
    deadline = time.monotonic() + 60
    with db_manager.get_historical_connection() as connection:
        connection.autocommit = True
        known = [row[0] for row in connection.execute("SELECT pid FROM pg_stat_activity").fetchall()]
        while connection.execute(query, (known,)).fetchone() == (0,):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        connection.autocommit = False


@pytest.mark.usefixtures("factory")
def test_this_machine_alone_is_a_cluster_too(
    cli_environment: dict[str, str], db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where Ray keeps the token of such a cluster
    # in a process of its own: one that was the head of a cluster can start no actors in another (Ray 2.60)
    dates = ["--date-range", str(SPAN.start), str(SPAN.end), "--instrument-id", "A", "--instrument-id", "B"]
    outcome = run_process("-m", "prometheus", "backfill_numeric_embeddings", "--engine", "ray", "--json", *dates)
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert json.loads(outcome.stdout)["written"] == len(rows_of(db_manager)) > 100
