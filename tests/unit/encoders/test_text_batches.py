"""Batches of fixed shapes, over a small processor of our own: what a GPU gets, and what is made of its answers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from prometheus.app.saying import listening
from prometheus.arrays import Float32Matrix, Float32Vector, Int64Vector
from prometheus.encoders.texts import batches
from prometheus.encoders.texts.batches import Pending, ShapedBatches, shape_length
from prometheus.encoders.texts.chunks import Chunk
from prometheus.errors import InputRefusedError, RetryableError

MAX_LENGTH = 40
LONGEST = Chunk(0, np.full(MAX_LENGTH, 99), is_blank=False)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "TOKENS_AT_ONCE", 640)
    monkeypatch.setattr(batches, "CHUNKS_AHEAD", 60)


class Processor:
    """Counts and sums the tokens of each row; `room` is the largest batch, in tokens, that fits."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.shapes: list[tuple[int, ...]] = []
        self.n_started = self.n_fetched = 0

    def submit(self, token_ids: NDArray[np.int64], n_tokens: Int64Vector) -> Pending:
        if token_ids.size > self.room:
            raise MemoryError
        self.shapes.append(token_ids.shape)
        self.n_started += 1
        counts = np.arange(token_ids.shape[1]) < n_tokens[:, None]
        values = self.values(token_ids * counts)

        def wait() -> Float32Matrix:
            self.n_fetched += 1
            return np.column_stack([values, n_tokens]).astype(np.float32)

        return wait

    def values(self, token_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        values: NDArray[np.int64] = token_ids.sum(axis=1)
        return values


class PlaceMatters(Processor):
    def values(self, token_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return super().values(token_ids) + np.arange(len(token_ids))


class SizeMatters(Processor):
    def values(self, token_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return super().values(token_ids) + (len(token_ids) < 5)


def opened(processor: Processor) -> ShapedBatches:
    return ShapedBatches(processor.submit, LONGEST, 7, "tiny")


def chunks_of(lengths: list[int]) -> list[Chunk]:
    return [Chunk(at, np.arange(at, at + length), is_blank=False) for at, length in enumerate(lengths)]


def expected_of(chunk: Chunk) -> Float32Vector:
    return np.array([chunk.token_ids.sum(), len(chunk.token_ids)], dtype=np.float32)


def check(found: Iterator[tuple[Chunk, Float32Vector]], chunks: list[Chunk]) -> None:
    pairs = list(found)
    assert [chunk for chunk, _ in pairs] == chunks
    for chunk, vector in pairs:
        np.testing.assert_array_equal(vector, expected_of(chunk))


def test_lengths_are_few_and_waste_little() -> None:
    lengths = {shape_length(n, 512) for n in range(1, 513)}
    assert sorted(lengths) == [*range(16, 128, 16), *range(128, 256, 32), *range(256, 513, 64)]
    assert all(n <= shape_length(n, 512) <= max(16, 1.25 * n + 15) for n in range(1, 513))
    assert shape_length(10, 10) == 10


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, MAX_LENGTH), max_size=120))
def test_every_chunk_has_its_own_vector_in_its_place(lengths: list[int]) -> None:
    chunks = chunks_of(lengths)
    check(opened(Processor()).embed(iter(chunks)), chunks)


def test_a_shape_has_always_as_many_rows_of_which_the_last_holds_no_text() -> None:
    processor = Processor()
    model = opened(processor)
    assert processor.shapes == [(40, 16), (20, 32), (16, 40)]
    chunks = chunks_of([3] * 50 + [40] * 3)
    check(model.embed(iter(chunks)), chunks)
    assert sorted(processor.shapes[3:]) == [(16, 40), (40, 16), (40, 16)]
    assert model.dim == 2


def test_batches_are_started_long_before_they_are_fetched() -> None:
    processor = Processor()
    found = opened(processor).embed(iter(chunks_of([3] * 200)))
    begun, fetched = processor.n_started, processor.n_fetched
    next(found)
    assert (processor.n_started - begun, processor.n_fetched - fetched) == (1, 1)
    for _ in range(100):
        next(found)
    assert processor.n_started - begun > processor.n_fetched - fetched


def test_where_the_place_in_a_batch_matters_a_model_is_refused() -> None:
    with pytest.raises(InputRefusedError, match="tiny: on this GPU a vector's bytes depend on its place"):
        opened(PlaceMatters())


def test_out_of_memory_on_the_way_gives_smaller_batches_and_is_said_once() -> None:
    processor = Processor()
    model = opened(processor)
    chunks = chunks_of([3] * 150)
    found = model.embed(iter(chunks))
    with listening() as said:
        first = next(found)
        processor.room = 400
        check(chain([first], found), chunks)
        processor.room = 200
        check(model.embed(iter(chunks)), chunks)
    assert [message for _name, _level, message in said] == [
        "tiny: the GPU's memory ran out; going on with smaller batches, same vectors"
    ]
    assert processor.shapes[-1] == (10, 16)


@pytest.mark.parametrize(
    ("processor", "room", "named"),
    [
        (SizeMatters(), 170, "smaller batches would change the vectors; end what else uses it"),
        (Processor(), 10, "tiny: the memory that is free on the GPU holds no text"),
    ],
)
def test_smaller_batches_with_other_bytes_are_refused_and_so_is_no_room(
    processor: Processor, room: int, named: str
) -> None:
    model = opened(processor)
    processor.room = room
    with pytest.raises(RetryableError, match=named):
        list(model.embed(chunks_of([3])))


def test_a_model_whose_full_batch_does_not_fit_is_not_opened() -> None:
    with pytest.raises(RetryableError, match="tiny: a batch does not fit into the memory that is free on the GPU"):
        opened(Processor(room=500))
