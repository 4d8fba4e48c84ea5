"""A server of one's own that archives its WAL comes back to the second before an accident, as the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.fixtures.database import _binaries, _free_port, _server_identity, _tcp_server, set_environment
from tests.fixtures.embedded_homes import SCRATCH
from tests.fixtures.prototypes import write_two_prototypes

from prometheus.cli import main
from prometheus.ingest.sample import PRICES

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "upgrade-and-backup.md"
NIGHT = ["nightly", "--since", "2023-12-01", "--as-of", "2023-12-20"]


def as_server(*command: str | Path, **environment: str) -> subprocess.Popen[bytes]:
    """Start a program as the account that servers run as."""
    uid, gid = _server_identity()
    is_root = os.geteuid() == 0
    return subprocess.Popen(
        [*map(str, command)], cwd="/", env={**os.environ, **environment}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, user=uid if is_root else None, group=gid if is_root else None,
        extra_groups=[] if is_root else None,
    )  # fmt: skip


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder of the account that servers run as, with a folder for WAL in it."""
    with tempfile.TemporaryDirectory(prefix="prometheus-test-", dir=SCRATCH, ignore_cleanup_errors=True) as folder:
        (Path(folder) / "wal").mkdir()
        for path in (Path(folder), Path(folder) / "wal"):
            path.chmod(0o755)
            if os.geteuid() == 0:
                os.chown(path, *_server_identity())
        yield Path(folder)


def shown(pattern: str, place: Path) -> str:
    """Return what the page shows, with its folder replaced by ours."""
    (found,) = re.findall(pattern, PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return str(found).replace("/srv", str(place))


@contextmanager
def recovered(place: Path, dsn: str, moment: datetime) -> Iterator[int]:
    """Start the copy as the page says, and yield its port once it has come to the moment."""
    port, configuration = _free_port(), place / "base" / "postgresql.auto.conf"
    lines = shown(r"^(restore_command = .*\nrecovery_target_time = .*\nrecovery_target_action = .*\n)END$", place)
    configuration.write_text(configuration.read_text() + lines.replace("2025-07-23 21:59:00+00", moment.isoformat()))
    (place / "base" / "recovery.signal").touch()
    program = _binaries() / "postgres"
    server = as_server(program, "-D", place / "base", "-p", str(port), "-c", "listen_addresses=127.0.0.1",
                       "-c", "unix_socket_directories=", "-c", "archive_mode=off")  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                with psycopg.connect(make_conninfo(dsn, port=port)) as connection:
                    if connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,):
                        break
            except psycopg.OperationalError:
                pass
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield port
    finally:
        server.terminate()
        server.wait(60)


def regimes(environment: Mapping[str, str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, dict(environment))
        capsys.readouterr()
        assert main(["show_regimes", "--region", "US_INDEX"]) == 0
        return capsys.readouterr().out


def test_what_an_accident_took_comes_back_and_the_record_leads_on(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = shown(r"^archive_command = '(.*)'$", place)
    started = contextmanager(_tcp_server)(place, settings=["archive_mode=on", f"archive_command={archive}"])
    with started as environment:
        write_two_prototypes("US_INDEX", place / "prototypes.json")
        region = {"US_INDEX": {"instrument_id": "GSPC.INDX", "prototypes": str(place / "prototypes.json")}}
        set_environment(monkeypatch, {**environment, "PROMETHEUS_REGIONS": json.dumps(region)})
        assert main(["db", "upgrade"]) == 0
        dsn = environment["PROMETHEUS_RUNTIME_DSN"]
        parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
        copied = as_server(
            _binaries() / "pg_basebackup", "--host", parts["host"], "--port", parts["port"], "--username",
            parts["user"], "--checkpoint=fast", "--pgdata", place / "base", PGPASSWORD=parts["password"],
        )  # fmt: skip
        assert copied.wait(60) == 0
        assert main(["ingest", "prices", str(PRICES)]) == 0
        assert main(NIGHT) == 0
        before = regimes(environment, capsys)
        with psycopg.connect(dsn, autocommit=True) as connection:
            row = connection.execute("SELECT clock_timestamp()").fetchone()
            assert row is not None
            time.sleep(0.01)
            connection.execute("DELETE FROM regimes")
            connection.execute("SELECT pg_switch_wal()")
        assert regimes_are_gone(dsn)
    with recovered(place, dsn, row[0]) as port:
        back = {name: make_conninfo(value, port=port) for name, value in environment.items()}
        assert regimes(back, capsys) == before
        set_environment(monkeypatch, {**back, "PROMETHEUS_REGIONS": json.dumps(region)})
        assert main(["db", "check"]) == 0
        assert main(["record", "verify"]) == 0
        capsys.readouterr()
        assert main([*NIGHT, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["written"] == 0


def regimes_are_gone(dsn: str) -> bool:
    with psycopg.connect(dsn) as connection:
        return connection.execute("SELECT count(*) FROM regimes").fetchone() == (0,)
