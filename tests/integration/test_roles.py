"""`deploy/roles.sql`: it can be run again, and each role may do its part and nothing beyond it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from psycopg import sql
from tests.fixtures.commands import Outcome
from tests.fixtures.database import set_environment
from tests.fixtures.prototypes import write_two_prototypes
from tests.fixtures.roles import ROLES_SQL, Role, Roled, refuses
from tests.web.serving import client_of

from prometheus.cli import main
from prometheus.core.config import PrometheusConfig
from prometheus.data.migrations import DATABASE_NAMES, head_revision
from prometheus.ingest.sample import PRICES
from prometheus.web.access import LOOPBACK_HOSTS, AccessRules
from prometheus.web.server import create_app, open_reading_app

pytest_plugins = ["tests.fixtures.own_server"]

RIGHTS = """
    SELECT 'role', rolname::text, rolconfig::text || rolsuper || rolcreatedb || rolcreaterole FROM pg_roles
    UNION ALL SELECT kind, name, string_agg(entry::text, ' ' ORDER BY entry::text) FROM (
        SELECT 'database' AS kind, datname::text AS name, datacl AS rights FROM pg_database
        UNION ALL SELECT 'schema', nspname::text, nspacl FROM pg_namespace WHERE nspname = 'public'
        UNION ALL SELECT 'relation', relname::text, relacl FROM pg_class WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT 'later', defaclobjtype::text, defaclacl FROM pg_default_acl
    ) AS held, unnest(rights) AS entry GROUP BY kind, name
    ORDER BY 1, 2, 3
"""
INDEX = ["--region", "US_INDEX", "--instrument-id", "GSPC.INDX"]
EVENT = {"event_type": "NOTE", "timestamp": "2023-12-27T12:00:00Z", "country": "US", "description": "Spreads narrowed."}


class As:
    """Runs commands as one of the roles."""

    def __init__(self, roled: Roled, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._roled, self._patch, self._capsys = roled, patch, capsys

    def __call__(self, role: Role, *arguments: str) -> Outcome:
        set_environment(self._patch, self._roled.environment(role))
        regions = {"US_INDEX": {"instrument_id": "GSPC.INDX", "prototypes": "prototypes.json"}}
        self._patch.setenv("PROMETHEUS_REGIONS", json.dumps(regions))
        self._capsys.readouterr()
        code = main(list(arguments))
        said = self._capsys.readouterr()
        return Outcome(code, said.out, said.err)


@pytest.fixture
def run_as(roled: Roled, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> As:
    monkeypatch.chdir(tmp_path)
    return As(roled, monkeypatch, capsys)


def rights(roled: Roled) -> list[list[tuple[str, str, str]]]:
    found = []
    for name in DATABASE_NAMES:
        with roled.connect("owner", name) as connection:
            found.append(connection.execute(RIGHTS).fetchall())
    return found


def test_the_page_shows_the_script() -> None:
    page = ROLES_SQL.parents[1] / "docs" / "how-to" / "own-postgresql.md"
    assert f"```sql\n{ROLES_SQL.read_text(encoding='utf-8')}```" in page.read_text(encoding="utf-8")


def test_run_again_the_script_changes_nothing_and_mends_what_was_taken_away(roled: Roled) -> None:
    before = rights(roled)
    roled.run_script()
    assert rights(roled) == before
    with roled.connect("owner", "runtime") as connection:
        connection.execute("REVOKE SELECT ON regimes FROM prometheus_reader")
        connection.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    assert rights(roled) != before
    roled.run_script()
    assert rights(roled) == before


def test_both_databases_may_be_one_of_another_name(roled: Roled) -> None:
    name = 'a "name"'
    try:
        roled.run_script(historical=name, runtime=name)
        roled.run_script(historical=name, runtime=name)
    finally:
        roled.server.execute('DROP DATABASE IF EXISTS "a ""name""" WITH (FORCE)')


