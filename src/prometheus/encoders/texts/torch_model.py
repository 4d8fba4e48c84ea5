"""Text embeddings with torch, for sentence-transformers models that have no graph; needs the extra ``[torch]``.

The shape of a batch decides how a GPU adds up: there chunks of one length are computed together, always the same number
of them, the last batch filled up with copies. A CPU computes each chunk alone. The device is part of the fingerprint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from prometheus.arrays import Float32Matrix, Float32Vector
from prometheus.encoders.texts.chunks import Chunk, ChunkedTextModel, ChunkTokenizer
from prometheus.encoders.texts.sources import first_line
from prometheus.errors import InputRefusedError, MissingExtraError

CHUNKS_AT_ONCE = 512
ROWS_ON_GPU = 32


class TorchTextEmbeddingModel(ChunkedTextModel):
    """A sentence-transformers model, a local folder or a hub name, run by torch; only its safetensors are loaded."""

    _family, _code_version = "sentence-torch", "1"

    def __init__(self, name: str | Path, long_text: str = "mean", device: str | None = None) -> None:
        from tokenizers import Tokenizer  # noqa: PLC0415 -- slow to import

        super().__init__(long_text)
        self._model = _load(str(name), device)
        self._rows = 1 if self._model.device.type == "cpu" else ROWS_ON_GPU
        self._is_normalized = type(self._model[-1]).__name__ == "Normalize"
        self._max_length = int(self._model.max_seq_length)
        self._pooling = "+".join(type(module).__name__ + _pooling_mode(module) for module in self._model)
        serialised = _serialised_tokenizer(self._model.tokenizer, str(name))
        self._tokenizer = ChunkTokenizer(Tokenizer.from_str(serialised), self._max_length, str(name))
        self._tokenizer_sha256 = hashlib.sha256(serialised.encode()).hexdigest()
        self._weights_sha256 = _weights_sha256(self._model)
        self._dim = len(self._compute([self._tokenizer.longest_chunk()])[0])

    @property
    def config(self) -> dict[str, Any]:
        """What decides the bytes."""
        return {**super().config, "device": self._model.device.type}

    def _embed(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, Float32Vector]]:
        remaining = iter(chunks)
        while window := list(islice(remaining, CHUNKS_AT_ONCE)):
            vectors: dict[int, Float32Vector] = {}
            for positions in _batches(window, self._rows):
                found = self._compute([window[position] for position in positions])
                vectors |= dict(zip(positions, found, strict=True))
            yield from ((chunk, vectors[position]) for position, chunk in enumerate(window))

    def _compute(self, chunks: Sequence[Chunk]) -> Float32Matrix:
        import torch  # noqa: PLC0415 -- the extra

        filled = [*chunks, *[chunks[-1]] * (self._rows - len(chunks))]
        ids = torch.from_numpy(np.stack([chunk.token_ids for chunk in filled])).to(self._model.device)
        features = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if "token_type_ids" in self._model.tokenizer.model_input_names:
            features["token_type_ids"] = torch.zeros_like(ids)
        with torch.inference_mode():
            found = self._model(features)["sentence_embedding"]
        vectors: Float32Matrix = found.to("cpu", torch.float32).numpy()[: len(chunks)]
        return vectors


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


def _batches(chunks: Sequence[Chunk], n_rows: int) -> Iterator[list[int]]:
    by_length: dict[int, list[int]] = {}
    for position, chunk in enumerate(chunks):
        by_length.setdefault(len(chunk.token_ids), []).append(position)
    for positions in by_length.values():
        for start in range(0, len(positions), n_rows):
            yield positions[start : start + n_rows]


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
