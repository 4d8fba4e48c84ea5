"""Searches of a process that keeps words and vectors in memory are those of a process that has just begun."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any, get_args

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fixtures.examples import share_of

from prometheus.app import App, text_memory, text_vectors
from prometheus.app.databases import DatabaseManager
from prometheus.app.text_models import TextModels
from prometheus.app.text_search import By, TextQuery
from prometheus.arrays import encode_vector
from prometheus.data.models import ModelRegistry
from prometheus.encoders.texts.documents import TextFilters
from prometheus.errors import NotFoundError

MODEL, DIM = "text-test", 3
START = datetime(2024, 1, 2, 12, tzinfo=UTC)
DATES = (date(2024, 1, 31), date(2024, 1, 5))
QUESTION = np.array([1.0, 2.0, -1.0], dtype=np.float32)
BODIES = ["bank rate", "oil fell", "bank bank oil", "the rise of rates", "gold"]

places, bodies = st.integers(0, 7), st.sampled_from(BODIES)
changes = st.lists(
    st.tuples(
        st.sampled_from(["text", "remove", "known", "vector", "no vector", "pieces", "cut pieces"]), places, bodies
    ),
    max_size=4,
)


@pytest.fixture
def emptied(db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch) -> DatabaseManager:
    monkeypatch.setattr(TextModels, "encode", lambda *_: QUESTION)
    ModelRegistry(db_manager).register(MODEL, "text", {"family": "made up"})
    return db_manager


def empty(connection: psycopg.Connection[Any]) -> None:
    for table in ("text_embeddings", "macro_events", "news_articles"):
        connection.execute(f"DELETE FROM {table}")


def write(connection: psycopg.Connection[Any], at: int, body: str) -> None:
    values = {"id": at, "day": START + timedelta(days=at), "body": f"{body} {at}", "source": f"s{at}"}
    connection.execute(
        "INSERT INTO macro_events (event_id, event_type, timestamp, source, description)"
        " VALUES (%(id)s, 'NOTE', %(day)s, %(source)s, %(body)s)"
        " ON CONFLICT (event_id) DO UPDATE SET description = excluded.description",
        values,
    )


def write_vector(connection: psycopg.Connection[Any], at: int, seed: int, n_pieces: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(1 + n_pieces, DIM)).astype(np.float32)
    connection.execute("DELETE FROM text_embeddings WHERE source_id = %s", (str(at),))
    connection.execute(
        "INSERT INTO text_embeddings (source_type, source_id, model_id, dim, vector, n_chunks)"
        " VALUES ('MACRO', %s, %s, %s, %s, %s)",
        (str(at), MODEL, DIM, encode_vector(vectors[0]), max(1, n_pieces)),
    )
    for number in range(n_pieces):
        connection.execute(
            "INSERT INTO text_passages (source_type, source_id, model_id, position, first_char, last_char, dim, vector)"
            " VALUES ('MACRO', %s, %s, %s, 0, 3, %s, %s)",
            (str(at), MODEL, number, DIM, encode_vector(vectors[1 + number])),
        )


def change(connection: psycopg.Connection[Any], what: str, at: int, body: str, seed: int) -> None:
    if what == "text":
        write(connection, at, body)
    elif what == "remove":
        connection.execute("DELETE FROM macro_events WHERE event_id = %s", (at,))
    elif what == "known":
        query = "UPDATE macro_events SET known_at = timestamp + interval '3 days' WHERE event_id = %s"
        connection.execute(query, (at,))
    elif what == "no vector":
        connection.execute("DELETE FROM text_embeddings WHERE source_id = %s", (str(at),))
    elif what == "cut pieces":
        connection.execute("DELETE FROM text_passages WHERE source_id = %s AND position = 1", (str(at),))
    else:
        write_vector(connection, at, seed, n_pieces=3 if what == "pieces" else 0)


def answers(app: App) -> list[Any]:
    found: list[Any] = []
    for as_of in DATES:
        for by in get_args(By):
            for filters in (TextFilters(), TextFilters(start=date(2024, 1, 4))):
                try:
                    found.append(
                        app.text_search.find(TextQuery("bank rates fell", as_of, by=by, filters=filters)).to_dict()
                    )
                except NotFoundError as error:
                    found.append(str(error))
    return found


@pytest.mark.parametrize("most_exact", [100, 4])
@settings(max_examples=share_of(8), deadline=None, suppress_health_check=list(HealthCheck))
@given(rounds=st.lists(changes, min_size=1, max_size=6))
def test_whatever_is_written_between_searches_they_are_those_of_a_new_process(
    emptied: DatabaseManager, monkeypatch: pytest.MonkeyPatch, most_exact: int, rounds: list[Any]
) -> None:
    monkeypatch.setattr(text_vectors, "MOST_EXACT", most_exact)
    monkeypatch.setattr(text_memory, "MOST_PARTS", 2)
    with emptied.get_historical_connection() as connection:
        empty(connection)
        for at, body in enumerate(BODIES):
            write(connection, at, body)
            write_vector(connection, at, at, n_pieces=2 * (at % 2))
    long_lived = App(emptied)
    assert answers(long_lived) == answers(long_lived)
    for number, changed in enumerate(rounds):
        with emptied.get_historical_connection() as connection:
            for what, at, body in changed:
                if what not in ("vector", "pieces") or at < len(BODIES):
                    change(connection, what, at, body, 100 * number + at)
        assert answers(long_lived) == answers(App(emptied))


def by_number(hit: dict[str, Any]) -> int:
    number: int = hit["source_id"]
    return number


def test_vectors_at_a_quarter_find_what_whole_ones_find(
    emptied: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    with emptied.get_historical_connection() as connection:
        empty(connection)
        for at in range(20):
            write(connection, at, BODIES[at % len(BODIES)])
            write_vector(connection, at, at, n_pieces=at % 3)
    asked = [TextQuery("bank rates fell", DATES[0], k=20, by=by) for by in get_args(By)]
    whole = [App(emptied).text_search.find(query).to_dict() for query in asked]
    monkeypatch.setattr(text_vectors, "MOST_EXACT", 3)
    for query, one in zip(asked, whole, strict=True):
        other = App(emptied).text_search.find(query).to_dict()
        for hit, twin in zip(*(sorted(each["hits"], key=by_number) for each in (one, other)), strict=True):
            assert hit["score"] == pytest.approx(twin["score"], abs=0.02)  # means and deviations are of the short ones
            assert {**hit, "score": None} == {**twin, "score": None}, "figures shown are exact"
