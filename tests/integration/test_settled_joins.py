"""Joint rows and stances of which nothing is left to do: counted, and looked at again once anything has changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from tests.integration.test_joint import FIRST, SPAN, V1, SaveText, at, request_of, save_macro, save_regimes, weekdays

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.joint import JointModelChoice
from prometheus.backfill.joint import JointReport
from prometheus.backfill.plan import DateSpan
from prometheus.data.stance import StanceTable
from prometheus.data.vectors.texts import TextVectorReader

__all__ = ["save_macro"]

V2 = JointModelChoice(
    "num-regime-core-v1", "text-macro-v1", "joint-regime-core-v2-US", centre_until=FIRST + timedelta(days=24)
)
LATER = DateSpan.of_range(FIRST + timedelta(days=25), SPAN.end)
CHOICES = {"v1": (V1, SPAN), "v2": (V2, LATER)}
EDITS = {
    "text": "INSERT INTO macro_events (event_type, timestamp, country, description) VALUES ('X', now(), 'FR', 'New.')",
    "text gone": "DELETE FROM macro_events WHERE timestamp::date = '2024-12-30'",
    "text known later": """
        UPDATE macro_events SET known_at = timestamp + interval '9 days' WHERE timestamp::date = '2024-12-30'
    """,
    "vector": "UPDATE text_embeddings SET vector = overlay(vector placing '\\x0000803f' from 1)",
    "row gone": "DELETE FROM joint_embeddings WHERE as_of_date = '2024-12-31'",
    "row": """
        UPDATE joint_embeddings SET vector = overlay(vector placing '\\x01' from 1) WHERE as_of_date = '2025-01-02'
    """,
    "state": "UPDATE regimes SET regime_embedding = overlay(regime_embedding placing '\\x0000803f' from 1)",
}
REWRITES = {"row gone", "row", "state"}
"""Edits after which a row differs; rows without a text stay, and another vector may drown in the state."""
N_DAYS = 40


@pytest.fixture
def joined(db_manager: DatabaseManager, save_macro: SaveText) -> App:
    days = weekdays(N_DAYS)
    save_regimes(db_manager, days)
    for day in days[:-2]:
        save_macro(at(day))
    return App(db_manager)


def backfill(app: App, version: str, *, dry_run: bool = False) -> JointReport:
    choice, span = CHOICES[version]
    return app.joint.backfill([request_of(span, choice, country="US")], choice, dry_run=dry_run).report


def rows(db_manager: DatabaseManager) -> list[tuple[Any, ...]]:
    query = "SELECT model_id, as_of_date, entity_scope, vector FROM joint_embeddings ORDER BY 1, 2, 3"
    with db_manager.get_historical_connection() as connection:
        return connection.execute(query).fetchall()


def edit(db_manager: DatabaseManager, name: str) -> None:
    connect = db_manager.get_runtime_connection if name == "state" else db_manager.get_historical_connection
    with connect() as connection:
        connection.execute(EDITS[name])


def forget(db_manager: DatabaseManager) -> None:
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM settled_work")


@pytest.mark.parametrize("version", CHOICES)
def test_a_second_run_reads_no_vector_and_tells_the_same(
    joined: App, version: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = backfill(joined, version)
    assert first.written == first.planned > 0
    said = [record.getMessage() for record in caplog.records]
    caplog.clear()
    forget(joined.db_manager)
    slow = backfill(joined, version)
    assert [record.getMessage() for record in caplog.records] == said
    caplog.clear()
    monkeypatch.setattr(TextVectorReader, "load", None)
    assert backfill(joined, version) == slow
    assert [record.getMessage() for record in caplog.records] == said
    assert backfill(joined, version, dry_run=True) == slow


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("version", CHOICES)
def test_any_edit_and_a_run_are_the_same_with_what_is_settled_and_without(joined: App, version: str, name: str) -> None:
    databases = joined.db_manager
    backfill(joined, version)
    edit(databases, name)
    quick = backfill(joined, version)
    stored = rows(databases)
    forget(databases)
    assert backfill(joined, version) == _without_writes(quick)
    assert rows(databases) == stored
    assert (quick.written > 0) == (name in REWRITES) or name == "vector"


def _without_writes(report: JointReport) -> JointReport:
    runs = [replace(run, report=replace(run.report, written=0, n_bytes=0)) for run in report.runs]
    return replace(report, written=0, n_bytes=0, runs=tuple(runs))


def test_requests_are_settled_each_alone(
    joined: App, db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_regimes(db_manager, weekdays(N_DAYS), region="EU")
    us = request_of(SPAN, country="US")
    both = [us, replace(us, region="EU")]
    joined.joint.backfill([us], V1)
    done = joined.joint.backfill(both, V1).report
    assert [(run.region, run.report.written > 0) for run in done.runs] == [("US", False), ("EU", True)]
    joined.joint.backfill([both[1]], V1)
    monkeypatch.setattr(TextVectorReader, "load", None)
    again = joined.joint.backfill(both, V1).report
    assert [(run.region, run.report.written) for run in again.runs] == [("US", 0), ("EU", 0)]
    assert again.planned == done.planned


def test_another_write_during_a_run_settles_nothing(joined: App, monkeypatch: pytest.MonkeyPatch) -> None:
    load = TextVectorReader.load

    def load_and_break(self: TextVectorReader, *given: Any) -> Any:
        found = load(self, *given)
        edit(joined.db_manager, "row gone")
        return found

    monkeypatch.setattr(TextVectorReader, "load", load_and_break)
    backfill(joined, "v1")
    with joined.db_manager.get_historical_connection() as connection:
        assert connection.execute("SELECT count(*) FROM settled_work").fetchone() == (0,)


def test_nobody_else_can_make_a_trigger_of_the_digests_of_states(db_manager: DatabaseManager) -> None:
    with db_manager.get_runtime_connection() as connection:
        query = "SELECT has_function_privilege('public', 'keep_state_digests()', 'EXECUTE')"
        assert connection.execute(query).fetchone() == (False,)
    with db_manager.get_owner_connection("runtime") as connection:
        connection.execute("CREATE TEMP TABLE own (key text)")
        connection.execute(
            "CREATE TRIGGER mine AFTER INSERT ON own REFERENCING NEW TABLE AS new_rows"
            " FOR EACH STATEMENT EXECUTE FUNCTION keep_state_digests('key', '0', '1')"
        )
        with pytest.raises(psycopg.errors.RaiseException, match="own is no table whose rows are digested"):
            connection.execute("INSERT INTO own VALUES ('x')")
        connection.rollback()


def test_texts_that_a_head_has_read_are_not_looked_for_again(
    db_manager: DatabaseManager, save_macro: SaveText, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_macro(at(FIRST))
    save_macro(at(FIRST + timedelta(days=1)))
    with db_manager.get_historical_connection() as connection:
        connection.execute(
            "INSERT INTO models (model_id, kind, fingerprint, config) VALUES ('head', 'stance', 'x', '{\"dim\": 1}')"
        )
        connection.execute(
            "INSERT INTO stance_heads (model_id, terms, rarity, word_weights, landmarks, meaning_weights, temperature,"
            " sureness, figures) SELECT 'head', '{}', '', zeros, '', zeros, 1, .5, '{}'"
            " FROM decode(repeat('00', 12), 'hex') AS zeros"
        )
        connection.execute(
            "INSERT INTO text_stances (source_type, source_id, model_id, is_read, hawkish, dovish, neutral, not_sure)"
            " SELECT source_type, source_id, 'head', true, 1, 0, 0, 0 FROM text_words"
        )
    stance, missing = App(db_manager).stance, StanceTable.iter_missing
    first = stance.backfill("MACRO", "head", SPAN.start, SPAN.end).report
    assert (first.planned, first.written) == (2, 0)
    monkeypatch.setattr(StanceTable, "iter_missing", None)
    assert stance.backfill("MACRO", "head", SPAN.start, SPAN.end).report == first
    monkeypatch.setattr(StanceTable, "iter_missing", missing)
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM text_stances WHERE source_id = (SELECT min(source_id) FROM text_stances)")
    assert stance.backfill("MACRO", "head", SPAN.start, SPAN.end, dry_run=True).report.written == 1
