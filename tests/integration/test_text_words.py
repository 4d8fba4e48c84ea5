"""Words of texts: counted by the database itself whatever is written, and ranked as known on a date."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fixtures.examples import share_of
from tests.reference import words as reference

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.text_search import By, TextQuery, TextSearchReport
from prometheus.arrays import encode_vector
from prometheus.data.models import ModelRegistry
from prometheus.encoders.texts.documents import VERSION, TextFilters
from prometheus.errors import NotFoundError, UsageError

START = datetime(2024, 1, 2, 12, tzinfo=UTC)
AS_OF = date(2024, 1, 31)
Counted = dict[tuple[str, int], tuple[str, int, dict[str, int]]]


def counted(connection: psycopg.Connection[Any]) -> Counted:
    rows = connection.execute("SELECT source_type, source_id, configuration, n_words, stems, counts FROM text_words")
    return {
        (kind, key): (configuration, n_words, dict(zip(stems, counts, strict=True)))
        for kind, key, configuration, n_words, stems, counts in rows
    }


def write_macro(connection: psycopg.Connection[Any], text: str, day: int = 0, **columns: Any) -> int:
    values = {"event_type": "NOTE", "timestamp": START + timedelta(days=day), "description": text, **columns}
    names, places = ", ".join(values), ", ".join(f"%({name})s" for name in values)
    query = f"INSERT INTO macro_events ({names}) VALUES ({places}) RETURNING event_id"
    ((key,),) = connection.execute(query, values).fetchall()
    return int(key)


def search(db_manager: DatabaseManager, question: str, by: By = "words", k: int = 20) -> TextSearchReport:
    return App(db_manager).text_search.find(TextQuery(question, AS_OF, k=k, by=by))


def test_every_write_keeps_the_words_true(db_manager: DatabaseManager) -> None:
    with db_manager.get_historical_connection() as connection:
        first = write_macro(connection, "The banks were raising rates; a bank raised.", known_at=START)
        german = write_macro(connection, "Die Zinsen der Banken", metadata='{"language": "de-AT"}')
        connection.execute(
            "INSERT INTO news_articles (article_id, published_at, headline, body, language) VALUES"
            " (1, now(), 'Rates rise', 'No rise', NULL), (2, now(), '', '利率 the', 'zh'),"
            " (3, now(), 'of', '', 'EN_us')"
        )
        assert counted(connection) == {
            ("MACRO", first): ("english", 5, {"bank": 2, "rais": 2, "rate": 1}),
            ("MACRO", german): ("german", 2, {"zins": 1, "bank": 1}),
            ("NEWS", 1): ("english", 3, {"rate": 1, "rise": 2}),
            ("NEWS", 2): ("simple", 2, {"利率": 1, "the": 1}),
            ("NEWS", 3): ("english", 0, {}),
        }
        written = "SELECT ctid FROM text_words ORDER BY source_type, source_id"
        before = connection.execute(written).fetchall()
        connection.execute("UPDATE macro_events SET known_at = NULL, source = 'X'")
        assert connection.execute(written).fetchall() == before
        connection.execute("UPDATE macro_events SET event_id = event_id + 100, metadata = '{}'")
        connection.execute("UPDATE news_articles SET body = 'Falls fell', language = 'en' WHERE article_id < 3")
        assert counted(connection) == {
            ("MACRO", first + 100): ("english", 5, {"bank": 2, "rais": 2, "rate": 1}),
            ("MACRO", german + 100): ("english", 4, {"die": 1, "zinsen": 1, "der": 1, "banken": 1}),
            ("NEWS", 1): ("english", 4, {"rate": 1, "rise": 1, "fall": 1, "fell": 1}),
            ("NEWS", 2): ("english", 2, {"fall": 1, "fell": 1}),
            ("NEWS", 3): ("english", 0, {}),
        }
        connection.execute("DELETE FROM news_articles WHERE article_id = 1")
        assert ("NEWS", 1) not in counted(connection)
        connection.rollback()
    with db_manager.get_owner_connection("historical") as connection:
        write_macro(connection, "Rates rise")
        connection.execute("TRUNCATE macro_events CASCADE")
        assert counted(connection) == {}


def test_counts_of_long_and_dense_texts_are_exact(db_manager: DatabaseManager) -> None:
    """Where a tsvector would stop counting, refuse the text, or index what no index can hold."""
    with db_manager.get_historical_connection() as connection:
        texts = {
            "bank " * 300: {"bank": 300},
            "bank rate-cut " * 5_000: {"bank": 5_000, "rate": 5_000, "cut": 5_000, "rate-cut": 5_000},
            f"{'x' * 3_000} bank": {"bank": 1},
            f"{'x' * 3_000} {'bank ' * 300}": {"bank": 300},
        }
        keys = {write_macro(connection, text): expected for text, expected in texts.items()}
        many = write_macro(connection, " ".join(f"{number:02000}" for number in range(600)))
        found = {key: stems for (_, key), (_, _, stems) in counted(connection).items()}
        connection.rollback()
    assert len(found.pop(many)) == 600
    assert found == keys


def test_filters_choose_what_is_found_and_leave_scores_of_words_alone(db_manager: DatabaseManager) -> None:
    texts = [
        {"country": "US", "source": "Fed", "metadata": '{"speaker": "Jerome H. Powell"}'},
        {"country": "usa", "source": "fed", "event_type": "SPEECH"},
        {"country": "DE", "source": "ECB", "metadata": '{"author": "Isabel Schnabel", "language": "de"}'},
        {"source": "ECB", "metadata": '{"language": "de-AT"}'},
    ]
    with db_manager.get_historical_connection() as connection:
        keys = [write_macro(connection, f"bank rates {day}", day, **each) for day, each in enumerate(texts)]
        write_macro(connection, "bank of a later day", day=40, country="FR")
        connection.execute(
            "INSERT INTO news_articles (published_at, headline, metadata) VALUES (%s, 'bank', %s)",
            (START, '{"country": "U.S."}'),
        )

    def found(**filters: Any) -> list[int]:
        query = TextQuery("bank", AS_OF, filters=TextFilters(**filters), by="words")
        hits = App(db_manager).text_search.find(query).hits
        assert all(hit.words == whole[hit.text.source_type, hit.text.source_id] for hit in hits)
        return sorted(hit.text.source_id for hit in hits if hit.text.source_type == "MACRO")

    report = search(db_manager, "bank")
    whole = {(hit.text.source_type, hit.text.source_id): hit.words for hit in report.hits}
    one, two, three, four = keys
    assert found(country="US") == found(country="United States") == [one, two]
    assert found(publisher="FED", event_type="speech") == [two]
    assert found(author="powell") == [one]
    assert found(language="German", end=date(2024, 1, 4)) == [three]
    assert found(start=date(2024, 1, 3), language="en") == [two]
    assert found(language="de") == [three, four]
    with pytest.raises(NotFoundError, match=r"passes country 'FR'; country is DE or U\.S\. or US or usa"):
        found(country="FR")
    with pytest.raises(NotFoundError, match=r"passes start 2024-01-30$"):
        found(start=date(2024, 1, 30))
    for wrong, fault in (
        ({"start": date(2024, 2, 1), "end": AS_OF}, "before they start"),
        ({"author": " "}, "nothing"),
    ):
        with pytest.raises(UsageError, match=fault):
            TextFilters(**wrong)
    with pytest.raises(UsageError, match="texts have no filter 'colour'"):
        TextFilters.of({"colour": "red"})


def test_texts_like_a_stored_one_are_others_and_known(db_manager: DatabaseManager) -> None:
    with db_manager.get_historical_connection() as connection:
        one = write_macro(connection, "oil prices fell as producers pumped more")
        near = write_macro(connection, "producers pump oil again", day=1)
        write_macro(connection, "nothing of the kind", day=1)
        late = write_macro(connection, "oil producers", day=40)
    find = App(db_manager).text_search.find

    report = find(TextQuery("", AS_OF, like=f"macro:{one}"))

    assert [hit.text.source_id for hit in report.hits] == [near]
    assert find(TextQuery("", AS_OF, like=f"MACRO:{one}", by="words")).n_texts == 2
    for key in (late, 99_999):
        with pytest.raises(NotFoundError, match=f"no text MACRO:{key} known on 2024-01-31"):
            find(TextQuery("", AS_OF, like=f"MACRO:{key}"))
    for question, like, fault in (("oil", f"MACRO:{one}", "not both"), ("", "MACRO:x", "such as MACRO:123")):
        with pytest.raises(UsageError, match=fault):
            TextQuery(question, AS_OF, like=like)


text = st.lists(st.sampled_from(["bank", "rate", "rise", "fall", "oil", "the"]), min_size=1, max_size=8).map(" ".join)
told = st.tuples(text, st.integers(0, 25), st.integers(0, 6), st.booleans())


def write_all(db_manager: DatabaseManager, texts: list[tuple[str, int, int, bool]], after: int = 0) -> None:
    """Write texts, day and delay each, with a vector for every second one, as versions of one event where said."""
    with db_manager.get_historical_connection() as connection:
        for number, (body, day, delay, is_version) in enumerate(texts):
            key = write_macro(
                connection, f"{body} {number}", day if is_version else day + after, source=f"{after} {number}",
                known_at=START + timedelta(days=day + after + delay),
                metadata=f'{{"{VERSION}": "1"}}' if is_version else "{}",
            )  # fmt: skip
            if number % 2 == 0:
                vector = encode_vector(np_vector(number, body))
                connection.execute(
                    "INSERT INTO text_embeddings (source_type, source_id, model_id, dim, vector)"
                    " VALUES ('MACRO', %s, 'text-test', 2, %s)",
                    (str(key), vector),
                )


def np_vector(number: int, body: str) -> Any:
    import numpy as np

    return np.array([1.0 + number, len(body)], dtype=np.float32)


@settings(max_examples=share_of(10), deadline=None, suppress_health_check=list(HealthCheck))
@given(early=st.lists(told, min_size=1, max_size=8), late=st.lists(told, min_size=1, max_size=8))
def test_texts_known_later_change_no_bit_of_a_score(
    db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch, early: list[Any], late: list[Any]
) -> None:
    from prometheus.app.text_models import TextModels

    monkeypatch.setattr(TextModels, "encode", lambda *_: np_vector(3, "rate"))
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM text_embeddings")
        connection.execute("DELETE FROM macro_events")
    ModelRegistry(db_manager).register("text-test", "text", {"family": "made up"})
    write_all(db_manager, [("the rate of the bank", 1, 0, False), *early])

    def answers() -> list[dict[str, Any]]:
        ways: tuple[By, ...] = ("words", "meaning", "both")
        return [search(db_manager, "bank rates rise", by).to_dict() for by in ways]

    before = answers()
    write_all(db_manager, late, after=60)
    assert answers() == before


def test_scores_are_those_of_the_twin_over_the_texts_known(db_manager: DatabaseManager) -> None:
    bodies = ["bank bank rate", "rate rise rise oil", "oil", "bank oil fall fall fall fall rate", "nothing"]
    with db_manager.get_historical_connection() as connection:
        keys = [write_macro(connection, body, source=body) for body in bodies]
        write_macro(connection, "bank of a later day", day=40)
        write_macro(connection, "Bank Bank", metadata='{"language": "de"}')
        words = counted(connection)
    texts = [words["MACRO", key][2] for key in keys]

    report = search(db_manager, "bank rates, bank!")

    found = {hit.text.source_id: hit.words for hit in report.hits if hit.text.source_id in keys}
    expected = {
        key: pytest.approx(reference.bm25({"bank": 2, "rate": 1}, each, texts), rel=1e-12)
        for key, each in zip(keys, texts, strict=True)
        if {"bank", "rate"} & set(each)
    }
    assert found == expected
    assert (report.n_texts, report.model_id, len(report.hits)) == (6, None, 4)  # the German one among them


changes = st.lists(st.tuples(st.sampled_from(["add", "change", "remove", "date"]), text, st.integers(0, 9)), max_size=4)


@settings(max_examples=share_of(8), deadline=None, suppress_health_check=list(HealthCheck))
@given(rounds=st.lists(changes, min_size=1, max_size=10))
def test_words_in_memory_answer_as_the_table_does(db_manager: DatabaseManager, rounds: list[Any]) -> None:
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM macro_events")
        keys = [
            write_macro(connection, body, day) for day, body in enumerate(["bank rate", "rise", "fall oil", "bank"])
        ]
    long_lived = App(db_manager).text_search
    query = TextQuery("bank rates fall", AS_OF, by="words")
    long_lived.find(query)
    for number, changed in enumerate(rounds):
        with db_manager.get_historical_connection() as connection:
            for what, body, at in changed:
                key = keys[at % len(keys)]
                if what == "add":
                    keys.append(write_macro(connection, f"{body} rate", at, source=f"{number} {len(keys)}"))
                elif what == "change":
                    query_of_text = "UPDATE macro_events SET description = %s WHERE event_id = %s"
                    connection.execute(query_of_text, (f"{body} rate {number}", key))
                elif what == "date":
                    query_of_date = "UPDATE macro_events SET known_at = now() WHERE event_id = %s"
                    connection.execute(query_of_date, (key,))
                elif len(keys) > 2:
                    keys.remove(key)
                    connection.execute("DELETE FROM macro_events WHERE event_id = %s", (key,))
        try:
            expected = App(db_manager).text_search.find(query).to_dict()
        except NotFoundError:
            with pytest.raises(NotFoundError):
                long_lived.find(query)
        else:
            assert long_lived.find(query).to_dict() == expected


@pytest.mark.parametrize(
    "question",
    ["'; DROP TABLE text_words; --", "bank & !rate | (oil <-> :*", "\\", '"quoted bank', "利率 上升", "bank " * 1_999],
)
def test_a_question_is_words_whatever_it_looks_like(db_manager: DatabaseManager, question: str) -> None:
    with db_manager.get_historical_connection() as connection:
        write_macro(connection, "The bank's table of 利率 and 'quotes'")
    if question == "\\":
        with pytest.raises(NotFoundError, match="no text known on"):
            search(db_manager, question, "both")
    else:
        assert len(search(db_manager, question, "both").hits) == 1


def test_questions_without_words_get_one_line(db_manager: DatabaseManager) -> None:
    with pytest.raises(NotFoundError, match="there are no MACRO or NEWS texts known on 2024-01-31"):
        search(db_manager, "rates")
    with db_manager.get_historical_connection() as connection:
        write_macro(connection, "Rates rise")
    with pytest.raises(NotFoundError, match="has a word of 'the of', stop words left out"):
        search(db_manager, "the of")
    with pytest.raises(NotFoundError, match="there are no MACRO or NEWS text embeddings"):
        search(db_manager, "rates", "meaning")
    for question, fault in (("a\0b", "a NUL"), ("\ud800", "no valid Unicode"), ("x" * 100_000, "100000 characters")):
        with pytest.raises(UsageError, match=fault):
            search(db_manager, question)
    with pytest.raises(UsageError, match="unknown by 'colour'; choose from both, words, meaning"):
        search(db_manager, "rates", "colour")  # type: ignore[arg-type]
