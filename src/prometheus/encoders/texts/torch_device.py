"""Batches on a device of torch: copies that overlap, kernels that are recorded once and played back, the precision."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Float32Matrix, Int64Vector
from prometheus.encoders.texts.batches import Pending
from prometheus.encoders.texts.chunks import Precision
from prometheus.encoders.texts.sources import first_line

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Recording:
    """The kernels of one shape, with the tensors that they read and write."""

    token_ids: Any
    n_tokens: Any
    graph: Any
    found: Any


class TorchDevice:
    """Computes batches by `compute`, from token ids and mask, shape (n_rows, length), to vectors, shape (n_rows, dim).

    On CUDA the kernels of each shape are recorded as a graph. A model that cannot be recorded, or for whose recordings
    there is no memory, is called for every batch: that starts the same kernels. Threads take turns.
    """

    def __init__(self, compute: Callable[[Any, Any], Any], device: Any, precision: Precision) -> None:
        self._compute, self._device, self._precision = compute, device, precision
        self._lock = Lock()
        self._records = device.type == "cuda"
        self._recordings: dict[tuple[int, ...], _Recording] = {}

    def submit(self, token_ids: NDArray[np.int64], n_tokens: Int64Vector) -> Pending:
        """Start a batch; see `prometheus.encoders.texts.batches.Submit`."""
        import torch  # noqa: PLC0415 -- the extra

        try:
            with self._lock, torch.inference_mode(), _matrix_products(self._precision):
                if self._device.type != "cuda":
                    return self._computed_here(*map(torch.from_numpy, (token_ids, n_tokens)))
                with torch.cuda.device(self._device):
                    return _to_host(
                        self._started(*(torch.from_numpy(each).pin_memory() for each in (token_ids, n_tokens)))
                    )
        except torch.OutOfMemoryError:
            pass  # until the end of this block its traceback holds what has to be freed
        self._recordings.clear()
        gc.collect()
        torch.cuda.empty_cache()
        raise MemoryError

    def _computed_here(self, token_ids: Any, n_tokens: Any) -> Pending:
        found = self._vectors(token_ids.to(self._device), n_tokens.to(self._device)).cpu()
        return lambda: np.asarray(found, dtype=np.float32)

    def _started(self, token_ids: Any, n_tokens: Any) -> Any:
        shape = tuple(token_ids.shape)
        if self._records and shape not in self._recordings:
            self._record(shape)
        recording = self._recordings.get(shape)
        if recording is None:
            return self._vectors(*(each.to(self._device, non_blocking=True) for each in (token_ids, n_tokens)))
        recording.token_ids.copy_(token_ids, non_blocking=True)
        recording.n_tokens.copy_(n_tokens, non_blocking=True)
        recording.graph.replay()
        return recording.found

    def _vectors(self, token_ids: Any, n_tokens: Any) -> Any:
        import torch  # noqa: PLC0415 -- the extra

        positions = torch.arange(token_ids.shape[1], device=self._device)
        return self._compute(token_ids, (positions < n_tokens[:, None]).to(token_ids.dtype)).float()

    def _record(self, shape: tuple[int, ...]) -> None:
        """Record the kernels of a shape; they share their memory with those of the others."""
        import torch  # noqa: PLC0415 -- the extra

        token_ids = torch.zeros(shape, dtype=torch.int64, device=self._device)
        n_tokens = torch.ones(shape[0], dtype=torch.int64, device=self._device)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # libraries prepare themselves at the first call, which cannot be recorded
            self._vectors(token_ids, n_tokens)
        torch.cuda.current_stream().wait_stream(aside)
        pool = next((each.graph.pool() for each in self._recordings.values()), None)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                found = self._vectors(token_ids, n_tokens)
        except RuntimeError as error:  # the call before shows that the model itself works
            reason = first_line(error)
            logger.info("the kernels of the text model cannot be recorded (%s); it is called for each batch", reason)
            self._records = False
            self._recordings.clear()
        else:
            self._recordings[shape] = _Recording(token_ids, n_tokens, graph, found)


@contextmanager
def _matrix_products(precision: Precision) -> Iterator[None]:
    """State how float32 matrices are multiplied, which is a setting of the whole process."""
    import torch  # noqa: PLC0415 -- the extra

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _to_host(found: Any) -> Pending:
    """Start the copy of a result, shape (n, dim), and return what waits for it."""
    import torch  # noqa: PLC0415 -- the extra

    pinned = torch.empty(found.shape, dtype=torch.float32, pin_memory=True).copy_(found, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()

    def wait() -> Float32Matrix:
        copied.synchronize()
        copy: Float32Matrix = pinned.numpy().copy()  # pinned memory is scarce
        return copy

    return wait


def narrow_to_bf16(model: Any) -> None:
    """Let the first module, the transformer, compute in bfloat16, and what follows it in float32."""
    import torch  # noqa: PLC0415 -- the extra

    def widened(_module: Any, _inputs: Any, features: dict[str, Any]) -> dict[str, Any]:
        return {
            name: value.float() if torch.is_tensor(value) and value.is_floating_point() else value
            for name, value in features.items()
        }

    model[0].to(torch.bfloat16).register_forward_hook(widened)
