"""Cutting texts into chunks and joining the vectors of chunks, without a model."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.text_models import write_tokenizer
from tests.reference.passages import slow_spans

from prometheus.arrays import Float32Vector
from prometheus.encoders.texts.chunks import (
    Chunk,
    ChunkedTextModel,
    ChunkTokenizer,
    LongText,
    checked_long_text,
    cut_into_segments,
    unit_length,
)
from prometheus.encoders.texts.documents import TextDoc
from prometheus.encoders.texts.onnx_model import read_tokenizer
from prometheus.errors import InputRefusedError, UsageError

RATE, BANK, UNKNOWN, CLS, SEP = 4, 7, 1, 2, 3


@pytest.fixture
def tokenizer(tmp_path: Path) -> ChunkTokenizer:
    return tokenizer_of(tmp_path, 5)


def tokenizer_of(folder: Path, max_length: int) -> ChunkTokenizer:
    write_tokenizer(folder / "tokenizer.json")
    return ChunkTokenizer(read_tokenizer(folder / "tokenizer.json"), max_length, "tiny")


def ids_of(tokenizer: ChunkTokenizer, text: str, long_text: LongText = "mean") -> list[list[int]]:
    return [chunk.token_ids.tolist() for chunk in tokenizer.chunks(0, text, long_text)]


def test_every_token_is_in_exactly_one_chunk_between_special_ones(tokenizer: ChunkTokenizer) -> None:
    assert ids_of(tokenizer, "rate bank rate bank") == [[CLS, RATE, BANK, RATE, SEP], [CLS, BANK, SEP]]
    assert ids_of(tokenizer, "rate bank rate") == [[CLS, RATE, BANK, RATE, SEP]]


def test_truncation_keeps_the_first_chunk_and_says_so(tokenizer: ChunkTokenizer) -> None:
    (chunk,) = tokenizer.chunks(0, "rate bank rate bank", "truncate")
    assert (chunk.token_ids.tolist(), chunk.is_cut) == ([CLS, RATE, BANK, RATE, SEP], True)
    (chunk,) = tokenizer.chunks(0, "rate bank rate", "truncate")
    assert not chunk.is_cut


def test_a_text_without_tokens_is_one_blank_chunk(tokenizer: ChunkTokenizer) -> None:
    (chunk,) = tokenizer.chunks(0, " ", "mean")
    assert (chunk.token_ids.tolist(), chunk.is_blank) == ([CLS, SEP], True)


@pytest.mark.parametrize("long_text", ["mean", "truncate"])
def test_many_texts_at_once_have_the_chunks_they_have_alone(
    tokenizer: ChunkTokenizer, long_text: LongText, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut_into_segments, "__defaults__", (12,))
    texts = ["rate bank rate bank", " ", "rate", ". . . . . .", "the rate of growth rose . policy , high"]
    alone = [chunk for at, text in enumerate(texts) for chunk in tokenizer.chunks(at, text, long_text)]
    together = tokenizer.chunks_together(list(enumerate(texts)), long_text)
    n_chunks = Counter(chunk.document for chunk in alone)
    for chunk, other in zip(alone, together, strict=True):
        assert chunk.token_ids.tolist() == other.token_ids.tolist()
        assert (chunk.document, chunk.is_blank, chunk.is_cut) == (other.document, other.is_blank, other.is_cut)
        assert chunk.span == other.span or (other.span == (0, 0) and n_chunks[chunk.document] == 1)


def test_a_length_without_room_for_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefusedError, match="tiny: a maximum length of 2 leaves no room for text"):
        tokenizer_of(tmp_path, 2)


@pytest.mark.parametrize("size", [1, 3, 7, 8, 13, 100])
def test_segments_join_to_the_text(size: int) -> None:
    text = "one two  three\n four-five six "
    pieces = list(cut_into_segments(text, size))
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= size for piece in pieces)


def test_where_segments_are_cut_changes_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tokenizer_of(tmp_path, 9)
    text = "the rate of growth rose .  policy, high\n" * 40
    whole = ids_of(tokenizer, text)
    for size in (7, 20, 64):
        monkeypatch.setattr(cut_into_segments, "__defaults__", (size,))
        assert ids_of(tokenizer, text) == whole


@pytest.mark.parametrize("size", [7, 20, 64, 64_000])
def test_a_chunk_knows_its_place_in_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(cut_into_segments, "__defaults__", (size,))
    tokenizer, plain = tokenizer_of(tmp_path, 9), read_tokenizer(tmp_path / "tokenizer.json")
    for n_words in (1, 6, 7, 8, 14, 40):
        text = " \n" + " \u20ac rate,  \U0001f600\n\ncaf\u00e9"[: 2 * n_words] * n_words
        spans = [chunk.span for chunk in tokenizer.chunks(0, text, "mean")]
        assert spans == slow_spans(plain, text, 7)


def test_a_text_without_tokens_has_no_place(tokenizer: ChunkTokenizer) -> None:
    assert [chunk.span for chunk in tokenizer.chunks(0, " ", "mean")] == [(0, 0)]


class CountsOfTwoWords(ChunkedTextModel):
    def __init__(self, tokenizer: ChunkTokenizer, long_text: LongText, *, normalize: bool) -> None:
        super().__init__(long_text)
        self._tokenizer, self._is_normalized = tokenizer, normalize
        self.seen: list[Chunk] = []

    def _embed(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, Float32Vector]]:
        for chunk in chunks:
            self.seen.append(chunk)
            ids = chunk.token_ids
            yield chunk, np.array([np.sum(ids == RATE), np.sum(ids == BANK)], dtype=np.float32)


def docs_of(*texts: str) -> list[TextDoc]:
    return [TextDoc("NEWS", str(number), text) for number, text in enumerate(texts)]


def test_a_long_text_is_the_mean_of_its_chunks_at_unit_length(tokenizer: ChunkTokenizer) -> None:
    text = "rate rate rate bank bank bank"
    raw = CountsOfTwoWords(tokenizer, "mean", normalize=False).encode(docs_of(text))
    assert raw.vectors.tolist() == [[1.5, 1.5]]
    unit = CountsOfTwoWords(tokenizer, "mean", normalize=True).encode(docs_of(text))
    np.testing.assert_allclose(unit.vectors, [[0.5**0.5, 0.5**0.5]], rtol=1e-7)
    assert unit.n_chunks == (2,)


def test_the_passages_of_a_long_text_are_its_chunks_and_a_short_text_has_none(tokenizer: ChunkTokenizer) -> None:
    text = "rate rate rate bank bank bank"
    long, short, twin = CountsOfTwoWords(tokenizer, "mean", normalize=True).encode(docs_of(text, "rate", text)).passages
    assert long is not None
    assert short is None
    assert [text[first:last] for first, last in long.spans.tolist()] == ["rate rate rate", "bank bank bank"]
    assert long.vectors.tolist() == [[3, 0], [0, 3]]
    assert long.is_same(twin)
    assert CountsOfTwoWords(tokenizer, "truncate", normalize=True).encode(docs_of(text)).passages == (None,)


def test_texts_keep_their_order_and_equal_ones_are_embedded_once(tokenizer: ChunkTokenizer) -> None:
    model = CountsOfTwoWords(tokenizer, "truncate", normalize=False)
    found = model.encode(docs_of("bank", "rate rate rate rate", "bank", "\u200b"))
    assert found.vectors.tolist() == [[0, 1], [3, 0], [0, 1], [0, 0]]
    assert found.n_chunks == (1, 1, 1, 1)
    assert found.flags == ((), ("truncated",), (), ())
    assert len(model.seen) == 3


def test_a_text_of_three_megabytes_is_read_a_piece_at_a_time(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tmp_path, 256)
    text = "the policy rate rose. " * 150_000
    assert len(text) > 3_200_000
    tracemalloc.start()
    try:
        n_tokens = sum(len(chunk.token_ids) - 2 for chunk in tokenizer.chunks(0, text, "mean"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert n_tokens == 5 * 150_000
    assert peak < 4_000_000


def test_unit_length_of_nothing_is_nothing() -> None:
    assert unit_length(np.zeros(3)).tolist() == [0, 0, 0]
    assert unit_length(np.array([3.0, 4.0])).tolist() == [0.6, 0.8]


def test_an_unknown_way_to_read_long_texts_is_refused() -> None:
    assert checked_long_text("truncate") == "truncate"
    with pytest.raises(UsageError, match="long_text must be one of mean, truncate, not 'first'"):
        checked_long_text("first")
