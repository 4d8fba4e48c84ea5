"""Long texts in pieces a model can read, and the pieces' vectors as one; streamed, some 64,000 characters at a time."""

from __future__ import annotations

import math
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress, groupby
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

import numpy as np

from prometheus.arrays import Float32Matrix, Float32Vector, Float64Vector, Int64Matrix, Int64Vector
from prometheus.encoders.texts.documents import Passages, TextDoc, TextEncoding, no_vectors
from prometheus.errors import InputRefusedError, UsageError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

LongText: TypeAlias = Literal["mean", "truncate"]
"""``mean``: of the vectors of all pieces, brought back to unit length; ``truncate``: the first piece alone."""

Precision: TypeAlias = Literal["float32", "tf32", "bf16"]
"""Of a model on a GPU: ``float32`` throughout, products of matrices in ``tf32``, or in ``bf16`` all but the pooling."""
FLOAT32: Precision = "float32"

SEGMENT_CHARACTERS = 64_000
LETTERS_PER_TOKEN = 3  # fewer than in any usual text
CHUNKING_VERSION = 1  # raised whenever the same text would be cut or pooled differently; part of every fingerprint

TRUNCATED = "truncated"
NO_TOKENS = "no-tokens"


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """One piece of one text, `document` by position; where it `is_cut`, more of the text follows and is not read.

    `span` is the first character and the one after the last; the only chunk of a text may have none, (0, 0).
    """

    document: int
    token_ids: Int64Vector
    is_blank: bool
    is_cut: bool = False
    span: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class _Body:
    """The tokens of a chunk without special ones, and which characters of the text they are."""

    token_ids: list[int]
    first_char: int = 0
    last_char: int = 0