def test_the_writer_does_what_a_night_needs_and_the_reader_answers(run_as: As) -> None:
    Path("events.jsonl").write_text(json.dumps(EVENT) + "\n")
    write_two_prototypes("US_INDEX", Path("prototypes.json"))
    written = (
        ["ingest", "prices", str(PRICES)],
        ["ingest", "macro", "events.jsonl"],
        ["nightly", "--as-of", "2023-12-28", "--since", "2023-12-20"],
        ["db", "check"],
        ["record", "verify"],
    )
    for command in written:
        done = run_as("app", *command)
        assert done.exit_code == 0, (command, done.stderr)
    for command in (
        ["show_regimes", "--region", "US_INDEX", "--start", "2023-12-01"],
        ["similar", *INDEX, "--as-of", "2023-12-28"],
        ["record", "verify"],
        ["data", "report"],
        ["db", "status"],
    ):
        read = run_as("reader", *command)
        assert (read.exit_code, read.errors) == (0, []), (command, read.stderr)
        assert read.stdout
    assert run_as("app", "db", "backup", "backup").exit_code == 0
    for command in (*written[:2], ["db", "backup", "another"], ["db", "restore", "backup"]):
        refused = run_as("reader", *command)
        assert (refused.exit_code, len(refused.errors)) == (4, 1), refused.stderr
    with open_reading_app(PrometheusConfig()) as app, client_of(create_app(app, AccessRules(LOOPBACK_HOSTS))) as client:
        answer = client.get("/v1/regions")
        assert answer.status_code == 200, answer.text
        assert client.get("/readyz").status_code == 200


def test_only_the_owner_migrates(run_as: As, roled: Roled) -> None:
    roles: tuple[tuple[Role, str], ...] = (
        ("app", "permission denied for schema public"),
        ("reader", "a role that may write"),
    )
    with roled.connect("owner", "runtime") as connection:
        connection.execute("DROP TABLE alembic_version_runtime")
    try:
        for role, reason in roles:
            done = run_as(role, "db", "upgrade")
            assert (done.exit_code, len(done.stderr.splitlines())) == (4, 1)
            assert reason in done.stderr
    finally:
        with roled.connect("owner", "runtime") as connection:
            connection.execute("CREATE TABLE alembic_version_runtime (version_num varchar(32) PRIMARY KEY)")
            connection.execute("INSERT INTO alembic_version_runtime VALUES (%s)", (head_revision("runtime"),))


@pytest.mark.parametrize("database", DATABASE_NAMES)
def test_the_reader_is_refused_every_write_by_the_server_itself(roled: Roled, database: str) -> None:
    writes = ("DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}", "ALTER TABLE {} DISABLE TRIGGER ALL", "LOCK TABLE {}")
    with roled.connect("reader", database) as connection:
        for table in roled.tables(database):
            connection.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(table))
            for write in (*writes, "INSERT INTO {} DEFAULT VALUES"):
                assert refuses(connection, sql.SQL(write).format(table)), (table, write)
        for statement in ("CREATE TABLE mine ()", "CREATE TEMPORARY TABLE mine ()", "CREATE SCHEMA mine"):
            assert refuses(connection, sql.SQL(statement)), statement


@pytest.mark.parametrize("database", DATABASE_NAMES)
def test_the_writer_changes_rows_and_no_table(roled: Roled, database: str) -> None:
    with roled.connect("app", database) as connection:
        for table in roled.tables(database):
            for write in ("TRUNCATE {}", "DROP TABLE {}", "ALTER TABLE {} DISABLE TRIGGER ALL"):
                assert refuses(connection, sql.SQL(write).format(table)), (table, write)
        for statement in ("CREATE TABLE mine ()", "CREATE SCHEMA mine", "SET session_replication_role = replica"):
            assert refuses(connection, sql.SQL(statement)), statement


@pytest.mark.parametrize("database", DATABASE_NAMES)
def test_tables_that_come_later_have_the_same_rights(roled: Roled, database: str) -> None:
    with roled.connect("owner", database) as owner:
        owner.execute("CREATE TABLE later (id bigint GENERATED BY DEFAULT AS IDENTITY, n integer)")
    try:
        with roled.connect("app", database) as writer:
            writer.execute("INSERT INTO later (n) VALUES (1)")
            writer.execute("UPDATE later SET n = 2")
        with roled.connect("reader", database) as reader:
            assert reader.execute("SELECT n FROM later").fetchone() == (2,)
            assert refuses(reader, sql.SQL("UPDATE later SET n = 3"))
    finally:
        with roled.connect("owner", database) as owner:
            owner.execute("DROP TABLE later")
