from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql
from tests.fixtures.texts import texts_of

from prometheus.app.databases import DatabaseManager
from prometheus.data import text_reader
from prometheus.data.text_reader import TextReader
from prometheus.errors import InputRefusedError, UsageError

MIDNIGHT = datetime(2024, 1, 3, tzinfo=UTC)

Store = Callable[..., None]


@pytest.fixture
def store(db_manager: DatabaseManager) -> Store:
    """Store macro events (type, instant, country, text), by hand as a user may."""

    def insert(*rows: tuple[str, datetime, str | None, str]) -> None:
        with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO macro_events (event_type, timestamp, country, description) VALUES (%s, %s, %s, %s)", rows
            )

    return insert


class ZonedDatabase:
    """A database whose sessions show another zone."""

    def __init__(self, manager: DatabaseManager, zone: str) -> None:
        self._manager, self._zone = manager, zone

    def get_historical_connection(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        return self._connect()

    def get_runtime_connection(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        return self._manager.get_runtime_connection()

    @contextmanager
    def _connect(self) -> Iterator[psycopg.Connection[Any]]:
        with self._manager.get_historical_connection() as connection:
            connection.execute(sql.SQL("SET LOCAL TimeZone = {}").format(sql.Literal(self._zone)))
            yield connection


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
def test_a_text_belongs_to_its_date_in_utc_whatever_the_session_shows(
    db_manager: DatabaseManager, store: Store, zone: str
) -> None:
    second = timedelta(seconds=1)
    shifts = {"before": -second, "first": 0 * second, "last": 86_400 * second - second / 1000, "after": 86_400 * second}
    store(*[("X", MIDNIGHT + shift, "US", name) for name, shift in shifts.items()])
    reader = TextReader(ZonedDatabase(db_manager, zone))
    day = date(2024, 1, 3)

    def found(start: date, timezone: str = "UTC") -> list[str]:
        return texts_of(reader, reader.iter_keys("MACRO", start, day, timezone=timezone))

    assert found(day) == ["first", "last"]
    assert found(date(2024, 1, 2)) == ["before", "first", "last"]
    assert found(day, timezone="Asia/Tokyo") == ["before", "first"]
    assert found(day, timezone="America/New_York") == ["last", "after"]


def test_dates_follow_the_clock_of_a_zone_through_its_changes(db_manager: DatabaseManager, store: Store) -> None:
    store(*[("X", datetime(2024, 3, 10, tzinfo=UTC) + timedelta(hours=hour), None, str(hour)) for hour in range(32)])
    reader = TextReader(db_manager)
    found = texts_of(
        reader, reader.iter_keys("MACRO", date(2024, 3, 10), date(2024, 3, 10), timezone="America/New_York")
    )
    assert found == [str(hour) for hour in range(5, 28)]  # a day of 23 hours


def test_filters_choose_and_unknown_ones_are_refused(db_manager: DatabaseManager, store: Store) -> None:
    reader = TextReader(db_manager)
    span = date(2024, 1, 1), date(2024, 1, 31)
    with pytest.raises(InputRefusedError, match="no row of macro_events says any country"):
        reader.iter_keys("MACRO", *span, country="US")
    assert texts_of(reader, reader.iter_keys("MACRO", *span)) == []
    store(("CPI", MIDNIGHT, "US", "a"), ("CPI", MIDNIGHT, "DE", "b"), ("GDP", MIDNIGHT, None, "c"))
    assert texts_of(reader, reader.iter_keys("MACRO", *span, country="US")) == ["a"]
    assert texts_of(reader, reader.iter_keys("MACRO", *span, event_type="CPI")) == ["a", "b"]
    assert texts_of(reader, reader.iter_keys("MACRO", *span, country="DE", event_type="CPI")) == ["b"]
    assert texts_of(reader, reader.iter_keys("MACRO", *span, country="DE", event_type="GDP")) == []
    assert texts_of(reader, reader.iter_keys("MACRO", date(2023, 1, 1), date(2023, 1, 1), country="US")) == []
    with pytest.raises(InputRefusedError, match="country 'FR' matches nothing in macro_events; known: DE, US"):
        reader.iter_keys("MACRO", *span, country="FR")
    with pytest.raises(InputRefusedError, match="event type 'X' matches nothing in macro_events; known: CPI, GDP"):
        reader.iter_keys("MACRO", *span, event_type="X")
    store(*[("CPI", MIDNIGHT, f"C{n:02d}", "x") for n in range(20)])
    with pytest.raises(InputRefusedError, match=r"known: C00, C01, .*C09, …$"):
        reader.iter_keys("MACRO", *span, country="ZZ")


def test_articles_join_headline_and_body(db_manager: DatabaseManager) -> None:
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO news_articles (published_at, language, headline, body) VALUES (%s, %s, %s, %s)",
            [(MIDNIGHT, "en", "Head", "Body"), (MIDNIGHT, "de", "Kopf", ""), (MIDNIGHT, None, "", "corps")],
        )
    reader = TextReader(db_manager)
    (page,) = reader.iter_keys("NEWS", MIDNIGHT.date(), MIDNIGHT.date())
    assert [key.n_characters for key in page] == [8, 4, 5]
    found = reader.load_texts("NEWS", [key.source_id for key in page])
    assert [(text.source_type, text.text, text.language) for text in found] == [
        ("NEWS", "Head\n\nBody", "en"), ("NEWS", "Kopf", "de"), ("NEWS", "corps", None),
    ]  # fmt: skip
    assert texts_of(reader, reader.iter_keys("NEWS", MIDNIGHT.date(), MIDNIGHT.date(), language="de"), "NEWS") == [
        "Kopf"
    ]
    with pytest.raises(InputRefusedError, match="language 'fr' matches nothing in news_articles; known: de, en"):
        reader.iter_keys("NEWS", MIDNIGHT.date(), MIDNIGHT.date(), language="fr")


def test_pages_change_nothing(db_manager: DatabaseManager, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store(*[("X", MIDNIGHT + timedelta(seconds=n // 5), None, "é" * (n % 50) + str(n)) for n in range(300)])
    reader, span = TextReader(db_manager), (MIDNIGHT.date(), MIDNIGHT.date())
    (whole,) = reader.iter_keys("MACRO", *span)
    assert [key.n_characters for key in whole] == [n % 50 + len(str(n)) for n in range(300)]
    assert [key.source_id for key in whole] == sorted(key.source_id for key in whole)
    for n_rows in (7, 1):
        monkeypatch.setattr(text_reader, "PAGE_ROWS", n_rows)
        pages = list(reader.iter_keys("MACRO", *span))
        assert [key for page in pages for key in page] == whole
        assert max(len(page) for page in pages) == n_rows


def test_texts_come_in_the_order_asked_and_those_that_are_gone_are_left_out(
    db_manager: DatabaseManager, store: Store
) -> None:
    store(*[("X", MIDNIGHT + timedelta(seconds=n), None, str(n)) for n in range(3)])
    reader = TextReader(db_manager)
    (page,) = reader.iter_keys("MACRO", MIDNIGHT.date(), MIDNIGHT.date())
    first, second, third = (key.source_id for key in page)
    found = reader.load_texts("MACRO", [third, 10**12, first, second])
    assert [(text.source_id, text.text) for text in found] == [(str(third), "2"), (str(first), "0"), (str(second), "1")]
    assert reader.load_texts("NEWS", [first]) == []


@pytest.mark.parametrize("limit", [1, 7, 300, 1000])
def test_a_limit_takes_the_oldest(db_manager: DatabaseManager, store: Store, limit: int) -> None:
    store(*[("X", MIDNIGHT + timedelta(seconds=n), None, str(n)) for n in range(600)])
    reader = TextReader(db_manager)
    found = texts_of(reader, reader.iter_keys("MACRO", MIDNIGHT.date(), MIDNIGHT.date(), limit=limit))
    assert found == [str(n) for n in range(min(limit, 600))]


def test_between_two_pages_nothing_is_locked_and_new_texts_may_come(
    db_manager: DatabaseManager, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_reader, "PAGE_ROWS", 1)
    store(("X", MIDNIGHT, None, "one"), ("X", MIDNIGHT, None, "two"))
    reader = TextReader(db_manager)
    pages = reader.iter_keys("MACRO", MIDNIGHT.date(), MIDNIGHT.date())
    assert texts_of(reader, iter([next(pages)])) == ["one"]
    store(("X", MIDNIGHT, None, "three"))
    assert texts_of(reader, pages) == ["two", "three"]


def test_the_widest_range_is_read(db_manager: DatabaseManager, store: Store) -> None:
    store(("X", datetime(1800, 1, 1, tzinfo=UTC), None, "old"), ("X", datetime(2999, 12, 31, tzinfo=UTC), None, "new"))
    reader = TextReader(db_manager)
    assert texts_of(reader, reader.iter_keys("MACRO", date.min, date.max)) == ["old", "new"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"end": date(2023, 1, 1)}, r"the range ends \(2023-01-01\) before it starts"),
        ({"limit": 0}, "--limit 0"),
        ({"timezone": "Mars/Olympus"}, "--timezone 'Mars/Olympus': no such time zone"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_read(
    db_manager: DatabaseManager, options: dict[str, Any], says: str
) -> None:
    arguments: dict[str, Any] = {"start": date(2024, 1, 1), "end": date(2024, 1, 2), **options}
    with pytest.raises(UsageError, match=says):
        TextReader(db_manager).iter_keys("MACRO", **arguments)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("US", ["US", "USA", "us", "United States", "U.S."]), ("usa", ["US", "USA", "us", "United States", "U.S."]),
        ("united states", ["US", "USA", "us", "United States", "U.S."]), ("UK", ["GB", "uk"]), ("XK", ["xk"]),
    ],
)  # fmt: skip
def test_a_country_is_found_however_a_file_spells_it(
    db_manager: DatabaseManager, store: Store, wanted: str, found: list[str]
) -> None:
    said = ["US", "USA", "us", "United States", "U.S.", "GB", "uk", "xk", "100%", None]
    store(*[("X", MIDNIGHT, country, str(country)) for country in said])
    reader = TextReader(db_manager)
    pages = reader.iter_keys("MACRO", MIDNIGHT.date(), MIDNIGHT.date(), country=wanted)
    assert texts_of(reader, pages) == found


def test_a_language_is_found_however_a_file_spells_it(db_manager: DatabaseManager) -> None:
    said = ["en", "en-US", "EN_gb", "eng", "English", "de", "enm", None]
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO news_articles (published_at, language, headline) VALUES (%s, %s, %s)",
            [(MIDNIGHT, language, str(language)) for language in said],
        )
    reader, day = TextReader(db_manager), MIDNIGHT.date()

    def found(language: str) -> list[str]:
        return texts_of(reader, reader.iter_keys("NEWS", day, day, language=language), "NEWS")

    assert found("en") == found("ENG") == ["en", "en-US", "EN_gb", "eng", "English"]
    assert found("en-us") == ["en-US"]
    assert found("enm") == ["enm"]
    with pytest.raises(InputRefusedError, match=r"language 'fr' matches nothing in news_articles; known: "):
        found("fr")


def test_garbled_letters_are_stored_as_loaded_and_read_mended(db_manager: DatabaseManager, store: Store) -> None:
    store(("X", MIDNIGHT, "US", "Procter &amp; Gamble in MÃ¼nchen"))
    reader = TextReader(db_manager)
    (key,) = next(reader.iter_keys("MACRO", MIDNIGHT.date(), MIDNIGHT.date()))
    (dated,) = reader.load_dated("MACRO", [key.source_id])
    assert [dated.text] == texts_of(reader, [[key]]) == ["Procter & Gamble in München"]
    with db_manager.get_historical_connection() as connection:
        assert connection.execute("SELECT description FROM macro_events").fetchall() == [
            ("Procter &amp; Gamble in MÃ¼nchen",)
        ]
