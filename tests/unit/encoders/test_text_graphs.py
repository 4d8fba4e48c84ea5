"""Graphs found and built, their cache, and graphs of others."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.text_models import CONFIG, write_folder, write_graph, write_json

from prometheus.encoders.texts.documents import TextDoc
from prometheus.encoders.texts.graph_file import GRAPH, WEIGHTS
from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel
from prometheus.errors import InputRefusedError, MissingExtraError, UsageError

DOC = TextDoc("A", "1", "the policy rate rose.")
RATE, BANK = 4, 7


@pytest.fixture(autouse=True)
def _heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let warnings reach `caplog`: a command that ran before in this process keeps them for itself."""
    monkeypatch.setattr(logging.getLogger("prometheus"), "propagate", True)


@pytest.mark.parametrize("library", ["tokenizers", "safetensors", "onnxruntime"])
def test_what_is_not_installed_is_named_with_its_extra(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "m")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=r"a text model .* pip install 'prometheus-regime\[texts\]'"):
        OnnxTextEmbeddingModel(folder)


def cached_files(cache: Path) -> list[Path]:
    return sorted(cache.iterdir())


def test_a_built_graph_is_cached_and_found_again_without_building(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = write_folder(tmp_path / "m"), tmp_path / "new" / "cache"
    first = OnnxTextEmbeddingModel(folder, cache_dir=cache)
    (file,) = cached_files(cache)
    monkeypatch.setattr("prometheus.encoders.texts.onnx_model.build_bert_graph", lambda *_: pytest.fail("built again"))
    second = OnnxTextEmbeddingModel(folder, cache_dir=cache)
    assert cached_files(cache) == [file]
    assert second.embed_batch([DOC]).tobytes() == first.embed_batch([DOC]).tobytes()
    assert second.config == first.config


@pytest.mark.parametrize("damaged", [GRAPH, WEIGHTS])
@pytest.mark.parametrize("content", [b"", b"damaged", None])
def test_a_damaged_graph_is_built_again(
    tmp_path: Path, damaged: str, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    folder, cache = write_folder(tmp_path / "m"), tmp_path / "cache"
    wanted = OnnxTextEmbeddingModel(folder, cache_dir=cache).embed_batch([DOC]).tobytes()
    (kept,) = cached_files(cache)
    whole = {path.name: path.read_bytes() for path in kept.iterdir()}
    if content is None:
        (kept / damaged).unlink()
    else:
        (kept / damaged).write_bytes(content)
    assert OnnxTextEmbeddingModel(folder, cache_dir=cache).embed_batch([DOC]).tobytes() == wanted
    assert "is damaged" in caplog.text
    assert cached_files(cache) == [kept]
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == whole


def test_a_graph_that_is_built_again_does_not_disturb_a_model_that_has_it_open(tmp_path: Path) -> None:
    folder, cache = write_folder(tmp_path / "m"), tmp_path / "cache"
    first = OnnxTextEmbeddingModel(folder, cache_dir=cache)
    wanted = first.embed_batch([DOC]).tobytes()
    (kept,) = cached_files(cache)
    (kept / "strange").touch()  # no longer the content that the name states
    OnnxTextEmbeddingModel(folder, cache_dir=cache)
    shutil.rmtree(cache)
    assert first.embed_batch([DOC]).tobytes() == wanted


def test_the_one_file_that_was_kept_before_goes(tmp_path: Path) -> None:
    folder, cache = write_folder(tmp_path / "m"), tmp_path / "cache"
    OnnxTextEmbeddingModel(folder, cache_dir=cache)
    (kept,) = cached_files(cache)
    former, other = cache / f"{kept.name[:-32]}{'0' * 32}.onnx", cache / f"bert-v1-{'1' * 32}-{'0' * 32}.onnx"
    shutil.rmtree(kept)
    former.touch()
    other.touch()
    OnnxTextEmbeddingModel(folder, cache_dir=cache)
    assert set(cached_files(cache)) == {kept, other}


def test_the_package_onnx_is_not_needed(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel as M\n"
        "M(sys.argv[1], cache_dir=sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", code, write_folder(tmp_path / "m"), tmp_path / "cache"], check=True)


def test_other_weights_or_settings_have_a_graph_of_their_own(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    OnnxTextEmbeddingModel(write_folder(tmp_path / "a"), cache_dir=cache)
    OnnxTextEmbeddingModel(write_folder(tmp_path / "b", seed=2), cache_dir=cache)
    write_json(write_folder(tmp_path / "c") / "1_Pooling" / "config.json", {"pooling_mode": "cls"})
    OnnxTextEmbeddingModel(tmp_path / "c", cache_dir=cache)
    assert len(cached_files(cache)) == 3


def test_processes_that_build_at_once_leave_one_whole_graph(tmp_path: Path) -> None:
    folder, cache = write_folder(tmp_path / "m"), tmp_path / "cache"
    code = (
        "import sys; from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel as M;"
        "M(sys.argv[1], cache_dir=sys.argv[2])"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(folder), str(cache)]) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    assert len(cached_files(cache)) == 1


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    model = OnnxTextEmbeddingModel(write_folder(tmp_path / "m"), cache_dir=tmp_path / "file")
    assert model.embed_batch([DOC]).shape == (1, 8)
    assert "cannot be cached" in caplog.text


def foreign(tmp_path: Path, **graph: object) -> Path:
    folder = write_folder(tmp_path / "m")
    write_graph(folder / "model.onnx", **graph)  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize(
    "inputs",
    [
        {"input_ids": "INT64"},
        {"input_ids": "INT32", "attention_mask": "INT32"},
        {"input_ids": "INT64", "attention_mask": "INT64", "token_type_ids": "INT64"},
    ],
    ids=len,
)
@pytest.mark.parametrize("output", ["last_hidden_state", "token_embeddings", "sentence_embedding"])
def test_a_foreign_graph_is_used_as_it_is(tmp_path: Path, inputs: dict[str, str], output: str) -> None:
    folder = foreign(tmp_path, output=output, pooled=output == "sentence_embedding", inputs=inputs)
    model = OnnxTextEmbeddingModel(folder)
    ids = np.array([2, RATE, BANK, 3], dtype=np.float64)
    wanted = np.array([ids.mean(), (ids**2).mean(), 1])
    found = model.embed_batch([TextDoc("A", "1", "rate bank")])
    np.testing.assert_allclose(found[0], wanted / np.linalg.norm(wanted), rtol=1e-6)
    assert model.config["family"] == "sentence-onnx"
    assert model.dim == 3


def test_the_first_token_of_a_foreign_graph_is_taken_where_the_folder_says_so(tmp_path: Path) -> None:
    folder = foreign(tmp_path)
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode": "cls"})
    write_json(
        folder / "modules.json", [{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": "1_Pooling"}]
    )
    found = OnnxTextEmbeddingModel(folder).embed_batch([TextDoc("A", "1", "rate bank")])
    assert found.tolist() == [[2, 4, 1]]


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({"output": "pooler_output", "pooled": True}, "no output sentence_embedding or .*, only pooler_output"),
        ({"inputs": {"input_ids": "INT64", "pixels": "INT64"}}, "has an input pixels"),
        ({"inputs": {"input_ids": "INT64", "attention_mask": "FLOAT"}}, r"attention_mask of tensor\(float\)"),
    ],
)
def test_a_graph_of_another_kind_is_refused(tmp_path: Path, graph: dict[str, object], message: str) -> None:
    with pytest.raises(InputRefusedError, match=message):
        OnnxTextEmbeddingModel(foreign(tmp_path, **graph))


def test_a_file_that_is_no_graph_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    (folder / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(InputRefusedError, match="cannot load the graph") as caught:
        OnnxTextEmbeddingModel(folder)
    assert len(str(caught.value).splitlines()) == 1


def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"PK\x03\x04 pickled in disguise")
    with pytest.raises(InputRefusedError, match="is no valid safetensors file"):
        OnnxTextEmbeddingModel(folder)


def test_a_tokenizer_with_more_words_than_the_weights_is_refused_at_once(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = write_folder(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"][:-1].copy()
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(InputRefusedError, match="the graph fails"):
        OnnxTextEmbeddingModel(folder)


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(InputRefusedError, match="is no tokenizer"):
        OnnxTextEmbeddingModel(folder)


def test_half_precision_weights_are_widened(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = write_folder(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    save_file({name: values.astype(np.float16) for name, values in weights.items()}, folder / "model.safetensors")
    exact = OnnxTextEmbeddingModel(write_folder(tmp_path / "exact")).embed_batch([DOC])
    np.testing.assert_allclose(OnnxTextEmbeddingModel(folder).embed_batch([DOC]), exact, atol=0.02)


def test_unusable_parameters_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    with pytest.raises(UsageError, match="threads must be at least 1, got 0"):
        OnnxTextEmbeddingModel(folder, threads=0)
    with pytest.raises(UsageError, match="long_text must be one of"):
        OnnxTextEmbeddingModel(folder, cache_dir=tmp_path, long_text="middle")


def test_a_model_may_be_used_from_several_threads(tmp_path: Path) -> None:
    model = OnnxTextEmbeddingModel(write_folder(tmp_path / "m"))
    with ThreadPoolExecutor(4) as pool:
        found = {vectors.tobytes() for vectors in pool.map(lambda _: model.embed_batch([DOC]), range(40))}
    assert len(found) == 1


def test_the_number_of_layers_is_the_one_stated(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", config=CONFIG | {"num_hidden_layers": 3})
    with pytest.raises(InputRefusedError, match=r"encoder\.layer\.2\..* is missing"):
        OnnxTextEmbeddingModel(folder)
