"""Near-copies of a story are shown as one, with their number, as known on the date and by every door alike."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fixtures.examples import share_of

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.text_likeness import LikeText, SaidThen
from prometheus.app.text_search import tell_once
from prometheus.arrays import encode_vector
from prometheus.data.models import ModelRegistry
from prometheus.data.text_reader import DatedText
from prometheus.encoders.texts.copies import Stories

START = datetime(2024, 1, 2, 12, tzinfo=UTC)
STORIES = [
    "The central bank left its policy rate alone on Wednesday and said that it sees no hurry to lower it again.",
    "Oil prices fell for a third week as producers agreed to pump more crude than traders had expected before.",
    "Shares of chip makers rose after the largest of them said that orders for the coming year are already full.",
]
HEADS = ("", "Wire - ", "Evening edition: ")
DIM = 4


def write_news(db_manager: DatabaseManager, at: int, text: str, happened: datetime, known: datetime | None) -> None:
    vector = np.random.default_rng(at).normal(size=DIM).astype(np.float32)
    with db_manager.get_historical_connection() as connection:
        ((article_id,),) = connection.execute(
            "INSERT INTO news_articles (published_at, known_at, headline, body, source) VALUES (%s, %s, '', %s, %s)"
            " RETURNING article_id",
            (happened, known, text, f"agency {at}"),
        ).fetchall()
        connection.execute(
            "INSERT INTO text_embeddings (source_type, source_id, model_id, dim, vector)"
            " VALUES ('NEWS', %s, 'text-news', %s, %s)",
            (str(article_id), DIM, encode_vector(vector)),
        )


def answers(db_manager: DatabaseManager, days: list[date]) -> list[tuple[list[LikeText], list[SaidThen]]]:
    """Return what the texts of each day are like, and what was said nearest to them in weeks before."""
    app, found = App(db_manager), []
    for day in days:
        texts = tell_once(app.wired.texts.texts_of("NEWS", day, day))
        weeks_ago = [day - timedelta(days=n) for n in (2, 12)]
        found.append((app.text_search.like_day(texts, day), app.text_search.said_then(texts, day, weeks_ago)))
    return found


news = st.tuples(st.sampled_from(STORIES), st.sampled_from(HEADS), st.integers(1, 20), st.integers(0, 20))


@settings(max_examples=share_of(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(early=st.lists(news, min_size=1, max_size=8), late=st.lists(news, min_size=1, max_size=8))
def test_a_copy_that_becomes_known_later_changes_no_earlier_answer(
    db_manager: DatabaseManager, early: list[tuple[str, str, int, int]], late: list[tuple[str, str, int, int]]
) -> None:
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM text_embeddings")
        connection.execute("DELETE FROM news_articles")
    ModelRegistry(db_manager).register("text-news", "text", {"family": "made up"})
    days = [(START + timedelta(days=n)).date() for n in (10, 20, 30)]
    for n in (10, 20, 30):
        write_news(db_manager, n, f"Something else of day {n}.", START + timedelta(days=n), None)
    write_news(db_manager, 0, STORIES[0], START, None)
    for at, (story, head, happened, delay) in enumerate(early, start=100):
        instant = START + timedelta(days=happened, minutes=at)
        write_news(db_manager, at, head + story, instant, instant + timedelta(days=delay) if delay else None)
    before = answers(db_manager, days)
    for at, (story, head, happened, delay) in enumerate(late, start=200):
        instant = START + timedelta(days=happened, minutes=at)
        write_news(db_manager, at, head + story, instant, START + timedelta(days=31 + delay))
    assert answers(db_manager, days) == before
    for day, (like, then) in zip(days, before, strict=True):
        assert all(each.hit is not None for each in like)
        shown = [each.hit.text for each in like if each.hit] + [each.hit.text for each in then]
        assert all(text.timestamp.date() < day and (text.known_at or START).date() <= day for text in shown)


def test_equal_texts_and_copies_of_one_day_are_counted_and_those_of_another_meeting_are_not() -> None:
    def told(source_type: str, day: int, text: str) -> DatedText:
        return DatedText(source_type, day, START + timedelta(days=day), None, "FOMC", "US", "", text)  # type: ignore[arg-type]

    statement = STORIES[0]
    copy = f"Release: {statement}"
    macro = tell_once([told("MACRO", 0, statement), told("MACRO", 0, copy), told("MACRO", 42, copy)])
    assert [(each.text.source_id, each.copies) for each in macro] == [(0, "and 1 near-copy"), (42, "")]
    again = tell_once([told("MACRO", 0, statement), told("MACRO", 42, statement)])
    assert [each.copies for each in again] == ["and 1 near-copy"]
    spread = tell_once([told("NEWS", 0, statement), told("NEWS", 42, copy), told("NEWS", 43, copy)])
    assert [each.copies for each in spread] == ["and 2 near-copies"]


@given(bodies=st.lists(st.tuples(st.sampled_from(HEADS), st.sampled_from(STORIES)), max_size=12), n=st.integers(0, 12))
def test_later_texts_only_add_copies_to_the_stories_before_them(bodies: list[tuple[str, str]], n: int) -> None:
    texts = [DatedText("NEWS", at, START, None, "", "", "", head + story) for at, (head, story) in enumerate(bodies)]
    first, whole = Stories(), Stories()
    opened = [first.add(text) for text in texts[:n]]
    assert [whole.add(text) for text in texts][:n] == opened
    assert sum(whole.n_copies) + len(whole.n_copies) == len(texts)
    assert all(was <= now for was, now in zip(first.n_copies, whole.n_copies, strict=False))
