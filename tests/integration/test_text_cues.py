"""What an answer says beside its texts: whether any is close, and which way each says that the subject went."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.text_search import By, TextQuery, TextSearchReport

START = datetime(2024, 1, 2, 12, tzinfo=UTC)
AS_OF = date(2024, 3, 1)
NOTES = (
    "Credit spreads on corporate bonds narrowed over the month.",
    "Credit spreads on corporate bonds widened over the month.",
    "Credit spreads on corporate bonds were discussed over the month.",
    "The harvest of coffee in the south was delayed by heavy rain.",
    "Shipping rates for grain through the canal were unchanged.",
    "The central bank left its policy rate at 5 percent.",
    "Unemployment claims in the industrial states fell in January.",
    "Die Zinsen der Banken stiegen im Januar deutlich.",
)


@pytest.fixture
def noted(db_manager: DatabaseManager) -> DatabaseManager:
    with db_manager.get_historical_connection() as connection:
        for day, note in enumerate(NOTES):
            connection.execute(
                "INSERT INTO macro_events (event_type, timestamp, description) VALUES ('NOTE', %s, %s)",
                (START + timedelta(days=day), note),
            )
    return db_manager


def asked(db_manager: DatabaseManager, question: str, by: By = "words") -> TextSearchReport:
    return App(db_manager).text_search.find(TextQuery(question, AS_OF, k=3, by=by))


@pytest.mark.parametrize(
    ("question", "first", "way"), [("credit spreads widened", 1, "up"), ("credit spreads narrowed", 0, "down")]
)
def test_the_way_that_was_asked_for_comes_first(noted: DatabaseManager, question: str, first: int, way: str) -> None:
    hits = asked(noted, question).hits

    assert (hits[0].text.text, hits[0].way) == (NOTES[first], way)
    assert hits[0].to_dict()["way"] == way
    assert {hit.text.text: hit.way for hit in hits}[NOTES[2]] is None


def test_a_question_without_a_way_is_told_none(noted: DatabaseManager) -> None:
    assert {hit.way for hit in asked(noted, "credit spreads").hits} == {None}


def test_what_is_close_outranks_random_questions(noted: DatabaseManager) -> None:
    found = asked(noted, "credit spreads on corporate bonds")

    assert not found.is_nothing_close
    best_rank = found.hits[0].rank
    assert best_rank is not None
    assert found.best_rank == best_rank
    assert found.to_dict()["nothing_close"] is False
    assert all(hit.rank is not None and 0.0 <= hit.rank <= best_rank for hit in found.hits)
    assert found == asked(noted, "credit spreads on corporate bonds")


@pytest.mark.parametrize("question", ["purple month elephant bicycle pancake", "how the rain juggles seven wombats"])
def test_nonsense_has_nothing_close(noted: DatabaseManager, question: str) -> None:
    found = asked(noted, question)

    assert found.hits
    assert found.is_nothing_close


def test_what_is_known_later_changes_no_rank(noted: DatabaseManager) -> None:
    before = asked(noted, "spreads of corporate bonds")
    with noted.get_historical_connection() as connection:
        for day in range(5):
            connection.execute(
                "INSERT INTO macro_events (event_type, timestamp, known_at, description) VALUES ('NOTE', %s, %s, %s)",
                (START, START + timedelta(days=90 + day), f"Spreads of corporate bonds and wombats {day}"),
            )

    assert asked(noted, "spreads of corporate bonds") == before
