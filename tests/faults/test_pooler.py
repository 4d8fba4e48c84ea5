"""Behind a real pgbouncer, in both of its modes: the same rows, its limits kept, and nothing left locked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from random import Random

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.fixtures.commands import Outcome, run_process
from tests.fixtures.own_databases import FreshDsn, OwnServer, manager_of
from tests.fixtures.pooler import locks_of_ours, needs_pgbouncer, pooler

import prometheus as pm
from prometheus.app.databases import DatabaseManager
from prometheus.data.postgres.locks import only_run, open_claims
from prometheus.data.postgres.pooler import PooledConnection
from prometheus.errors import DatabaseUnreachableError, RetryableError
from prometheus.ingest.prices import PriceIngest
from prometheus.ingest.report import IngestOptions
from prometheus.ingest.sample import PRICES

pytest_plugins = ["tests.fixtures.own_server"]
pytestmark = [needs_pgbouncer, pytest.mark.tcp]
MODES = pytest.mark.parametrize("mode", ["session", "transaction"])
NOW = datetime(2025, 2, 1, tzinfo=UTC)
BACKFILL = ("backfill_numeric_embeddings", "--instrument-id", "AAPL.US", "--date-range", "2020-01-01", "2025-01-31")
_DIGEST = """
    SELECT count(*), md5(string_agg(md5(vector) || entity_id || as_of_date || input_hash, '' ORDER BY as_of_date))
    FROM numeric_window_embeddings
