"""Backfills of text embeddings: what is new or changed, whoever does it, and each refused text alone."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
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
from prometheus.data.removal import Removal
from prometheus.data.text_reader import TextReader
from prometheus.data.vectors.texts import TextEmbeddingStore, TextVectorReader
from prometheus.encoders.texts import portions
from prometheus.encoders.texts.documents import Passages, TextDoc, TextEncoding, TextSelection
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
        SELECT description || source, vector, text_hash, n_chunks, flags, (
            SELECT array_agg((first_char, last_char, vector)::text ORDER BY position) FROM text_passages
            WHERE text_passages.source_id = text_embeddings.source_id
        )
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
        assert (run.report.planned, run.report.written, run.report.passages) == (5, 5, 2)
        assert run.report.n_bytes == 7 * 384 * 4
        assert 4 <= run.report.encoded <= 5  # an equal text in the neighbouring chunk may not be stored yet
        if n_workers == 2:
            assert app.texts.embed("MACRO", request_of()).report.written == 0
        found.append(vectors_of(db_manager))
        with db_manager.get_historical_connection() as connection:
            connection.execute("DELETE FROM text_embeddings")
    assert found[0] == found[1] == found[2]
    assert max(row[2] for row in found[0].values()) == 2, "one text is long"


class PieceModel(LetterModel):
    """A model that reads texts in pieces of ten letters."""

    makes_passages = True

    def encode(self, docs: Sequence[TextDoc]) -> TextEncoding:
        passages = [_pieces(doc.text) if len(doc.text) > 10 else None for doc in docs]
        n_chunks = tuple(1 if found is None else len(found) for found in passages)
        return TextEncoding(self.embed_batch(docs), n_chunks, ((),) * len(docs), tuple(passages))


def _pieces(text: str) -> Passages:
    firsts = np.arange(0, len(text), 10)
    vectors = np.array([[ord(text[first]), first] for first in firsts], dtype=np.float32)
    return Passages(np.stack([firsts, np.minimum(firsts + 10, len(text))], axis=1), vectors)


class ChunkOnly(PieceModel):
    """As the model was before it made passages."""

    makes_passages = False

    def encode(self, docs: Sequence[TextDoc]) -> TextEncoding:
        return replace(super().encode(docs), passages=())


def test_texts_embedded_before_get_their_passages_and_keep_their_vectors(
    db_manager: DatabaseManager, table_digests: TableDigest
) -> None:
    store_events(db_manager, "The policy rate is high.", "Growth", "The policy rate is high.", "Growth of the GDP")
    first = backfill(db_manager, ChunkOnly()).report
    assert (first.written, first.passages) == (4, 0)
    assert backfill(db_manager, ChunkOnly()).report.written == 0
    with db_manager.get_historical_connection() as connection:
        connection.execute("UPDATE text_embeddings SET vector = substr(vector, 5) || substr(vector, 1, 4)")
    before = vectors_of(db_manager)
    planned = backfill(db_manager, PieceModel(), dry_run=True).report
    assert (planned.texts, planned.encoded, planned.written, planned.passages) == (4, 2, 3, 3 + 3 + 2)
    model = PieceModel()
    done = backfill(db_manager, model).report
    assert (done.texts, done.encoded, done.written, done.passages) == (4, 2, 3, 3 + 3 + 2)
    assert model.seen == ["The policy rate is high.", "Growth of the GDP"]
    after = vectors_of(db_manager)
    assert {name: row[:4] for name, row in after.items()} == {name: row[:4] for name, row in before.items()}
    assert {name: None if row[4] is None else len(row[4]) for name, row in after.items()} == {
        "The policy rate is high.0": 3, "Growth1": None, "The policy rate is high.2": 3, "Growth of the GDP3": 2,
    }  # fmt: skip
    digests = table_digests()
    again = backfill(db_manager, model).report
    assert (again.written, again.passages, len(model.seen), table_digests()) == (0, 0, 2, digests)


def test_passages_are_read_with_the_date_of_their_text_and_go_with_it(db_manager: DatabaseManager) -> None:
    store_events(db_manager, "Caf&eacute;s of the policy", "Growth", "The policy rate is high.")
    backfill(db_manager, PieceModel())
    with db_manager.get_historical_connection() as connection:
        connection.execute("UPDATE macro_events SET known_at = timestamp + interval '2 days' WHERE source = '2'")
        connection.execute("UPDATE macro_events SET description = 'Growth of' WHERE source = '1'")
    reader, day = TextVectorReader(db_manager), DAY.date()
    (rows,) = reader.iter_passages(TextSelection("MACRO", MODEL, {}, known_by=day), date.min, date.max)
    assert set(rows["day"].tolist()) == {day}
    (text,) = TextReader(db_manager).load_dated("MACRO", [int(rows["text_id"][0])])
    shown = [text.text[row["first_char"] : row["last_char"]] for row in rows]
    assert shown == ["Caf\u00e9s of t", "he policy"]
    assert np.stack([np.frombuffer(row["vector"], "<f4") for row in rows]).tolist() == [[ord("C"), 0], [ord("h"), 10]]
    (rows,) = reader.iter_passages(TextSelection("MACRO", MODEL, {}, known_by=day + timedelta(2)), date.min, date.max)
    assert len(rows) == 2 + 3
    removal = Removal(db_manager, is_plan=False)
    assert removal.texts("MACRO", day, day, {}) == {"macro_events": 3, "text_embeddings": 3, "joint_embeddings": 0}
    with db_manager.get_historical_connection() as connection:
        assert connection.execute("SELECT count(*) FROM text_passages").fetchone() == (0,)


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
