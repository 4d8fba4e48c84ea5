"""A server whose safeguards are off is told of: by `db status`, and once by whatever may write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.fixtures.commands import run_process
from tests.fixtures.database import set_environment
from tests.fixtures.own_databases import FreshDsn, OwnServer, manager_of

from prometheus.cli import main
from prometheus.data.postgres.durability import SAFEGUARDS, DurabilityWatch
from prometheus.ingest.sample import PRICES

pytest_plugins = ["tests.fixtures.own_server"]

CHOICES = [chosen for n in range(len(SAFEGUARDS) + 1) for chosen in combinations(SAFEGUARDS, n)]


@pytest.fixture
def database(fresh_dsn: FreshDsn, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migrated database of a user's own, for both DSNs; its name."""
    dsn = fresh_dsn()
    with manager_of(dsn, dsn) as manager:
        manager.upgrade()
    set_environment(monkeypatch, {"PROMETHEUS_HISTORICAL_DSN": dsn, "PROMETHEUS_RUNTIME_DSN": dsn})
    return str(conninfo_to_dict(dsn)["dbname"])


@contextmanager
def without(server: OwnServer, *safeguards: str) -> Iterator[None]:
    """Switch safeguards of a running server off."""
    try:
        for name in safeguards:
            server.execute(f"ALTER SYSTEM SET {name} = off")
        server.execute("SELECT pg_reload_conf()")
        yield
    finally:
        server.execute("ALTER SYSTEM RESET ALL")
        server.execute("SELECT pg_reload_conf()")


def warnings_of(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if "the server runs with" in line]


def test_a_server_with_all_safeguards_is_not_spoken_of(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["db", "status"]) == 0
    said = capsys.readouterr()
    assert "safeguards" not in said.out
    assert said.err == ""


def test_a_server_that_may_lose_everything_is_named_by_status_and_once_by_a_run(
    own_server: OwnServer, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with without(own_server, "fsync", "full_page_writes"):
        assert main(["db", "status"]) == 0
        said = capsys.readouterr()
        assert "safeguards_off: fsync, full_page_writes" in said.out.splitlines()
        assert len(warnings_of(said.err)) == 1
        assert main(["ingest", "prices", str(PRICES)]) == 0
        (warning,) = warnings_of(capsys.readouterr().err)
    assert "fsync = off, full_page_writes = off: a crash of the server's machine can take any stored row" in warning
    assert warning.endswith("set them to on")


def test_a_database_that_commits_without_waiting_is_named(
    own_server: OwnServer, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own_server.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")
    assert main(["db", "status", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["safeguards_off"] == ["synchronous_commit"]
    (warning,) = warnings_of(said.err)
    assert "synchronous_commit = off: rows stored just before a crash of the server are lost; set it to on" in warning


SEVERAL = """
from multiprocessing import get_context
from prometheus.cli import main
main(["db", "status"])
child = get_context("spawn").Process(target=main, args=(["db", "status"],))
child.start()
child.join()
raise SystemExit(child.exitcode)
"""


def test_processes_that_a_run_starts_do_not_warn_again(own_server: OwnServer, database: str) -> None:
    with without(own_server, "fsync"):
        done = run_process("-c", SEVERAL)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.count("safeguards_off: fsync") == 2
    assert len(warnings_of(done.stderr)) == 1, done.stderr


@pytest.mark.parametrize("chosen", CHOICES, ids=lambda chosen: "+".join(chosen) or "none")
def test_each_safeguard_that_is_off_is_named_once(
    own_server: OwnServer, chosen: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    watch = DurabilityWatch()
    with psycopg.connect(own_server.dsn()) as connection:
        for _ in range(2):
            watch.look(connection, tuple("off" if name in chosen else "on" for name in SAFEGUARDS))
    assert watch.off == list(chosen)
    assert len(caplog.messages) == (1 if chosen else 0)
    assert all(f"{name} = off" in caplog.text for name in chosen)
