"""Text embeddings at rest: upserts, what is skipped, and what a model id means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from tests.fixtures.database import TableDigest
from tests.fixtures.text_models import write_folder, write_json

from prometheus.app.databases import DatabaseManager
from prometheus.arrays import Float32Matrix
from prometheus.data.vectors import texts as text
from prometheus.data.vectors.texts import TextEmbeddingStore
from prometheus.encoders.texts import portions
from prometheus.encoders.texts.documents import TextDoc
from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel
from prometheus.encoders.texts.portions import portions_of
from prometheus.encoders.texts.service import TextCounts, TextEmbeddingService
from prometheus.errors import ModelFingerprintError, VectorError

MODEL = "text-macro-v1"


class CountingModel:
    """Three values per text, and a list of what was encoded."""

    def __init__(self, dim: int = 3, version: int = 1) -> None:
        self.dim = dim
        self.version = version
        self.seen: list[str] = []

    @property
    def config(self) -> dict[str, Any]:
        return {"family": "counting", "code_version": self.version, "dim": self.dim}

    def embed_batch(self, docs: Sequence[TextDoc]) -> Float32Matrix:
        self.seen += [doc.text for doc in docs]
        return np.array([[len(doc.text), ord(doc.text[0]), *[1] * (self.dim - 2)] for doc in docs], dtype=np.float32)


@pytest.fixture
def store(db_manager: DatabaseManager) -> TextEmbeddingStore:
    return TextEmbeddingStore(db_manager=db_manager)


def service_of(store: TextEmbeddingStore, model: Any = None, model_id: str = MODEL) -> TextEmbeddingService:
    return TextEmbeddingService(model=model or CountingModel(), store=store, model_id=model_id)


def docs_of(*texts: str, source_type: str = "MACRO") -> list[TextDoc]:
    return [TextDoc(source_type, str(number), each) for number, each in enumerate(texts)]


def rows_of(db_manager: DatabaseManager) -> list[tuple[Any, ...]]:
    query = "SELECT source_type, source_id, model_id, dim, n_chunks, flags FROM text_embeddings ORDER BY 1, 2, 3"
    with db_manager.get_historical_connection() as connection:
        return connection.execute(query).fetchall()


def test_hashes_are_found_by_source(store: TextEmbeddingStore) -> None:
    docs = docs_of("a", "b")
    store.save_embeddings(docs, MODEL, np.eye(2, dtype=np.float32))
    assert store.load_many("MACRO", ["1", "7"], MODEL)["1"].text_hash == docs[1].text_hash
    assert store.load_many("NEWS", ["1"], MODEL) == {}
    assert store.load_many("MACRO", [], MODEL) == {}


def test_no_texts_are_no_rows_and_no_model(store: TextEmbeddingStore, db_manager: DatabaseManager) -> None:
    vectors = service_of(store).embed_and_store([])
    assert vectors.shape == (0, 0)
    assert vectors.dtype == np.float32
    assert store.save_embeddings([], MODEL, np.empty((0, 0), dtype=np.float32)) == 0
    with db_manager.get_historical_connection() as connection:
        assert connection.execute("SELECT count(*) FROM models").fetchone() == (0,)
    assert rows_of(db_manager) == []


def test_a_second_run_encodes_nothing_writes_nothing_and_returns_the_same(
    store: TextEmbeddingStore, table_digests: TableDigest
) -> None:
    docs = docs_of("rate", "growth", "bank")
    first = service_of(store).embed_and_store(docs)
    before, model = table_digests(), CountingModel()
    second = service_of(store, model).embed_and_store(docs[::-1])
    assert model.seen == []
    assert second[::-1].tobytes() == first.tobytes()
    assert table_digests() == before
    assert service_of(store, model).embed_and_count(iter(docs)) == TextCounts(texts=3)


def test_equal_texts_are_encoded_once_whatever_their_source(
    store: TextEmbeddingStore, db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portions, "TEXTS_PER_PORTION", 2)
    model = CountingModel()
    docs = [*docs_of("rate", "rate", "bank", "rate"), *docs_of("bank", "rate", source_type="NEWS")]
    counts = service_of(store, model).embed_and_count(docs)
    assert model.seen == ["rate", "bank"]
    assert (counts.texts, counts.encoded, counts.written) == (6, 2, 6)
    assert len(rows_of(db_manager)) == 6


def test_only_a_changed_text_is_encoded_again(store: TextEmbeddingStore) -> None:
    service_of(store).embed_and_store(docs_of("rate", "growth"))
    model = CountingModel()
    counts = service_of(store, model).embed_and_count(docs_of("rate", "growth."))
    assert model.seen == ["growth."]
    assert (counts.encoded, counts.written) == (1, 1)


def test_a_row_of_unknown_text_is_encoded_again(store: TextEmbeddingStore, db_manager: DatabaseManager) -> None:
    service_of(store).embed_and_store(docs_of("rate"))
    with db_manager.get_historical_connection() as connection:
        connection.execute("UPDATE text_embeddings SET text_hash = NULL")
    model = CountingModel()
    assert service_of(store, model).embed_and_count(docs_of("rate")).written == 1
    assert model.seen == ["rate"]


def test_chunks_are_written_before_the_next_is_asked_for(
    store: TextEmbeddingStore, db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portions, "TEXTS_PER_PORTION", 2)
    stored: list[int] = []

    def docs() -> Iterator[TextDoc]:
        for doc in docs_of("a", "b", "c", "d", "e"):
            stored.append(len(rows_of(db_manager)))
            yield doc
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        service_of(store).embed_and_count(docs())
    assert stored == [0, 0, 2, 2, 4]
    assert len(rows_of(db_manager)) == 4


def test_a_chunk_is_also_bounded_by_its_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portions, "CHARACTERS_PER_PORTION", 10)
    docs = docs_of("a" * 4, "b" * 20, "c", "d" * 9, "e", "f" * 9, "g" * 2)
    cut = portions_of(docs, lambda doc: len(doc.text))
    assert ["".join(doc.text[0] for doc in portion) for portion in cut] == ["a", "b", "cd", "ef", "g"]
    larger = portions_of(docs, lambda doc: len(doc.text), scale=2)
    assert ["".join(doc.text[0] for doc in portion) for portion in larger] == ["a", "b", "cdef", "g"]


def test_a_model_id_means_one_model_for_ever(store: TextEmbeddingStore, db_manager: DatabaseManager) -> None:
    service_of(store).embed_and_store(docs_of("rate"))
    for other, difference in ((CountingModel(version=2), "code_version"), (CountingModel(dim=4), "dim")):
        with pytest.raises(ModelFingerprintError, match=f"{difference}: stored"):
            service_of(store, other).embed_and_store(docs_of("bank"))
    assert len(rows_of(db_manager)) == 1
    with db_manager.get_historical_connection() as connection:
        assert connection.execute("SELECT kind FROM models WHERE model_id = %s", (MODEL,)).fetchone() == ("text",)


def test_a_row_of_another_dimension_stops_the_run(store: TextEmbeddingStore) -> None:
    docs = docs_of("rate", "bank")
    store.save_embeddings(docs[:1], MODEL, np.ones((1, 5), dtype=np.float32))
    with pytest.raises(VectorError, match="vectors of 3 and 5 values stand under one model id"):
        service_of(store).embed_and_store(docs)


def test_other_languages_are_embedded_and_flagged(store: TextEmbeddingStore, db_manager: DatabaseManager) -> None:
    german = "Der Rat hat beschlossen, die Leitzinsen nicht zu ändern."
    counts = service_of(store).embed_and_count(docs_of("The rate is high.", german))
    assert (counts.flagged, counts.flags) == (1, {"non-english": 1})
    assert [row[5] for row in rows_of(db_manager)] == [[], ["non-english"]]


def test_a_model_of_the_folder_kind_stores_chunks_and_flags(
    store: TextEmbeddingStore, db_manager: DatabaseManager, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "m")
    docs = docs_of("the rate is high", "the rate of the bank is high . " * 3)
    service_of(store, OnnxTextEmbeddingModel(folder)).embed_and_store(docs)
    cutting = OnnxTextEmbeddingModel(folder, long_text="truncate")
    with pytest.raises(ModelFingerprintError, match="long_text: stored 'mean', now 'truncate'"):
        service_of(store, cutting).embed_and_store(docs)
    service_of(store, cutting, "cut").embed_and_store(docs)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 12})
    with pytest.raises(ModelFingerprintError, match="max_length: stored 10, now 12"):
        service_of(store, OnnxTextEmbeddingModel(folder)).embed_and_store(docs)
    assert rows_of(db_manager) == [
        ("MACRO", "0", "cut", 8, 1, []),
        ("MACRO", "0", MODEL, 8, 1, []),
        ("MACRO", "1", "cut", 8, 1, ["truncated"]),
        ("MACRO", "1", MODEL, 8, 3, []),
    ]


def test_a_save_survives_the_loss_of_its_connection(
    store: TextEmbeddingStore, db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    upsert, calls = text._upsert, []

    def killed_once(cursor: psycopg.Cursor[Any], *arguments: Any) -> int:
        calls.append(cursor.connection.info.backend_pid)
        n_written = upsert(cursor, *arguments)
        if len(calls) == 1:
            with db_manager.get_historical_connection() as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", (calls[0],))
        return n_written

    monkeypatch.setattr(text, "_upsert", killed_once)
    assert store.save_embeddings(docs_of("a", "b"), MODEL, np.eye(2, dtype=np.float32)) == 2
    assert len(set(calls)) == 2
    assert len(rows_of(db_manager)) == 2
