"""`db backup` and `db restore`: the same rows come back, on the embedded server and on those of a user's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from tests.fixtures.commands import Outcome
from tests.fixtures.database import set_environment
from tests.fixtures.embedded_homes import SCRATCH
from tests.fixtures.own_databases import FreshDsn, OwnServer
from tests.fixtures.prototypes import write_two_prototypes
from tests.integration.test_migrations import upgrade_to

from prometheus.app.databases import DatabaseManager
from prometheus.cli import main
from prometheus.core.config import PrometheusConfig
from prometheus.data.migrations import DATABASE_NAMES
from prometheus.data.postgres import dumps
from prometheus.ingest.sample import PRICES

pytest_plugins = ["tests.fixtures.own_server"]

NIGHT = ["nightly", "--since", "2023-12-01", "--as-of"]
EVENT = {"event_type": "NOTE", "timestamp": "2023-12-27T12:00:00Z", "country": "US", "description": "Spreads narrowed."}
Rows = dict[str, str]
Command = Callable[..., Outcome]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that the account of embedded servers can reach; their servers are stopped at the end."""
    folder = Path(os.path.realpath(subprocess.check_output(["mktemp", "-d", "-p", SCRATCH], text=True).strip()))
    folder.chmod(0o755)
    yield folder
    for home in folder.iterdir():
        if (home / "postgresql").is_dir():
            DatabaseManager(PrometheusConfig(home=home)).embedded_server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def command(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs commands over a home, or over the databases of some DSNs."""
    write_two_prototypes("US_INDEX", place / "prototypes.json")
    region = {"US_INDEX": {"instrument_id": "GSPC.INDX", "prototypes": str(place / "prototypes.json")}}

    def run(where: dict[str, str], *arguments: str) -> Outcome:
        set_environment(monkeypatch, where | {"PROMETHEUS_REGIONS": json.dumps(region)})
        capsys.readouterr()
        code = main(list(arguments))
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return run


@pytest.fixture
def filled(place: Path, command: Command) -> dict[str, str]:
    """A home with a night's rows and a text."""
    where = {"PROMETHEUS_HOME": str(place / "home")}
    (place / "events.jsonl").write_text(json.dumps(EVENT) + "\n")
    for arguments in (
        ["ingest", "prices", str(PRICES)],
        ["ingest", "macro", str(place / "events.jsonl")],
        [*NIGHT, "2023-12-20"],
    ):
        done = command(where, *arguments)
        assert done.exit_code == 0, done.stderr
    return where


def rows_of(where: dict[str, str]) -> Rows:
    """Digest of every row of every table, instants of writing included."""
    found: Rows = {}
    with opened(where) as manager:
        for database in DATABASE_NAMES:
            with manager.connect_as_owner(database) as connection:
                tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
                for (name,) in tables:
                    query = sql.SQL("SELECT md5(string_agg(t::text, '|' ORDER BY t::text COLLATE \"C\")) FROM {} AS t")
                    row = connection.execute(query.format(sql.Identifier("public", name))).fetchone()
                    found[f"{database}.{name}"] = str(row)
    return found


@contextmanager
def opened(where: dict[str, str]) -> Iterator[DatabaseManager]:
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, where)
        manager = DatabaseManager(PrometheusConfig())
    try:
        manager.start_embedded_server()
        yield manager
    finally:
        manager.close_all()


def own_databases(server: OwnServer, prefix: str) -> dict[str, str]:
    """Make two empty databases in the encoding that all need."""
    for name in DATABASE_NAMES:
        server.execute(f"DROP DATABASE IF EXISTS {prefix}_{name} WITH (FORCE)")
        server.execute(f"CREATE DATABASE {prefix}_{name}")
    return {f"PROMETHEUS_{name.upper()}_DSN": server.dsn(f"{prefix}_{name}") for name in DATABASE_NAMES}


