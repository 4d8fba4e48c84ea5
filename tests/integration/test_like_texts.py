"""What texts of a day are like, against an obvious twin: cosines and words of all earlier texts, one by one."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.text_likeness import MOST_PAIRS, LikeText
from prometheus.app.text_search import TextQuery, ToldText, tell_once
from prometheus.arrays import encode_vector
from prometheus.data.models import ModelRegistry
from prometheus.encoders.texts.documents import TextFilters
from prometheus.errors import NotFoundError

START = date(2024, 1, 1)
DIM = 8
WORDS = ("rates", "spreads", "yields", "prices", "banks", "growth", "wages", "credit")


@pytest.fixture
def vectors(db_manager: DatabaseManager) -> np.ndarray:
    """Forty days with a text each, of one of two subjects; the vector of every fifth text is missing."""
    generator = np.random.default_rng(3)
    found = generator.normal(size=(40, DIM)) * 0.3
    found[::2, 0] += 1.0
    found[1::2, 1] += 1.0
    ModelRegistry(db_manager).register("text-macro-v1", "text", {"family": "made up"})
    for at, vector in enumerate(found):
        words = " ".join(generator.choice(WORDS, 3))
        write(db_manager, START + timedelta(at), f"The {words} rose {at}.", None if at % 5 == 4 else vector)
    return found


def write(db_manager: DatabaseManager, day: date, text: str, vector: np.ndarray | None) -> None:
    when = datetime(day.year, day.month, day.day, 14, tzinfo=UTC)
    with db_manager.get_historical_connection() as connection:
        ((event_id,),) = connection.execute(
            "INSERT INTO macro_events (event_type, timestamp, country, description) VALUES ('CPI', %s, 'US', %s)"
            " RETURNING event_id",
            (when, text),
        ).fetchall()
        if vector is not None:
            connection.execute(
                "INSERT INTO text_embeddings (source_type, source_id, model_id, dim, vector)"
                " VALUES ('MACRO', %s, 'text-macro-v1', %s, %s)",
                (str(event_id), DIM, encode_vector(vector.astype(np.float32))),
            )


def texts_of(app: App, day: date) -> tuple[ToldText, ...]:
    return tell_once(app.wired.texts.texts_of("MACRO", day, day))


def like(app: App, day: date) -> LikeText:
    (found,) = app.text_search.like_day(texts_of(app, day), day)
    return found


@pytest.mark.usefixtures("vectors")
def test_the_nearest_is_that_of_a_search_of_the_texts_before_the_day(db_manager: DatabaseManager) -> None:
    app = App(db_manager)
    for at in (20, 33, 39):
        day = START + timedelta(at)
        found = like(app, day)
        earlier = TextFilters(end=day - timedelta(1))
        asked = TextQuery("", day, 1, "macro", like=f"MACRO:{found.told.text.source_id}", filters=earlier)
        (one,) = app.text_search.find(asked).hits if at % 5 != 4 else (found.hit,)
        assert found.hit is not None
        assert one is not None
        assert (found.hit.text, found.hit.similarity, found.hit.score) == (one.text, one.similarity, one.score)


def test_nearer_pairs_are_those_of_earlier_texts_counted_one_by_one(
    db_manager: DatabaseManager, vectors: np.ndarray
) -> None:
    units = vectors.astype(np.float32).astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    has_vector = [at for at in range(38) if at % 5 != 4]
    cosines = [units[a] @ units[b] for a in has_vector for b in has_vector if b < a]

    found = like(App(db_manager), START + timedelta(38))

    assert found.hit is not None
    assert found.nearer_pairs is not None
    counted = np.mean([cosine >= found.hit.similarity for cosine in cosines])
    assert abs(found.nearer_pairs - counted) <= 1 / len(cosines) + 0.001
    assert found.is_nothing_close == (found.nearer_pairs > MOST_PAIRS)


def test_a_text_without_a_vector_is_compared_by_its_words_and_one_without_words_with_nothing(
    db_manager: DatabaseManager,
) -> None:
    app = App(db_manager)
    write(db_manager, START, "Rates rose.", None)
    write(db_manager, START + timedelta(1), "Rates fell.", None)
    write(db_manager, START + timedelta(2), "Tariffs!", None)

    by_words, nothing = (like(app, START + timedelta(at)) for at in (1, 2))

    assert by_words.hit is not None
    assert (by_words.hit.similarity, by_words.nearer_pairs) == (None, None)
    assert (nothing.hit, nothing.is_nothing_close) == (None, False)
    with pytest.raises(NotFoundError, match="no MACRO texts known on 2023-12-31"):
        like(app, START)


@pytest.mark.usefixtures("vectors")
def test_what_was_said_on_other_days_is_the_best_of_the_week_up_to_each(db_manager: DatabaseManager) -> None:
    app, day = App(db_manager), START + timedelta(39)
    days = [START + timedelta(at) for at in (3, 15, 30)]

    found = app.text_search.said_then(texts_of(app, day), day, days)

    assert [each.day for each in found] == days
    assert all(each.hit.passage is not None for each in found)
    for each in found:
        assert timedelta(0) <= each.day - each.hit.text.timestamp.date() <= timedelta(6)
    long_ago = app.text_search.said_then(texts_of(app, day), day, [START - timedelta(30)])
    assert long_ago == []


@pytest.mark.usefixtures("vectors")
def test_later_texts_change_nothing(db_manager: DatabaseManager) -> None:
    day = START + timedelta(30)
    days = [START + timedelta(at) for at in (8, 20)]

    def told() -> tuple[object, ...]:
        app = App(db_manager)
        return like(app, day), app.text_search.said_then(texts_of(app, day), day, days)

    before = told()
    for at in range(31, 90):
        write(db_manager, START + timedelta(at), f"The rates rose {at}, yields and banks.", np.ones(DIM))
    assert told() == before
