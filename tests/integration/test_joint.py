"""Joint rows from stored regimes and stored text vectors: recomputed by hand, point in time, idempotent."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from tests.fixtures.database import TableDigest

from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.joint import JointModelChoice
from prometheus.arrays import encode_vector
from prometheus.backfill.joint import JointRequest, JointRun
from prometheus.backfill.plan import DateSpan
from prometheus.data.vectors.joint import JointEmbeddingStore
from prometheus.data.vectors.texts import DailyTextsOfOneRun, TextVectorReader
from prometheus.encoders.joint.examples import REGIME_MACRO, REGIME_NEWS
from prometheus.encoders.texts.documents import TextSelection
from prometheus.errors import InputRefusedError, ModelFingerprintError, NoRegimesError, UsageError, VectorError
from prometheus.regime import RegimeLabel, RegimeState, RegimeStorage

DIM = 8
FIRST = date(2024, 12, 2)
SPAN = DateSpan.of_range(date(2024, 1, 1), date(2025, 12, 31))
V1 = JointModelChoice("num-regime-core-v1", "text-macro-v1", "joint-regime-core-v1")
SaveText = Callable[..., np.ndarray[Any, np.dtype[np.float32]]]


@pytest.fixture
def save_macro(db_manager: DatabaseManager) -> SaveText:
    """Store one macro event and its vector."""

    def save(
        timestamp: datetime, *, known_at: datetime | None = None, country: str = "US", event_type: str = "CPI",
        model_id: str = "text-macro-v1", dim: int = DIM,
    ) -> np.ndarray[Any, np.dtype[np.float32]]:  # fmt: skip
        seed = abs(hash((timestamp, country, event_type))) % 2**32
        vector = np.random.default_rng(seed).normal(size=dim).astype(np.float32)
        with db_manager.get_historical_connection() as connection:
            (event_id,) = connection.execute(
                "INSERT INTO macro_events (event_type, timestamp, known_at, country, description)"
                " VALUES (%s, %s, %s, %s, %s) RETURNING event_id",
                (event_type, timestamp, known_at, country, f"text {timestamp} {country} {event_type}"),
            ).fetchall()[0]
            connection.execute(
                "INSERT INTO text_embeddings (source_type, source_id, model_id, dim, vector)"
                " VALUES ('MACRO', %s, %s, %s, %s)",
                (str(event_id), model_id, dim, encode_vector(vector)),
            )
        return vector

    return save


def at(day: date, hour: int = 14, minute: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)


def save_regimes(db_manager: DatabaseManager, days: list[date], region: str = "US", dim: int = DIM) -> None:
    generator = np.random.default_rng(5)
    states = [
        RegimeState(
            day, region, RegimeLabel.NEUTRAL, 1.0, (1e8 * generator.normal(size=dim)).astype(np.float32),
            {"instrument_id": "X", "window_days": 63},
        )
        for day in days
    ]  # fmt: skip
    RegimeStorage(db_manager=db_manager).save_regimes(states)


def join(
    db_manager: DatabaseManager, choice: JointModelChoice = V1, span: DateSpan = SPAN, **filters: str | None
) -> JointRun:
    (run,) = App(db_manager).joint.backfill([request_of(span, choice, **filters)], choice).report.runs
    return run


def request_of(span: DateSpan, choice: JointModelChoice = V1, **filters: str | None) -> JointRequest:
    timezone = filters.pop("timezone", None) or "UTC"
    return JointRequest(
        REGIME_MACRO, "US", span, choice.numeric_model_id, choice.text_model_id, filters, timezone=timezone
    )


def weekdays(n: int) -> list[date]:
    return [FIRST + timedelta(days=day) for day in range(n)]


def test_a_joint_row_is_the_mean_of_regime_and_texts_recomputed_by_hand(
    db_manager: DatabaseManager, save_macro: SaveText, table_digests: TableDigest
) -> None:
    days = weekdays(3)
    save_regimes(db_manager, days[:2])
    texts = [save_macro(at(days[0])), save_macro(at(days[0], 15)), save_macro(at(days[2]))]
    save_macro(at(days[0]), country="DE")

    run = join(db_manager, country="US")

    assert (run.report.planned, run.report.written) == (1, 1)
    assert run.without_text == (days[1],)
    assert run.without_regime == (days[2],)
    (row,) = JointEmbeddingStore(db_manager).load(REGIME_MACRO, "US", "joint-regime-core-v1", SPAN.start, SPAN.end)
    (state,) = RegimeStorage(db_manager=db_manager).get_history("US", days[0], days[0])
    by_hand = 0.5 * state.regime_embedding.astype(float) + 0.5 * np.mean([t.astype(float) for t in texts[:2]], axis=0)
    np.testing.assert_allclose(row.vector, by_hand, rtol=1e-6)
    assert row.entity_scope == {"region": "US", "source": "regime+macro", "macro_filters": {"country": "US"}}
    assert (row.joint_type, row.as_of_date) == ("REGIME_MACRO_V0", days[0])
    tables = table_digests()
    assert join(db_manager, country="US").report.written == 0
    assert table_digests() == tables


def test_a_plan_counts_the_rows_that_are_new_or_differ_and_writes_none(
    db_manager: DatabaseManager, save_macro: SaveText, table_digests: TableDigest
) -> None:
    days = weekdays(6)
    save_regimes(db_manager, days)
    for day in days:
        save_macro(at(day))
    joint, wanted = App(db_manager).joint, [request_of(SPAN)]
    assert joint.backfill(wanted, V1, dry_run=True).report.written == 6
    join(db_manager, span=DateSpan.of_range(days[0], days[3]))
    before = table_digests()
    plan = joint.backfill(wanted, V1, dry_run=True)
    assert (plan.report.planned, plan.report.written, plan.report.n_bytes) == (6, 2, 2 * 4 * DIM)
    assert table_digests() == before
    join(db_manager)
    again = joint.backfill(wanted, V1, dry_run=True)
    assert (again.report.written, again.estimated_seconds) == (0, 0.0)


def test_filters_make_rows_of_their_own_and_only_those_given_stand_in_the_scope(
    db_manager: DatabaseManager, save_macro: SaveText
) -> None:
    save_regimes(db_manager, weekdays(1))
    save_macro(at(FIRST))
    save_macro(at(FIRST), event_type="FOMC")

    for country, event_type in ((None, None), ("US", None), (None, "FOMC"), ("US", "CPI")):
        assert join(db_manager, country=country, event_type=event_type).report.written == 1

    rows = JointEmbeddingStore(db_manager).load(REGIME_MACRO, "US", "joint-regime-core-v1", SPAN.start, SPAN.end)
    scopes = [row.entity_scope["macro_filters"] for row in rows]
    assert len(scopes) == 4
    assert {"event_type": "FOMC"} in scopes
    assert {} in scopes


@pytest.mark.parametrize(
    ("timestamp", "known_at", "is_used"),
    [
        (at(FIRST), None, True),
        (at(FIRST), at(FIRST, 23, 59), True),
        (at(FIRST), at(FIRST + timedelta(days=1), 0, 1), False),
        (at(FIRST + timedelta(days=1), 0, 1), at(FIRST), False),
        (at(FIRST, 0, 0), at(FIRST - timedelta(days=30)), True),
    ],
)
def test_a_text_counts_on_its_own_date_and_only_if_it_was_known_then(
    timestamp: datetime, known_at: datetime | None, is_used: bool, db_manager: DatabaseManager, save_macro: SaveText
) -> None:
    save_macro(timestamp, known_at=known_at)

    daily = TextVectorReader(db_manager).load(TextSelection("MACRO", "text-macro-v1", {}), FIRST, FIRST)

    assert list(daily.n_texts) == ([1] if is_used else [])


@pytest.mark.parametrize("session_zone", ["UTC", "America/New_York", "Asia/Tokyo"])
def test_the_session_time_zone_changes_nothing(
    session_zone: str, db_manager: DatabaseManager, save_macro: SaveText
) -> None:
    for hour in (0, 3, 12, 23):
        save_macro(at(FIRST, hour))
    expected = TextVectorReader(db_manager).load(TextSelection("MACRO", "text-macro-v1", {}), SPAN.start, SPAN.end)

    class InZone:
        def get_historical_connection(self) -> Any:
            return self._connection()

        def _connection(self) -> Any:
            from contextlib import contextmanager

            @contextmanager
            def connected() -> Any:
                with db_manager.get_historical_connection() as connection:
                    connection.execute(f"SET LOCAL TimeZone = '{session_zone}'")
                    yield connection

            return connected()

    found = TextVectorReader(InZone()).load(TextSelection("MACRO", "text-macro-v1", {}), SPAN.start, SPAN.end)

    assert found.dates.tolist() == expected.dates.tolist() == [FIRST]
    assert found.vectors.tobytes() == expected.vectors.tobytes()


def test_means_that_are_kept_for_a_run_are_those_that_are_read(
    db_manager: DatabaseManager, save_macro: SaveText
) -> None:
    for number, hour in enumerate((0, 3, 3, 12, 23, 5, 7)):
        save_macro(at(FIRST + timedelta(days=number % 5), hour))
    wanted = TextSelection("MACRO", "text-macro-v1", {})
    other = TextSelection("MACRO", "text-macro-v1", {"country": "JP"})
    kept, reader = DailyTextsOfOneRun(db_manager), TextVectorReader(db_manager)
    days = [date.min, *(FIRST + timedelta(days=number) for number in range(-1, 7)), date.max]
    spans = [(first, last) for first in days for last in days if first <= last]
    for number, (first, last) in enumerate(random.Random(3).sample(spans, len(spans))):
        selection = wanted if number % 4 else other
        found, expected = kept.load(selection, first, last), reader.load(selection, first, last)
        assert found.dates.tolist() == expected.dates.tolist()
        assert found.n_texts.tolist() == expected.n_texts.tolist()
        assert found.vectors.tobytes() == expected.vectors.tobytes()


def test_a_named_time_zone_moves_texts_to_its_dates_and_stands_in_the_scope(
    db_manager: DatabaseManager, save_macro: SaveText
) -> None:
    save_regimes(db_manager, weekdays(2))
    save_macro(at(FIRST, 23))

    assert join(db_manager).report.planned == 1
    assert join(db_manager, timezone="Asia/Tokyo").report.written == 1

    rows = JointEmbeddingStore(db_manager).load(REGIME_MACRO, "US", "joint-regime-core-v1", SPAN.start, SPAN.end)
    assert [(row.as_of_date, row.entity_scope["macro_filters"]) for row in rows] == [
        (FIRST, {}),
        (FIRST + timedelta(days=1), {"timezone": "Asia/Tokyo"}),
    ]


def test_one_date_alone_and_the_whole_range_give_the_same_daily_means(
    db_manager: DatabaseManager, save_macro: SaveText
) -> None:
    for day in weekdays(5):
        for hour in range(1 + day.day % 4):
            save_macro(at(day, hour))
    reader = TextVectorReader(db_manager)

    whole = reader.load(TextSelection("MACRO", "text-macro-v1", {}), date(2020, 1, 1), date(2026, 1, 1))

    assert whole.dates.tolist() == weekdays(5)
    for day, vector, n_texts in zip(whole.dates.tolist(), whole.vectors, whole.n_texts, strict=True):
        alone = reader.load(TextSelection("MACRO", "text-macro-v1", {}), day, day)
        assert alone.vectors[0].tobytes() == vector.tobytes()
        assert alone.n_texts[0] == n_texts == 1 + day.day % 4


def test_a_short_regime_embedding_is_refused_and_nothing_is_stored(
    db_manager: DatabaseManager, save_macro: SaveText, table_digests: TableDigest
) -> None:
    save_regimes(db_manager, weekdays(1), dim=5)
    save_macro(at(FIRST))
    before = table_digests()

    with pytest.raises(VectorError, match="the numeric embedding has 5 values, the text embedding 8"):
        join(db_manager)

    assert table_digests() == before


def test_a_region_without_regimes_and_texts_is_named(db_manager: DatabaseManager) -> None:
    with pytest.raises(NoRegimesError, match="'US' has no regimes"):
        join(db_manager)


def test_other_weights_under_a_known_id_are_refused(db_manager: DatabaseManager, save_macro: SaveText) -> None:
    save_regimes(db_manager, weekdays(1))
    save_macro(at(FIRST))
    join(db_manager)

    with pytest.raises(ModelFingerprintError, match=r"numeric_weight: stored 0\.5, now 0\.9"):
        join(db_manager, JointModelChoice("num-regime-core-v1", "text-macro-v1", "joint-regime-core-v1", 0.9, 0.5))


def test_the_first_version_warns_of_the_branch_that_drowns_the_other(
    db_manager: DatabaseManager, save_macro: SaveText, caplog: pytest.LogCaptureFixture
) -> None:
    save_regimes(db_manager, weekdays(6))
    for day in weekdays(6):
        save_macro(at(day))

    with caplog.at_level(logging.WARNING, logger="prometheus"):
        logging.getLogger("prometheus").propagate = True
        run = join(db_manager)

    assert run.text_share is not None
    assert run.text_share < 1e-12
    assert "the numeric branch holds 100 % of the squared distance" in caplog.text


def test_the_second_version_freezes_its_means_and_balances_the_branches(
    db_manager: DatabaseManager, save_macro: SaveText, table_digests: TableDigest
) -> None:
    days = weekdays(300)
    save_regimes(db_manager, days)
    for day in days:
        save_macro(at(day))
    until = days[149]
    later = DateSpan.of_range(days[150], days[-1])
    v2 = JointModelChoice("num-regime-core-v1", "text-macro-v1", "joint-regime-core-v2", centre_until=until)

    with pytest.raises(UsageError, match="--centre-until"):
        join(db_manager, JointModelChoice("num-regime-core-v1", "text-macro-v1", "joint-regime-core-v2"), later)
    first = join(db_manager, v2, later)

    assert first.report.written == 150
    assert first.text_share == pytest.approx(0.1, abs=0.03)
    before = table_digests()
    assert join(db_manager, v2, later).report.written == 0
    alone = DateSpan.of_date(days[200])
    again = join(db_manager, JointModelChoice("num-regime-core-v1", "text-macro-v1", "joint-regime-core-v2"), alone)
    assert (again.report.planned, again.report.written) == (1, 0)
    with pytest.raises(UsageError, match="frozen on dates up to"):
        join(db_manager, JointModelChoice("num-regime-core-v1", "text-macro-v1", "joint-regime-core-v2",
                                          centre_until=days[100]), later)  # fmt: skip
    with pytest.raises(InputRefusedError, match="would know its own future"):
        join(db_manager, v2, DateSpan.of_range(days[140], days[160]))
    assert table_digests() == before


def test_means_of_one_region_never_centre_another(db_manager: DatabaseManager, save_macro: SaveText) -> None:
    days = weekdays(30)
    for region in ("US", "EU"):
        save_regimes(db_manager, days, region=region)
    for day in days:
        save_macro(at(day))
    v2 = JointModelChoice("num-regime-core-v1", "text-macro-v1", "joint-regime-core-v2", centre_until=days[24])
    later = DateSpan.of_range(days[25], days[-1])
    join(db_manager, v2, later)
    elsewhere = JointRequest(REGIME_MACRO, "EU", later, v2.numeric_model_id, v2.text_model_id, {})

    with pytest.raises(UsageError, match="were taken of US, REGIME_MACRO_V0, num-regime-core-v1, text-macro-v1"):
        App(db_manager).joint.backfill([elsewhere], v2)


def test_news_rows_have_their_own_type_and_scope(db_manager: DatabaseManager) -> None:
    save_regimes(db_manager, weekdays(1))
    with db_manager.get_historical_connection() as connection:
        (article_id,) = connection.execute(
            "INSERT INTO news_articles (published_at, language, headline) VALUES (%s, 'en', 'x') RETURNING article_id",
            (at(FIRST),),
        ).fetchall()[0]
        connection.execute(
            "INSERT INTO text_embeddings (source_type, source_id, model_id, dim, vector)"
            " VALUES ('NEWS', %s, 'text-fin-general-v1', %s, %s)",
            (str(article_id), DIM, encode_vector(np.ones(DIM, dtype=np.float32))),
        )
    choice = JointModelChoice("num-regime-core-v1", "text-fin-general-v1", "joint-regime-core-v1")
    request = JointRequest(REGIME_NEWS, "US", SPAN, choice.numeric_model_id, choice.text_model_id, {"language": "en"})

    App(db_manager).joint.backfill([request], choice)

    (row,) = JointEmbeddingStore(db_manager).load(REGIME_NEWS, "US", "joint-regime-core-v1", SPAN.start, SPAN.end)
    assert row.joint_type == "REGIME_CONTEXT_V0"
    assert row.entity_scope == {"region": "US", "source": "regime+news", "news_filters": {"language": "en"}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"numeric_weight": 0.0, "text_weight": 0.0}, "not both zero"),
        ({"numeric_weight": float("nan")}, "finite"),
        ({"text_share": 0.1}, "joint-regime-core-v2"),
        ({"joint_model_id": "joint-regime-core-v2", "text_share": 0.1, "numeric_weight": 0.5}, "either"),
        ({"joint_model_id": "joint-regime-core-v2", "text_share": 2.0}, "between 0 and 1"),
        ({"joint_model_id": "joint-regime-core-v2", "numeric_weight": -1.0}, "not negative"),
    ],
)
def test_a_choice_of_models_that_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    defaults = {"numeric_model_id": "n", "text_model_id": "t", "joint_model_id": "joint-regime-core-v1"}

    with pytest.raises(UsageError, match=message):
        JointModelChoice(**{**defaults, **arguments})


def scopes_of(db_manager: DatabaseManager) -> list[tuple[dict[str, Any], int]]:
    with db_manager.get_historical_connection() as connection:
        return connection.execute(
            "SELECT entity_scope->'macro_filters', count(*) FROM joint_embeddings GROUP BY 1 ORDER BY 1"
        ).fetchall()


@pytest.mark.parametrize("spellings", [("USA", "US", "us"), ("US", "United States"), ("u.s.", "USD", "usa")])
def test_another_spelling_of_a_country_opens_no_scope(
    db_manager: DatabaseManager, save_macro: SaveText, table_digests: TableDigest, spellings: tuple[str, ...]
) -> None:
    days = weekdays(4)
    save_regimes(db_manager, days)
    for day, country in zip(days, ("USA", "US", "United States", "us"), strict=True):
        save_macro(at(day), country=country)
    first, *others = spellings
    assert join(db_manager, country=first).report.written == 4
    assert scopes_of(db_manager) == [({"country": "US"}, 4)]
    before = table_digests()
    for other in others:
        assert join(db_manager, country=other).report.written == 0
    assert table_digests() == before


def test_rows_of_an_older_spelling_keep_it_and_are_gone_on_with(
    db_manager: DatabaseManager, save_macro: SaveText, table_digests: TableDigest
) -> None:
    days = weekdays(4)
    save_regimes(db_manager, days)
    for day in days:
        save_macro(at(day))
    join(db_manager, span=DateSpan.of_range(days[0], days[1]), country="US")
    with db_manager.get_historical_connection() as connection:
        connection.execute(
            "UPDATE joint_embeddings SET entity_scope = jsonb_set(entity_scope, '{macro_filters,country}', '\"USA\"')"
        )
    before = table_digests()
    assert join(db_manager, span=DateSpan.of_range(days[0], days[1]), country="US").report.written == 0
    assert table_digests() == before
    assert join(db_manager, country="us").report.written == 2
    assert scopes_of(db_manager) == [({"country": "USA"}, 4)]
    rows = App(db_manager).joint.rows(REGIME_MACRO, "US", V1.joint_model_id, FIRST, date.max, None)
    assert [row.as_of_date for row in rows] == days
    assert join(db_manager, country="US", event_type="CPI").report.written == 4
    assert len(scopes_of(db_manager)) == 2
