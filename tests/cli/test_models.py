"""Text models installed by command, and the demo without what is optional."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from tests.fixtures.commands import Run
from tests.fixtures.text_models import MINILM, needs_minilm

from prometheus.encoders.texts.sources import find_text_folder


@pytest.fixture
def home(cli_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, beside the databases of the other tests."""
    monkeypatch.setenv("PROMETHEUS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@needs_minilm
def test_the_real_model_is_installed_from_a_folder_once(run: Run, home: Path, tmp_path: Path) -> None:
    source = find_text_folder(MINILM)
    folder = home / "models" / MINILM
    first = run("models", "install", str(source))
    assert (first.exit_code, first.stdout) == (0, f"{MINILM}: installed in {folder}\n"), first.stderr
    second = run("models", "install", str(source), "--json")
    assert json.loads(second.stdout)["is_new"] is False
    assert find_text_folder(MINILM, home / "models") == source, "a package comes before what was installed"
    assert {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()} == {
        "1_Pooling/config.json", "config.json", "config_sentence_transformers.json", "model.safetensors",
        "modules.json", "sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip


@needs_minilm
def test_verify_and_list_say_what_is_there(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = find_text_folder(MINILM)
    assert run("models", "verify").exit_code == 0
    assert json.loads(run("models", "list", "--json").stdout)[0]["folder"] == str(source)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)  # as without the package
    assert "not installed" in run("models", "list").stdout
    none = run("models", "verify")
    assert (none.exit_code, none.errors) == (
        5, ["error: no text model is installed; install it with: python -m prometheus models install"],
    )  # fmt: skip
    shutil.copytree(source, home / "models" / MINILM)
    assert run("models", "verify").exit_code == 0
    (home / "models" / MINILM / "modules.json").write_text("[]", encoding="utf-8")
    damaged = run("models", "verify")
    assert damaged.exit_code == 3
    assert "modules.json: 2 bytes, where that of sentence-transformers/all-MiniLM-L6-v2 has 349" in damaged.stderr


def test_the_demo_goes_on_without_pictures_and_texts(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("matplotlib", "matplotlib.figure", "onnxruntime", "tokenizers"):  # as where no extra is installed
        monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.chdir(tmp_path)
    done = run("demo", "--allow-own-server")
    assert done.exit_code == 0, done.stderr
    needs = "needs an optional package; install it with: pip install"
    fetch = "python -m prometheus models install"
    assert [line for line in done.stdout.splitlines() if line.startswith("Left out")] == [
        f"Left out, pictures: drawing {needs} 'prometheus-regime[plots]'",
        f"Left out, what texts mean: a text model {needs} 'prometheus-regime[texts]', and its files with: {fetch}",
    ]
    assert "plot_regimes" not in done.stdout
    assert "ingest macro" in done.stdout
    assert not list(tmp_path.glob("*.png"))
