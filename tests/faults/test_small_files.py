"""Small files that are none: pipes, devices, folders, huge ones and noise, wherever a command reads a small file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fixtures.commands import US, Outcome, Run

from prometheus.core.files import MAX_SMALL_BYTES, read_small, read_small_text
from prometheus.errors import FileAccessError
from prometheus.files.folder_stores import Folder

REGION = ["run_numeric_regime", *US, "--as-of", "2025-01-31"]


def _regions(run: Run, path: str, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    monkeypatch.setenv("PROMETHEUS_REGIONS_FILE", path)
    return run("config", "show")


def _alerts(run: Run, path: str, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    monkeypatch.setenv("PROMETHEUS_ALERTS_FILE", path)
    return run("alerts", "test")


def _secret(run: Run, path: str, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    Path("alerts.toml").write_text(
        '[channels.desk]\ntype = "webhook"\naddress = "http://127.0.0.1:9/"\n'
        f'secret = {{file = "{path}"}}\n[[rules]]\nname = "changes"\nkinds = ["change"]\n'
    )
    return _alerts(run, "alerts.toml", monkeypatch)


READERS: dict[str, Callable[[Run, str, pytest.MonkeyPatch], Outcome]] = {
    "prototypes": lambda run, path, _: run(*REGION, "--prototypes", path),
    "earlier prototypes": lambda run, path, _: run(
        "calibrate", *US, "--until", "2020-12-31", "--output", "p.json", "--align-to", path
    ),
    "dates": lambda run, path, _: run("evaluate_events", "--region", "US", "--dates", path),
    "token": lambda run, path, _: run("serve", "--port", "0", "--token-file", path),
    "prices": lambda run, path, _: run("ingest", "prices", path),
    "regions": _regions,
    "alerts": _alerts,
    "secret of a channel": _secret,
}
KINDS = ("nothing", "pipe", "link to a pipe", "zeros", "folder", "huge", "noise")


def make(kind: str, path: Path) -> None:
    """Put a kind of file at a path."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to a pipe":
        os.mkfifo(f"{path}.pipe")
        path.symlink_to(f"{path.name}.pipe")
    elif kind == "zeros":
        path.symlink_to("/dev/zero")  # read only, and without an end
    elif kind == "folder":
        path.mkdir()
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    elif kind == "noise":
        path.write_bytes(b"\xff\xfe\x00\x80" * 64)
    if kind in ("huge", "noise"):
        path.chmod(0o600)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_cannot_be_one_is_refused_at_once(
    reader: str, kind: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (reader, kind) == ("prices", "huge"):
        pytest.skip("rows may be many: they are read in blocks")
    path = Path("given")
    make(kind, path)
    done = READERS[reader](run, str(path), monkeypatch)
    assert done.exit_code in (2, 5), done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "given" in done.errors[0]
    assert "unexpected" not in done.errors[0]


def test_the_bound_is_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_bytes(b"x" * 100)
    assert read_small(path, 100) == b"x" * 100
    with pytest.raises(FileAccessError, match="is larger than such a file may be, 99 bytes"):
        read_small(path, 99)
    with path.open("r+b") as file:
        file.truncate(MAX_SMALL_BYTES + 1)
    with pytest.raises(FileAccessError, match="is larger than such a file may be, 16,777,216 bytes"):
        read_small(path)


def test_text_that_is_none_is_told_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"one\ntwo\nth\xff\n")
    with pytest.raises(FileAccessError, match=r"is no text in UTF-8 \(line 3\); save it as UTF-8"):
        read_small_text(tmp_path / "p")


@pytest.mark.parametrize("name", ["prometheus.json", ".lock"])
def test_a_store_with_a_pipe_in_it_is_refused(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    if name == "prometheus.json":
        with pytest.raises(FileAccessError, match="is a named pipe, not a regular file"):
            Folder(tmp_path)
    else:
        Folder(tmp_path)  # a lock has no content
    assert stat.S_ISFIFO((tmp_path / name).stat().st_mode)
