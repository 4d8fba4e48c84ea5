"""Texts of which all are embedded: counted and not read again, until anything about one of them changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fixtures.database import empty_databases, keep_rows, restore_rows
from tests.fixtures.examples import share_of
from tests.fixtures.text_models import write_folder

from prometheus.app import App
from prometheus.app.backfills import EngineChoice
from prometheus.app.databases import DatabaseManager
from prometheus.app.texts import TextRequest
from prometheus.backfill.plan import DateSpan
from prometheus.backfill.work import BackfillRun
from prometheus.data.text_blocks import BLOCK_TEXTS
from prometheus.data.text_reader import TextReader
from prometheus.encoders.texts.documents import SourceText
from prometheus.encoders.texts.service import TextCounts
from prometheus.errors import ModelFingerprintError

MODEL = "text-macro-v1"
DAY = datetime(2024, 1, 3, 12, tzinfo=UTC)
BLOCKS, PER_BLOCK = 3, 3
WHOLE = DateSpan.of_range(date(2023, 1, 1), date(2024, 12, 31))
TEXTS = (
    "The policy rate is high.",
    "Growth fell.",
    "Die Bank hat nicht mit der Rate das ist.",
    "Policy rose of the low.",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def filled(db_manager: DatabaseManager, folder: Path) -> App:
    """Three blocks of texts, a day and a month apart, all embedded."""
    fill(db_manager)
    app = App(db_manager)
    embed(app, folder)
    return app


def fill(db_manager: DatabaseManager) -> None:
    rows = [
        (block * BLOCK_TEXTS + number, DAY + timedelta(days=30 * block + number), TEXTS[number % 4])
        for block in range(BLOCKS) for number in range(PER_BLOCK)
    ]  # fmt: skip
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO macro_events (event_id, event_type, timestamp, country, description)"
            " OVERRIDING SYSTEM VALUE VALUES (%s, 'X', %s, 'US', %s)", rows,
        )  # fmt: skip


def embed(
    app: App, folder: Path, span: DateSpan = WHOLE, *, dry_run: bool = False, **further: Any
) -> BackfillRun[TextCounts]:
    request = TextRequest(span, MODEL, str(folder), **further)
    return app.texts.embed("MACRO", request, EngineChoice(workers=1, dry_run=dry_run))


def execute(db_manager: DatabaseManager, statement: str, *values: Any) -> None:
    with db_manager.get_historical_connection() as connection:
        connection.execute(statement, values)


def stored(db_manager: DatabaseManager) -> list[tuple[Any, ...]]:
    query = """
        SELECT source_type, source_id, model_id, vector, text_hash, n_chunks, flags, (
            SELECT array_agg((position, first_char, last_char, vector)::text ORDER BY position) FROM text_passages AS p
            WHERE (p.source_type, p.source_id, p.model_id) = (e.source_type, e.source_id, e.model_id)
        ) FROM text_embeddings AS e ORDER BY 1, 2, 3
    """
    with db_manager.get_historical_connection() as connection:
        return connection.execute(query).fetchall()


@pytest.fixture
def read_ids(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the ids of the texts that are read."""
    noted: list[int] = []
    load = TextReader.load_texts

    def load_texts(self: TextReader, source_type: Any, source_ids: Any) -> list[SourceText]:
        noted.extend(source_ids)
        return load(self, source_type, source_ids)

    monkeypatch.setattr(TextReader, "load_texts", load_texts)
    return noted


def test_a_second_run_reads_no_text_and_reports_the_same(filled: App, folder: Path, read_ids: list[int]) -> None:
    again = embed(filled, folder)
    assert read_ids == []
    assert (again.report.texts, again.report.written, again.report.encoded) == (BLOCKS * PER_BLOCK, 0, 0)
    assert again.report.flags == {"non-english": BLOCKS}
    assert embed(filled, folder, dry_run=True).report == again.report

    execute(filled.db_manager, "DELETE FROM settled_work")
    assert embed(filled, folder).report == again.report
    assert len(read_ids) == BLOCKS * PER_BLOCK


