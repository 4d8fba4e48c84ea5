"""What the server's connections may do, what became of homes made before there was a reader, and who waits for what."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from tests.fixtures.embedded_homes import Driver, Playground, wait_until
from tests.fixtures.own_databases import FreshDsn, manager_of

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.core.config import PrometheusConfig
from prometheus.data.postgres.connections import SharedAttempt, require_answer
from prometheus.errors import DatabaseRefusedError, DatabaseUnreachableError
from prometheus.server import APPLICATION_ROLE, HISTORICAL_DATABASE, OWNER_ROLE, READER_ROLE, RUNTIME_DATABASE

pytest_plugins = ["tests.fixtures.embedded", "tests.fixtures.own_server", "tests.web.fixtures"]

DATABASES = (HISTORICAL_DATABASE, RUNTIME_DATABASE)


def test_the_server_reads_as_a_role_that_may_do_nothing_else(reading_app: App) -> None:
    for connect in (
        reading_app.db_manager.get_historical_connection,
        reading_app.db_manager.get_runtime_connection,
    ):
        with connect() as connection:
            row = connection.execute(
                "SELECT current_user, current_setting('transaction_read_only'), current_setting('statement_timeout')"
            ).fetchone()
        assert row == (READER_ROLE, "on", "5s")


def test_nobody_becomes_the_owner_through_a_reading_manager(reading_app: App) -> None:
    with pytest.raises(DatabaseRefusedError, match="may only read"):
        reading_app.db_manager.get_owner_connection("historical").__enter__()


def test_the_reader_reads_what_the_owner_makes_and_changes_nothing(running: Driver) -> None:
    for database in DATABASES:
        running.query("CREATE TABLE IF NOT EXISTS made_later (id int, n serial)", database)
        with running.connect(database, READER_ROLE) as connection:
            assert connection.execute("SELECT count(*) FROM made_later").fetchone() == (0,)
            connection.execute("SET default_transaction_read_only = off")  # the grants hold without it, too
            for refused in (
                "INSERT INTO made_later VALUES (1)",
                "UPDATE made_later SET id = 1",
                "DELETE FROM made_later",
                "TRUNCATE made_later",
                "DROP TABLE made_later",
                "SELECT nextval('made_later_n_seq')",
                "CREATE TABLE mine (id int)",
                "CREATE TEMP TABLE mine (id int)",
                "CREATE SCHEMA mine",
                f"SET ROLE {APPLICATION_ROLE}",
                f"SET ROLE {OWNER_ROLE}",
                "COPY made_later TO PROGRAM 'true'",
                "SELECT pg_read_file('/etc/passwd')",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(refused)
        running.query("DROP TABLE made_later", database)
    assert running.query(f"SELECT rolsuper FROM pg_roles WHERE rolname = '{READER_ROLE}'") is False


def make_older(server: Driver) -> None:
    """Leave a running server as the version without a reader would have."""
    for database in DATABASES:
        server.query(f"DROP OWNED BY {READER_ROLE}", database)
    server.query(f"DROP ROLE {READER_ROLE}")
    server.query("COMMENT ON DATABASE postgres IS 'prometheus bootstrap 1'", "postgres")
    identities = server.layout.identities
    lines = [line for line in identities.read_text().splitlines(keepends=True) if READER_ROLE not in line]
    identities.write_text("".join(lines))
    server.query("SELECT pg_reload_conf()")
    with pytest.raises(psycopg.OperationalError):
        server.connect(role=READER_ROLE)


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "stopped"])
def test_a_home_of_an_earlier_version_is_given_its_reader(playground: Playground, is_running: bool) -> None:
    server = playground.server()
    server.ensure_running()
    server.query("CREATE TABLE made_before (id int)")
    make_older(server)
    pid = server.pid
    if not is_running:
        server.stop()

    server.ensure_running()

    for database in DATABASES:
        assert server.query("SELECT 1", database, READER_ROLE) == 1
    assert server.query("SELECT count(*) FROM made_before", role=READER_ROLE) == 0
    assert (server.pid == pid) is is_running


def test_on_a_server_of_the_users_own_every_transaction_only_reads(fresh_dsn: FreshDsn) -> None:
    dsn = f"{fresh_dsn()} options='-c default_transaction_read_only=off'"
    with manager_of(dsn, dsn) as writer:
        writer.upgrade()
        reader = DatabaseManager(writer.config, read_only=True)
        with pytest.raises(DatabaseRefusedError, match="read-only transaction"):
            delete_models(reader)
        reader.close_all()
        delete_models(writer)


def delete_models(manager: DatabaseManager) -> None:
    with manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM models")


def test_nobody_waits_for_a_silent_server_and_all_wait_together() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        dsn = f"host=127.0.0.1 port={silent.getsockname()[1]} user=quant dbname=prices"
        with manager_of(dsn, dsn, PROMETHEUS_CONNECT_TIMEOUT_S="1") as patient:
            reader = DatabaseManager(patient.config, read_only=True)

            def ask(_: int) -> float:
                began = time.monotonic()
                with pytest.raises(DatabaseUnreachableError, match="no answer within 1 s"):
                    reader.get_historical_connection().__enter__()
                return time.monotonic() - began

            with ThreadPoolExecutor(12) as pool:
                assert max(pool.map(ask, range(12))) < 6  # one after another they would take 12
            reader.close_all()


def test_a_connection_that_falls_silent_is_closed_in_time(running: Driver) -> None:
    with running.connect() as connection:
        require_answer(connection, 5)
        assert connection.execute("SELECT 1").fetchone() == (1,)
        connection.execute("SELECT 1", prepare=True)
        connection.pgconn.send_query(b"SELECT pg_sleep(60)")
        while connection.pgconn.is_busy() and not connection.closed:
            began = time.monotonic()
            connection.close()
            assert time.monotonic() - began < 30
        with pytest.raises(psycopg.OperationalError):
            require_answer(connection, 0.1)


def test_an_attempt_is_shared_goes_on_unheard_and_is_made_anew() -> None:
    may_end, made = threading.Event(), []

    def work() -> int:
        made.append(1)
        assert may_end.wait(10)
        if len(made) == 2:
            raise KeyError("second")
        return len(made)

    attempt = SharedAttempt(work)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            attempt.result(0.01)
    assert made == [1]
    may_end.set()
    wait_until(lambda: attempt._running is None)
    with pytest.raises(KeyError):
        attempt.result(10)
    assert attempt.result(10) == 3


def test_a_writer_is_what_it_was(filled_config: PrometheusConfig) -> None:
    manager = DatabaseManager(filled_config)
    with manager.get_runtime_connection() as connection:
        row = connection.execute("SELECT current_user, current_setting('transaction_read_only')").fetchone()
    manager.close_all()
    assert row == (APPLICATION_ROLE, "off")
