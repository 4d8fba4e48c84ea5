"""Connections: what they are set to, what they do to a transaction, and how they fail."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import psycopg
import pytest
from tests.fixtures.own_databases import FreshDsn, OwnServer, manager_of

from prometheus.app.databases import DatabaseManager, get_db_manager
from prometheus.data.migrations import DATABASE_NAMES, DatabaseName
from prometheus.errors import (
    DatabaseAuthenticationError,
    DatabaseRefusedError,
    DatabaseUnreachableError,
    PrometheusError,
    UsageError,
)

pytest_plugins = ["tests.fixtures.own_server"]

pytestmark = pytest.mark.tcp

SECRET = "hunter2"
ADD_MODEL = "INSERT INTO models (model_id, kind, fingerprint, config) VALUES (%s, 'numeric', 'f', '{}')"
ADD_A = ADD_MODEL.replace("%s", "'a-v1'")
Connect = Callable[[], AbstractContextManager[psycopg.Connection]]


def connections_of(manager: DatabaseManager) -> list[Connect]:
    return [manager.get_historical_connection, manager.get_runtime_connection]


def execute_all(connect: Connect, *statements: str) -> None:
    with connect() as connection:
        for statement in statements:
            connection.execute(statement)


def kill(connect: Connect, connection: psycopg.Connection) -> None:
    """End the server's side of a connection, over another one."""
    with connect() as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))


