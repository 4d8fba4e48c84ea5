"""Migrations on real servers: alone, twice, two at once, and both histories in one database."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from alembic import command
from psycopg.conninfo import make_conninfo
from tests.fixtures.own_databases import FreshDsn, OwnServer, manager_of, schema

from prometheus.app import App
from prometheus.app.verification import VerifyRequest
from prometheus.data.migrations import DATABASE_NAMES, DatabaseName, head_revision
from prometheus.data.migrations.environment import alembic_config
from prometheus.errors import DatabaseAuthenticationError, DatabaseError, NotMigratedError

pytest_plugins = ["tests.fixtures.own_server"]


def test_an_upgrade_brings_both_databases_to_their_heads(fresh_dsn: FreshDsn) -> None:
    with manager_of(fresh_dsn(), fresh_dsn()) as manager:
        assert manager.schema_revisions() == {"historical": None, "runtime": None}
        assert manager.upgrade() == {name: (None, head_revision(name)) for name in DATABASE_NAMES}
        assert manager.schema_revisions() == {name: head_revision(name) for name in DATABASE_NAMES}


def test_both_histories_fit_into_one_database(fresh_dsn: FreshDsn) -> None:
    dsn = fresh_dsn()
    with manager_of(dsn, dsn) as manager:
        manager.upgrade()
        with manager.get_historical_connection() as connection:
            connection.execute("SELECT FROM prices_daily, numeric_window_embeddings, models, regimes, instruments")
        assert manager.schema_revisions() == {name: head_revision(name) for name in DATABASE_NAMES}


def test_a_second_upgrade_changes_nothing(fresh_dsn: FreshDsn) -> None:
    dsn = fresh_dsn()
    with manager_of(dsn, dsn) as manager:
        manager.upgrade()
        before = schema(dsn)
        assert manager.upgrade() == {name: (head_revision(name),) * 2 for name in DATABASE_NAMES}
    assert schema(dsn) == before


@pytest.mark.deep
def test_upgrades_at_the_same_time_all_succeed(fresh_dsn: FreshDsn) -> None:
    dsn = fresh_dsn()
    upgrade = "from prometheus.app.databases import get_db_manager; print(get_db_manager().upgrade())"
    environment = {
        "PROMETHEUS_HISTORICAL_DSN": dsn,
        "PROMETHEUS_RUNTIME_DSN": dsn,
        "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
        "PATH": "/usr/bin:/bin",
    }
    start = partial(
        subprocess.Popen, [sys.executable, "-W", "error", "-c", upgrade], env=environment, cwd="/",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    processes = [start() for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    with manager_of(dsn, dsn) as manager:
        assert manager.schema_revisions() == {name: head_revision(name) for name in DATABASE_NAMES}


def test_upgrades_in_threads_of_one_process_all_succeed(fresh_dsn: FreshDsn) -> None:
    historical, runtime = fresh_dsn(), fresh_dsn()
    with manager_of(historical, runtime) as manager, ThreadPoolExecutor(3) as pool:
        for outcome in [pool.submit(manager.upgrade) for _ in range(3)]:
            assert {name: after for name, (_, after) in outcome.result(60).items()} == {
                name: head_revision(name) for name in DATABASE_NAMES
            }


@pytest.mark.parametrize("database", DATABASE_NAMES)
def test_a_server_of_the_users_own_is_never_migrated_unasked(database: str, fresh_dsn: FreshDsn) -> None:
    dsn = fresh_dsn()
    with manager_of(dsn, dsn) as manager:
        connect = manager.get_historical_connection if database == "historical" else manager.get_runtime_connection
        with pytest.raises(NotMigratedError, match=f"{database} .*run: python -m prometheus db upgrade") as caught:
            connect().__enter__()
    assert caught.value.exit_code == 4
    assert "column prices_daily.close" not in schema(dsn)


def test_a_schema_from_the_future_is_neither_used_nor_touched(fresh_dsn: FreshDsn) -> None:
    dsn = fresh_dsn()
    with manager_of(dsn, dsn) as manager:
        manager.upgrade()
        manager.close_all()
        with psycopg.connect(dsn) as connection:
            connection.execute("UPDATE alembic_version_historical SET version_num = '9999'")
        before = schema(dsn)
        for attempt in (manager.upgrade, manager.get_historical_connection().__enter__):
            with pytest.raises(NotMigratedError, match="schema 9999, newer than the"):
                attempt()
        assert manager.schema_revisions()["historical"] == "9999"
    assert schema(dsn) == before


def test_a_failed_migration_leaves_no_half_of_itself(fresh_dsn: FreshDsn) -> None:
    dsn = fresh_dsn()
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE models (mine int)")  # in the way of the second statement
    with manager_of(dsn, dsn) as manager:
        with pytest.raises(DatabaseError, match='cannot be migrated, nothing was changed: relation "models" already'):
            manager.upgrade()
        assert manager.schema_revisions() == {"historical": None, "runtime": None}
    assert "column prices_daily.close" not in schema(dsn)


def test_a_role_that_may_not_create_tables_is_told_so(fresh_dsn: FreshDsn, own_server: OwnServer) -> None:
    own_server.execute("CREATE ROLE reader LOGIN PASSWORD 'visiting'")
    guest = make_conninfo(fresh_dsn(), user="reader", password="visiting")
    with manager_of(guest, guest) as manager:
        with pytest.raises(DatabaseAuthenticationError, match="permission denied for schema public; check user"):
            manager.upgrade()
        assert manager.schema_revisions() == {"historical": None, "runtime": None}


def upgrade_historical_to(dsn: str, revision: str) -> None:
    upgrade_to(dsn, "historical", revision)


def upgrade_to(dsn: str, database: DatabaseName, revision: str) -> None:
    config = alembic_config(database)
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    with engine.begin() as transaction:
        config.attributes["connection"] = transaction
        command.upgrade(config, revision)
    engine.dispose()


INSERT_EMBEDDING = """
    INSERT INTO numeric_window_embeddings
        (entity_type, entity_id, model_id, window_days, as_of_date, window_spec, dim, vector, input_hash)
    SELECT 'INSTRUMENT', 'X', 'm-v1', 63, '2025-01-01'::date + day, '{}', 1, '\\x00000000', nullif(day, 3)
    FROM generate_series(1, 100) AS day
