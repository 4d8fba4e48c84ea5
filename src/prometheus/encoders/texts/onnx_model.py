"""Text embeddings on ONNX Runtime, without torch.

Every chunk of text is computed alone, unpadded, by one thread; several chunks at a time, one per core. The vector of a
chunk then depends on nothing but its own tokens (ADR-0006).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Float32Matrix, Float32Vector, Int64Matrix, Int64Vector
from prometheus.encoders.texts.bert_graph import GRAPH_VERSION, bert_shape, build_bert_graph
from prometheus.encoders.texts.built_files import digest_of, folder_of_files
from prometheus.encoders.texts.chunks import (
    Chunk,
    ChunkedTextModel,
    ChunkTokenizer,
    available_cores,
    unit_length,
)
from prometheus.encoders.texts.graph_file import GRAPH
from prometheus.encoders.texts.sources import TextModelFolder, file_sha256, read_text_folder, readable, text_runtime
from prometheus.errors import InputRefusedError, UsageError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

CHUNKS_AHEAD_PER_THREAD = 8
TOKENS_AT_ONCE = 128
POOLED_OUTPUT = "sentence_embedding"
TOKEN_OUTPUTS = ("last_hidden_state", "token_embeddings")
INPUTS: Mapping[str, int] = {"attention_mask": 1, "token_type_ids": 0}
"""Inputs a graph may have besides ``input_ids``, and what they hold for a text without padding."""
INPUT_DTYPES: Mapping[str, type[np.integer[Any]]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


class OnnxTextEmbeddingModel(ChunkedTextModel):
    """A sentence encoder in a folder, see `read_text_folder`; texts of any length in, vectors of unit length out.

    `threads` chunks are computed at once, by default one per core; it changes no vector. A graph built from the weights
    is kept in `cache_dir`. `InputRefusedError` if the folder holds no model that can be run, `MissingExtraError` where
    the libraries that run it are missing.
    """

    _code_version = str(GRAPH_VERSION)

    def __init__(
        self,
        folder: str | Path,
        long_text: str = "mean",
        cache_dir: str | Path | None = None,
        threads: int | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, got {threads}")
        super().__init__(long_text)
        self._threads = threads or available_cores()
        self._folder = read_text_folder(Path(folder))
        self._family = "sentence-onnx" if self._folder.is_graph else "sentence-bert"
        self._max_length, self._pooling = self._folder.max_length, self._folder.pooling
        self._is_normalized = self._folder.normalize
        self._tokenizer = ChunkTokenizer(read_tokenizer(self._folder.tokenizer), self._folder.max_length, str(folder))
        self._tokenizer_sha256 = file_sha256(self._folder.tokenizer)
        self._weights_sha256 = file_sha256(self._folder.weights)
        self._source = str(self._folder.weights)
        kept_in = None if cache_dir is None else Path(cache_dir)
        self._session = _open_folder(self._folder, self._weights_sha256, kept_in)
        self._inputs = self._read_inputs()
        self._output = self._choose_output()
        self._dim = self._prove_usable()

    def _embed(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, Float32Vector]]:
        waiting: deque[tuple[Chunk, Future[Float32Vector]]] = deque()
        with ThreadPoolExecutor(self._threads, thread_name_prefix="prometheus-text") as pool:
            for chunk in chunks:
                waiting.append((chunk, pool.submit(self._vector, chunk.token_ids)))
                if len(waiting) >= CHUNKS_AHEAD_PER_THREAD * self._threads:
                    first, vector = waiting.popleft()
                    yield first, vector.result()
            for chunk, vector in waiting:
                yield chunk, vector.result()

    def _prove_usable(self) -> int:
        """Compute the longest chunk of the highest token id; what can go wrong with later ones goes wrong here."""
        vector = self._vector(self._tokenizer.longest_chunk().token_ids)
        if vector.ndim != 1 or not np.isfinite(vector).all():
            raise InputRefusedError(f"{self._source}: the graph gives no finite vector for a text")
        return len(vector)

    def token_vectors(self, token_ids: Int64Vector) -> Float32Matrix:
        """Return the vector of a text of each token alone, shape (n, dim)."""
        rows = self._tokenizer.of_one_token(token_ids)
        batches = [rows[first : first + TOKENS_AT_ONCE] for first in range(0, len(rows), TOKENS_AT_ONCE)]
        with ThreadPoolExecutor(self._threads, thread_name_prefix="prometheus-text") as pool:
            return np.concatenate([np.stack(vectors) for vectors in pool.map(self._vectors, batches)])

    def _vector(self, token_ids: Int64Vector) -> Float32Vector:
        """Return the sentence vector, shape (dim,); safe in several threads."""
        (vector,) = self._vectors(token_ids[np.newaxis])
        return vector

    def _vectors(self, rows: Int64Matrix) -> list[Float32Vector]:
        feeds: dict[str, NDArray[Any]] = {
            name: (np.full_like(rows, INPUTS[name]) if name in INPUTS else rows).astype(dtype)
            for name, dtype in self._inputs.items()
        }
        try:
            (found,) = self._session.run([self._output], feeds)
        except Exception as error:  # ONNX Runtime's errors have no other common base
            raise InputRefusedError(f"{self._source}: the graph fails: {_one_line(error)}") from error
        return [self._pooled(values) for values in np.asarray(found)]

    def _pooled(self, values: NDArray[np.float32]) -> Float32Vector:
        if not self._folder.is_graph:
            return values
        exact = values.astype(np.float64)
        if self._output in TOKEN_OUTPUTS:
            exact = exact.mean(axis=0) if self._folder.pooling == "mean" else exact[0]
        return (unit_length(exact) if self._folder.normalize else exact).astype(np.float32)

    def _read_inputs(self) -> dict[str, type[np.integer[Any]]]:
        inputs = {each.name: each.type for each in self._session.get_inputs()}
        for name, kind in inputs.items():
            if name not in {"input_ids", *INPUTS} or kind not in INPUT_DTYPES:
                raise InputRefusedError(
                    f"{self._source}: the graph has an input {name} of {kind}; known are input_ids, "
                    f"{', '.join(INPUTS)} of {' or '.join(INPUT_DTYPES)}"
                )
        if "input_ids" not in inputs:
            raise InputRefusedError(f"{self._source}: the graph has no input input_ids")
        return {name: INPUT_DTYPES[kind] for name, kind in inputs.items()}

    def _choose_output(self) -> str:
        outputs = [each.name for each in self._session.get_outputs()]
        for known in (POOLED_OUTPUT, *TOKEN_OUTPUTS):
            if known in outputs:
                return known
        raise InputRefusedError(
            f"{self._source}: the graph has no output {POOLED_OUTPUT} or {' or '.join(TOKEN_OUTPUTS)}, "
            f"only {', '.join(outputs)}"
        )


def read_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer of a ``tokenizer.json``."""
    with text_runtime():
        from tokenizers import Tokenizer  # noqa: PLC0415 -- slow to import

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises this very class
        raise InputRefusedError(f"{path}: is no tokenizer: {error}") from error