class ChunkTokenizer:
    """Cuts texts into chunks of at most `max_length` tokens, special ones included; messages name the `source`."""

    def __init__(self, tokenizer: Tokenizer, max_length: int, source: str) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._prefix, self._suffix = _special_tokens(tokenizer, source)
        self._body_length = max_length - len(self._prefix) - len(self._suffix)
        if self._body_length < 1:
            raise InputRefusedError(f"{source}: a maximum length of {max_length} leaves no room for text")

    def chunks(self, document: int, text: str, long_text: LongText) -> Iterator[Chunk]:
        """Yield the chunks of one text, at least one; all but the last are full."""
        return self._cut(document, self._tokenized(cut_into_segments(text)), long_text)

    def chunks_together(self, texts: Sequence[tuple[int, str]], long_text: LongText) -> list[Chunk]:
        """Return the chunks of many numbered texts, tokenized on all cores in one call."""
        segments = [list(cut_into_segments(text)) or [""] for _, text in texts]
        chunks: list[Chunk] = []
        firsts = self._encode_firsts(segments)
        for (document, _), first, pieces in zip(texts, firsts, segments, strict=True):
            further = self._tokenized(pieces[1:], len(pieces[0]))
            chunks += self._cut(document, chain([(0, first)], further), long_text)
        return chunks

    def _encode_firsts(self, segments: Sequence[Sequence[str]]) -> Iterator[Encoding]:
        """Yield the tokens of first segments; without their places, a fifth of the work, for texts of one chunk."""
        shortest = LETTERS_PER_TOKEN * self._body_length
        is_long = [len(each) > 1 or len(each[0]) > shortest for each in segments]
        firsts = [each[0] for each in segments]
        placed = iter(self._tokenizer.encode_batch([*compress(firsts, is_long)], add_special_tokens=False))
        is_short = [not each for each in is_long]
        placeless = iter(self._tokenizer.encode_batch_fast([*compress(firsts, is_short)], add_special_tokens=False))
        for text, has_places in zip(firsts, is_long, strict=True):
            found = next(placed if has_places else placeless)
            is_cut = len(found) > self._body_length and not has_places
            yield self._tokenizer.encode(text, add_special_tokens=False) if is_cut else found

    def _cut(self, document: int, tokenized: Iterable[tuple[int, Encoding]], long_text: LongText) -> Iterator[Chunk]:
        bodies = self._bodies(tokenized)
        if long_text == "truncate":
            yield self._chunk(document, next(bodies), is_cut=next(bodies, None) is not None)
        else:
            yield from (self._chunk(document, body) for body in bodies)

    def longest_chunk(self) -> Chunk:
        """Return a chunk of full length made of the highest token id; a model that takes it takes any."""
        highest = max(self._tokenizer.get_vocab(with_added_tokens=True).values())
        return self._chunk(0, _Body([highest] * self._body_length))

    def of_one_token(self, token_ids: Int64Vector) -> Int64Matrix:
        """Return a row for each token, the token between the special ones; shape (n, 1 + special ones)."""
        rows = np.tile(np.array([*self._prefix, 0, *self._suffix], dtype=np.int64), (len(token_ids), 1))
        rows[:, len(self._prefix)] = token_ids
        return rows

    def _tokenized(self, segments: Iterable[str], start: int = 0) -> Iterator[tuple[int, Encoding]]:
        """Yield where each segment begins, the first at `start`, and its tokens."""
        for segment in segments:
            yield start, self._tokenizer.encode(segment, add_special_tokens=False)
            start += len(segment)

    def _bodies(self, tokenized: Iterable[tuple[int, Encoding]]) -> Iterator[_Body]:
        rest, is_first = _Body([]), True
        for start, encoding in tokenized:
            *full, rest = self._filled(rest, start, encoding)
            yield from full
            is_first = is_first and not full
        if rest.token_ids or is_first:
            yield rest

    def _filled(self, rest: _Body, start: int, encoding: Encoding) -> list[_Body]:
        """Return the full bodies made of what was left over and of a segment, and behind them what is left over now."""
        n_before, token_ids = len(rest.token_ids), rest.token_ids + encoding.ids
        if len(token_ids) == n_before:
            return [rest]
        bodies = []
        for first in range(0, len(token_ids), self._body_length):
            part = token_ids[first : first + self._body_length]
            first_char = rest.first_char if first < n_before else start + _place(encoding, first - n_before)[0]
            last_char = start + _place(encoding, first + len(part) - 1 - n_before)[1]
            bodies.append(_Body(part, first_char, last_char))
        return bodies if len(part) < self._body_length else [*bodies, _Body([])]

    def _chunk(self, document: int, body: _Body, *, is_cut: bool = False) -> Chunk:
        token_ids = np.array([*self._prefix, *body.token_ids, *self._suffix], dtype=np.int64)
        span = (body.first_char, body.last_char)
        return Chunk(document, token_ids, is_blank=not body.token_ids, is_cut=is_cut, span=span)


class ChunkedTextModel(ABC):
    """A text model that embeds chunks one by one; what is left to others is how a chunk gets its vector."""

    _family: str
    _code_version: str
    _weights_sha256: str
    _tokenizer_sha256: str
    _tokenizer: ChunkTokenizer
    _max_length: int
    _pooling: str
    _is_normalized: bool
    _dim: int
    _precision: Precision = FLOAT32
    makes_passages = True

    def __init__(self, long_text: str) -> None:
        self._long_text = checked_long_text(long_text)

    @property
    def config(self) -> dict[str, Any]:
        """What decides the bytes."""
        return {
            "family": self._family,
            "weights_sha256": self._weights_sha256,
            "tokenizer_sha256": self._tokenizer_sha256,
            "max_length": self._max_length,
            "pooling": self._pooling,
            "normalize": self._is_normalized,
            "long_text": self._long_text,
            "precision": self._precision,
            "code_version": f"{self._code_version}.{CHUNKING_VERSION}",
            "dim": self._dim,
        }

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self._dim

    @abstractmethod
    def _embed(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, Float32Vector]]:
        """Yield vectors in the order of the chunks, which are asked for a few at a time."""

    def embed_batch(self, docs: Sequence[TextDoc]) -> Float32Matrix:
        """Return one vector per text, shape (n, dim); (0, 0) for no texts."""
        return self.encode(docs).vectors

    def encode(self, docs: Sequence[TextDoc]) -> TextEncoding:
        """Return vectors with what is to be known about them; identical texts are computed once."""
        if not docs:
            return TextEncoding(no_vectors(), (), ())
        distinct = {text: position for position, text in enumerate(dict.fromkeys(doc.text for doc in docs))}
        joined = [
            _join(pieces, normalize=self._is_normalized)
            for _, pieces in groupby(self._embed(self._chunks(distinct)), key=lambda piece: piece[0].document)
        ]
        vectors, passages, flags = zip(*(joined[distinct[doc.text]] for doc in docs), strict=True)
        n_chunks = tuple(1 if found is None else len(found) for found in passages)
        return TextEncoding(np.stack(vectors), n_chunks, flags, passages)

    def _chunks(self, texts: Iterable[str]) -> Iterator[Chunk]:
        """Yield the chunks of texts, numbered from 0."""
        for document, text in enumerate(texts):
            yield from self._tokenizer.chunks(document, text, self._long_text)


