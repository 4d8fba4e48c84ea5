"""BERT weights as one ONNX graph: token ids of one length in, sentence vectors out; no padding, no mask.

It uses ONNX Runtime's fused operators (Devlin et al., BERT, 2019; ONNX Runtime's ContribOperators.md), and holds
pooling and normalisation too; ADR-0006 says what each operator costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prometheus.encoders.texts.graph_file import FLOAT, INT32, WEIGHTS, GraphFile, tensor_info
from prometheus.encoders.texts.sources import Pooling, TextModelFolder
from prometheus.errors import InputRefusedError

GRAPH_VERSION = 1  # raised whenever the same weights and tokens could give other bytes; part of every fingerprint

OPSET = 18
FUSED = "com.microsoft"
SMALLEST_LENGTH = 1e-12

Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class BertShape:
    """Everything about a BERT encoder that its weights do not say."""

    dim: int
    n_layers: int
    n_heads: int
    epsilon: float
    max_length: int
    pooling: Pooling
    normalize: bool


def bert_shape(folder: TextModelFolder) -> BertShape:
    """Return the shape ``config.json`` states; a model that is no plain encoder is refused."""
    config, source = folder.config, str(folder.path)
    wanted = {"hidden_act": "gelu", "position_embedding_type": "absolute"}
    for key, value in wanted.items():
        if config.get(key, value) != value:
            raise InputRefusedError(f"{source}: {key} {config[key]!r} is not implemented, only {value!r} is")
    for key in ("is_decoder", "add_cross_attention"):
        if config.get(key):
            raise InputRefusedError(f"{source}: {key} is not implemented; the model must be a plain encoder")
    sizes = {key: config.get(key) for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    for key, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise InputRefusedError(f"{source}: config.json states no usable {key}")
    dim, n_layers, n_heads = (int(size) for size in sizes.values() if size is not None)
    if dim % n_heads:
        raise InputRefusedError(f"{source}: hidden_size {dim} cannot be split among {n_heads} attention heads")
    epsilon = float(config.get("layer_norm_eps", 1e-12))
    return BertShape(dim, n_layers, n_heads, epsilon, folder.max_length, folder.pooling, folder.normalize)


def build_bert_graph(weights: Weights, shape: BertShape, source: str, folder: Path) -> None:
    """Write the graph of a checkpoint's weights to a folder: ``input_ids`` in, ``sentence_embedding`` (n, dim) out."""
    with (folder / WEIGHTS).open("wb") as file:
        _GraphBuilder(weights, shape, source, GraphFile(folder, file)).build()


