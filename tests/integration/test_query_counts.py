"""How many statements one request costs: each question is put to the database once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import psycopg
import pytest
from tests.fixtures.market import LoadPrices, random_walk, weekdays

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.regimes import RegimeRequest
from prometheus.backfill.plan import DateSpan

DAYS = weekdays(500)
AS_OF: date = DAYS[-30].item()
ASKED: list[str] = []


class NotingCursor(psycopg.Cursor[Any]):
    """Notes each statement, but for the empty one by which a pool tries a connection."""

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        self._note(args[0])
        return super().execute(*args, **kwargs)

    def copy(self, *args: Any, **kwargs: Any) -> Any:
        self._note(args[0])
        return super().copy(*args, **kwargs)

    def _note(self, query: Any) -> None:
        text = query if isinstance(query, str) else str(query.as_string(self))
        ASKED.extend([text] if text else [])


class NotingDatabases(DatabaseManager):
    """Databases whose statements are noted."""

    @contextmanager
    def get_historical_connection(self) -> Iterator[psycopg.Connection]:
        with super().get_historical_connection() as connection:
            connection.cursor_factory = NotingCursor
            yield connection

    @contextmanager
    def get_runtime_connection(self) -> Iterator[psycopg.Connection]:
        with super().get_runtime_connection() as connection:
            connection.cursor_factory = NotingCursor
            yield connection


@pytest.fixture
def app(db_manager: DatabaseManager, load_prices: LoadPrices) -> Iterator[App]:
    """A region of one instrument by the first encoder, over databases that note what they are asked."""
    load_prices("X", DAYS, *random_walk(len(DAYS)))
    databases = NotingDatabases(db_manager.config)
    app = App(databases)
    app.regimes.run(RegimeRequest("US", "X", DateSpan.of_range(DAYS[100].item(), DAYS[-1].item()), 63, None))
    ASKED.clear()
    yield app
    databases.close_all()


def test_a_dated_page_asks_for_histories_timeline_closes_and_source_once(app: App) -> None:
    briefing = app.briefings.of("US", AS_OF)
    assert (briefing.as_of_date, briefing.instrument_id) == (AS_OF, "X")
    assert briefing.analogs is not None, briefing.no_analogs
    kinds = Counter(_kind_of(statement) for statement in ASKED)
    assert kinds["histories"] == 2, "of all dates, for the way to other pages, and of those up to the date"
    assert {name: kinds[name] for name in ("timeline", "closes", "source", "vectors")} == {
        "timeline": 1, "closes": 2, "source": 1, "vectors": 1,
    }, "bars once for the chart, once for the judge"  # fmt: skip
    assert len(ASKED) <= 20, kinds

    ASKED.clear()
    app.briefings.of("US", AS_OF)
    assert len(ASKED) <= 10, "what was read is kept while nothing is written"


def test_the_texts_of_a_day_are_compared_on_one_reading_of_the_known_texts(app: App) -> None:
    told = [("CPI", at, f"Consumer prices rose {at} times.") for at in range(40)] + [
        (kind, 40, f"Rates and prices rose by {kind}, they say.") for kind in ("CPI", "PPI", "FOMC")
    ]
    with app.db_manager.get_historical_connection() as connection:
        connection.cursor().executemany(
            "INSERT INTO macro_events (event_type, timestamp, country, description) VALUES (%s, %s, 'US', %s)",
            [(kind, datetime.combine(AS_OF - timedelta(40 - at), time(9), UTC), text) for kind, at, text in told],
        )
    ASKED.clear()
    briefing = app.briefings.of("US", AS_OF)
    assert [like.hit is not None for like in briefing.like_texts] == [True] * 3
    assert sum("words.n_words" in statement for statement in ASKED) == 1
    n_of_three = len(ASKED)

    ASKED.clear()
    briefing = app.briefings.of("US", AS_OF - timedelta(1))
    assert len(briefing.like_texts) == 1
    assert n_of_three - len(ASKED) <= 2 * 14, "each further text asks for its words, the text found and its passage"


def test_one_date_of_a_region_is_asked_about_thirteen_times(app: App) -> None:
    request = RegimeRequest("US", "X", DateSpan.of_date(AS_OF), 63, None)
    assert app.regimes.run(request).report.written == 0
    assert len(ASKED) <= 13
    assert max(Counter(ASKED).values()) == 1, "no statement is put twice"


def test_an_overview_costs_the_same_however_many_regions_there_are(app: App) -> None:
    assert [row.region for row in app.overview.on(AS_OF).rows] == ["US"]
    n_of_one = len(ASKED)
    for region in ("A", "B", "C"):
        app.regimes.run(RegimeRequest(region, "X", DateSpan.of_range(DAYS[300].item(), DAYS[-1].item()), 63, None))
    ASKED.clear()
    assert len(app.overview.on(AS_OF).rows) == 4
    assert len(ASKED) == n_of_one == 9


def _kind_of(statement: str) -> str:
    marks = {
        "histories": "SELECT region, model_id, newest.encoder_model_id",
        "timeline": "metadata->'high_volatility'",
        "source": "metadata->>'instrument_id', (metadata->>'window_days')::int, (",
        "vectors": "DISTINCT ON (as_of_date)",
        "closes": "FROM prices_daily",
    }
    return next((name for name, mark in marks.items() if mark in statement), " ".join(statement.split())[:80])