"""


def test_stored_embeddings_survive_the_exchange_of_their_key(fresh_dsn: FreshDsn) -> None:
    dsn = fresh_dsn()
    upgrade_historical_to(dsn, "0002")
    every_row = "SELECT t::text FROM numeric_window_embeddings AS t ORDER BY as_of_date"
    with psycopg.connect(dsn) as connection:
        connection.execute(INSERT_EMBEDDING)
        before = connection.execute(every_row).fetchall()
    columns = {name: text for name, text in schema(dsn).items() if name.startswith("column numeric_window_embeddings")}
    with manager_of(dsn, dsn) as manager:
        assert manager.upgrade()["historical"] == ("0002", head_revision("historical"))
    with psycopg.connect(dsn) as connection:
        assert connection.execute(every_row).fetchall() == before
        with pytest.raises(psycopg.errors.UniqueViolation, match="numeric_window_embeddings_pkey"):
            connection.execute(INSERT_EMBEDDING)
    after = schema(dsn)
    assert len(before) == 100
    assert columns.items() <= after.items()
    assert after["constraint numeric_window_embeddings.numeric_window_embeddings_pkey"] == (
        "PRIMARY KEY (entity_type, entity_id, model_id, window_days, as_of_date) INCLUDE (input_hash)"
    )
    assert [name for name in after if name.startswith("index numeric_window")] == [
        "index numeric_window_embeddings_pkey"
    ]


def test_texts_stored_before_have_their_words_counted_and_so_have_those_of_a_writer_with_no_further_right(
    fresh_dsn: FreshDsn, own_server: OwnServer
) -> None:
    dsn = fresh_dsn()
    upgrade_historical_to(dsn, "0008")
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "INSERT INTO news_articles (published_at, headline, language) VALUES (now(), 'Banken', 'de')"
        )
        connection.execute(
            "INSERT INTO macro_events (event_type, timestamp, description) VALUES ('X', now(), 'banks raised rates')"
        )
    with manager_of(dsn, dsn) as manager:
        manager.upgrade()
    own_server.execute("CREATE ROLE teller LOGIN PASSWORD 'telling'")
    with psycopg.connect(dsn) as connection:
        connection.execute("GRANT INSERT ON macro_events TO teller")
    with psycopg.connect(make_conninfo(dsn, user="teller", password="telling")) as connection:
        connection.execute("INSERT INTO macro_events (event_type, timestamp, description) VALUES ('X', now(), 'oil')")
    with psycopg.connect(dsn) as connection:
        counted = connection.execute("SELECT source_type, configuration, stems FROM text_words ORDER BY 1 DESC, 3")
        assert counted.fetchall() == [
            ("NEWS", "german", ["bank"]), ("MACRO", "english", ["bank", "rais", "rate"]), ("MACRO", "english", ["oil"]),
        ]  # fmt: skip


OLDER_THAN_THE_RULES = """
    INSERT INTO series_values (series_id, observation_date, known_at, value)
    VALUES ('S', '2024-01-02', '2024-01-03', 'NaN'), ('S', '2024-01-03', '2024-01-04', 1), ('S', '2024-01-04',
            '2024-01-05', 'Infinity');
    INSERT INTO price_decisions (instrument_id, trade_date, verdict, close, decided_by, reason)
    VALUES ('X', '2024-01-02', 'ACCEPTED', 'NaN', 'me', 'a reason');
    INSERT INTO text_embeddings (source_type, source_id, model_id, dim, vector)
    VALUES ('MACRO', '1', 'm', 1, '\\x0000c07f'), ('MACRO', '2', 'm', 1, '\\x0000803f')