def _open_folder(folder: TextModelFolder, weights_sha256: str, cache_dir: Path | None) -> InferenceSession:
    if folder.is_graph:
        with readable(folder.weights):
            return _open_session(folder.weights.read_bytes(), is_ours=False, source=str(folder.weights))
    shape, source = bert_shape(folder), str(folder.weights)
    built_from = json.dumps([weights_sha256, asdict(shape), GRAPH_VERSION], sort_keys=True)
    key = f"bert-v{GRAPH_VERSION}-{digest_of(built_from.encode())}"

    def build(target: Path) -> None:
        with _open_safetensors(folder.weights) as weights:
            build_bert_graph(weights, shape, source, target)
        for former in () if cache_dir is None else cache_dir.glob(f"{key}-*.onnx"):
            with suppress(OSError):  # one file, weights and all, was kept before; nothing reads it any more
                former.unlink()

    with folder_of_files(cache_dir, key, build) as built:
        return _open_session(str(built / GRAPH), is_ours=True, source=source)


class _Checkpoint(Mapping[str, NDArray[np.float32]]):
    """Weights of a safetensors file, each read when it is asked for: the whole is never in memory."""

    def __init__(self, file: Any, path: Path) -> None:
        self._file = file
        self._names = [name for name in file.keys() if _is_float(file.get_slice(name).get_dtype(), path)]  # noqa: SIM118

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        if name not in self._names:
            raise KeyError(name)
        weights: NDArray[np.float32] = self._file.get_tensor(name).astype(np.float32, copy=False)
        return weights

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@contextmanager
def _open_safetensors(path: Path) -> Iterator[_Checkpoint]:
    with text_runtime():
        from safetensors import SafetensorError, safe_open  # noqa: PLC0415 -- needed only until the graph is cached

    try:
        with safe_open(path, framework="np") as file:
            yield _Checkpoint(file, path)
    except SafetensorError as error:
        raise InputRefusedError(f"{path}: is no valid safetensors file: {_one_line(error)}") from error


def _is_float(dtype: str, path: Path) -> bool:
    if dtype.startswith(("I", "U", "BOOL")):
        return False
    if dtype not in {"F16", "F32", "F64"}:
        raise InputRefusedError(f"{path}: weights of type {dtype} are not read; save them as float32")
    return True


def _open_session(graph: str | bytes, *, is_ours: bool, source: str) -> InferenceSession:
    with text_runtime():
        import onnxruntime  # noqa: PLC0415 -- slow to import

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if is_ours:  # already fused; fusing the residual sums too would make it slower
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no other common base
        raise InputRefusedError(f"{source}: ONNX Runtime cannot load the graph: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
