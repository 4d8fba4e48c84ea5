"""Texts as the mean of their words' vectors: a slow twin, whitening, and texts that say nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.text_models import SPECIAL, WORDS, write_folder

from prometheus.arrays import Float32Matrix
from prometheus.encoders.texts.documents import TextDoc
from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel
from prometheus.encoders.texts.word_vectors import COMMON_SHARE, StaticTextModel, weighted_words

TEXTS = st.lists(st.lists(st.sampled_from([*WORDS, "never"]), max_size=40).map(" ".join), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("texts") / "model")


@pytest.fixture(scope="module")
def model(folder: Path) -> StaticTextModel:
    return StaticTextModel(folder, folder.parent / "models")


def docs(texts: list[str]) -> list[TextDoc]:
    return [TextDoc("NEWS", str(number), f"{text} rate") for number, text in enumerate(texts)]


def table_of(folder: Path) -> Float32Matrix:
    """Each word through the encoder by itself, then weighted: the obvious way."""
    encoder = OnnxTextEmbeddingModel(folder)
    vectors = np.stack([encoder.embed_batch([TextDoc("WORD", "0", word)])[0] for word in WORDS])
    padded = np.concatenate([np.zeros((len(SPECIAL), vectors.shape[1])), vectors])
    ranks = np.array([0] * len(SPECIAL) + list(range(1, len(WORDS) + 1)))
    return weighted_words(padded, ranks).astype(np.float32)


@given(texts=TEXTS)
def test_it_is_the_mean_of_the_words(folder: Path, model: StaticTextModel, texts: list[str]) -> None:
    table = dict(zip(WORDS, table_of(folder)[len(SPECIAL) :].astype(np.float64), strict=True))
    vectors = model.embed_batch(docs(texts))
    for text, vector in zip(texts, vectors, strict=True):
        total = sum(table.get(word, np.zeros(model.dim)) for word in f"{text} rate".split())
        np.testing.assert_allclose(vector, total / np.linalg.norm(total), rtol=0, atol=1e-6)


@given(texts=TEXTS)
def test_a_text_alone_gives_the_bytes_that_it_gives_among_others(model: StaticTextModel, texts: list[str]) -> None:
    together = model.embed_batch(docs(texts))
    assert [model.embed_batch([doc]).tobytes() for doc in docs(texts)] == [row.tobytes() for row in together]


def test_a_text_of_many_segments_is_read_whole(model: StaticTextModel) -> None:
    once, often = "the policy rate rose .", "the policy rate rose . " * 40_000
    first, long = model.embed_batch([TextDoc("NEWS", "1", once), TextDoc("NEWS", "2", often)])
    np.testing.assert_allclose(long, first, rtol=0, atol=1e-5)


def test_a_text_without_a_known_word_is_zeros_and_flagged(model: StaticTextModel) -> None:
    encoding = model.encode([TextDoc("NEWS", "1", "quite unheard"), TextDoc("NEWS", "2", "the rate")])
    assert not encoding.vectors[0].any()
    assert encoding.flags == (("no-tokens",), ())
    assert encoding.n_chunks == (1, 1)


def test_the_table_is_built_once_and_a_damaged_one_again(folder: Path, model: StaticTextModel) -> None:
    places = folder.parent / "models"
    (kept,) = places.glob("words-v1-*.f4")
    content = kept.read_bytes()
    kept.write_bytes(content[:-4] + b"\0\0\0\0")
    again = StaticTextModel(folder, places)
    assert again.embed_batch(docs(["bank growth"])).tobytes() == model.embed_batch(docs(["bank growth"])).tobytes()
    assert kept.read_bytes() == content


def test_words_are_centred_and_rare_ones_weigh_more() -> None:
    vectors = np.random.default_rng(3).normal(size=(2_000, 6)) @ np.diag([5.0, 3.0, 1.0, 1.0, 0.5, 0.1]) + 2.0
    ranks = np.arange(2_000)
    shares = np.divide(1.0, ranks, out=np.zeros(2_000), where=ranks > 0)
    shares /= shares.sum()
    words = weighted_words(vectors, ranks)
    assert not words[0].any()
    unweighted = words[1:] * ((COMMON_SHARE + shares) / COMMON_SHARE)[1:, np.newaxis]
    np.testing.assert_allclose(shares[1:] @ unweighted, 0.0, atol=1e-9)
    spread = np.linalg.eigvalsh((unweighted * shares[1:, np.newaxis]).T @ unweighted)
    before = np.linalg.eigvalsh(np.cov(vectors.T, aweights=shares))
    assert spread[-1] / spread[0] < (before[-1] / before[0]) ** 0.3
