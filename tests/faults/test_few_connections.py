"""A server that is short of connections: fewer lanes, one note, and the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date

import psycopg
import pytest
from benchmarks.servers import load_random_walks
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.fixtures.commands import run_process
from tests.fixtures.own_databases import FreshDsn, OwnServer, manager_of

import prometheus as pm
from prometheus.app.databases import DatabaseManager
from prometheus.data.postgres import shortage
from prometheus.errors import DatabaseUnreachableError
from prometheus.ingest.prices import PriceIngest
from prometheus.ingest.report import IngestOptions
from prometheus.ingest.sample import PRICES

pytest_plugins = ["tests.fixtures.own_server"]
pytestmark = pytest.mark.tcp
NAMES = tuple(f"B{number:04d}" for number in range(14))
IDS = [word for name in NAMES for word in ("--instrument-id", name)]
BACKFILL = ("-m", "prometheus", "backfill_numeric_embeddings", *IDS, "--start", "2015-01-01", "--end", "latest")
_DIGEST = """
    SELECT count(*), md5(string_agg(md5(vector) || input_hash, '' ORDER BY entity_id, as_of_date))
    FROM numeric_window_embeddings
"""
_NOTE = "going on with fewer"


@pytest.fixture
def scarce(own_server: OwnServer, fresh_dsn: FreshDsn) -> Iterator[tuple[str, OwnServer, str]]:
    """A database with prices, owned by a role whose connections a test limits; its DSN, the server and the role."""
    dsn, role = fresh_dsn(), f"scarce_{next(own_server.numbers)}"
    database = conninfo_to_dict(dsn)["dbname"]
    own_server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'scarce'")
    own_server.execute(f"ALTER DATABASE {database} OWNER TO {role}")
    limited = make_conninfo(dsn, user=role, password="scarce")
    with manager_of(limited, limited) as manager:
        manager.upgrade()
        load_random_walks(manager, len(NAMES), 2_600)
        PriceIngest(manager).ingest_prices([PRICES], IngestOptions(today=date(2025, 8, 1)))
    yield limited, own_server, role
    own_server.execute(f"ALTER DATABASE {database} OWNER TO CURRENT_USER")


def digest(dsn: str) -> tuple[object, ...] | None:
    with psycopg.connect(dsn) as connection:
        return connection.execute(_DIGEST).fetchone()


@pytest.mark.parametrize("n_connections", [1, 2, pytest.param(3, marks=pytest.mark.deep)])
@pytest.mark.parametrize("workers", ["1", "4"])
def test_a_backfill_does_with_the_connections_that_are_to_be_had(
    workers: str, n_connections: int, scarce: tuple[str, OwnServer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn, server, role = scarce
    for name in ("HISTORICAL", "RUNTIME"):
        monkeypatch.setenv(f"PROMETHEUS_{name}_DSN", dsn)
    server.execute(f"ALTER ROLE {role} CONNECTION LIMIT {n_connections}")
    outcome = run_process(*BACKFILL, "--workers", workers)
    assert outcome.exit_code == 0, outcome.stderr
    notes = [line for line in outcome.stderr.splitlines() if _NOTE in line]
    assert len(notes) <= 2, outcome.stderr
    if n_connections < 3:
        assert notes, outcome.stderr
    server.execute(f"ALTER ROLE {role} CONNECTION LIMIT -1")
    scarcely = digest(dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute("TRUNCATE numeric_window_embeddings CASCADE")
    assert run_process(*BACKFILL).exit_code == 0
    assert digest(dsn) == scarcely


def test_two_are_enough_for_loading_labelling_and_reading(
    scarce: tuple[str, OwnServer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn, server, role = scarce
    for name in ("HISTORICAL", "RUNTIME"):
        monkeypatch.setenv(f"PROMETHEUS_{name}_DSN", dsn)
    server.execute(f"ALTER ROLE {role} CONNECTION LIMIT 2")
    commands = (
        ("ingest", "prices", str(PRICES)),
        ("run_numeric_regime", "--region", "US", "--instrument-id", "AAPL.US", "--as-of", "2025-01-31"),
        ("show_regimes", "--region", "US"),
        ("db", "status"),
    )
    for arguments in commands:
        outcome = run_process("-m", "prometheus", *arguments)
        assert outcome.exit_code == 0, (arguments, outcome.stderr)
    with pm.open() as opened:
        assert len(opened.regimes("US")) == 1


def test_without_any_connection_the_reason_is_told(
    scarce: tuple[str, OwnServer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn, server, role = scarce
    monkeypatch.setattr(shortage, "PATIENCE_S", 1.0)
    monkeypatch.setattr("prometheus.data.postgres.database.PATIENCE_S", 1.0)
    server.execute(f"ALTER ROLE {role} CONNECTION LIMIT 2")
    with ExitStack() as strangers:
        for _ in range(2):
            strangers.enter_context(psycopg.connect(dsn))
        with manager_of(dsn, dsn) as manager, pytest.raises(DatabaseUnreachableError, match="too many connections for"):
            manager.schema_revisions()
    with manager_of(dsn, dsn) as manager:
        assert manager.schema_revisions()["historical"]


def test_readers_in_many_threads_take_turns(scarce: tuple[str, OwnServer, str]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    dsn, server, role = scarce
    server.execute(f"ALTER ROLE {role} CONNECTION LIMIT 2")
    with manager_of(dsn, dsn) as manager:
        reader = DatabaseManager(manager.config, read_only=True)

        def ask(_number: int) -> object:
            with reader.get_historical_connection() as connection:
                return connection.execute("SELECT count(*) > 0, pg_sleep(0.01) FROM prices_daily").fetchone()

        try:
            with ThreadPoolExecutor(12) as threads:
                assert set(threads.map(ask, range(48))) == {(True, "")}
        finally:
            reader.close_all()
