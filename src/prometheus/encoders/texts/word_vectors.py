"""A text model without a network: the mean of its words' vectors, each taken once from a sentence encoder.

Every token of the encoder's vocabulary goes through it alone. The vectors are whitened by how often tokens are used,
and rare tokens weigh more than common ones: a / (a + p) of a token with the share p of all words (Arora, Liang and Ma,
A simple but tough-to-beat baseline for sentence embeddings, 2017). How often is not counted: a vocabulary of word
pieces stands in the order of use, and by Zipf's law the share falls with the rank.

It reads some ten thousand headlines a second on one core. Of long texts it says little more than what they are about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from prometheus.arrays import Float32Matrix, Float64Matrix, Float64Vector, Int64Vector
from prometheus.encoders.texts.built_files import digest_of, load_or_build
from prometheus.encoders.texts.chunks import NO_TOKENS, cut_into_segments
from prometheus.encoders.texts.documents import TextDoc, TextEncoding, no_vectors
from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel, read_tokenizer
from prometheus.encoders.texts.sources import file_sha256, read_text_folder

FAMILY = "word-vectors"

COMMON_SHARE = 1e-4
"""A token that makes up this share of all words weighs half of a rare one."""
WHITENING = 0.75
"""Powers of the covariance's root that are taken out: 0 leaves the vectors as they are, 1 whitens them."""
_LEAST_VARIANCE = 1e-6
_CODE_VERSION = "1"
_NOT_WORDS = re.compile(r"\[.*\]")
_TEXTS_AT_ONCE = 1_024
_PIECE_CHARACTERS = 4_000  # so that single precision is enough to add up the words of a piece


class StaticTextModel:
    """The words of a sentence encoder in a folder, see `read_text_folder`; the same text gives the same bytes.

    The table of words takes a minute to build and is kept in `cache_dir`. Safe in several threads.
    """

    def __init__(self, folder: str | Path, cache_dir: str | Path | None = None) -> None:
        read = read_text_folder(Path(folder))
        self._tokenizer = read_tokenizer(read.tokenizer)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._sources = {
            "weights_sha256": file_sha256(read.weights), "tokenizer_sha256": file_sha256(read.tokenizer),
        }  # fmt: skip
        key = f"words-v{_CODE_VERSION}-{digest_of(json.dumps(self._sources, sort_keys=True).encode())}"
        kept = load_or_build(
            None if cache_dir is None else Path(cache_dir), key, "f4",
            lambda: self._build(OnnxTextEmbeddingModel(folder, cache_dir=cache_dir)).astype("<f4").tobytes(),
        )  # fmt: skip
        words = np.frombuffer(kept, dtype="<f4").reshape(self._tokenizer.get_vocab_size(), -1)
        self._words: Float32Matrix = words.astype(np.float32, copy=False)

    @property
    def config(self) -> dict[str, Any]:
        """What decides the bytes."""
        return {
            "family": FAMILY, **self._sources, "common_share": COMMON_SHARE, "whitening": WHITENING,
            "normalize": True, "code_version": _CODE_VERSION, "dim": self.dim,
        }  # fmt: skip

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return int(self._words.shape[1])

    def embed_batch(self, docs: Sequence[TextDoc]) -> Float32Matrix:
        """Return one vector of unit length per text, shape (n, dim); zeros for a text without a word."""
        return self.encode(docs).vectors

    def encode(self, docs: Sequence[TextDoc]) -> TextEncoding:
        """Return vectors, and which texts have no word that is known."""
        if not docs:
            return TextEncoding(no_vectors(), (), ())
        texts = [doc.text for doc in docs]
        parts = [self._vectors(texts[first : first + _TEXTS_AT_ONCE]) for first in range(0, len(texts), _TEXTS_AT_ONCE)]
        vectors = np.concatenate(parts)
        flags = tuple((NO_TOKENS,) if is_blank else () for is_blank in (vectors == 0).all(axis=1).tolist())
        return TextEncoding(vectors, (1,) * len(docs), flags)

    def _vectors(self, texts: Sequence[str]) -> Float32Matrix:
        pieces = [list(cut_into_segments(text, _PIECE_CHARACTERS)) for text in texts]
        tokenized = self._tokenizer.encode_batch_fast(list(chain.from_iterable(pieces)), add_special_tokens=False)
        firsts = np.cumsum([0, *map(len, pieces[:-1])])
        sums = np.add.reduceat(self._sums([each.ids for each in tokenized]), firsts, axis=0, dtype=np.float64)
        lengths = np.sqrt((sums * sums).sum(axis=1, keepdims=True))
        vectors: Float32Matrix = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0).astype(np.float32)
        return vectors

    def _sums(self, tokens: Sequence[Sequence[int]]) -> Float32Matrix:
        """Return the sum of each text's words, shape (n, dim), added in their order whatever stands beside them.

        The first words of all texts are added at once, then the second ones: the longest texts come first.
        """
        lengths = np.array([len(ids) for ids in tokens])
        longest_first = np.argsort(-lengths, kind="stable")
        n_left = np.searchsorted(-lengths[longest_first], -np.arange(lengths.max(initial=0)))
        columns = zip_longest(*(tokens[row] for row in longest_first))
        sums = np.zeros((len(tokens), self.dim), np.float32)
        for n, column in zip(n_left.tolist(), columns, strict=True):
            sums[:n] += self._words[np.fromiter(column, np.int64, n)]
        in_order = np.empty_like(sums)
        in_order[longest_first] = sums
        return in_order

    def _build(self, encoder: OnnxTextEmbeddingModel) -> Float32Matrix:
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        in_order = sorted(vocabulary, key=vocabulary.__getitem__)
        is_word = np.array([_NOT_WORDS.fullmatch(token) is None for token in in_order])
        vectors = encoder.token_vectors(np.arange(len(in_order), dtype=np.int64)).astype(np.float64)
        return weighted_words(vectors, np.cumsum(is_word) * is_word).astype(np.float32)


def weighted_words(vectors: Float64Matrix, ranks: Int64Vector) -> Float64Matrix:
    """Return word vectors whitened and weighted by use, shape (n, dim).

    `ranks`, shape (n,), count from 1 by use; a token of rank 0 is no word, and its vector is zeros. Whitening is the
    symmetric one, which needs no choice between directions of the same variance and so is the same everywhere.
    """
    shares: Float64Vector = np.divide(1.0, ranks, out=np.zeros(len(ranks)), where=ranks > 0)
    shares /= shares.sum()
    centred = vectors - shares @ vectors
    variances, directions = np.linalg.eigh((centred * shares[:, np.newaxis]).T @ centred)
    scales = np.maximum(variances, _LEAST_VARIANCE * variances[-1]) ** (-WHITENING / 2.0)
    weights = np.where(ranks > 0, COMMON_SHARE / (COMMON_SHARE + shares), 0.0)
    whitened: Float64Matrix = (centred @ (directions * scales)) @ directions.T
    return whitened * weights[:, np.newaxis]
