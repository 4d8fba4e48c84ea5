"""Chunks in batches of fixed shapes, for processors that add up in an order which the shape decides, such as GPUs.

A chunk is padded to the next of a few lengths, and all batches of one length have the same number of rows; those
without a text are padding. The vector of a chunk then depends on its own tokens alone, as where each is computed apart.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Float32Matrix, Float32Vector, Int64Vector
from prometheus.encoders.texts.chunks import Chunk
from prometheus.errors import InputRefusedError, RetryableError

TOKENS_AT_ONCE = 16_384
CHUNKS_AHEAD = 8_192
SHORTEST_STEP = 16
MIN_ROWS = 8
"""Rows of the longest shape: one of them holds no text."""

Pending: TypeAlias = Callable[[], Float32Matrix]
"""Waits for the vectors of a batch, shape (n_rows, dim)."""
Submit: TypeAlias = Callable[[NDArray[np.int64], Int64Vector], Pending]
"""Starts a batch: token ids, shape (n_rows, length), and how many of each row count; MemoryError if it does not fit."""

logger = logging.getLogger(__name__)


def shape_length(n_tokens: int, max_length: int) -> int:
    """Return the length that a chunk is padded to: every 16 tokens up to 128, then four steps to each doubling.

    Examples
    --------
    >>> [shape_length(n, 250) for n in (1, 17, 128, 129, 250)]
    [16, 32, 128, 160, 250]
    """
    step = max(SHORTEST_STEP, 1 << max(0, (n_tokens - 1).bit_length() - 3))
    return min(max_length, math.ceil(n_tokens / step) * step)


@dataclass(slots=True, eq=False)
class _Batch:
    """Chunks of one length, from the first that waits for company to the vectors of all."""

    length: int
    chunks: list[Chunk] = field(default_factory=list)
    parts: list[Pending] = field(default_factory=list)
    found: Float32Matrix | None = None

    def vector(self, row: int) -> Float32Vector:
        """Return the vector of a chunk, shape (dim,); waits for the whole batch."""
        if self.found is None:
            self.found = np.concatenate([part() for part in self.parts])
            self.parts.clear()
        vector: Float32Vector = self.found[row]
        return vector


class ShapedBatches:
    """Computes chunks by `submit`, which is asked for more while earlier batches are under way.

    Opening it computes one full batch of every shape; RetryableError if it does not fit, `InputRefusedError` if equal
    rows of one get different bytes. Where memory runs out later, smaller batches go on, which is said once;
    RetryableError unless they give the same bytes. A float32 model on an H200 was seen to give others, so a size that
    was never compared with the full one is not used.
    """

    def __init__(self, submit: Submit, longest: Chunk, pad_id: int, source: str) -> None:
        self._submit, self._pad_id, self._source = submit, pad_id, source
        max_length, n_ids = len(longest.token_ids), int(longest.token_ids.max()) + 1
        self._n_tokens = max(TOKENS_AT_ONCE, MIN_ROWS * max_length)
        self._length_of = [shape_length(n, max_length) for n in range(1, max_length + 1)]
        self._probes = {
            length: Chunk(0, np.arange(length, dtype=np.int64) * 7919 % n_ids, is_blank=False)
            for length in dict.fromkeys(self._length_of)
        }
        self._has_shrunk = False
        try:
            self._expected = self._probe()
        except MemoryError as error:
            raise self._unfit("a batch does not fit into the memory that is free on the GPU") from error

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return len(next(iter(self._expected.values())))

    def embed(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, Float32Vector]]:
        """Yield vectors in the order of the chunks; thousands of these are read ahead to fill the batches."""
        waiting: deque[tuple[Chunk, _Batch, int]] = deque()
        filling: dict[int, _Batch] = {}
        for chunk in chunks:
            length = self._length_of[len(chunk.token_ids) - 1]
            batch = filling.get(length)
            if batch is None:
                batch = filling[length] = _Batch(length)
            waiting.append((chunk, batch, len(batch.chunks)))
            batch.chunks.append(chunk)
            if len(batch.chunks) >= self._n_texts(length):
                self._start(filling.pop(length))
            if len(waiting) > CHUNKS_AHEAD:
                yield self._deliver(*waiting.popleft(), filling)
        while filling:
            self._start(filling.popitem()[1])
        while waiting:
            yield self._deliver(*waiting.popleft(), filling)

    def _deliver(
        self, chunk: Chunk, batch: _Batch, row: int, filling: dict[int, _Batch]
    ) -> tuple[Chunk, Float32Vector]:
        if filling.get(batch.length) is batch:
            self._start(filling.pop(batch.length))
        return chunk, batch.vector(row)

    def _start(self, batch: _Batch) -> None:
        """Start a batch, in parts if it is too large by now."""
        done = 0
        while done < len(batch.chunks):
            part = batch.chunks[done : done + self._n_texts(batch.length)]
            try:
                batch.parts.append(self._started(part, batch.length))
            except MemoryError:
                self._shrink()
            else:
                done += len(part)

    def _started(self, chunks: Sequence[Chunk], length: int) -> Pending:
        n_rows, n_texts = self._n_texts(length) + 1, len(chunks)
        n_tokens = np.ones(n_rows, dtype=np.int64)
        n_tokens[:n_texts] = [len(chunk.token_ids) for chunk in chunks]
        token_ids = np.full((n_rows, length), self._pad_id, dtype=np.int64)
        is_text = np.arange(length) < n_tokens[:n_texts, np.newaxis]
        token_ids[:n_texts][is_text] = np.concatenate([chunk.token_ids for chunk in chunks])
        pending = self._submit(token_ids, n_tokens)
        return lambda: pending()[:n_texts]

    def _n_texts(self, length: int) -> int:
        """Return how many texts a batch holds; the last row is padding: models treat a batch without any otherwise."""
        return self._n_tokens // length - 1

    def _probe(self) -> dict[int, Float32Vector]:
        """Return the vector that each shape gives to a chunk, whatever its row."""
        found: dict[int, Float32Vector] = {}
        for length, probe in self._probes.items():
            vectors = self._started([probe] * self._n_texts(length), length)()
            if (vectors.view(np.uint32) != vectors[0].view(np.uint32)).any():
                raise InputRefusedError(
                    f"{self._source}: on this GPU a vector's bytes depend on its place in a batch of {length} tokens a "
                    "text; choose another precision, or run the model without the GPU"
                )
            found[length] = vectors[0]
        return found

    def _shrink(self) -> None:
        """Halve the batches, until they fit."""
        self._n_tokens //= 2
        if not self._n_texts(max(self._probes)):
            raise self._unfit("the memory that is free on the GPU holds no text")
        try:
            found = self._probe()
        except MemoryError:
            self._shrink()
            return
        if any(found[length].tobytes() != vector.tobytes() for length, vector in self._expected.items()):
            raise self._unfit("the GPU's memory ran out, and smaller batches would change the vectors")
        if not self._has_shrunk:
            logger.warning("%s: the GPU's memory ran out; going on with smaller batches, same vectors", self._source)
        self._has_shrunk = True

    def _unfit(self, reason: str) -> RetryableError:
        return RetryableError(f"{self._source}: {reason}; end what else uses it, or run the model without the GPU")
