"""The extra ``[torch]``: what is said without it, and the same promises where it is installed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from tests.fixtures.text_models import MINILM, needs_minilm

from prometheus.encoders.texts.chunks import Chunk
from prometheus.encoders.texts.documents import TextDoc
from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel
from prometheus.encoders.texts.sources import find_text_folder
from prometheus.encoders.texts.torch_model import TorchTextEmbeddingModel, _batches
from prometheus.errors import MissingExtraError, UsageError

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None,
    reason="sentence-transformers is not installed (extra [torch])",
)


@pytest.mark.parametrize("missing", ["torch", "sentence_transformers"])
def test_without_the_extra_the_command_that_installs_it_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=r"prometheus-regime\[torch\]"):
        TorchTextEmbeddingModel("some/model")


def test_parameters_are_checked_before_anything_is_loaded() -> None:
    with pytest.raises(UsageError, match="long_text"):
        TorchTextEmbeddingModel("some/model", long_text="middle")


def chunks_of(lengths: Sequence[int]) -> list[Chunk]:
    return [Chunk(number, np.zeros(length, dtype=np.int64), is_blank=False) for number, length in enumerate(lengths)]


def test_chunks_of_one_length_go_together_a_few_at_a_time() -> None:
    assert list(_batches(chunks_of([5, 3, 5, 5, 3]), 2)) == [[0, 2], [3], [1, 4]]
    assert list(_batches(chunks_of([5, 5]), 1)) == [[0], [1]]


@needs_minilm
@needs_torch
@pytest.mark.filterwarnings("default")
def test_torch_gives_the_same_bytes_alone_and_together_and_nearly_those_of_onnx() -> None:
    texts = ["The policy rate is high.", "growth", "The bank cut its rate. " * 100, "growth"]
    docs = [TextDoc("TEST", str(number), text) for number, text in enumerate(texts)]
    model = TorchTextEmbeddingModel(find_text_folder(MINILM), device="cpu")
    together = model.encode(docs)
    assert np.concatenate([model.embed_batch([doc]) for doc in docs]).tobytes() == together.vectors.tobytes()
    other = OnnxTextEmbeddingModel(find_text_folder(MINILM)).encode(docs)
    assert (together.n_chunks, together.flags) == (other.n_chunks, other.flags)
    np.testing.assert_allclose(together.vectors, other.vectors, atol=5e-7)
    assert model.config["family"] == "sentence-torch"
    assert model.embed_batch([]).shape == (0, 0)