class _GraphBuilder:
    """Puts nodes and weights together; each method adds one part and returns the name of its result."""

    def __init__(self, weights: Weights, shape: BertShape, source: str, file: GraphFile) -> None:
        self._weights = weights
        self._shape = shape
        self._source = source
        self._prefix = "bert." if any(name.startswith("bert.") for name in weights) else ""
        self._file = file

    def build(self) -> None:
        hidden = self._embed("input_ids")
        for layer in range(self._shape.n_layers):
            hidden = self._layer(hidden, f"encoder.layer.{layer}")
        self._pool(hidden, "sentence_embedding")
        inputs = [tensor_info("input_ids", INT32, ["n", "length"])]
        outputs = [tensor_info("sentence_embedding", FLOAT, ["n", self._shape.dim])]
        self._file.finish("bert", inputs, outputs, {"": OPSET, FUSED: 1})

    def _embed(self, input_ids: str) -> str:
        """Word and position, normalised; the token type is always the first and thus part of the position."""
        dim = self._shape.dim
        position = self._weight("embeddings.position_embeddings.weight", (None, dim))[: self._shape.max_length]
        token_type = self._weight("embeddings.token_type_embeddings.weight", (None, dim))[0]
        words = self._weight("embeddings.word_embeddings.weight", (None, dim))
        inputs = [
            input_ids, "", self._stored("words", words), self._stored("positions", position + token_type), "",
            *self._vectors("embeddings.LayerNorm"),
        ]  # fmt: skip
        return self._node("EmbedLayerNormalization", inputs, n_outputs=2, domain=FUSED, epsilon=self._shape.epsilon)

    def _layer(self, hidden: str, layer: str) -> str:
        dim = self._shape.dim
        width = len(self._weight(f"{layer}.intermediate.dense.bias", (None,)))
        attended = self._attend(hidden, f"{layer}.attention.self")
        hidden = self._add_and_normalise(attended, hidden, f"{layer}.attention.output", (dim, dim))
        widened = self._multiply(hidden, f"{layer}.intermediate.dense.weight", (width, dim))
        bias = self._named(f"{layer}.intermediate.dense.bias", (width,))
        active = self._node("BiasGelu", [widened, bias], domain=FUSED)
        return self._add_and_normalise(active, hidden, f"{layer}.output", (dim, width))

    def _attend(self, hidden: str, name: str) -> str:
        dim = self._shape.dim
        parts = [f"{name}.{part}" for part in ("query", "key", "value")]
        weight = np.concatenate([self._weight(f"{part}.weight", (dim, dim)).T for part in parts], axis=1)
        bias = np.concatenate([self._weight(f"{part}.bias", (dim,)) for part in parts])
        inputs = [hidden, self._stored(f"{name}.weight", weight), self._stored(f"{name}.bias", bias)]
        return self._node("Attention", inputs, domain=FUSED, num_heads=self._shape.n_heads)

    def _add_and_normalise(self, branch: str, hidden: str, name: str, shape: tuple[int, int]) -> str:
        product = self._multiply(branch, f"{name}.dense.weight", shape)
        with_bias = self._node("Add", [product, self._named(f"{name}.dense.bias", (self._shape.dim,))])
        total = self._node("Add", [with_bias, hidden])
        inputs = [total, *self._vectors(f"{name}.LayerNorm")]
        return self._node("LayerNormalization", inputs, axis=-1, epsilon=self._shape.epsilon)

    def _pool(self, hidden: str, output: str) -> None:
        second_axis = self._constant("axis.tokens", np.array([1]))
        if self._shape.pooling == "mean":
            pooled = self._node("ReduceMean", [hidden, second_axis], keepdims=0)
        else:
            pooled = self._node("Gather", [hidden, self._constant("first", np.array(0))], axis=1)
        if self._shape.normalize:
            length = self._node("ReduceL2", [pooled, second_axis], keepdims=1)
            smallest = self._constant("smallest", np.array(SMALLEST_LENGTH, dtype=np.float32))
            pooled = self._node("Div", [pooled, self._node("Max", [length, smallest])])
        self._node("Identity", [pooled], output=output)

    def _multiply(self, hidden: str, name: str, shape: tuple[int, int]) -> str:
        return self._node("MatMul", [hidden, self._stored(name, self._weight(name, shape).T)])

    def _vectors(self, name: str) -> list[str]:
        return [self._named(f"{name}.{part}", (self._shape.dim,)) for part in ("weight", "bias")]

    def _named(self, name: str, shape: tuple[int | None, ...]) -> str:
        return self._stored(name, self._weight(name, shape))

    def _weight(self, name: str, shape: tuple[int | None, ...]) -> NDArray[np.float32]:
        try:
            weight = self._weights[self._prefix + name]
        except KeyError:
            raise InputRefusedError(f"{self._source}: the weight {self._prefix + name} is missing") from None
        if len(weight.shape) != len(shape) or any(
            wanted not in (None, found) for wanted, found in zip(shape, weight.shape, strict=True)
        ):
            raise InputRefusedError(f"{self._source}: the weight {name} has shape {weight.shape}, expected {shape}")
        return weight

    def _stored(self, name: str, values: NDArray[np.float32]) -> str:
        self._file.add_weights(name, values)
        return name

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        self._file.add_constant(name, values)
        return name

    def _node(
        self, kind: str, inputs: list[str], *, n_outputs: int = 1, domain: str = "", output: str = "", **settings: float
    ) -> str:
        name = output or f"{self._file.n_nodes}.{kind}"
        outputs = [name, *(f"{name}.{position}" for position in range(1, n_outputs))]
        self._file.add_node(kind, inputs, outputs, domain, settings)
        return name