@pytest.mark.parametrize(
    ("statement", "n_written"),
    [
        (("INSERT INTO macro_events (event_id, event_type, timestamp, description) OVERRIDING SYSTEM VALUE"
         " VALUES (2051, 'X', '2024-02-03', 'Rates fell.')"), 1),
        ("UPDATE macro_events SET description = 'Rates rose.' WHERE event_id = 2049", 1),
        ("DELETE FROM macro_events WHERE event_id = 2049", 0),
        ("DELETE FROM text_embeddings WHERE source_id = '2049'", 1),
        ("UPDATE text_embeddings SET text_hash = 'another' WHERE source_id = '2049'", 1),
    ],
)  # fmt: skip
def test_only_the_block_of_a_change_is_read(
    filled: App, folder: Path, read_ids: list[int], statement: str, n_written: int
) -> None:
    execute(filled.db_manager, statement)
    assert embed(filled, folder).report.written == n_written
    assert {key // BLOCK_TEXTS for key in read_ids} == {1}
    read_ids.clear()
    assert embed(filled, folder).report.written == 0
    assert read_ids == []


def test_a_block_is_settled_by_a_run_over_all_its_dates_alone(filled: App, folder: Path, read_ids: list[int]) -> None:
    execute(filled.db_manager, "DELETE FROM settled_work")
    part = DateSpan.of_range(DAY.date(), DAY.date() + timedelta(days=31))
    assert embed(filled, folder, part).report.texts == PER_BLOCK + 2
    read_ids.clear()
    assert embed(filled, folder).report.texts == BLOCKS * PER_BLOCK
    assert {key // BLOCK_TEXTS for key in read_ids} == {1, 2}, "the first block was read to its end"
    read_ids.clear()
    assert embed(filled, folder, part).report.texts == PER_BLOCK + 2
    assert {key // BLOCK_TEXTS for key in read_ids} == {1}, "of a block partly wanted the texts are looked at"


def test_filters_limits_zones_and_other_models_settle_nothing(filled: App, folder: Path, read_ids: list[int]) -> None:
    assert embed(filled, folder, filters={"country": "US"}).report.texts == BLOCKS * PER_BLOCK
    assert len(read_ids) == BLOCKS * PER_BLOCK
    assert embed(filled, folder, timezone="Asia/Tokyo").report.texts == BLOCKS * PER_BLOCK
    assert embed(filled, folder, limit=2).report.texts == 2
    other = write_folder(folder.parent / "other", seed=2)
    with pytest.raises(ModelFingerprintError):
        embed(filled, other)


def test_files_of_a_folder_that_were_exchanged_are_noticed(filled: App, folder: Path, tmp_path: Path) -> None:
    moving = write_folder(tmp_path / "moving")
    request = TextRequest(WHOLE, "text-moving", str(moving))
    choice = EngineChoice(workers=1)
    assert filled.texts.embed("MACRO", request, choice).report.written == BLOCKS * PER_BLOCK
    write_folder(moving, seed=3)
    with pytest.raises(ModelFingerprintError):
        filled.texts.embed("MACRO", request, choice)


def test_a_write_of_someone_else_during_a_run_settles_nothing(
    db_manager: DatabaseManager, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(db_manager)
    load = TextReader.load_texts

    def load_and_break(self: TextReader, source_type: Any, source_ids: Any) -> list[SourceText]:
        execute(db_manager, "UPDATE text_embeddings SET n_chunks = 7 WHERE source_id = '0'")
        return load(self, source_type, source_ids)

    monkeypatch.setattr(TextReader, "load_texts", load_and_break)
    embed(App(db_manager), folder)
    with db_manager.get_historical_connection() as connection:
        assert connection.execute("SELECT count(*) FROM settled_work").fetchone() == (0,)


Edit = tuple[str, int, int]
EDITS = ("add", "correct", "delete", "lose vector", "other hash", "blank", "move")


def apply(connection: psycopg.Connection[Any], edit: Edit) -> None:
    kind, block, number = edit
    key = block * BLOCK_TEXTS + number % PER_BLOCK
    given: Mapping[str, Any] = {
        "key": key, "name": str(key), "new": block * BLOCK_TEXTS + 10 + number, "at": DAY + timedelta(days=block * 30),
        "text": f"Rates of {number} rose.",
    }  # fmt: skip
    statements = {
        "add": """INSERT INTO macro_events (event_id, event_type, timestamp, description) OVERRIDING SYSTEM VALUE
                  VALUES (%(new)s, 'Y', %(at)s, %(text)s || %(name)s) ON CONFLICT DO NOTHING""",
        "correct": "UPDATE macro_events SET description = %(text)s || ' Anew.' WHERE event_id = %(key)s",
        "delete": "DELETE FROM macro_events WHERE event_id = %(key)s",
        "lose vector": "DELETE FROM text_embeddings WHERE source_id = %(name)s",
        "other hash": "UPDATE text_embeddings SET text_hash = 'another' WHERE source_id = %(name)s",
        "blank": "UPDATE macro_events SET description = ' ' WHERE event_id = %(key)s",
        "move": "UPDATE macro_events SET timestamp = timestamp - interval '40 days' WHERE event_id = %(key)s",
    }
    connection.execute(statements[kind], given)


@given(
    edits=st.lists(
        st.tuples(st.sampled_from(EDITS), st.integers(0, BLOCKS - 1), st.integers(0, 5)), min_size=1, max_size=4
    )
)
@settings(
    max_examples=share_of(40), deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
def test_any_edits_and_a_run_are_the_same_with_what_is_settled_and_without(
    db_manager: DatabaseManager, folder: Path, edits: list[Edit]
) -> None:
    empty_databases(db_manager)
    fill(db_manager)
    app = App(db_manager)
    embed(app, folder)
    with db_manager.get_historical_connection() as connection:
        for edit in edits:
            apply(connection, edit)
    keep_rows(db_manager, "edited")

    def run() -> tuple[Any, ...]:
        planned = embed(app, folder, dry_run=True).report
        return planned, embed(app, folder).report, stored(db_manager), embed(app, folder).report

    quick = run()
    restore_rows(db_manager, "edited")
    execute(db_manager, "DELETE FROM settled_work")
    slow = run()
    assert [_named(each) for each in quick] == [_named(each) for each in slow]


def _named(found: Any) -> Any:
    return replace(found, failures=()) if isinstance(found, TextCounts) else found