def setting(connection: psycopg.Connection, name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    assert row is not None
    return str(row[0])


def whole_story(error: BaseException) -> str:
    """Message and arguments of an error and of everything it came from."""
    told, current = "", [error]
    while current:
        each = current.pop()
        told += f"{each!r} {each} {each.args}"
        current += [link for link in (each.__cause__, each.__context__) if link is not None]
    return told


def model_ids(manager: DatabaseManager) -> list[str]:
    with manager.get_historical_connection() as connection:
        return [row[0] for row in connection.execute("SELECT model_id FROM models ORDER BY 1")]


def refusal(manager: DatabaseManager) -> PrometheusError:
    with pytest.raises(PrometheusError) as caught:
        manager.get_historical_connection().__enter__()
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


def test_every_connection_has_deadlines_and_utc(db_manager: DatabaseManager) -> None:
    for connect in connections_of(db_manager):
        with connect() as connection:
            assert setting(connection, "statement_timeout") == "15min"
            assert setting(connection, "TimeZone") == "UTC"
            assert setting(connection, "client_encoding") == "UTF8"
            assert setting(connection, "transaction_isolation") == "read committed"
            assert setting(connection, "application_name") == "prometheus"
            assert setting(connection, "synchronous_commit") == "on"
            assert connection.info.get_parameters()["connect_timeout"] == "10"


def test_what_a_block_did_is_committed_at_its_end(db_manager: DatabaseManager) -> None:
    with db_manager.get_historical_connection() as connection:
        connection.execute(ADD_MODEL, ("a-v1",))
    assert model_ids(db_manager) == ["a-v1"]


def test_an_error_rolls_the_block_back_and_comes_out_as_it_is(db_manager: DatabaseManager) -> None:
    def work() -> None:
        with db_manager.get_historical_connection() as connection:
            connection.execute(ADD_MODEL, ("a-v1",))
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        work()
    assert model_ids(db_manager) == []


def test_an_error_of_a_statement_rolls_back_too_and_the_next_connection_works(db_manager: DatabaseManager) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        execute_all(db_manager.get_historical_connection, ADD_A, ADD_A)
    assert model_ids(db_manager) == []


def test_a_transaction_that_may_only_read_is_told_apart_from_a_defect(db_manager: DatabaseManager) -> None:
    with pytest.raises(DatabaseRefusedError, match="read-only transaction"):
        execute_all(db_manager.get_historical_connection, "SET TRANSACTION READ ONLY", ADD_A)
    assert model_ids(db_manager) == []


def test_many_threads_share_few_connections(db_manager: DatabaseManager) -> None:
    started = threading.Barrier(20)

    def backend(_: int) -> int:
        started.wait(30)
        with db_manager.get_historical_connection() as connection:
            connection.execute("SELECT pg_sleep(0.01)")
            return connection.info.backend_pid

    with ThreadPoolExecutor(20) as pool:
        backends = list(pool.map(backend, range(20)))
    assert 1 <= len(set(backends)) <= 8


@pytest.mark.parametrize("database", DATABASE_NAMES)
def test_a_connection_killed_in_use_is_a_lost_one_and_the_next_one_works(
    db_manager: DatabaseManager, database: DatabaseName
) -> None:
    connect = dict(zip(DATABASE_NAMES, connections_of(db_manager), strict=True))[database]

    def work() -> None:
        with connect() as connection:
            kill(connect, connection)
            connection.execute("SELECT 1")

    with pytest.raises(DatabaseUnreachableError, match=f"{database} database: ") as caught:
        work()
    assert caught.value.exit_code == 4
    assert caught.value.was_connected
    assert len(str(caught.value).splitlines()) == 1
    with connect() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_commit_on_a_lost_connection_is_not_reported_as_done(db_manager: DatabaseManager) -> None:
    def work() -> None:
        with db_manager.get_historical_connection() as connection:
            connection.execute(ADD_MODEL, ("a-v1",))
            kill(db_manager.get_historical_connection, connection)

    with pytest.raises(DatabaseUnreachableError):
        work()
    assert model_ids(db_manager) == []


@pytest.mark.parametrize("database", DATABASE_NAMES)
def test_what_an_owners_commit_finds_is_explained_as_well(db_manager: DatabaseManager, database: DatabaseName) -> None:
    connect = partial(db_manager.get_owner_connection, database)

    def work() -> None:
        with connect() as connection:
            connection.execute("CREATE TABLE lost (n integer)")
            kill(connect, connection)

    with pytest.raises(DatabaseUnreachableError, match=f"{database} database: ") as caught:
        work()
    assert caught.value.was_connected


def test_a_closed_manager_opens_again_on_the_next_call(db_manager: DatabaseManager) -> None:
    db_manager.close_all()
    db_manager.close_all()
    assert model_ids(db_manager) == []


def test_the_servers_version_is_told(db_manager: DatabaseManager) -> None:
    assert int(db_manager.server_version().partition(".")[0]) >= 14


def test_a_statement_beyond_its_deadline_is_cancelled(fresh_dsn: FreshDsn) -> None:
    dsn = fresh_dsn()
    with manager_of(dsn, dsn, PROMETHEUS_STATEMENT_TIMEOUT_S="1") as manager:
        manager.upgrade()
        with pytest.raises(DatabaseRefusedError, match="outran PROMETHEUS_STATEMENT_TIMEOUT_S"):
            execute_all(manager.get_historical_connection, ADD_A, "SELECT pg_sleep(20)")
        assert model_ids(manager) == []


def test_what_the_user_wrote_into_a_dsn_wins_over_our_defaults(fresh_dsn: FreshDsn) -> None:
    dsn = f"{fresh_dsn()} application_name=desk options='-c statement_timeout=7s' connect_timeout=4"
    with manager_of(dsn, dsn) as manager:
        manager.upgrade()
        with manager.get_historical_connection() as connection:
            assert setting(connection, "application_name") == "desk"
            assert setting(connection, "statement_timeout") == "7s"
            assert setting(connection, "TimeZone") == "UTC"
            assert connection.info.get_parameters()["connect_timeout"] == "4"


def test_a_dsn_may_be_a_url(fresh_dsn: FreshDsn) -> None:
    parts = psycopg.conninfo.conninfo_to_dict(fresh_dsn())
    url = "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**parts)
    with manager_of(url, url) as manager:
        manager.upgrade()
        assert model_ids(manager) == []


def test_libpq_variables_lead_to_a_server_of_the_users_own(
    fresh_dsn: FreshDsn, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = psycopg.conninfo.conninfo_to_dict(fresh_dsn())
    for name in ("host", "port", "user", "password"):
        monkeypatch.setenv(f"PG{name.upper()}", str(parts[name]))
    monkeypatch.setenv("PGDATABASE", str(parts["dbname"]))
    for name in ("PROMETHEUS_HISTORICAL_DSN", "PROMETHEUS_RUNTIME_DSN"):
        monkeypatch.delenv(name, raising=False)
    from prometheus.core.config import load_config

    manager = DatabaseManager(load_config())
    try:
        manager.upgrade()
        assert model_ids(manager) == []
    finally:
        manager.close_all()


def test_a_server_that_is_down_is_unreachable_at_once() -> None:
    with socket.socket() as taken:  # bound, and not listening: nobody else gets the port, and it answers nobody
        taken.bind(("127.0.0.1", 0))
        dsn = f"host=127.0.0.1 port={taken.getsockname()[1]} user=quant password={SECRET} dbname=prices"
        with manager_of(dsn, dsn) as manager:
            started = time.monotonic()
            error = refusal(manager)
            took = time.monotonic() - started
    assert isinstance(error, DatabaseUnreachableError)
    assert error.exit_code == 4
    assert "Connection refused" in str(error)
    assert took < 15
    assert SECRET not in whole_story(error)


def test_a_server_that_accepts_and_says_nothing_is_given_up_after_the_connect_timeout() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        dsn = f"host=127.0.0.1 port={silent.getsockname()[1]} user=quant dbname=prices"
        with manager_of(dsn, dsn, PROMETHEUS_CONNECT_TIMEOUT_S="2") as manager:
            started = time.monotonic()
            error = refusal(manager)
            took = time.monotonic() - started
    assert isinstance(error, DatabaseUnreachableError)
    assert 1 < took < 15


def test_a_server_that_goes_away_later_is_unreachable_within_the_connect_timeout(fresh_dsn: FreshDsn) -> None:
    dsn = fresh_dsn()
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    with manager_of(dsn, dsn, PROMETHEUS_CONNECT_TIMEOUT_S="1") as manager:
        manager.upgrade()
        assert model_ids(manager) == []
        with psycopg.connect(dsn, dbname="postgres", autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        started = time.monotonic()
        error = refusal(manager)
        took = time.monotonic() - started
    assert isinstance(error, DatabaseUnreachableError)
    assert took < 15


def test_idle_connections_that_died_are_replaced_unnoticed(fresh_dsn: FreshDsn) -> None:
    dsn = fresh_dsn()
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    with manager_of(dsn, dsn) as manager:
        manager.upgrade()
        assert model_ids(manager) == []
        with psycopg.connect(dsn, dbname="postgres") as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (name,)
            )
        assert model_ids(manager) == []


def test_a_wrong_password_is_told_and_shown_nowhere(own_server: OwnServer) -> None:
    dsn = own_server.dsn(password=SECRET)
    with manager_of(dsn, dsn) as manager:
        error = refusal(manager)
    assert isinstance(error, DatabaseAuthenticationError)
    assert error.exit_code == 4
    assert "password authentication failed" in str(error)
    assert SECRET not in whole_story(error)


def test_a_missing_password_is_told(own_server: OwnServer, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = psycopg.conninfo.conninfo_to_dict(own_server.dsn())
    del parts["password"]
    monkeypatch.setenv("PGPASSFILE", "/nonexistent")
    dsn = psycopg.conninfo.make_conninfo("", **parts)
    with manager_of(dsn, dsn) as manager:
        assert isinstance(refusal(manager), DatabaseAuthenticationError)


def test_a_database_that_does_not_exist_is_named(own_server: OwnServer) -> None:
    dsn = own_server.dsn("nowhere")
    with manager_of(dsn, dsn) as manager:
        error = refusal(manager)
    assert isinstance(error, DatabaseUnreachableError)
    assert 'database "nowhere" does not exist' in str(error)


@pytest.fixture
def reader_dsn(fresh_dsn: FreshDsn, own_server: OwnServer) -> str:
    """A migrated database, and a role that may log in and no more."""
    dsn = fresh_dsn()
    with manager_of(dsn, dsn) as manager:
        manager.upgrade()
    role = f"guest_{next(own_server.numbers)}"
    own_server.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")
    return psycopg.conninfo.make_conninfo(dsn, user=role, password=SECRET)


def test_a_role_without_any_grant_is_told_so(reader_dsn: str) -> None:
    with manager_of(reader_dsn, reader_dsn) as manager:
        error = refusal(manager)
    assert isinstance(error, DatabaseAuthenticationError)
    assert "permission denied for table alembic_version_historical" in str(error)


def test_a_role_that_may_only_look_at_the_schema_is_told_which_table_it_may_not_read(
    reader_dsn: str, own_server: OwnServer
) -> None:
    parts: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(reader_dsn)
    with psycopg.connect(own_server.dsn(parts["dbname"]), autocommit=True) as connection:
        connection.execute(f"GRANT SELECT ON alembic_version_historical TO {parts['user']}")
    with manager_of(reader_dsn, reader_dsn) as manager, pytest.raises(
        DatabaseAuthenticationError, match="permission denied for table models; check user"
    ):  # fmt: skip
        model_ids(manager)


@pytest.mark.parametrize(
    "dsn",
    [
        f"host=127.0.0.1 pasword={SECRET}",
        f"just words and {SECRET}",
        f"postgresql://quant:{SECRET}@[::1/prices",
        f"host=127.0.0.1 password='{SECRET}",
        f"host=127.0.0.1 password={SECRET} connect_timeout=soon",
    ],
)
def test_a_malformed_dsn_is_refused_without_being_repeated(dsn: str) -> None:
    with manager_of(dsn, dsn) as manager:
        error = refusal(manager)
    assert isinstance(error, UsageError)
    assert error.exit_code == 2
    assert "PROMETHEUS_HISTORICAL_DSN" in str(error)
    assert SECRET not in f"{error} {error.args}"
    assert error.__cause__ is None
    assert error.__suppress_context__


def test_the_manager_of_a_process_is_one() -> None:
    assert get_db_manager() is get_db_manager()
