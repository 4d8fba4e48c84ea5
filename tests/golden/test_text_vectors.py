"""The model without torch gives the vectors of sentence-transformers; `TEXT_PROVENANCE.md` says how these were made."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

import numpy as np
import pytest
from tests.fixtures.text_models import MINILM, needs_minilm
from tests.golden.make_text_golden import PATH

from prometheus.arrays import Float32Vector
from prometheus.encoders.texts.documents import TextDoc
from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel
from prometheus.encoders.texts.sources import find_text_folder

ANSWERS: dict[str, dict[str, Any]] = json.loads(PATH.read_text(encoding="utf-8"))["answers"]
pytestmark = needs_minilm


@cache
def model(long_text: str) -> OnnxTextEmbeddingModel:
    return OnnxTextEmbeddingModel(find_text_folder(MINILM), long_text=long_text)


def decoded(stored: str) -> Float32Vector:
    return np.frombuffer(base64.b64decode(stored), dtype="<f4")


@pytest.mark.parametrize("long_text", ["mean", "truncate"])
@pytest.mark.parametrize("title", ANSWERS)
def test_a_vector_is_the_one_of_sentence_transformers(title: str, long_text: str) -> None:
    answer = ANSWERS[title]
    encoding = model(long_text).encode([TextDoc("TEST", "1", answer["text"])])
    wanted = decoded(answer[long_text])
    assert np.abs(encoding.vectors[0] - wanted).max() < 5e-7
    assert float(encoding.vectors[0].astype(np.float64) @ wanted) > 0.999999
    assert encoding.n_chunks == (answer["n_chunks"] if long_text == "mean" else 1,)
    is_cut = long_text == "truncate" and answer["n_chunks"] > 1
    assert encoding.flags == (("truncated",) if is_cut else (),)


def test_the_fingerprint_of_the_default_model_is_the_one_stored_in_databases() -> None:
    assert model("mean").config == {
        "family": "sentence-bert",
        "weights_sha256": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "tokenizer_sha256": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "max_length": 256,
        "pooling": "mean",
        "normalize": True,
        "long_text": "mean",
        "precision": "float32",
        "code_version": "1.1",
        "dim": 384,
    }


def test_a_text_without_a_token_is_embedded_and_flagged() -> None:
    encoding = model("mean").encode([TextDoc("TEST", "1", "\u200b\u00ad")])
    assert encoding.flags == (("no-tokens",),)
    assert np.isfinite(encoding.vectors).all()