def test_every_row_comes_back_in_another_home_and_the_next_night_has_nothing_to_do(
    place: Path, command: Command, filled: dict[str, str]
) -> None:
    before, backup = rows_of(filled), str(place / "backup")
    assert command(filled, "db", "backup", backup).exit_code == 0
    assert rows_of(filled) == before
    other = {"PROMETHEUS_HOME": str(place / "other")}

    assert command(other, "db", "restore", backup).exit_code == 0

    assert rows_of(other) == before
    again = command(other, "db", "restore", backup)
    assert (again.exit_code, again.stdout.count("was restored from it before")) == (0, 2)
    assert rows_of(other) == before
    night = command(other, *NIGHT, "2023-12-20", "--json")
    assert (night.exit_code, json.loads(night.stdout)["written"]) == (0, 0)
    assert command(other, "db", "check").exit_code == 0
    assert command(other, "record", "verify").exit_code == 0
    refused = command(filled, "db", "restore", backup)
    assert (refused.exit_code, len(refused.errors)) == (4, 1)
    assert "historical database has rows" in refused.stderr


@pytest.mark.parametrize("own", [pytest.param("own_server", marks=pytest.mark.deep), "plain_server"])
def test_they_come_back_on_a_server_of_ones_own_and_from_there_on_the_embedded_one(
    place: Path, command: Command, filled: dict[str, str], own: str, request: pytest.FixtureRequest
) -> None:
    server: OwnServer = request.getfixturevalue(own)
    before, where = rows_of(filled), own_databases(server, "moved")
    try:
        assert command(filled, "db", "backup", str(place / "there")).exit_code == 0
        done = command(where, "db", "restore", str(place / "there"))
        assert done.exit_code == 0, done.stderr
        assert rows_of(where) == before
        assert command(where, "db", "check").exit_code == 0
        night = command(where, *NIGHT, "2023-12-20", "--json")
        assert (night.exit_code, json.loads(night.stdout)["written"]) == (0, 0)
        stored = rows_of(where)

        assert command(where, "db", "backup", str(place / "back")).exit_code == 0
        back = {"PROMETHEUS_HOME": str(place / "back-home")}
        assert command(back, "db", "restore", str(place / "back")).exit_code == 0
        assert rows_of(back) == stored
    finally:
        for name in DATABASE_NAMES:
            server.execute(f"DROP DATABASE IF EXISTS moved_{name} WITH (FORCE)")


def test_an_index_comes_back_where_pgvector_is_and_its_absence_is_named_elsewhere(
    place: Path, command: Command, filled: dict[str, str], plain_server: OwnServer
) -> None:
    index = ["--model-id", "num-regime-core-v2"]
    assert command(filled, "similar_index", "build", *index).exit_code == 0
    assert command(filled, "db", "backup", str(place / "backup")).exit_code == 0
    home, plain = {"PROMETHEUS_HOME": str(place / "other")}, own_databases(plain_server, "indexed")
    try:
        refused = command(plain, "db", "restore", str(place / "backup"))
        assert (refused.exit_code, len(refused.stderr.splitlines())) == (4, 1), refused.stderr
        assert "needs pgvector (or leave it out: similar_index drop before the backup)" in refused.stderr
    finally:
        for name in DATABASE_NAMES:
            plain_server.execute(f"DROP DATABASE indexed_{name} WITH (FORCE)")
    assert command(home, "db", "restore", str(place / "backup")).exit_code == 0
    status = ["similar_index", "status", *index]
    assert command(home, *status).stdout == command(filled, *status).stdout


