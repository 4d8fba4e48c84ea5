"""What a folder may hold, and in which words it is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fixtures.text_models import CONFIG, MODULES, write_folder, write_graph, write_json

from prometheus.encoders.texts.sources import read_text_folder
from prometheus.errors import FileAccessError, InputRefusedError


def test_the_layout_of_sentence_transformers_is_read(tmp_path: Path) -> None:
    found = read_text_folder(write_folder(tmp_path / "m"))
    assert (found.max_length, found.pooling, found.normalize, found.is_graph) == (10, "mean", True, False)
    assert found.weights.name == "model.safetensors"


def test_a_plain_transformer_is_pooled_by_the_mean_and_left_as_it_is(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    (folder / "modules.json").unlink()
    (folder / "sentence_bert_config.json").unlink()
    found = read_text_folder(folder)
    assert (found.max_length, found.pooling, found.normalize) == (16, "mean", False)


@pytest.mark.parametrize("config", [{"pooling_mode": "cls"}, {"pooling_mode_cls_token": True, "include_prompt": True}])
def test_both_ways_to_state_the_pooling_are_read(tmp_path: Path, config: dict[str, object]) -> None:
    folder = write_folder(tmp_path / "m")
    write_json(folder / "1_Pooling" / "config.json", config)
    assert read_text_folder(folder).pooling == "cls"


def test_a_graph_of_the_folder_comes_before_weights_and_these_before_an_exported_graph(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    write_graph(folder / "onnx" / "model.onnx")
    assert read_text_folder(folder).weights == folder / "model.safetensors"
    write_graph(folder / "encoder.onnx")
    assert read_text_folder(folder).weights == folder / "encoder.onnx"
    write_graph(folder / "model.onnx")
    assert read_text_folder(folder).weights == folder / "model.onnx"


def test_another_architecture_runs_from_its_exported_graph(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", config={"model_type": "mpnet"})
    write_graph(folder / "onnx" / "model.onnx")
    assert read_text_folder(folder).weights == folder / "onnx" / "model.onnx"


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def sharded(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")


def two_graphs(folder: Path) -> None:
    write_graph(folder / "a.onnx")
    write_graph(folder / "b.onnx")


def without_length(folder: Path) -> None:
    write_json(folder / "sentence_bert_config.json", {})
    write_json(folder / "config.json", {**CONFIG, "max_position_embeddings": None})


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no tokenizer": (lambda it: (it / "tokenizer.json").unlink(), "there is no tokenizer.json"),
    "no weights": (lambda it: (it / "model.safetensors").unlink(), r"there are no weights \(model.safetensors or"),
    "pickled": (pickled, r"pickled \(pytorch_model\.bin\), which is never loaded; save them as safetensors"),
    "sharded": (sharded, "save them as one model.safetensors"),
    "graphs": (two_graphs, r"several graphs and no model\.onnx among them \(a\.onnx, b\.onnx\)"),
    "architecture": (lambda it: write_json(it / "config.json", CONFIG | {"model_type": "mpnet"}), "type 'mpnet'"),
    "remote code": (lambda it: write_json(it / "config.json", CONFIG | {"auto_map": {"a": "b"}}), "is never run"),
    "max pooling": (
        lambda it: write_json(it / "1_Pooling" / "config.json", {"pooling_mode_max_tokens": True}),
        "pooling pooling_mode_max_tokens is not implemented, only mean and cls are",
    ),
    "two poolings": (
        lambda it: write_json(
            it / "1_Pooling" / "config.json", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
        ),
        r"pooling_mode_cls_token \+ pooling_mode_mean_tokens is not implemented",
    ),
    "no pooling": (lambda it: (it / "1_Pooling" / "config.json").unlink(), "pooling none is not implemented"),
    "dense": (
        lambda it: write_json(it / "modules.json", [*MODULES, {"path": "3_Dense", "type": "x.Dense"}]),
        r"modules Transformer \+ Pooling \+ Normalize \+ Dense are not implemented",
    ),
    "prompt": (
        lambda it: write_json(it / "config_sentence_transformers.json", {"default_prompt_name": "query"}),
        "default prompt",
    ),
    "lower case": (
        lambda it: write_json(it / "sentence_bert_config.json", {"max_seq_length": 10, "do_lower_case": True}),
        "do_lower_case",
    ),
    "length": (without_length, "the maximum length is stated neither"),
    "bad json": (lambda it: (it / "config.json").write_text("{"), "is no valid JSON"),
    "no object": (lambda it: write_json(it / "config.json", [1]), "holds no JSON object"),
    "bad modules": (lambda it: write_json(it / "modules.json", {"a": 1}), "is no list of modules"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_an_unusable_folder_is_refused_in_one_line(tmp_path: Path, reason: str) -> None:
    folder = write_folder(tmp_path / "m")
    spoil, message = REFUSED[reason]
    spoil(folder)
    with pytest.raises(InputRefusedError, match=message) as caught:
        read_text_folder(folder)
    assert str(caught.value).startswith(str(folder))
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="no such folder"):
        read_text_folder(tmp_path / "nowhere")
