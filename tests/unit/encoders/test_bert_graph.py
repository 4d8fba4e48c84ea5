"""The graph against a slow twin of the same weights, and what it refuses to build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from tests.fixtures.text_models import CONFIG, random_weights
from tests.reference.bert import slow_sentence_vector

from prometheus.encoders.texts.bert_graph import BertShape, Weights, bert_shape, build_bert_graph
from prometheus.encoders.texts.graph_file import GRAPH, WEIGHTS
from prometheus.encoders.texts.sources import Pooling, TextModelFolder
from prometheus.errors import InputRefusedError


def shape_of(pooling: Pooling = "mean", *, normalize: bool = True, **changes: Any) -> BertShape:
    tiny = Path("tiny")
    return bert_shape(TextModelFolder(tiny, tiny, tiny, CONFIG | changes, 12, pooling, normalize))


def build(folder: Path, weights: Weights | None = None, shape: BertShape | None = None) -> Path:
    folder.mkdir()
    build_bert_graph(random_weights() if weights is None else weights, shape or shape_of(), "tiny", folder)
    return folder


def run(folder: Path, token_ids: list[int]) -> NDArray[np.float32]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(folder / GRAPH), options, providers=["CPUExecutionProvider"])
    (vectors,) = session.run(["sentence_embedding"], {"input_ids": np.array([token_ids], dtype=np.int32)})
    found: NDArray[np.float32] = vectors[0]
    return found


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("token_ids", [[2, 3], [2, 4, 5, 6, 3], [2, *[9] * 10, 3]], ids=len)
def test_the_graph_computes_what_the_paper_says(
    pooling: Pooling, normalize: bool, token_ids: list[int], tmp_path: Path
) -> None:
    weights = random_weights()
    found = run(build(tmp_path / "graph", weights, shape_of(pooling, normalize=normalize)), token_ids)
    wanted = slow_sentence_vector(weights, token_ids, n_layers=2, n_heads=2, pooling=pooling, normalize=normalize)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_the_prefix_of_a_pretraining_checkpoint_is_understood(tmp_path: Path) -> None:
    weights = random_weights()
    prefixed = {f"bert.{name}": values for name, values in weights.items()}
    plain = run(build(tmp_path / "plain", weights), [2, 4, 3])
    assert run(build(tmp_path / "prefixed", prefixed), [2, 4, 3]).tobytes() == plain.tobytes()


def test_the_same_weights_give_the_same_files(tmp_path: Path) -> None:
    one, other = ({path.name: path.read_bytes() for path in build(tmp_path / each).iterdir()} for each in "ab")
    assert one == other
    assert set(one) == {GRAPH, WEIGHTS}


def test_the_fused_operators_are_used(tmp_path: Path) -> None:
    graph = onnx.load(str(build(tmp_path / "graph") / GRAPH)).graph
    kinds = [node.op_type for node in graph.node]
    assert [kinds.count(kind) for kind in ("EmbedLayerNormalization", "Attention", "BiasGelu")] == [1, 2, 2]
    assert kinds.count("LayerNormalization") == 4


def test_a_missing_weight_is_named(tmp_path: Path) -> None:
    weights = random_weights()
    del weights["encoder.layer.1.output.dense.bias"]
    with pytest.raises(InputRefusedError, match=r"tiny: the weight encoder\.layer\.1\.output\.dense\.bias is missing"):
        build(tmp_path / "graph", weights)


def test_a_weight_of_another_shape_is_refused_with_both(tmp_path: Path) -> None:
    weights = random_weights() | {"embeddings.LayerNorm.bias": np.zeros(7, dtype=np.float32)}
    with pytest.raises(InputRefusedError, match=r"has shape \(7,\), expected \(8,\)"):
        build(tmp_path / "graph", weights)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act 'relu' is not implemented, only 'gelu' is"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"is_decoder": True}, "is_decoder is not implemented"),
        ({"num_attention_heads": 3}, "hidden_size 8 cannot be split among 3 attention heads"),
        ({"num_hidden_layers": None}, "config.json states no usable num_hidden_layers"),
    ],
)
def test_what_is_no_plain_encoder_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputRefusedError, match=message):
        shape_of(**changes)
