"""Settings of roles, databases, DSNs and the environment that write values in other ways; forks; poolers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.fixtures.commands import run_process
from tests.fixtures.own_databases import FreshDsn, OwnServer, manager_of
from tests.fixtures.stores import vectors_of

import prometheus as pm
from prometheus.app.databases import DatabaseManager
from prometheus.data.postgres.connections import FORMS
from prometheus.data.text_reader import TextReader
from prometheus.encoders import TextEmbeddingStore
from prometheus.encoders.texts.documents import TextDoc
from prometheus.errors import DatabaseError, PrometheusError
from prometheus.ingest.prices import PriceIngest
from prometheus.ingest.report import IngestOptions, TextIngestOptions
from prometheus.ingest.sample import PRICES
from prometheus.ingest.texts import TextIngest

pytest_plugins = ["tests.fixtures.own_server"]
pytestmark = pytest.mark.tcp

HOSTILE = {
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "client_encoding": "LATIN1",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
}
VARIABLES = {"PGDATESTYLE": "German, DMY", "PGTZ": "Asia/Kathmandu", "PGCLIENTENCODING": "LATIN1"}
NOW = datetime(2024, 6, 1, tzinfo=UTC)
TEXT = "“Zins” \\ 利率 …"


def by_role(server: OwnServer, dsn: str) -> str:
    """Settings of a role of its own."""
    role, database = f"odd_{next(server.numbers)}", conninfo_to_dict(dsn)["dbname"]
    server.execute(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'odd'")
    for name, value in HOSTILE.items():
        server.execute(f"ALTER ROLE {role} SET {name} = '{value}'")
    return make_conninfo(dsn, user=role, password="odd", dbname=database)


def by_database(server: OwnServer, dsn: str) -> str:
    """Settings of the database."""
    for name, value in HOSTILE.items():
        server.execute(f"ALTER DATABASE {conninfo_to_dict(dsn)['dbname']} SET {name} = '{value}'")
    return dsn


def by_dsn(_server: OwnServer, dsn: str) -> str:
    """Options of the DSN."""
    options = " ".join(f"-c {name}={value.replace(' ', '')}" for name, value in HOSTILE.items())
    return make_conninfo(dsn, options=options, client_encoding="LATIN1")


def as_it_is(_server: OwnServer, dsn: str) -> str:
    """Variables of the environment alone, which the test sets."""
    return dsn


def shown(manager: DatabaseManager) -> list[dict[str, str]]:
    """What connections of every kind are set to."""
    wanted = [*FORMS, "client_encoding"]
    ways = [manager.get_historical_connection, manager.get_runtime_connection]
    owned = manager.get_owner_connection("historical")
    with ways[0]() as one, ways[1]() as two, owned as three:
        return [
            {name: str(each.execute("SELECT current_setting(%s)", (name,)).fetchone()[0]) for name in wanted}  # type: ignore[index]
            for each in (one, two, three)
        ]


@pytest.mark.parametrize("way", [by_role, by_database, by_dsn, as_it_is])
def test_odd_settings_change_nothing(
    way: Callable[[OwnServer, str], str],
    own_server: OwnServer,
    fresh_dsn: FreshDsn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dsn = way(own_server, fresh_dsn())
    with manager_of(dsn, dsn) as manager:
        if way is as_it_is:
            for name, value in VARIABLES.items():
                monkeypatch.setenv(name, value)
        manager.upgrade()
        assert shown(manager) == [{**FORMS, "client_encoding": "UTF8"}] * 3
        loads_and_reads(manager, tmp_path)


def loads_and_reads(manager: DatabaseManager, folder: Path) -> None:
    """Write an instant, a date, a float, a text and bytes, and read them back."""
    prices, news = folder / "prices.csv", folder / "news.csv"
    close = 0.1 + 0.2
    prices.write_text(
        f"instrument_id,date,open,high,low,close,volume\nA.US,2024-03-04,{close},{close},{close},{close},7\n"
    )
    news.write_text(f"published_at,headline,body\n2024-02-03T04:05:06Z,{TEXT},\n")
    PriceIngest(manager).ingest_prices([prices], IngestOptions(today=date(2024, 6, 1)))
    TextIngest(manager).ingest_news([news], TextIngestOptions(now=NOW))
    with pm.open(manager.config) as opened:
        assert opened.prices("A.US").to_pandas()["close"].tolist() == [close]
    reader = TextReader(manager)
    (key,) = next(reader.iter_keys("NEWS", date(2024, 2, 3), date(2024, 2, 3)))
    (text,) = reader.load_dated("NEWS", [key.source_id])
    assert (text.timestamp, text.text) == (datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC), TEXT)
    assert text.timestamp.utcoffset() == timedelta()
    store, vectors = TextEmbeddingStore(db_manager=manager), vectors_of(1, 384)
    store.save_embeddings([TextDoc("NEWS", str(key.source_id), TEXT)], "m@1", vectors)
    (found,) = store.load_many("NEWS", [str(key.source_id)], "m@1").values()
    assert found.vector.tobytes() == vectors[0].tobytes()


def test_the_server_soon_notices_that_a_client_is_gone(fresh_dsn: FreshDsn) -> None:
    dsn = fresh_dsn()
    with manager_of(dsn, dsn) as manager:
        manager.upgrade()
        names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count")
        with manager.get_historical_connection() as connection:
            found = [connection.execute("SELECT current_setting(%s)", (name,)).fetchone() for name in names]
        assert found == [("30",), ("10",), ("3",)]


def test_a_database_that_only_reads_ends_a_backfill_with_one_line_and_the_next_run_goes_on(
    own_server: OwnServer, fresh_dsn: FreshDsn, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = fresh_dsn()
    name = conninfo_to_dict(dsn)["dbname"]
    backfill = (
        "-m",
        "prometheus",
        "backfill_numeric_embeddings",
        "--instrument-id",
        "AAPL.US",
        "--as-of",
        "2025-01-31",
    )
    with manager_of(dsn, dsn) as manager:
        manager.upgrade()
        PriceIngest(manager).ingest_prices([PRICES], IngestOptions(today=date(2025, 8, 1)))
    for database in ("HISTORICAL", "RUNTIME"):
        monkeypatch.setenv(f"PROMETHEUS_{database}_DSN", dsn)
    own_server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    refused = run_process(*backfill)
    assert refused.exit_code == 4
    assert refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: historical database: cannot execute ")
    assert "in a read-only transaction; is it a replica? the DSN must name a server and a role that may write" in line
    own_server.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    done = run_process(*backfill, "--json")
    assert json.loads(done.stdout)["written"] == 1


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_is_not_utf8_is_never_migrated(encoding: str, own_server: OwnServer) -> None:
    name = f"other_{next(own_server.numbers)}"
    own_server.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    try:
        with manager_of(own_server.dsn(name), own_server.dsn(name)) as manager:
            with pytest.raises(DatabaseError, match=f"{name} is in {encoding}, not UTF8.*ENCODING 'UTF8'"):
                manager.upgrade()
            assert manager.schema_revisions() == {"historical": None, "runtime": None}
    finally:
        own_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def refusing_pooler() -> Iterator[int]:
    """Answer every login as pgbouncer does without ``ignore_startup_parameters``; yields the port."""
    fields = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: options\0\0"
    answer = b"E" + (len(fields) + 4).to_bytes(4, "big") + fields
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    link, _ = listener.accept()
                except OSError:
                    return
                with link:
                    link.recv(4096)
                    link.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_a_pooler_that_refuses_options_is_told_what_to_ignore() -> None:
    with refusing_pooler() as port:
        dsn = f"host=127.0.0.1 port={port} user=x dbname=x sslmode=disable gssencmode=disable"
        with manager_of(dsn, dsn) as manager, pytest.raises(PrometheusError) as caught:
            manager.get_historical_connection().__enter__()
    assert "ignore_startup_parameters = options" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


FORKED = """
import multiprocessing, os, sys
import prometheus as pm

def ask(_number):
    return [row.instrument_id for row in opened.instruments()], os.getpid()

with pm.open() as opened:
    before = ask(0)[0]
    child = os.fork()
    if not child:
        os._exit(0 if ask(0)[0] == before else 7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with multiprocessing.get_context("fork").Pool(8) as pool:
        found = pool.map(ask, range(64), chunksize=1)
    assert all(each == before for each, _ in found), found
    assert ask(0)[0] == before
    child = os.fork()
    if not child:
        sys.exit(0 if ask(0)[0] == before else 7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ask(0)[0] == before
print("all", before)
"""


def test_forked_children_open_connections_of_their_own(
    db_manager: DatabaseManager, cli_environment: dict[str, str], tmp_path: Path
) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text("instrument_id,date,open,high,low,close,volume\nA.US,2024-03-04,1,1,1,1,7\n")
    PriceIngest(db_manager).ingest_prices([prices], IngestOptions(today=date(2024, 6, 1)))
    (tmp_path / "forked.py").write_text(FORKED)
    outcome = run_process(str(tmp_path / "forked.py"))
    assert (outcome.exit_code, outcome.stdout) == (0, "all ['A.US']\n"), outcome.stderr
