"""A home as the demo leaves it, given back to that state before each page, and a shell in it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from tests.docs.shell import Shell, quick_python
from tests.fixtures.database import _binaries, set_environment
from tests.fixtures.embedded_homes import SCRATCH
from tests.fixtures.own_databases import OwnServer

from prometheus.cli import demo
from prometheus.cli.runner import run_named
from prometheus.ingest.sample import PRICES
from prometheus.server import HISTORICAL_DATABASE, OWNER_ROLE, RUNTIME_DATABASE, EmbeddedServer, EmbeddedSettings
from prometheus.server.bootstrap import bootstrap

SLOW_TEXTS = "2019-01-01 2023-12-31"
"""Of the demo's texts, those that take half a minute to embed."""
NEWS = """\
{"published_at": "2025-01-15T13:30:00Z", "headline": "Inflation slows in December", "language": "en"}
{"published_at": "2025-01-29T19:00:00Z", "headline": "The central bank leaves rates alone", "language": "en"}
"""
MACRO = """\
{"event_type": "CPI", "timestamp": "2025-01-15 08:30", "country": "US", "description": "Consumer prices rose."}
{"event_type": "FOMC", "timestamp": "2025-01-29 14:00", "country": "US", "description": "Rates were left alone."}
"""
MORE_PRICES = """\
ticker,date,open,high,low,close,adj_close,volume,currency
MORE.US,2025-01-30,10,10.4,9.9,10.2,10.2,120000,USD
MORE.US,2025-01-31,10.2,10.6,10.1,10.5,10.5,150000,USD
"""


@dataclass(frozen=True, slots=True)
class DemoHome:
    """An embedded server whose databases can be given back the rows that the demo left."""

    home: Path
    folder: Path
    programs: Path

    def reset(self) -> None:
        """Put both databases back."""
        server = self._server()
        server.ensure_running()
        with self._connect(server) as connection:
            for name in (HISTORICAL_DATABASE, RUNTIME_DATABASE):
                database, kept = sql.Identifier(name), sql.Identifier(f"kept_{name}")
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))
                connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(database, kept))
        bootstrap(lambda name: server.conninfo(name, role=OWNER_ROLE))

    def keep(self) -> None:
        """Remember the rows that are there now; none of what follows needs to survive a crash."""
        server = self._server()
        with self._connect(server) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
            for name in (HISTORICAL_DATABASE, RUNTIME_DATABASE):
                connection.execute(
                    sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                        sql.Identifier(name), sql.Identifier(f"kept_{name}")
                    )
                )

    def stop(self) -> None:
        self._server().stop()

    def environment(self) -> dict[str, str]:
        """Return what a reader's shell begins with, its own settings of Prometheus and libpq left out."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PROMETHEUS_", "PG"))}
        programs = os.pathsep.join(
            map(str, (self.programs, Path(sys.executable).parent, _binaries(), kept.get("PATH", os.defpath)))
        )
        return kept | {"PATH": programs, "PROMETHEUS_HOME": str(self.home), "OMP_NUM_THREADS": "1"}

    def _server(self) -> EmbeddedServer:
        return EmbeddedServer(EmbeddedSettings(self.home))

    def _connect(self, server: EmbeddedServer) -> psycopg.Connection:
        return psycopg.connect(server.conninfo("postgres", role=OWNER_ROLE), autocommit=True)


@pytest.fixture(scope="session")
def demo_home() -> Iterator[DemoHome]:
    with tempfile.TemporaryDirectory(prefix="prometheus-docs-", dir=SCRATCH, ignore_cleanup_errors=True) as place:
        folder = Path(place)
        folder.chmod(0o755)
        (folder / "files").mkdir()
        with quick_python(folder) as python:
            home = DemoHome(folder / "home", folder / "files", python.programs)
            try:
                _run_demo(home)
                home.keep()
                python.wait()
                yield home
            finally:
                home.stop()


@pytest.fixture
def reader(demo_home: DemoHome, own_server: OwnServer) -> Iterator[Shell]:
    """A shell in a folder where the demo was run, with files of the reader's own and a server nobody has used."""
    demo_home.reset()
    place = Path(tempfile.mkdtemp(prefix="page-", dir=demo_home.home.parent))
    with reader_of(place, demo_home, own_server) as shell:
        yield shell


@pytest.fixture(scope="session")
def new_home() -> Iterator[DemoHome]:
    """A home that nothing was written to, as a reader has one before the first command."""
    with tempfile.TemporaryDirectory(prefix="prometheus-read-", dir=SCRATCH, ignore_cleanup_errors=True) as place:
        folder = Path(place)
        folder.chmod(0o755)
        (folder / "files").mkdir()
        with quick_python(folder) as python:
            home = DemoHome(folder / "home", folder / "files", python.programs)
            python.wait()
            try:
                yield home
            finally:
                home.stop()


@contextmanager
def reader_of(place: Path, home: DemoHome, own_server: OwnServer) -> Iterator[Shell]:
    """Yield a shell below ``place``; what was made on the own server is removed at the end."""
    own_server.execute("CREATE ROLE postgres LOGIN SUPERUSER PASSWORD 'admin-secret'")
    place.chmod(0o755)  # a home below it must be reachable by the account that embedded servers run as
    folder = place / "reader"
    shutil.copytree(home.folder, folder)
    shutil.copy(PRICES, folder / "prices.parquet")
    for name, text in (("more.csv", MORE_PRICES), ("events.jsonl", MACRO), ("articles.jsonl", NEWS)):
        (folder / name).write_text(text, encoding="utf-8")
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "activate").touch()
    parts = conninfo_to_dict(own_server.dsn())
    own = {"PGHOSTADDR": str(parts["host"]), "PGPORT": str(parts["port"])}
    passwords = place / "passwords"
    passwords.write_text(
        f"db.example:*:*:postgres:admin-secret\ndb.example:*:*:prometheus:{parts['password']}\n", encoding="utf-8"
    )
    passwords.chmod(0o600)
    shell = Shell(folder, {**home.environment(), "PGPASSFILE": str(passwords)}, own)
    yield shell
    shell.close()
    if shell.has_used_own_server:
        forget(own_server)
    own_server.execute("DROP ROLE postgres")


def forget(server: OwnServer) -> None:
    """Remove what a page made on the server, and make the databases that it began with."""
    made = (f"{prefix}_{name}" for prefix in ("prometheus", "moved") for name in ("historical", "runtime"))
    for name in (*made, "historical", "runtime"):
        server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    for name in ("historical", "runtime"):
        server.execute(f"CREATE DATABASE {name}")
    for name in ("prometheus_owner", "prometheus_app", "prometheus_reader"):
        server.execute(f"DROP ROLE IF EXISTS {name}")


def _run_demo(home: DemoHome) -> None:
    writing = ("ingest", "calibrate", "run_", "compute_", "backfill_")
    folder = Path("demo")
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, {"PROMETHEUS_HOME": str(home.home)})
        patch.chdir(home.folder)
        folder.mkdir()
        steps = chain(
            demo._load_steps(),
            demo._index_steps(folder, folder / "unused.png"),
            demo._first_version_steps(folder, folder / "unused.png"),
            demo._text_steps(folder),
        )
        for _, command in steps:
            if command.startswith(writing) and SLOW_TEXTS not in command:
                name, *arguments = shlex.split(command)
                assert run_named(name, arguments) == 0, command
