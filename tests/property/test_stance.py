"""What a head says of a text depends on the text alone: on no other one, no order, no later one."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fixtures.examples import share_of
from tests.fixtures.labelled import labelled_rows
from tests.fixtures.text_models import write_folder

from prometheus.encoders.stance.head import StanceHead, fit_heads
from prometheus.encoders.stance.labels import LabelledRow, sentences_of
from prometheus.encoders.stance.shares import StanceCounts, counts_of
from prometheus.encoders.texts.documents import TextDoc
from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel

SENTENCES = [text for text, _, _ in labelled_rows()]
DOCUMENTS = st.lists(st.sampled_from([*SENTENCES, "Thank you all.", "Rates", ""]), max_size=6).map(" ".join)
Reader = tuple[StanceHead, OnnxTextEmbeddingModel]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    folder = tmp_path_factory.mktemp("stance")
    model = _model(folder)
    sentences = sentences_of(
        [LabelledRow(text, stance, date(year, 1, 1)) for text, stance, year in labelled_rows()], {}
    )
    vectors = model.embed_batch([TextDoc("SENTENCE", "0", text) for text in sentences.texts])
    fit = fit_heads(sentences.texts, vectors, sentences.stances)
    return StanceHead(fit, 1.0, 0.6, sentences.until, {}, {}), model


def _model(folder: Path) -> OnnxTextEmbeddingModel:
    from prometheus.encoders.texts.sources import find_text_folder

    made = write_folder(folder / "model")
    return OnnxTextEmbeddingModel(find_text_folder(str(made)), long_text="mean", cache_dir=folder / "cache")


@given(texts=st.lists(DOCUMENTS, max_size=4), later=st.lists(DOCUMENTS, max_size=4))
@settings(max_examples=share_of(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_later_texts_change_nothing_that_was_said(reader: Reader, texts: list[str], later: list[str]) -> None:
    before = counts_of(texts, *reader)
    assert counts_of([*texts, *later], *reader)[: len(texts)] == before
    assert counts_of(texts[::-1], *reader) == before[::-1]
    assert [counts_of([text], *reader)[0] for text in texts] == before


@given(text=DOCUMENTS, sureness=st.floats(0.34, 0.99))
@settings(max_examples=share_of(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_higher_sureness_only_makes_sentences_not_sure(reader: Reader, text: str, sureness: float) -> None:
    head, model = reader
    stricter = StanceHead(head.fit, head.temperature, min(1.0, sureness + 0.1), head.labels_until, {}, {})
    looser = StanceHead(head.fit, head.temperature, sureness, head.labels_until, {}, {})
    (few,), (many,) = counts_of([text], stricter, model), counts_of([text], looser, model)
    assert few.n_sentences == many.n_sentences
    assert all(getattr(few, name) <= getattr(many, name) for name in ("hawkish", "dovish", "neutral"))
    assert np.isclose(sum(few.shares.values()), 1.0) or few == StanceCounts()
