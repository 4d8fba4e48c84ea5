"""Text embeddings with torch, for sentence-transformers models that have no graph; needs the extra ``[torch]``.

A GPU computes batches of fixed shapes (`prometheus.encoders.texts.batches`), a CPU each chunk alone. Device and
precision are part of the fingerprint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from prometheus.arrays import Float32Vector
from prometheus.encoders.texts.batches import ShapedBatches
from prometheus.encoders.texts.chunks import FLOAT32, Chunk, ChunkedTextModel, ChunkTokenizer, checked_precision
from prometheus.encoders.texts.portions import portions_of
from prometheus.encoders.texts.sources import first_line
from prometheus.encoders.texts.torch_device import TorchDevice, narrow_to_bf16
from prometheus.errors import InputRefusedError, MissingExtraError, UsageError

T = TypeVar("T")

TOKENIZED_AT_ONCE = 8  # portions of texts
BATCHES_VERSION = "2"  # raised whenever a GPU could give other bytes; part of every fingerprint of one


class TorchTextEmbeddingModel(ChunkedTextModel):
    """A sentence-transformers model, a local folder or a hub name, run by torch; only its safetensors are loaded.

    `in_batches`: whether chunks are computed in batches of fixed shapes, by default on any device but a CPU. Only there
    `precision` may differ from float32.
    """

    _family, _code_version = "sentence-torch", "1"

    def __init__(
        self,
        name: str | Path,
        long_text: str = "mean",
        device: str | None = None,
        precision: str = FLOAT32,
        in_batches: bool | None = None,
    ) -> None:
        from tokenizers import Tokenizer  # noqa: PLC0415 -- slow to import

        super().__init__(long_text)
        self._precision = checked_precision(precision)
        self._model = _load(str(name), device)
        if in_batches is None:
            in_batches = self._model.device.type != "cpu"
        if not in_batches and precision != FLOAT32:
            raise UsageError(f"precision {precision!r} needs a GPU, and torch finds none here; leave it at {FLOAT32}")
        self._is_normalized = type(self._model[-1]).__name__ == "Normalize"
        self._max_length = int(self._model.max_seq_length)
        self._pooling = "+".join(type(module).__name__ + _pooling_mode(module) for module in self._model)
        serialised = _serialised_tokenizer(self._model.tokenizer, str(name))
        self._tokenizer = ChunkTokenizer(Tokenizer.from_str(serialised), self._max_length, str(name))
        self._tokenizer_sha256 = hashlib.sha256(serialised.encode()).hexdigest()
        self._weights_sha256 = _weights_sha256(self._model)
        longest = self._tokenizer.longest_chunk()
        self._batches: ShapedBatches | None = None
        if in_batches:
            self._code_version = BATCHES_VERSION
            if precision == "bf16":
                narrow_to_bf16(self._model)
            submit = TorchDevice(self._compute, self._model.device, self._precision).submit
            self._batches = ShapedBatches(submit, longest, self._model.tokenizer.pad_token_id or 0, str(name))
        self._dim = self._batches.dim if self._batches else len(self._vector(longest))

    @property
    def config(self) -> dict[str, Any]:
        """What decides the bytes."""
        return {**super().config, "device": self._model.device.type}

    def _embed(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, Float32Vector]]:
        if self._batches is not None:
            return self._batches.embed(chunks)
        return ((chunk, self._vector(chunk)) for chunk in chunks)

    def _chunks(self, texts: Iterable[str]) -> Iterator[Chunk]:
        if self._batches is None:
            return super()._chunks(texts)
        portions = portions_of(enumerate(texts), lambda each: len(each[1]), TOKENIZED_AT_ONCE)
        cut = (self._tokenizer.chunks_together(portion, self._long_text) for portion in portions)
        return chain.from_iterable(_one_ahead(cut))

    def _vector(self, chunk: Chunk) -> Float32Vector:
        import torch  # noqa: PLC0415 -- the extra

        token_ids = torch.from_numpy(chunk.token_ids[np.newaxis]).to(self._model.device)
        with torch.inference_mode():
            found = self._compute(token_ids, torch.ones_like(token_ids))
        vector: Float32Vector = found.to("cpu", torch.float32).numpy()[0]
        return vector

    def _compute(self, token_ids: Any, mask: Any) -> Any:
        features = {"input_ids": token_ids, "attention_mask": mask}
        if "token_type_ids" in self._model.tokenizer.model_input_names:
            features["token_type_ids"] = token_ids.new_zeros(token_ids.shape)
        return self._model(features)["sentence_embedding"]


def _load(name: str, device: str | None) -> Any:
    try:
        import torch  # noqa: PLC0415 -- the extra
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("a text model run by torch", "torch") from error
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    options = {"use_safetensors": True, "dtype": torch.float32}
    try:
        model = SentenceTransformer(name, device=chosen, trust_remote_code=False, model_kwargs=options)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputRefusedError(f"{name}: sentence-transformers cannot load it: {first_line(error)}") from error
    if model.default_prompt_name:
        raise InputRefusedError(f"{name}: a default prompt is not implemented")
    return model.eval()


def _one_ahead(items: Iterable[T]) -> Iterator[T]:
    """Yield items; the next is made in another thread meanwhile."""
    remaining = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="prometheus-tokens") as pool:
        upcoming = pool.submit(next, remaining, None)
        while (item := upcoming.result()) is not None:
            upcoming = pool.submit(next, remaining, None)
            yield item


def _serialised_tokenizer(tokenizer: Any, source: str) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise InputRefusedError(f"{source}: the tokenizer has no fast form")
    backend.no_truncation()
    backend.no_padding()
    return str(backend.to_str())


def _pooling_mode(module: Any) -> str:
    mode = getattr(module, "pooling_mode", None) or getattr(module, "get_pooling_mode_str", lambda: "")()
    return f"({mode})" if mode else ""


def _weights_sha256(model: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