def _place(encoding: Encoding, token: int) -> tuple[int, int]:
    """Return the first character of a token and the one after its last."""
    found = encoding.token_to_chars(token)
    if found is None:
        raise IndexError(f"there is no token {token}")
    return found


def available_cores() -> int:
    """Return how many cores this process may use: how many chunks are worth embedding at once."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def cut_into_segments(text: str, size: int = SEGMENT_CHARACTERS) -> Iterator[str]:
    """Yield the text in pieces of at most `size` characters, cut before white space wherever there is any.

    Examples
    --------
    >>> list(cut_into_segments("one two three", size=8))
    ['one two', ' three']
    """
    start = 0
    while start < len(text):
        end = min(start + size, len(text))
        if end < len(text):
            cut = end
            while cut > start and not text[cut].isspace():
                cut -= 1
            end = cut if cut > start else end
        yield text[start:end]
        start = end


def checked_long_text(value: str) -> LongText:
    """Return `value` if it is one of the ways to read a long text, else raise `UsageError`."""
    return cast("LongText", _one_of("long_text", value, get_args(LongText)))


def checked_precision(value: str) -> Precision:
    """Return `value` if it is a precision, else raise `UsageError`."""
    return cast("Precision", _one_of("precision", value, get_args(Precision)))


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return value


def _join(
    pieces: Iterable[tuple[Chunk, Float32Vector]], *, normalize: bool
) -> tuple[Float32Vector, Passages | None, tuple[str, ...]]:
    """Return the vector of a text, its passages and its flags; one chunk's vector is left as it is."""
    chunks, vectors = zip(*pieces, strict=True)
    first, vector, passages = chunks[0], vectors[0], None
    if len(chunks) > 1:
        vector = mean_vector(vectors, normalize=normalize)
        passages = Passages(np.array([chunk.span for chunk in chunks], dtype=np.int64), np.stack(vectors))
    flags = ((NO_TOKENS, first.is_blank), (TRUNCATED, first.is_cut))
    return vector, passages, tuple(flag for flag, is_set in flags if is_set)


def mean_vector(vectors: Sequence[Float32Vector], *, normalize: bool) -> Float32Vector:
    """Return the mean of a text's pieces, shape (dim,), added in their order."""
    total = vectors[0].astype(np.float64)
    for further in vectors[1:]:
        total += further
    mean = total / len(vectors)
    vector: Float32Vector = (unit_length(mean) if normalize else mean).astype(np.float32)
    return vector


def unit_length(vector: Float64Vector) -> Float64Vector:
    """Return the vector at unit length; zeros stay zeros. The sum is exact, so that no BLAS decides a bit of it."""
    length = math.sqrt(math.fsum((vector * vector).tolist()))
    return vector / max(length, 1e-12)


def _special_tokens(tokenizer: Tokenizer, source: str) -> tuple[list[int], list[int]]:
    bare: list[int] = tokenizer.encode("a", add_special_tokens=False).ids
    full: list[int] = tokenizer.encode("a", add_special_tokens=True).ids
    for start in range(len(full) - len(bare) + 1):
        end = start + len(bare)
        if full[start:end] == bare:
            return full[:start], full[end:]
    raise InputRefusedError(f"{source}: the tokenizer changes a text when it adds its special tokens")
