"""Searches compare the passages of long texts, and show the one that matched, its words marked."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import get_args

import psycopg
import pytest
from tests.fixtures.text_models import write_folder
from tests.reference.passages import slow_best

from prometheus.app import App, text_vectors
from prometheus.app.databases import DatabaseManager
from prometheus.app.text_search import By, TextHit, TextQuery, TextSearchReport
from prometheus.app.texts import TextRequest
from prometheus.backfill.plan import DateSpan
from prometheus.data.vectors.texts import TextEmbeddingStore
from prometheus.encoders.texts.documents import TextDoc
from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel

MODEL = "tiny-v1"
DAY = datetime(2024, 1, 3, tzinfo=UTC)
LONG = (
    "The bank rose &amp; the bank fell. Growth is low, low, low.\n\nPolicies of the high rates rose: the policy rate is"
    " high.  The café of the bank is high."
)
MENDED = LONG.replace("&amp;", "&")
TEXTS = (LONG, "The rate rose.", "Growth of the bank fell. " * 9 + "Policy.", "high " * 30, "Zinsen")


@pytest.fixture
def folder(tmp_path: Path, db_manager: DatabaseManager) -> Path:
    """A model that reads eight tokens at a time, and whose vectors of the texts are stored."""
    found = write_folder(tmp_path / "tiny")
    with db_manager.get_historical_connection() as connection:
        for number, text in enumerate(TEXTS):
            add(connection, number, text)
    App(db_manager).texts.embed("MACRO", TextRequest(DateSpan.of_date(DAY.date()), MODEL, str(found)))
    return found


def add(connection: psycopg.Connection, number: int, text: str) -> None:
    row = (number, "NOTE", DAY, f"s{number}", text)
    query = (
        "INSERT INTO macro_events (event_id, event_type, timestamp, source, description) VALUES (%s, %s, %s, %s, %s)"
    )
    connection.execute(query, row)


def search(db_manager: DatabaseManager, folder: Path, question: str, by: By = "both") -> TextSearchReport:
    asked = TextQuery(question, date(2024, 1, 31), k=20, model_id=MODEL, hf_model_name=str(folder), by=by)
    return App(db_manager).text_search.find(asked)


def passage_of(hit: TextHit) -> str:
    assert hit.passage is not None
    return hit.text.text[hit.passage.first_char : hit.passage.last_char]


def marked(hit: TextHit) -> list[str]:
    assert hit.passage is not None
    return [hit.text.text[first:last] for first, last in hit.passage.words]


def test_the_nearest_passage_of_a_text_is_its_nearness(db_manager: DatabaseManager, folder: Path) -> None:
    question = "the policy rate is high"
    stored = TextEmbeddingStore(db_manager=db_manager).load_many("MACRO", [str(each) for each in range(5)], MODEL)
    (asked,) = OnnxTextEmbeddingModel(folder).embed_batch([TextDoc("QUERY", "0", question)]).tolist()
    twin = slow_best(
        asked,
        {name: row.vector.tolist() for name, row in stored.items()},
        {
            name: list(zip(map(tuple, row.passages.spans.tolist()), row.passages.vectors.tolist(), strict=True))
            for name, row in stored.items()
            if row.passages is not None
        },
    )
    found = {str(hit.text.source_id): hit for hit in search(db_manager, folder, question, "meaning").hits}
    assert found.keys() == twin.keys()
    for name, (cosine, span) in twin.items():
        assert found[name].similarity == pytest.approx(cosine, abs=1e-6)
        if span is not None:
            assert passage_of(found[name]).strip() in found[name].text.text[span[0] : span[1]] + "."
    assert {name for name, (_, span) in twin.items() if span is None} == {"1", "4"}


def test_by_words_the_passage_with_most_of_them_is_shown_and_they_are_marked(
    db_manager: DatabaseManager, folder: Path
) -> None:
    hits = {hit.text.source_id: hit for hit in search(db_manager, folder, "policy rates", "words").hits}
    assert hits.keys() == {0, 1, 2}
    assert hits[0].text.text == MENDED
    assert passage_of(hits[0]) == MENDED
    assert marked(hits[0]) == ["Policies", "rates", "policy", "rate"]
    assert marked(hits[1]) == ["rate"]
    both = {hit.text.source_id: hit for hit in search(db_manager, folder, "policy rates").hits}
    assert marked(both[2]) == ["Policy"], "the last of many passages says it"
    assert set(marked(both[0])) <= {"Policies", "rates", "policy", "rate"}
    assert len(passage_of(both[0])) < len(MENDED)


def test_every_hit_shows_a_part_of_its_text(db_manager: DatabaseManager, folder: Path) -> None:
    with db_manager.get_historical_connection() as connection:
        connection.execute("UPDATE macro_events SET description = 'Rate' WHERE event_id = 2")
        add(connection, 9, "a text without a vector: " + "the rate is low. " * 200)
    for by in get_args(By):
        report = search(db_manager, folder, "the rate of growth", by)
        assert report.hits
        for hit in report.hits:
            assert 0 < len(passage_of(hit)) <= 1_000
            shown = "".join(part for part, _ in hit.excerpt(40)).strip("… ")
            assert " ".join(shown.split()) in " ".join(hit.text.text.split())
            assert [part.lower() for part, is_word in hit.excerpt(10**6) if is_word] == [
                each.lower() for each in marked(hit)
            ]
            assert hit.to_dict()["passage"]["first_char"] == (hit.passage and hit.passage.first_char)


def test_what_is_kept_in_memory_says_what_the_tables_say(
    db_manager: DatabaseManager, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, asked = App(db_manager), TextQuery("the rate", date(2024, 1, 31), 20, None, MODEL, str(folder), "meaning")
    kept = app.text_search.find(asked)
    assert app.text_search.find(asked) == kept
    for room in (db_manager.config.search_memory_mib, 0):  # at a quarter of their length, and read for each search
        config = db_manager.config.model_copy(update={"search_memory_mib": room})
        with monkeypatch.context() as patch:
            patch.setattr(text_vectors, "MOST_EXACT", 0)
            other = App(DatabaseManager(config))
            assert other.text_search.find(asked) == kept
            assert other.text_search.find(asked) == kept
            other.db_manager.close_all()
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM text_embeddings WHERE source_id = '1'")
        connection.execute("UPDATE text_passages SET vector = decode(repeat('00', 32), 'hex') WHERE source_id = '3'")
    fewer = {hit.text.source_id: hit.similarity for hit in app.text_search.find(asked).hits}
    assert fewer.keys() == {0, 2, 3, 4}
    assert fewer[3] == 0.0
