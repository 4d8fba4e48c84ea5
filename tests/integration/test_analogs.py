"""Analogs from stored rows: the same as by hand, and blind to everything after the date."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from psycopg import sql
from tests.fixtures.market import LoadPrices, weekdays

from prometheus.analogs.search import AnalogReport, AnalogRequest
from prometheus.app import App
from prometheus.app.databases import DatabaseManager
from prometheus.app.text_search import TextQuery
from prometheus.arrays import as_float32, encode_vector
from prometheus.data.models import ModelRegistry
from prometheus.data.vectors.joint import JointEmbeddingStore
from prometheus.encoders.joint.examples import JointExample
from prometheus.errors import InputRefusedError, NoRegimesError, NotFoundError, UsageError
from prometheus.regime import RegimeLabel, RegimeState, RegimeStorage

DAYS = weekdays(400)
AS_OF = DAYS[349].item()
MODEL = "num-regime-core-v1@two"
DIM = 6
LABELS = [RegimeLabel.NEUTRAL, RegimeLabel.CRISIS]
Find = Callable[..., AnalogReport]


def save_states(
    db_manager: DatabaseManager, days: np.ndarray, seed: int = 5, model_id: str = MODEL, instrument_id: str = "X"
) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(len(days), DIM)).astype(np.float32)
    RegimeStorage(db_manager=db_manager).save_regimes([
        RegimeState(day, "US", LABELS[at % 2], 0.5 + at % 2 / 4, vectors[at],
                    {"instrument_id": instrument_id, "window_days": 63}, model_id, "num-regime-core-v1")
        for at, day in enumerate(days.tolist())
    ])  # fmt: skip
    return vectors


def save_text(db_manager: DatabaseManager, when: datetime, known_at: datetime | None, text: str, seed: int) -> None:
    vector = np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
    with db_manager.get_historical_connection() as connection:
        (event_id,) = connection.execute(
            "INSERT INTO macro_events (event_type, timestamp, known_at, country, description)"
            " VALUES ('CPI', %s, %s, 'US', %s) RETURNING event_id",
            (when, known_at, text),
        ).fetchall()[0]
        connection.execute(
            "INSERT INTO text_embeddings (source_type, source_id, model_id, dim, vector)"
            " VALUES ('MACRO', %s, 'text-macro-v1', %s, %s)",
            (str(event_id), DIM, encode_vector(vector)),
        )


def save_texts(db_manager: DatabaseManager, days: np.ndarray, seed: int = 0) -> None:
    ModelRegistry(db_manager).register("text-macro-v1", "text", {"family": "made up"})
    for at, day in enumerate(days.tolist()):
        save_text(db_manager, datetime(day.year, day.month, day.day, 14, tzinfo=UTC), None, f"text of {day}", seed + at)


def save_joint(
    db_manager: DatabaseManager, days: np.ndarray, seed: int, branches: tuple[str, str | None],
    model_id: str = "joint-regime-core-v1",
) -> None:  # fmt: skip
    vectors = np.random.default_rng(seed).normal(size=(len(days), DIM)).astype(np.float32)
    scope = {"region": "US", "source": "regime+macro", "macro_filters": {}}
    examples = [
        JointExample("REGIME_MACRO_V0", day, scope, row, row) for day, row in zip(days.tolist(), vectors, strict=True)
    ]
    JointEmbeddingStore(db_manager).save_embeddings(examples, model_id, vectors, branches)


BRANCHES = ("num-regime-core-v1", "text-macro-v1")


@pytest.fixture
def closes(load_prices: LoadPrices) -> np.ndarray:
    """Prices of X on all days."""
    values: np.ndarray = 100 * np.exp(np.random.default_rng(2).normal(0, 0.01, len(DAYS)).cumsum())
    load_prices("X", DAYS, values.tolist(), [1e6] * len(DAYS))
    return values


@pytest.fixture
def find(db_manager: DatabaseManager, closes: np.ndarray) -> Find:
    """Ask for analogs of the region US."""
    return lambda **more: App(db_manager).analogs.find(
        AnalogRequest(**{"region": "US", "as_of": AS_OF, "k": 5, **more})
    )


def test_analogs_of_stored_regimes_are_those_computed_by_hand(
    db_manager: DatabaseManager, find: Find, closes: np.ndarray
) -> None:
    vectors = save_states(db_manager, DAYS)

    report = find(k=3, exclude_sessions=63)

    distances = np.linalg.norm(vectors[:286].astype(np.float64) - vectors[349], axis=1)
    best = int(distances.argmin())
    first = report.analogs[0]
    assert first.as_of_date == DAYS[best].item()
    assert first.distance == pytest.approx(distances[best])
    assert (first.regime_label, first.confidence) == (LABELS[best % 2].name, 0.5 + best % 2 / 4)
    assert first.outcomes[0].total_return == pytest.approx(closes[best + 21] / closes[best] - 1)
    assert first.outcomes[0].known_from == DAYS[best + 21].item()
    assert (report.n_candidates, report.instrument_id, report.regime_model_id) == (286, "X", MODEL)
    positions = sorted(int(np.searchsorted(DAYS, np.datetime64(each.as_of_date))) for each in report.analogs)
    assert min(np.diff([*positions, 349])) > 63


def poison(db_manager: DatabaseManager, load_prices: LoadPrices) -> None:
    """Store what lies after the date anew: regimes of several models and sources, prices, texts, joint rows."""
    later = DAYS[350:]
    save_states(db_manager, later[:30], seed=99)  # so that another model is the newest
    save_states(db_manager, later, seed=98, model_id="num-regime-core-v1@later")
    save_states(db_manager, later, seed=97, model_id="num-regime-core-v1@other", instrument_id="Y")
    save_joint(db_manager, later, 96, ("num-regime-core-v2", "text-macro-v1"))
    save_texts(db_manager, later, seed=5_000)
    known_later = datetime(2030, 1, 1, tzinfo=UTC)
    save_text(db_manager, datetime(AS_OF.year, AS_OF.month, AS_OF.day, 9, tzinfo=UTC), known_later, "known later", 7)
    with db_manager.get_historical_connection() as connection:
        connection.execute("UPDATE prices_daily SET adjusted_close = 7 * close WHERE trade_date > %s", (AS_OF,))


@pytest.mark.parametrize("space", ["numeric", "text", "joint"])
def test_nothing_after_the_date_changes_anything(
    db_manager: DatabaseManager, load_prices: LoadPrices, find: Find, space: str
) -> None:
    save_states(db_manager, DAYS[:350])
    save_texts(db_manager, DAYS[200:350])
    save_joint(db_manager, DAYS[:350], 4, BRANCHES)
    asked = {"space": space, "exclude_sessions": 10, "k": 8}
    before = find(**asked).to_dict()

    poison(db_manager, load_prices)

    assert find(**asked).to_dict() == before
    knowable = {each["known_from"] for analog in before["analogs"] for each in analog["followed_by"]}
    assert all(day is None or day <= str(AS_OF) for day in knowable)
    assert None in knowable or space == "text"


def test_rows_loaded_once_do_not_answer_for_a_changed_table(db_manager: DatabaseManager, find: Find) -> None:
    save_states(db_manager, DAYS)
    app = App(db_manager)
    request = AnalogRequest("US", AS_OF, k=3)
    before = app.analogs.find(request)

    save_states(db_manager, DAYS, seed=6)

    after = app.analogs.find(request)
    assert after.to_dict() == find(k=3).to_dict()
    assert after.to_dict() != before.to_dict()


EDITS = (
    "UPDATE regimes SET regime_embedding = {vector} WHERE as_of_date = {day}",
    "UPDATE regimes SET regime_embedding = {vector}, created_at = '2020-01-01' WHERE as_of_date = {day}",
    "DELETE FROM regimes WHERE as_of_date = {day}",
    "UPDATE regimes SET regime_label = 'CARRY', confidence = 0.5 WHERE as_of_date = {day}",
    "UPDATE prices_daily SET adjusted_close = adjusted_close * 1.5 WHERE trade_date = {day}",
    "DELETE FROM prices_daily WHERE trade_date = {day}",
    "DELETE FROM joint_embeddings WHERE as_of_date = {day}",
    "UPDATE models SET config = config || '{{}}' WHERE model_id = 'text-macro-v1'",
)


def edit(db_manager: DatabaseManager, numbers: np.random.Generator) -> None:
    """Change one thing by hand, in whichever of the databases it is."""
    template = EDITS[numbers.integers(len(EDITS))]
    is_runtime = " regimes " in template
    connect = db_manager.get_runtime_connection if is_runtime else db_manager.get_historical_connection
    statement = sql.SQL(template).format(
        vector=encode_vector(numbers.normal(size=DIM).astype(np.float32)), day=DAYS[numbers.integers(5, 398)].item()
    )
    with connect() as connection:
        connection.execute(statement)


def test_what_is_kept_answers_as_a_new_process_does_whatever_is_written_between(
    db_manager: DatabaseManager, find: Find
) -> None:
    save_states(db_manager, DAYS)
    save_joint(db_manager, DAYS, 4, BRANCHES)
    app, numbers = App(db_manager), np.random.default_rng(12)

    for turn in range(40):
        if turn % 2:  # of two questions in a row the second finds what the first one kept
            edit(db_manager, numbers)
        asked = {
            "space": ("numeric", "joint")[turn % 3 == 2], "as_of": DAYS[numbers.integers(300, 400)].item(), "k": 4,
            "exclude_sessions": 10, "least": bool(turn % 5 == 4), "metric": ("euclidean", "cosine")[turn % 7 == 6],
        }  # fmt: skip
        assert app.analogs.find(AnalogRequest("US", **asked)).to_dict() == find(**asked).to_dict()


def test_a_weekend_is_answered_by_the_friday(
    db_manager: DatabaseManager, find: Find, caplog: pytest.LogCaptureFixture
) -> None:
    save_states(db_manager, DAYS)
    friday = AS_OF - timedelta(days=(AS_OF.weekday() - 4) % 7)

    report = find(as_of=friday + timedelta(days=1))

    assert report.as_of_date == friday
    assert f"US has no embedding on {friday + timedelta(days=1)}; using the last one, of {friday}" in caplog.text


def test_bad_requests_say_what_there_is(db_manager: DatabaseManager, find: Find) -> None:
    save_states(db_manager, DAYS)
    with pytest.raises(NoRegimesError, match=r"'MARS' has no regimes at all \(regions that have: US\)"):
        find(region="MARS")
    with pytest.raises(NotFoundError, match=f"no embedding on 1990-01-01; there are some from {DAYS[0]} to {DAYS[-1]}"):
        find(as_of=date(1990, 1, 1))
    with pytest.raises(NotFoundError, match=r"no embedding on 2031-01-01; there are some from"):
        find(as_of=date(2031, 1, 1))
    with pytest.raises(UsageError, match="--k 0"):
        find(k=0)
    with pytest.raises(UsageError, match="--k 1000000000"):
        find(k=10**9)
    with pytest.raises(NoRegimesError, match="of nobody"):
        find(model_id="nobody")
    with pytest.raises(NoRegimesError, match="of nobody"):
        find(regime_model_id="nobody")
    with pytest.raises(UsageError, match="--country selects macro texts"):
        find(country="US")
    with pytest.raises(NotFoundError, match="no MACRO text embeddings; make them with"):
        find(space="text")


def test_a_model_made_from_later_data_is_refused(db_manager: DatabaseManager, find: Find) -> None:
    save_states(db_manager, DAYS)
    config = {"source": {"start": "1964-01-02", "end": str(AS_OF)}}
    ModelRegistry(db_manager).register("num-regime-core-v1", "numeric", config)

    with pytest.raises(NotFoundError, match=f"made from data up to {AS_OF}, so it did not exist on"):
        find()
    assert find(as_of=DAYS[350].item()).as_of_date == DAYS[350].item()


def test_labels_learned_from_later_data_are_not_shown(
    db_manager: DatabaseManager, find: Find, caplog: pytest.LogCaptureFixture
) -> None:
    save_states(db_manager, DAYS)
    ModelRegistry(db_manager).register(MODEL, "regime", {"calibration": {"end": str(DAYS[360])}})

    report = find()

    assert report.regime_model_id is None
    assert {analog.regime_label for analog in report.analogs} == {None}
    assert "no labels are shown" in caplog.text


def test_vectors_of_several_models_are_never_mixed(db_manager: DatabaseManager, find: Find) -> None:
    save_states(db_manager, DAYS)
    save_joint(db_manager, DAYS[:200], 1, BRANCHES)
    save_joint(db_manager, DAYS[200:], 2, ("num-regime-core-v2", "text-macro-v1"))
    save_texts(db_manager, DAYS[300:])
    with pytest.raises(InputRefusedError, match="which is no one space"):
        find(space="joint")

    examples = [
        JointExample(
            "REGIME_MACRO_V0",
            AS_OF,
            {"region": "US", "source": "regime+macro"},
            as_float32([1, 1, 1]),
            as_float32([1, 1, 1]),
        )
    ]
    store = JointEmbeddingStore(db_manager)
    store.save_embeddings(examples, "joint-regime-core-v2", np.ones((1, 3), dtype=np.float32), BRANCHES)
    with pytest.raises(NotFoundError, match="joint-regime-core-v1, joint-regime-core-v2"):
        find(space="joint")
    save_joint(db_manager, DAYS[:350], 3, ("num-regime-core-v2", None), "joint-regime-core-v3")
    assert find(space="joint").model_id == "joint-regime-core-v3"
    save_joint(db_manager, DAYS[:350], 4, ("num-regime-core-v2", None), "joint-regime-core-v3-half")
    with pytest.raises(
        NotFoundError, match="name one \\(--model-id\\): joint-regime-core-v3, joint-regime-core-v3-half"
    ):
        find(space="joint")

    ModelRegistry(db_manager).register("text-other", "text", {"family": "made up"})
    with db_manager.get_historical_connection() as connection:
        connection.execute(
            "INSERT INTO text_embeddings (source_type, source_id, model_id, dim, vector)"
            " VALUES ('MACRO', '0', 'text-other', 1, '\\x00000000')"
        )
    assert find(space="text", exclude_sessions=5).model_id == "text-macro-v1"


def test_a_text_of_yesterday_counts_from_the_day_it_became_known(db_manager: DatabaseManager) -> None:
    friday, saturday = datetime(2025, 1, 3, 14, tzinfo=UTC), datetime(2025, 1, 4, 9, tzinfo=UTC)
    save_text(db_manager, friday, saturday, "late", 1)
    texts = App(db_manager).wired.texts

    assert texts.newest("MACRO", date(2025, 1, 3)) is None
    assert texts.newest("MACRO", date(2025, 1, 4)) == date(2025, 1, 3)
    assert texts.texts_of("MACRO", date(2025, 1, 3), date(2025, 1, 3)) == []
    assert [text.text for text in texts.texts_of("MACRO", date(2025, 1, 3), date(2025, 1, 4))] == ["late"]
    assert texts.kinds_by_day("MACRO", date(2025, 1, 3), date(2025, 1, 3)) == []
    assert [day for day, _ in texts.kinds_by_day("MACRO", date(2025, 1, 3), date(2025, 1, 4))] == [date(2025, 1, 3)]
    assert texts.kinds_by_day("MACRO", date(2025, 1, 4), date(2025, 1, 9)) == []


@pytest.mark.usefixtures("closes")
def test_a_region_is_briefed_by_the_model_that_answered_on_the_date(db_manager: DatabaseManager) -> None:
    save_states(db_manager, DAYS[:360])
    briefings = App(db_manager).briefings
    before = briefings.of("US", AS_OF)

    save_states(db_manager, DAYS[350:], seed=8, model_id="num-regime-core-v1@newer")

    after = briefings.of("US", AS_OF)
    assert (after.history.model_id, after.changes) == (MODEL, before.changes)
    assert briefings.of("US").history.model_id == "num-regime-core-v1@newer"


def test_questions_that_cannot_be_are_refused() -> None:
    for text in ("  ", "x" * 10_001):
        with pytest.raises(UsageError, match="question"):
            TextQuery(text, AS_OF)
    with pytest.raises(UsageError, match="--k 0"):
        TextQuery("rates", AS_OF, k=0)
