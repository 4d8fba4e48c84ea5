"""An ONNX graph as two files: the graph, some kilobytes, and beside it the weights, which are mapped and not read.

Only the records that `bert_graph` needs are written, in the encoding of Protocol Buffers (protobuf.dev, Encoding) with
the field numbers of ``onnx.proto``. The package `onnx` writes the same bytes; it is 34 MB of an installation, and it
holds the whole model in memory three times while it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from struct import pack
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

GRAPH, WEIGHTS = "model.onnx", "weights.f4"
IR_VERSION = 8
PAGE = 4_096
"""Weights begin at multiples of it, so that each is mapped at an address as even as one of its own."""

FLOAT, INT32, INT64 = 1, 6, 7
ELEMENT_KINDS: Mapping[str, int] = {"float32": FLOAT, "int32": INT32, "int64": INT64}
_VARINT, _BYTES, _FIXED32 = 0, 2, 5
_EXTERNAL: Final = 1
_FLOAT_SETTING, _INT_SETTING = 1, 2


class GraphFile:
    """Collects the nodes and constants of a graph; weights go to their file at once and are not kept."""

    def __init__(self, folder: Path, weights: BinaryIO) -> None:
        self._folder = folder
        self._weights = weights
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []

    @property
    def n_nodes(self) -> int:
        """How many nodes there are."""
        return len(self._nodes)

    def add_node(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], domain: str, settings: Mapping[str, float]
    ) -> None:
        """Append a node, named as its first output; settings are integers or floats."""
        self._nodes.append(b"".join([
            *(_text(1, name) for name in inputs),
            *(_text(2, name) for name in outputs),
            _text(3, outputs[0]),
            _text(4, kind),
            *(_field(5, _setting(name, settings[name])) for name in sorted(settings)),
            _text(7, domain) if domain else b"",
        ]))  # fmt: skip

    def add_constant(self, name: str, values: NDArray[Any]) -> None:
        """Keep a small constant in the graph itself."""
        self._constants.append(_tensor_head(values) + _text(8, name) + _field(9, values.tobytes()))

    def add_weights(self, name: str, values: NDArray[np.float32]) -> None:
        """Write float32 weights, row by row, to the file beside the graph."""
        self._weights.write(bytes(-self._weights.tell() % PAGE))
        place = {"location": WEIGHTS, "offset": self._weights.tell(), "length": values.nbytes}
        self._weights.write(np.ascontiguousarray(values, dtype="<f4").data)
        entries = [_field(13, _text(1, key) + _text(2, str(value))) for key, value in place.items()]
        self._constants.append(b"".join([_tensor_head(values), _text(8, name), *entries, _number(14, _EXTERNAL)]))

    def finish(
        self, name: str, inputs: Sequence[bytes], outputs: Sequence[bytes], operators: Mapping[str, int]
    ) -> None:
        """Write the graph; `inputs` and `outputs` are those of `tensor_info`, `operators` versions by domain."""
        graph = b"".join([
            *(_field(1, node) for node in self._nodes),
            _text(2, name),
            *(_field(5, constant) for constant in self._constants),
            *(_field(11, each) for each in inputs),
            *(_field(12, each) for each in outputs),
        ])  # fmt: skip
        model = b"".join([
            _number(1, IR_VERSION),
            _text(2, "prometheus"),
            _field(7, graph),
            *(_field(8, _text(1, domain) + _number(2, version)) for domain, version in operators.items()),
        ])  # fmt: skip
        (self._folder / GRAPH).write_bytes(model)


def tensor_info(name: str, kind: int, axes: Sequence[str | int]) -> bytes:
    """Return the record of a graph's input or output: a named axis is one of any length."""
    lengths = (_text(2, axis) if isinstance(axis, str) else _number(1, axis) for axis in axes)
    shape = b"".join(_field(1, length) for length in lengths)
    return _text(1, name) + _field(2, _field(1, _number(1, kind) + _field(2, shape)))


def _tensor_head(values: NDArray[Any]) -> bytes:
    dims = b"".join(_number(1, length) for length in values.shape)
    return dims + _number(2, ELEMENT_KINDS[values.dtype.name])


def _setting(name: str, value: float) -> bytes:
    if isinstance(value, int):
        return _text(1, name) + _number(3, value) + _number(20, _INT_SETTING)
    return _text(1, name) + _key(2, _FIXED32) + pack("<f", value) + _number(20, _FLOAT_SETTING)


def _number(field: int, value: int) -> bytes:
    return _key(field, _VARINT) + _varint(value)


def _text(field: int, text: str) -> bytes:
    return _field(field, text.encode())


def _field(field: int, content: bytes) -> bytes:
    return _key(field, _BYTES) + _varint(len(content)) + content


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _varint(value: int) -> bytes:
    """Return an integer seven bits at a time, the lowest first; a negative one is its 64-bit complement."""
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