def test_a_backup_is_taken_while_nights_run_and_a_rerun_completes_what_it_holds(
    place: Path, command: Command, filled: dict[str, str]
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PROMETHEUS_", "PG"))}
    night = subprocess.Popen(
        [sys.executable, "-m", "prometheus", *NIGHT, "2023-12-28"],
        env=environment | filled | {"PROMETHEUS_REGIONS": os.environ["PROMETHEUS_REGIONS"]},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    taken: list[Path] = []
    while night.poll() is None or not taken:
        taken.append(place / f"backup-{len(taken)}")
        assert command(filled, "db", "backup", str(taken[-1])).exit_code == 0
    assert night.returncode == 0
    told = command(filled, "show_regimes", "--region", "US_INDEX").stdout

    where = {"PROMETHEUS_HOME": str(place / "restored")}
    assert command(where, "db", "restore", str(taken[len(taken) // 2])).exit_code == 0
    assert command(where, "db", "check").exit_code == 0
    assert command(where, *NIGHT, "2023-12-28").exit_code == 0
    assert command(where, "show_regimes", "--region", "US_INDEX").stdout == told
    assert command(where, "record", "verify").exit_code == 0


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_and_sign(backup: Path) -> None:
    """Cut a dump, and make the manifest agree with what the dumps are now."""
    cut(backup / "historical.dump")
    told = json.loads((backup / "backup.json").read_text())
    for name, each in told["dumps"].items():
        each["sha256"] = sha256((backup / f"{name}.dump").read_bytes()).hexdigest()
    (backup / "backup.json").write_text(json.dumps(told))


def test_a_backup_that_was_damaged_is_refused_and_nothing_is_changed(
    place: Path, command: Command, filled: dict[str, str]
) -> None:
    assert command(filled, "db", "backup", str(place / "whole")).exit_code == 0
    where = {"PROMETHEUS_HOME": str(place / "empty")}
    assert command(where, "db", "upgrade").exit_code == 0
    before = rows_of(where)
    harms: dict[str, tuple[Callable[[Path], object], str]] = {
        "cut": (lambda backup: cut(backup / "historical.dump"), "was changed since it was written"),
        "gone": (lambda backup: (backup / "runtime.dump").unlink(), "cannot be read"),
        "signed": (cut_and_sign, "nothing in it was changed"),
        "other": (lambda backup: (backup / "backup.json").write_text("[1]"), "is not what db backup wrote"),
        "no": (shutil.rmtree, "name a folder of db backup"),
    }
    for name, (harm, message) in harms.items():
        backup = place / f"damaged-{name}"
        shutil.copytree(place / "whole", backup)
        harm(backup)
        refused = command(where, "db", "restore", str(backup))
        assert refused.exit_code != 0, name
        assert len(refused.stderr.splitlines()) == 1, refused.stderr
        assert message in refused.stderr
        assert rows_of(where) == before, name
    assert command(where, "db", "restore", str(place / "whole")).exit_code == 0
    assert rows_of(where) == rows_of(filled)


def test_an_older_schema_is_migrated_at_home_and_named_elsewhere(
    place: Path, command: Command, fresh_dsn: FreshDsn
) -> None:
    old, new = ({f"PROMETHEUS_{name.upper()}_DSN": fresh_dsn() for name in DATABASE_NAMES} for _ in range(2))
    upgrade_to(old["PROMETHEUS_HISTORICAL_DSN"], "historical", "0011")
    empty = command(old, "db", "backup", str(place / "none"))
    assert (empty.exit_code, len(empty.errors)) == (4, 1), empty.stderr
    assert not (place / "none").exists()
    upgrade_to(old["PROMETHEUS_RUNTIME_DSN"], "runtime", "0005")
    with psycopg.connect(old["PROMETHEUS_HISTORICAL_DSN"]) as connection:
        connection.execute("INSERT INTO macro_events (event_type, timestamp, description) VALUES ('X', now(), 'oil')")
    assert command(old, "db", "backup", str(place / "old")).exit_code == 0

    home = {"PROMETHEUS_HOME": str(place / "home")}
    assert command(home, "db", "restore", str(place / "old")).exit_code == 0
    status = command(home, "db", "status").stdout
    assert status.count("is_current: True") == 2
    assert command(home, "db", "check").exit_code == 0
    done = command(new, "db", "restore", str(place / "old"))
    assert (done.exit_code, done.stdout.count("the schema is older; run: python -m prometheus db upgrade")) == (0, 2)
    assert command(new, "db", "upgrade").exit_code == 0
    assert command(new, "db", "check").exit_code == 0


def test_a_schema_from_the_future_and_one_database_for_two_are_refused(
    place: Path, command: Command, fresh_dsn: FreshDsn
) -> None:
    one = dict.fromkeys((f"PROMETHEUS_{name.upper()}_DSN" for name in DATABASE_NAMES), fresh_dsn())
    assert command(one, "db", "upgrade").exit_code == 0
    assert command(one, "db", "backup", str(place / "one")).exit_code == 0
    refused = command({"PROMETHEUS_HOME": str(place / "home")}, "db", "restore", str(place / "one"))
    assert len(refused.errors) == 1
    assert "name one database for both DSNs" in refused.stderr
    other = dict.fromkeys(one, fresh_dsn())
    assert command(other, "db", "restore", str(place / "one")).exit_code == 0

    with psycopg.connect(one["PROMETHEUS_HISTORICAL_DSN"]) as connection:
        connection.execute("UPDATE alembic_version_historical SET version_num = '9999'")
    assert command(one, "db", "backup", str(place / "newer")).exit_code == 0
    refused = command(dict.fromkeys(one, fresh_dsn()), "db", "restore", str(place / "newer"))
    assert (refused.exit_code, len(refused.errors)) == (4, 1)
    assert "9999" in refused.stderr


def test_a_killed_restore_leaves_what_was_there_and_can_be_run_again(
    place: Path, command: Command, filled: dict[str, str]
) -> None:
    assert command(filled, "db", "backup", str(place / "backup")).exit_code == 0
    where = {"PROMETHEUS_HOME": str(place / "other")}
    assert command(where, "db", "upgrade").exit_code == 0
    before = rows_of(where)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PROMETHEUS_", "PG"))}
    restoring = [sys.executable, "-m", "prometheus", "db", "restore", str(place / "backup")]
    with opened(where) as manager, manager.connect_as_owner("historical") as reader:
        reader.execute("SELECT FROM text_words")  # the restore waits for the end of this transaction
        process = subprocess.Popen(restoring, env=environment | where)
        with manager.connect_as_owner("historical") as watch:
            watch.autocommit = True
            while not waits(watch):
                assert process.poll() is None
                time.sleep(0.05)
        process.kill()
        process.wait()
        reader.rollback()
    assert rows_of(where) == before
    assert command(where, "db", "restore", str(place / "backup")).exit_code == 0
    assert rows_of(where) == rows_of(filled)


def waits(connection: psycopg.Connection) -> bool:
    """Whether somebody waits for a lock."""
    return connection.execute("SELECT FROM pg_locks WHERE NOT granted").fetchone() is not None


def test_a_full_disk_is_named_and_nothing_is_left_on_it(place: Path, command: Command, filled: dict[str, str]) -> None:
    small = place / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(small)], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        refused = command(filled, "db", "backup", str(small / "backup"))
        assert (refused.exit_code, len(refused.stderr.splitlines())) == (4, 1), refused.stderr
        assert "No space left on device" in refused.stderr
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_password_is_given_to_programs_by_the_environment_alone() -> None:
    address, environment = dumps._address("host=h dbname=d password='a b@c'")
    assert "a b@c" not in address
    assert environment["PGPASSWORD"] == "a b@c"


def test_a_folder_that_is_there_is_left_alone(place: Path, command: Command, filled: dict[str, str]) -> None:
    (place / "mine").mkdir()
    wrong = (
        (place / "mine", "exists"),
        (place / "no" / "such", "is no folder"),
        (Path("/proc/a"), "cannot be written"),
    )
    for folder, message in wrong:
        refused = command(filled, "db", "backup", str(folder))
        assert refused.exit_code != 0
        assert (len(refused.stderr.splitlines()), len(refused.errors)) == (1, 1), refused.stderr
        assert message in refused.stderr
    assert sorted(path.name for path in (place / "mine").iterdir()) == []
    assert not [path for path in place.iterdir() if path.name.startswith(".")]
