"""Graphs written record by record, against the library that the format comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tests.fixtures.text_models import random_weights
from tests.unit.encoders.test_bert_graph import build

from prometheus.encoders.texts.graph_file import FLOAT, GRAPH, IR_VERSION, PAGE, WEIGHTS, GraphFile, tensor_info

names = st.text(min_size=1, max_size=200)


@given(
    kind=names,
    inputs=st.lists(st.text(max_size=200), max_size=4),
    settings=st.dictionaries(names, st.integers(-(2**63), 2**63 - 1) | st.floats(width=32, allow_nan=False)),
    values=st.lists(st.integers(-(2**63), 2**63 - 1)).map(lambda found: np.array(found, dtype=np.int64)),
    axes=st.lists(st.integers(0, 2**63 - 1) | names, max_size=4),
)
def test_the_library_writes_the_same_bytes(
    kind: str,
    inputs: list[str],
    settings: dict[str, Any],
    values: np.ndarray[Any, np.dtype[np.int64]],
    axes: list[str | int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("graph")
    with (folder / WEIGHTS).open("wb") as file:
        written = GraphFile(folder, file)
        written.add_node(kind, inputs, ["out", "more"], "some.domain", settings)
        written.add_constant("numbers", values)
        written.finish("some", [tensor_info("in", FLOAT, axes)], [], {"": 18})
    node = helper.make_node(kind, inputs, ["out", "more"], name="out", domain="some.domain", **settings)
    taken = helper.make_tensor_value_info("in", TensorProto.FLOAT, axes)
    graph = helper.make_graph([node], "some", [taken], [], [numpy_helper.from_array(values, "numbers")])
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="prometheus")
    assert (folder / GRAPH).read_bytes() == model.SerializeToString()


def test_the_library_reads_a_graph_and_its_weights(tmp_path: Path) -> None:
    path = build(tmp_path / "graph") / GRAPH
    onnx.checker.check_model(str(path))
    assert onnx.load(str(path), load_external_data=False).SerializeToString() == path.read_bytes()
    stored = {each.name: numpy_helper.to_array(each) for each in onnx.load(str(path)).graph.initializer}
    weights = random_weights()
    words, wide = "embeddings.word_embeddings.weight", "encoder.layer.1.intermediate.dense.weight"
    np.testing.assert_array_equal(stored["words"], weights[words])
    np.testing.assert_array_equal(stored[wide], weights[wide].T)


def test_each_weight_begins_with_a_page(tmp_path: Path) -> None:
    graph = onnx.load(str(build(tmp_path / "graph") / GRAPH), load_external_data=False).graph
    places = [{each.key: each.value for each in tensor.external_data} for tensor in graph.initializer]
    offsets = [int(place["offset"]) for place in places if place]
    assert len(offsets) > 20
    assert all(offset % PAGE == 0 for offset in offsets)
