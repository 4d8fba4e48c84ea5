"""A vector depends on its own text alone: not on neighbours, order, repetition or the cores at work."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.text_models import MINILM, WORDS, needs_minilm, write_folder
from tests.property.strategies import bounded

from prometheus.encoders.texts.chunks import cut_into_segments
from prometheus.encoders.texts.documents import TextDoc
from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel
from prometheus.encoders.texts.service import is_english
from prometheus.encoders.texts.sources import find_text_folder

texts = st.lists(st.sampled_from([*WORDS, "Zins", "12.5", "\u00e9t\u00e9"]), min_size=1, max_size=40).map(" ".join)
any_text = st.text(min_size=1, max_size=200).filter(lambda text: not text.isspace() and _is_unicode(text))


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def docs_of(chosen: list[str]) -> list[TextDoc]:
    return [TextDoc("TEST", str(number), text) for number, text in enumerate(chosen)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> OnnxTextEmbeddingModel:
    return OnnxTextEmbeddingModel(write_folder(tmp_path_factory.mktemp("tiny")), threads=3)


@cache
def minilm() -> OnnxTextEmbeddingModel:
    return OnnxTextEmbeddingModel(find_text_folder(MINILM))


def assert_alone_and_together_agree(model: OnnxTextEmbeddingModel, chosen: list[str]) -> None:
    together = model.encode(docs_of(chosen))
    for number, doc in enumerate(docs_of(chosen)):
        alone = model.encode([doc])
        assert alone.vectors[0].tobytes() == together.vectors[number].tobytes()
        assert (alone.n_chunks[0], alone.flags[0]) == (together.n_chunks[number], together.flags[number])


@bounded(60)
@given(chosen=st.lists(st.one_of(texts, any_text), min_size=1, max_size=12))
def test_alone_or_together_a_text_gives_the_same_bytes(tiny: OnnxTextEmbeddingModel, chosen: list[str]) -> None:
    assert_alone_and_together_agree(tiny, chosen)


@needs_minilm
@bounded(12)
@given(chosen=st.lists(st.one_of(texts, any_text), min_size=2, max_size=6))
def test_alone_or_together_a_text_gives_the_same_bytes_of_the_real_model(chosen: list[str]) -> None:
    assert_alone_and_together_agree(minilm(), chosen)


@bounded(100)
@given(text=st.text(max_size=300), size=st.integers(1, 40))
def test_segments_are_the_text(text: str, size: int) -> None:
    pieces = list(cut_into_segments(text, size))
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= size for piece in pieces)


@bounded(60)
@given(chosen=st.lists(texts, min_size=1, max_size=5), size=st.integers(30, 200))
def test_how_a_long_text_is_read_changes_no_byte(tiny: OnnxTextEmbeddingModel, chosen: list[str], size: int) -> None:
    whole = tiny.embed_batch(docs_of(chosen))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cut_into_segments, "__defaults__", (size,))
        assert tiny.embed_batch(docs_of(chosen)).tobytes() == whole.tobytes()


@bounded(200)
@given(text=st.text())
def test_every_text_is_english_or_not(text: str) -> None:
    assert is_english(text) in {True, False}


@bounded(30)
@given(chosen=st.lists(texts, min_size=1, max_size=6))
def test_vectors_are_finite_and_of_unit_length(tiny: OnnxTextEmbeddingModel, chosen: list[str]) -> None:
    np.testing.assert_allclose(np.linalg.norm(tiny.embed_batch(docs_of(chosen)), axis=1), 1, atol=1e-6)