"""


def test_rows_that_break_a_later_rule_stay_and_db_verify_names_them(fresh_dsn: FreshDsn) -> None:
    dsn = fresh_dsn()
    upgrade_historical_to(dsn, "0013")
    with psycopg.connect(dsn) as connection:
        connection.execute(OLDER_THAN_THE_RULES)
    with manager_of(dsn, dsn) as manager:
        manager.upgrade()
        report = App(manager).verification.verify(VerifyRequest())
        named = [row for row in report.left if row.code == "rule_broken" or row.table == "text_embeddings"]
        assert [(row.table, row.key.split(" 2024-")[0]) for row in named] == [
            ("text_embeddings", "MACRO 1 (m)"), ("price_decisions", "X"), ("series_values", "S"), ("series_values", "S")
        ]  # fmt: skip
        assert {row.key[:12] for row in named if row.table == "series_values"} == {"S 2024-01-02", "S 2024-01-04"}
        assert (report.exit_code, all(row.way_out for row in named)) == (3, True)
        with manager.get_historical_connection() as connection:
            assert connection.execute("SELECT count(*) FROM series_values").fetchall() == [(3,)]
            with pytest.raises(psycopg.errors.CheckViolation), connection.transaction():
                connection.execute("INSERT INTO series_values VALUES ('S', '2025-01-02', '2025-01-03', 'NaN')")
            connection.execute("DELETE FROM series_values WHERE NOT value < 'Infinity'")
            connection.execute("DELETE FROM price_decisions")
            connection.execute("DELETE FROM text_embeddings WHERE source_id = '1'")
        assert App(manager).verification.verify(VerifyRequest()).left == []
