"""Backfills of text embeddings: what is new or changed, whoever does it, and each refused text alone."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fixtures.backfills import run_here
from tests.fixtures.database import TableDigest
from tests.fixtures.text_models import MINILM, needs_minilm, write_folder

from prometheus.app import App
from prometheus.app.backfills import EngineChoice
from prometheus.app.databases import DatabaseManager
from prometheus.app.texts import TextRequest, TextWorkFactory
from prometheus.arrays import Float32Matrix
from prometheus.backfill.plan import DateSpan, TextChunk, text_chunks
from prometheus.backfill.texts import TextBackfill
from prometheus.backfill.work import BackfillRun
from prometheus.core.provenance import self_contained
from prometheus.data.text_reader import TextReader
from prometheus.data.vectors.texts import TextEmbeddingStore
from prometheus.encoders.texts import portions
from prometheus.encoders.texts.documents import TextDoc
from prometheus.encoders.texts.service import TextCounts, TextEmbeddingService
from prometheus.errors import InputRefusedError, ModelFingerprintError, UsageError, VectorError

MODEL = "text-macro-v1"
DAY = datetime(2024, 1, 3, tzinfo=UTC)
TEXTS = ("The policy rate is high.", "Growth fell.", "  ", "Growth fell.", "Die Bank hat nicht mit der Rate das ist.",
         "The rate of the bank rose. " * 40)  # fmt: skip


class LetterModel:
    """Two values per text, and a list of what was encoded; it refuses texts that hold REFUSE or NAN."""

    def __init__(self, version: int = 1, dim: int | None = None) -> None:
        self.config = {"family": "letters", "code_version": version} | ({} if dim is None else {"dim": dim})
        self.seen: list[str] = []

    def embed_batch(self, docs: Sequence[TextDoc]) -> Float32Matrix:
        if any("REFUSE" in doc.text for doc in docs):
            raise InputRefusedError("the graph fails: no such letter")
        self.seen += [doc.text for doc in docs]
        found = [[np.nan if "NAN" in doc.text else ord(doc.text[0]), len(doc.text)] for doc in docs]
        return np.array(found, dtype=np.float32)


def store_events(db_manager: DatabaseManager, *texts: str) -> None:
    rows = [("X", DAY + timedelta(seconds=number), str(number), each) for number, each in enumerate(texts)]
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO macro_events (event_type, timestamp, source, description) VALUES (%s, %s, %s, %s)", rows
        )


def backfill(db_manager: DatabaseManager, model: Any = None, *, dry_run: bool = False) -> BackfillRun[TextCounts]:
    reader = TextReader(db_manager)
    keys = chain.from_iterable(reader.iter_keys("MACRO", DAY.date(), DAY.date()))
    store = TextEmbeddingStore(db_manager=db_manager)
    work = TextBackfill(reader, TextEmbeddingService(model=model or LetterModel(), store=store, model_id=MODEL))
    return run_here(work, list(text_chunks("MACRO", keys, MODEL)), TextCounts(), dry_run=dry_run)


def vectors_of(db_manager: DatabaseManager) -> dict[str, tuple[Any, ...]]:
    """What is stored, by text."""
    query = """
        SELECT description || source, vector, text_hash, n_chunks, flags
        FROM text_embeddings JOIN macro_events ON source_id = event_id::text
    """
    with db_manager.get_historical_connection() as connection:
        return {row[0]: row[1:] for row in connection.execute(query).fetchall()}


def test_a_dry_run_counts_and_writes_nothing(db_manager: DatabaseManager, table_digests: TableDigest) -> None:
    store_events(db_manager, *TEXTS)
    before = table_digests()
    found = backfill(db_manager, dry_run=True).report
    assert (found.texts, found.encoded, found.written, found.n_bytes) == (5, 4, 5, 5 * 2 * 4)
    assert backfill(db_manager, LetterModel(dim=2), dry_run=True).report == found
    assert table_digests() == before
    backfill(db_manager)
    again = backfill(db_manager, dry_run=True).report
    assert (again.texts, again.encoded, again.written, again.n_bytes, again.flags) == (5, 0, 0, 0, {"non-english": 1})


def test_a_second_run_writes_nothing_and_a_changed_text_is_embedded_again(
    db_manager: DatabaseManager, table_digests: TableDigest
) -> None:
    store_events(db_manager, *TEXTS)
    first = backfill(db_manager)
    assert (first.report.planned, first.report.encoded, first.report.written) == (5, 4, 5)
    assert (first.report.n_bytes, first.report.flagged, first.exit_code) == (5 * 2 * 4, 1, 0)
    before, model = table_digests(), LetterModel()
    assert (backfill(db_manager, model).report.written, model.seen) == (0, [])
    assert table_digests() == before
    with db_manager.get_historical_connection() as connection:
        connection.execute("UPDATE macro_events SET description = 'Growth rose.' WHERE source = '3'")
    report = backfill(db_manager, model).report
    assert (report.planned, report.written, model.seen) == (5, 1, ["Growth rose."])


@pytest.mark.parametrize("docs_per_chunk", [1, 3, 256])
def test_a_refused_text_fails_alone_and_is_named(
    db_manager: DatabaseManager, docs_per_chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portions, "TEXTS_PER_PORTION", docs_per_chunk)
    store_events(db_manager, "a", "REFUSE me", "b", "c", "NAN", "d", "REFUSE me")
    run = backfill(db_manager)
    assert (run.report.planned, run.report.encoded, run.report.written, run.exit_code) == (4, 4, 4, 3)
    assert [type(failure) for failure in run.failures] == [InputRefusedError, VectorError, InputRefusedError]
    with db_manager.get_historical_connection() as connection:
        ids = [row[0] for row in connection.execute("SELECT event_id FROM macro_events ORDER BY timestamp").fetchall()]
    assert [str(failure) for failure in run.failures] == [
        f"MACRO {ids[1]}: the graph fails: no such letter",
        f"vector of MACRO {ids[4]}: 1 of 2 values are NaN or infinite as float32",
        f"MACRO {ids[6]}: the graph fails: no such letter",
    ]
    assert sorted(vectors_of(db_manager)) == ["a0", "b2", "c3", "d5"]
    again = backfill(db_manager)
    assert (again.report.planned, again.report.written, len(again.failures)) == (4, 0, 3)


@pytest.mark.parametrize("dry_run", [False, True])
def test_an_id_that_means_another_model_stops_the_run(
    db_manager: DatabaseManager, table_digests: TableDigest, dry_run: bool
) -> None:
    store_events(db_manager, *TEXTS)
    backfill(db_manager)
    before, other = table_digests(), LetterModel(version=2)
    with pytest.raises(ModelFingerprintError, match="code_version: stored 1, now 2"):
        backfill(db_manager, other, dry_run=dry_run)
    assert (table_digests(), other.seen) == (before, [])


def test_rows_of_another_length_stop_the_run(db_manager: DatabaseManager) -> None:
    store_events(db_manager, "a", "b")
    (key, _) = next(TextReader(db_manager).iter_keys("MACRO", DAY.date(), DAY.date()))
    docs = [TextDoc("MACRO", str(key.source_id), "a")]
    TextEmbeddingStore(db_manager).save_embeddings(docs, MODEL, np.ones((1, 5), dtype=np.float32))
    with pytest.raises(VectorError, match="vectors of 2 and 5 values stand under one model id"):
        backfill(db_manager)


def request_of(model_id: str = MODEL, folder: Path | str = MINILM, runtime: str = "onnx") -> TextRequest:
    return TextRequest(DateSpan.of_date(date(2024, 1, 3)), model_id, str(folder), runtime=runtime)


@needs_minilm
def test_two_workers_or_one_and_any_chunks_leave_the_same_bytes(
    db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_events(db_manager, *TEXTS)
    app, found = App(db_manager), []
    for n_workers, docs_per_chunk in ((None, 256), (2, 3), (1, 1)):
        monkeypatch.setattr(portions, "TEXTS_PER_PORTION", docs_per_chunk)
        run = app.texts.embed("MACRO", request_of(), EngineChoice(workers=n_workers))
        assert (run.report.planned, run.report.written, run.report.n_bytes) == (5, 5, 5 * 384 * 4)
        assert 4 <= run.report.encoded <= 5  # an equal text in the neighbouring chunk may not be stored yet
        if n_workers == 2:
            assert app.texts.embed("MACRO", request_of()).report.written == 0
        found.append(vectors_of(db_manager))
        with db_manager.get_historical_connection() as connection:
            connection.execute("DELETE FROM text_embeddings")
    assert found[0] == found[1] == found[2]
    assert max(row[2] for row in found[0].values()) == 2, "one text is long"


def test_a_run_is_logged_and_a_dry_run_estimates_its_time(
    db_manager: DatabaseManager, tmp_path: Path, table_digests: TableDigest
) -> None:
    store_events(db_manager, *[f"rate {number}" for number in range(100)])
    request, dry = request_of(folder=write_folder(tmp_path / "m")), EngineChoice(dry_run=True)
    app = App(db_manager)
    assert app.texts.embed("MACRO", request, dry).estimated_seconds is None
    done = app.texts.embed("MACRO", request)
    with db_manager.get_historical_connection() as connection:
        query = "SELECT run_id, kind, model_id, planned, written, failed, n_bytes FROM backfill_runs"
        assert connection.execute(query).fetchall() == [(done.run_id, "text", MODEL, 100, 100, 0, 100 * 8 * 4)]
        connection.execute("DELETE FROM text_embeddings")
    before = table_digests()
    planned = app.texts.embed("MACRO", request, dry)
    assert planned.estimated_seconds == pytest.approx(done.seconds, rel=1e-3)
    assert (planned.is_dry, planned.report.written, table_digests()) == (True, 100, before)


def test_a_factory_travels_without_its_connections(db_manager: DatabaseManager) -> None:
    factory = TextWorkFactory(db_manager.config, request_of(), db_manager)
    arrived = pickle.loads(pickle.dumps(factory))
    assert (arrived.databases, arrived.request) == (None, factory.request)
    assert arrived.config == self_contained(factory.config)
    assert not arrived.wants_gpu
    assert TextWorkFactory(db_manager.config, request_of(runtime="torch")).wants_gpu
    with pytest.raises(UsageError, match="choose from onnx, torch"):
        request_of(runtime="jax")


def test_a_chunk_is_halved_down_to_single_texts() -> None:
    chunk = TextChunk("NEWS", (5, 3, 9), MODEL)
    first, second = chunk.halves()
    assert (first.source_ids, second.source_ids, first.halves()) == ((5,), (3, 9), ())
    assert (chunk.n_items, chunk.key) == (3, "text-macro-v1 of 3 texts, NEWS 5..9")
    assert len({chunk.key, first.key, second.key}) == 3
