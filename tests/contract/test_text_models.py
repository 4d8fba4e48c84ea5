"""What every text model promises: the tiny ones made here, and the real one where its weights are installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.text_models import MINILM, needs_minilm, write_folder, write_graph

from prometheus.encoders.identity import fingerprint, model_config
from prometheus.encoders.texts.documents import TextDoc
from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel
from prometheus.encoders.texts.sources import find_text_folder
from prometheus.protocols import ChunkingTextEmbeddingModel

Open = Callable[..., OnnxTextEmbeddingModel]

SENTENCES = (
    "The policy rate is high.",
    "growth",
    "the rate of growth rose . the bank fell . " * 30,
    "Rates fell, of the bank.",
    "growth",
    "policy " * 700,
)


def bert_folder(folder: Path) -> Path:
    return write_folder(folder)


def graph_folder(folder: Path) -> Path:
    write_graph(write_folder(folder) / "model.onnx")
    return folder


def minilm_folder(_folder: Path) -> Path:
    return find_text_folder(MINILM)


@pytest.fixture(scope="module", params=[bert_folder, graph_folder, pytest.param(minilm_folder, marks=needs_minilm)])
def open_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Open:
    folder = request.param(tmp_path_factory.mktemp("model"))
    cache = tmp_path_factory.mktemp("cache")
    return lambda **options: OnnxTextEmbeddingModel(folder, cache_dir=cache, **options)


@pytest.fixture(scope="module")
def model(open_model: Open) -> OnnxTextEmbeddingModel:
    return open_model()


def docs_of(*texts: str) -> list[TextDoc]:
    return [TextDoc("TEST", str(number), text) for number, text in enumerate(texts)]


def test_a_batch_equals_its_texts_one_by_one_to_the_byte(model: OnnxTextEmbeddingModel) -> None:
    docs = docs_of(*SENTENCES)
    together = model.embed_batch(docs)
    alone = np.concatenate([model.embed_batch([doc]) for doc in docs])
    assert together.dtype == alone.dtype == np.float32
    assert together.tobytes() == alone.tobytes()
    assert model.embed_batch(docs[::-1])[::-1].tobytes() == together.tobytes()


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_the_number_of_threads_changes_no_byte(open_model: Open, model: OnnxTextEmbeddingModel, threads: int) -> None:
    docs = docs_of(*SENTENCES)
    other = open_model(threads=threads)
    assert other.embed_batch(docs).tobytes() == model.embed_batch(docs).tobytes()
    assert other.config == model.config


def test_vectors_are_of_unit_length_and_of_the_stated_dimension(model: OnnxTextEmbeddingModel) -> None:
    vectors = model.embed_batch(docs_of(*SENTENCES))
    assert vectors.shape == (len(SENTENCES), model.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_long_text_that_is_truncated_equals_its_beginning(open_model: Open) -> None:
    cutting = open_model(long_text="truncate")
    beginning, whole = "policy " * 8, "policy " * 8 + "rate " * 3
    long_beginning, long_whole = "policy " * 254, "policy " * 254 + "rate"
    if cutting.config["max_length"] == 256:
        beginning, whole = long_beginning, long_whole
    encoding = cutting.encode(docs_of(beginning, whole))
    assert encoding.vectors[0].tobytes() == encoding.vectors[1].tobytes()
    assert encoding.flags == ((), ("truncated",))
    assert encoding.n_chunks == (1, 1)


def test_a_long_text_is_read_to_its_end_by_default(model: OnnxTextEmbeddingModel) -> None:
    body = model.config["max_length"] - 2
    encoding = model.encode(docs_of("policy " * body, "policy " * (body + 1), "policy " * body + "rate"))
    assert encoding.n_chunks == (1, 2, 2)
    assert len({vector.tobytes() for vector in encoding.vectors}) == 3


def test_the_mean_of_the_chunks_is_what_a_long_text_becomes(model: OnnxTextEmbeddingModel) -> None:
    body = model.config["max_length"] - 2
    parts = ["policy " * body, "growth rose . " * (body // 3) + "the " * (body % 3), "low"]
    mean = model.embed_batch(docs_of(*parts)).astype(np.float64).mean(axis=0)
    encoding = model.encode(docs_of(" ".join(parts)))
    assert encoding.n_chunks == (3,)
    np.testing.assert_allclose(encoding.vectors[0], mean / np.linalg.norm(mean), atol=1e-7)


def test_no_texts_are_no_vectors(model: OnnxTextEmbeddingModel) -> None:
    assert model.embed_batch([]).shape == (0, 0)
    assert len(model.encode([])) == 0


def test_what_decides_the_bytes_can_be_written_as_json(open_model: Open, model: OnnxTextEmbeddingModel) -> None:
    config = model_config(model)
    assert json.loads(json.dumps(config, allow_nan=False)) == config
    assert {
        "family", "code_version", "weights_sha256", "tokenizer_sha256", "max_length", "pooling", "normalize",
        "long_text", "precision", "dim",
    } == config.keys()  # fmt: skip
    assert fingerprint(model_config(open_model(long_text="truncate"))) != fingerprint(config)


def test_it_is_recognised_as_a_model_that_reads_in_chunks(model: OnnxTextEmbeddingModel) -> None:
    assert isinstance(model, ChunkingTextEmbeddingModel)
