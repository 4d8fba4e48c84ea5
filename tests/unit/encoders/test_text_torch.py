"""The extra ``[torch]``: what is said without it, and the same promises where it is installed."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
from tests.fixtures.text_models import MINILM, needs_minilm

from prometheus.encoders.texts import batches
from prometheus.encoders.texts.documents import TextDoc
from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel
from prometheus.encoders.texts.sources import find_text_folder
from prometheus.encoders.texts.torch_model import TorchTextEmbeddingModel
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
    with pytest.raises(UsageError, match="precision must be one of float32, tf32, bf16, not 'int8'"):
        TorchTextEmbeddingModel("some/model", precision="int8")


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


@needs_minilm
@needs_torch
@pytest.mark.filterwarnings("default")
def test_batches_of_fixed_shapes_on_the_cpu_keep_rows_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "TOKENS_AT_ONCE", 0)
    monkeypatch.setattr(batches, "MIN_ROWS", 3)
    folder = find_text_folder(MINILM)
    docs = [TextDoc("TEST", text, text) for text in ("growth", "The bank cut its rate. " * 60, "High rates.", "low")]
    model = TorchTextEmbeddingModel(folder, device="cpu", in_batches=True)
    together = model.encode(docs)
    assert model.embed_batch(docs[::-1])[::-1].tobytes() == together.vectors.tobytes()
    assert model.embed_batch(docs[:1]).tobytes() == together.vectors[:1].tobytes()
    alone = TorchTextEmbeddingModel(folder, device="cpu")
    np.testing.assert_allclose(together.vectors, alone.embed_batch(docs), atol=5e-7)
    differing = {key for key, value in model.config.items() if value != alone.config[key]}
    assert differing == {"code_version"}
    with pytest.raises(UsageError, match="precision 'bf16' needs a GPU"):
        TorchTextEmbeddingModel(folder, device="cpu", precision="bf16")