"""


@contextmanager
def through(own_server: OwnServer, dsn: str, **settings: str | int) -> Iterator[tuple[DatabaseManager, str]]:
    """A manager that reaches a database through pgbouncer, and its DSN."""
    with pooler(own_server, **settings) as way:
        pooled = way.dsn(str(conninfo_to_dict(dsn)["dbname"]))
        with manager_of(pooled, pooled) as manager:
            yield manager, pooled


def loaded(manager: DatabaseManager) -> None:
    manager.upgrade()
    PriceIngest(manager).ingest_prices([PRICES], IngestOptions(today=date(2025, 8, 1)))


def command(dsn: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Outcome:
    for name in ("HISTORICAL", "RUNTIME"):
        monkeypatch.setenv(f"PROMETHEUS_{name}_DSN", dsn)
    return run_process("-m", "prometheus", *arguments)


def digest(dsn: str) -> tuple[object, ...] | None:
    with psycopg.connect(dsn) as connection:
        return connection.execute(_DIGEST).fetchone()


@MODES
def test_the_same_rows_come_through_a_pooler(
    mode: str, own_server: OwnServer, fresh_dsn: FreshDsn, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct, behind = fresh_dsn(), fresh_dsn()
    with manager_of(direct, direct) as manager:
        loaded(manager)
    assert command(direct, monkeypatch, *BACKFILL).exit_code == 0
    with through(own_server, behind, pool_mode=mode) as (manager, pooled):
        loaded(manager)
        for workers in ("2", "1"):
            outcome = command(pooled, monkeypatch, *BACKFILL, "--workers", workers)
            assert outcome.exit_code == 0, outcome.stderr
        outcome = command(pooled, monkeypatch, "run_numeric_regime", "--region", "US", *BACKFILL[1:])
        assert outcome.exit_code == 0, outcome.stderr
        with pm.open(manager.config) as opened:
            assert len(opened.regimes("US")) > 0
        assert locks_of_ours(own_server) == []
    assert digest(direct) == digest(behind)


@MODES
@pytest.mark.parametrize("ignored", ["", "options"])
def test_each_transaction_has_its_deadline_and_forms_and_leaves_none_to_the_next_client(
    mode: str, ignored: str, own_server: OwnServer, fresh_dsn: FreshDsn
) -> None:
    with through(own_server, fresh_dsn(), pool_mode=mode, ignore_startup_parameters=ignored) as (manager, pooled):
        manager.upgrade()
        names = ("statement_timeout", "extra_float_digits", "transaction_isolation", "transaction_read_only")
        for _ in range(2):
            with manager.get_historical_connection() as connection:
                assert isinstance(connection, PooledConnection)
                found = [connection.execute("SELECT current_setting(%s)", (name,)).fetchone() for name in names]
            assert found == [("15min",), ("1",), ("read committed",), ("off",)]
        with manager.get_owner_connection("historical") as connection:
            assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)
        with psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as stranger:
            left = [stranger.execute(f"SHOW {name}").fetchone() for name in ("statement_timeout", "bytea_output")]
            prepared = stranger.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
        assert (left, prepared) == ([("0",), ("hex",)], (0,))


@MODES
def test_who_may_only_read_cannot_write_behind_a_pooler(mode: str, own_server: OwnServer, fresh_dsn: FreshDsn) -> None:
    with through(own_server, fresh_dsn(), pool_mode=mode) as (manager, _):
        manager.upgrade()
        reader = DatabaseManager(manager.config, read_only=True)
        try:
            with reader.get_historical_connection() as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                connection.execute("DELETE FROM prices_daily")
        finally:
            reader.close_all()


@MODES
def test_of_two_runs_of_a_kind_the_second_is_told_since_when(
    mode: str, own_server: OwnServer, fresh_dsn: FreshDsn
) -> None:
    with through(own_server, fresh_dsn(), pool_mode=mode) as (manager, _):
        manager.upgrade()
        with only_run(manager, "nightly", NOW):
            with pytest.raises(RetryableError, match="2025-02-01 00:00:00 UTC"), only_run(manager, "nightly", NOW):
                pass
            with only_run(manager, "alerts", NOW):
                pass
        with only_run(manager, "nightly", NOW):
            pass
        assert locks_of_ours(own_server) == []


@MODES
@pytest.mark.parametrize("seed", range(3))
def test_claims_are_held_by_one_and_nothing_stays_locked(
    mode: str, seed: int, own_server: OwnServer, fresh_dsn: FreshDsn
) -> None:
    moves = Random(seed)
    with through(own_server, fresh_dsn(), pool_mode=mode) as (manager, _):
        manager.upgrade()
        with open_claims(manager) as ours, open_claims(manager) as theirs:
            sides, held = (ours, theirs), (set[str](), set[str]())
            for _ in range(60):
                side, key = moves.randrange(2), moves.choice("abcde")
                if key in held[side]:
                    sides[side].release(key)
                    held[side].remove(key)
                else:
                    is_free = sides[side].try_claim(key)
                    assert is_free == (key not in held[1 - side])
                    if is_free:
                        held[side].add(key)
        assert locks_of_ours(own_server) == []


@MODES
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.deep), pytest.param(3, marks=pytest.mark.deep)])
def test_a_command_that_is_killed_leaves_nothing_locked(
    mode: str, seed: int, own_server: OwnServer, fresh_dsn: FreshDsn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with through(own_server, fresh_dsn(), pool_mode=mode) as (manager, pooled):
        loaded(manager)
        for name in ("HISTORICAL", "RUNTIME"):
            monkeypatch.setenv(f"PROMETHEUS_{name}_DSN", pooled)
        process = subprocess.Popen(
            [sys.executable, "-m", "prometheus", *BACKFILL, "--workers", "2"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        time.sleep(Random(seed).uniform(1.0, 4.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 10
        while locks_of_ours(own_server) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert locks_of_ours(own_server) == []
        outcome = command(pooled, monkeypatch, *BACKFILL)
        assert outcome.exit_code == 0, outcome.stderr


@MODES
@pytest.mark.parametrize("size", [3, pytest.param(2, marks=pytest.mark.deep)])
def test_a_small_pool_is_kept_to(
    mode: str, size: int, own_server: OwnServer, fresh_dsn: FreshDsn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with through(own_server, fresh_dsn(), pool_mode=mode, default_pool_size=size) as (manager, pooled):
        loaded(manager)
        manager.close_all()
        outcome = command(pooled, monkeypatch, *BACKFILL)
        assert outcome.exit_code == 0, outcome.stderr
        assert locks_of_ours(own_server) == []


def test_a_pool_without_a_session_to_lend_is_told_of_in_time(own_server: OwnServer, fresh_dsn: FreshDsn) -> None:
    way = through(own_server, fresh_dsn(), pool_mode="session", default_pool_size=1)
    with way as (manager, pooled), psycopg.connect(pooled, prepare_threshold=None) as stranger:
        stranger.execute("SELECT")
        hurried = DatabaseManager(manager.config.model_copy(update={"connect_timeout_s": 2}))
        with pytest.raises(DatabaseUnreachableError, match="lent no session in 2 s: its pool_size is used up"):
            hurried.schema_revisions()
