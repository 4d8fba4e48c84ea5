"""Regimes at rest: transitions always say what the rows say, in whatever order the rows came."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from itertools import count
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.database import TableDigest
from tests.property.strategies import LABELS, bounded
from tests.reference.regimes import slow_matrix, slow_transitions

from prometheus.app.databases import DatabaseManager
from prometheus.errors import AmbiguousModelError, NoRegimesError, PrototypeError, VectorError
from prometheus.regime import RegimeLabel, RegimeState, RegimeStorage

DAY = date(2025, 1, 31)
N, C, R, K = RegimeLabel.NEUTRAL, RegimeLabel.CRISIS, RegimeLabel.RISK_OFF, RegimeLabel.CARRY
_regions = count(1)
Transitions = set[tuple[date, date, str, str]]


@pytest.fixture
def storage(db_manager: DatabaseManager) -> RegimeStorage:
    return RegimeStorage(db_manager=db_manager)


def state(
    day: date | int, label: str, region: str = "US", model_id: str = "m-v1@00000000", **changes: Any
) -> RegimeState:
    values: dict[str, Any] = {
        "as_of_date": day if isinstance(day, date) else DAY + timedelta(days=day),
        "region": region,
        "regime_label": RegimeLabel[label],
        "confidence": 0.75,
        "regime_embedding": np.array([1.0, -2.5], dtype=np.float32),
        "metadata": {"instrument_id": "SPX", "window_days": 63, "distances": {label: 0.1}},
        "model_id": model_id,
    }
    return RegimeState(**(values | changes))


def history(labels: str, **where: str) -> list[RegimeState]:
    """States of consecutive days, from initials: N, C, R, K."""
    names = {"N": "NEUTRAL", "C": "CRISIS", "R": "RISK_OFF", "K": "CARRY"}
    return [state(n, names[initial], **where) for n, initial in enumerate(labels)]


def stored_labels(manager: DatabaseManager, region: str, model_id: str) -> dict[date, str]:
    with manager.get_runtime_connection() as connection:
        rows = connection.execute(
            "SELECT as_of_date, regime_label FROM regimes WHERE region = %s AND model_id = %s", (region, model_id)
        )
        return {row[0]: row[1] for row in rows}


def stored_transitions(manager: DatabaseManager, region: str, model_id: str) -> Transitions:
    with manager.get_runtime_connection() as connection:
        rows = connection.execute(
            "SELECT as_of_date, previous_date, from_label, to_label FROM regime_transitions"
            " WHERE region = %s AND model_id = %s",
            (region, model_id),
        )
        return {(row[0], row[1], row[2], row[3]) for row in rows}


def fields(each: RegimeState) -> tuple[Any, ...]:
    """All of a state, comparable."""
    return (
        each.as_of_date, each.region, each.regime_label, each.confidence, each.regime_embedding.tobytes(),
        each.metadata, each.model_id, each.encoder_model_id,
    )  # fmt: skip


batches = st.lists(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(LABELS), st.sampled_from(["m-v1", "m-v2"])), min_size=1, max_size=6
    ),
    min_size=1,
    max_size=6,
)


@bounded(80)
@given(saves=batches)
def test_transitions_are_those_of_the_rows_whatever_was_saved_in_whatever_order(
    storage: RegimeStorage, db_manager: DatabaseManager, saves: list[list[tuple[int, str, str]]]
) -> None:
    region = f"R{next(_regions)}"
    expected: dict[str, dict[date, str]] = {}
    for batch in saves:
        before = {model_id: dict(labels) for model_id, labels in expected.items()}
        for day, label, model_id in batch:
            expected.setdefault(model_id, {})[DAY + timedelta(days=day)] = label
        n_written = storage.save_regimes([state(day, label, region, model_id) for day, label, model_id in batch])
        n_changed = sum(
            before.get(model_id, {}).get(day) != label
            for model_id, labels in expected.items()
            for day, label in labels.items()
        )
        assert n_written == n_changed
        for model_id, labels in expected.items():
            assert stored_labels(db_manager, region, model_id) == labels
            assert stored_transitions(db_manager, region, model_id) == slow_transitions(labels)
    for model_id, labels in expected.items():
        in_order = [labels[day] for day in sorted(labels)]
        assert storage.get_transition_matrix(region, model_id) == slow_matrix(in_order)
        assert [each.regime_label for each in storage.get_history(region, date.min, date.max, model_id)] == in_order


def test_a_date_between_two_of_one_label_adds_two_changes_and_taking_it_back_removes_them(
    storage: RegimeStorage, db_manager: DatabaseManager
) -> None:
    storage.save_regimes([state(0, "NEUTRAL"), state(2, "NEUTRAL")])
    assert stored_transitions(db_manager, "US", "m-v1@00000000") == set()
    storage.save_regime(state(1, "CRISIS"))
    first, second = DAY + timedelta(days=1), DAY + timedelta(days=2)
    assert stored_transitions(db_manager, "US", "m-v1@00000000") == {
        (first, DAY, "NEUTRAL", "CRISIS"),
        (second, first, "CRISIS", "NEUTRAL"),
    }
    storage.save_regime(state(1, "NEUTRAL"))
    assert stored_transitions(db_manager, "US", "m-v1@00000000") == set()


def test_a_date_before_all_others_moves_nothing_but_the_first_change(
    storage: RegimeStorage, db_manager: DatabaseManager, table_digests: TableDigest
) -> None:
    storage.save_regimes(history("NNCCN"))
    before = table_digests()["runtime.regime_transitions"]
    storage.save_regime(state(-5, "NEUTRAL"))
    assert table_digests()["runtime.regime_transitions"] == before
    storage.save_regime(state(-5, "CARRY"))
    assert len(stored_transitions(db_manager, "US", "m-v1@00000000")) == 3


def test_saving_the_same_again_writes_nothing(storage: RegimeStorage, table_digests: TableDigest) -> None:
    states = history("NNCCNK") + history("CN", region="EU") + history("RR", model_id="m-v2")
    assert storage.save_regimes(states) == 10
    before = table_digests()
    assert storage.save_regimes(list(reversed(states))) == 0
    for each in states:
        storage.save_regime(each)
    assert table_digests() == before


@pytest.mark.parametrize(
    "change",
    [
        {"regime_label": C},
        {"confidence": np.nextafter(0.75, 1)},
        {"regime_embedding": np.array([1.0, 2.5], dtype=np.float32)},
        {"regime_embedding": np.array([1.0, -2.5, 0.0], dtype=np.float32)},
        {"metadata": {"instrument_id": "SPX"}},
        {"encoder_model_id": "m-v2"},
    ],
)
def test_whatever_changed_is_written(storage: RegimeStorage, change: dict[str, Any]) -> None:
    storage.save_regimes(history("NNN"))
    changed = state(1, "NEUTRAL", **change)
    assert storage.save_regimes([changed]) == 1
    assert fields(storage.get_history("US", changed.as_of_date, changed.as_of_date)[0]) == fields(changed)


def test_the_later_of_two_states_of_one_date_counts(storage: RegimeStorage, db_manager: DatabaseManager) -> None:
    assert storage.save_regimes([state(0, "CRISIS"), state(1, "NEUTRAL"), state(0, "CARRY")]) == 2
    assert stored_labels(db_manager, "US", "m-v1@00000000")[DAY] == "CARRY"


def test_a_state_comes_back_whole(storage: RegimeStorage) -> None:
    generator = np.random.default_rng(1)
    saved = state(
        0,
        "RISK_OFF",
        region="Länder; 'x'",
        confidence=0.1 + 0.2,
        regime_embedding=generator.normal(size=384).astype(np.float32),
        metadata={"distances": {"NEUTRAL": 1 / 3, "CRISIS": 1e-300}, "nested": [None, True, "ü"]},
        model_id="desk-view",
        encoder_model_id="num-regime-core-v1",
    )
    storage.save_regime(saved)
    latest = storage.get_latest_regime("Länder; 'x'")
    assert latest is not None
    assert fields(latest) == fields(saved)
    assert latest.regime_embedding.dtype == np.float32


def test_stored_bytes_are_what_the_mission_says_decodes_them(
    storage: RegimeStorage, db_manager: DatabaseManager
) -> None:
    saved = state(0, "NEUTRAL")
    storage.save_regime(saved)
    with db_manager.get_runtime_connection() as connection:
        row = connection.execute(
            "SELECT regime_label, confidence, metadata, regime_embedding FROM regimes"
            " WHERE region = 'US' AND as_of_date = '2025-01-31'"
        ).fetchone()
    assert row is not None
    assert row[:3] == ("NEUTRAL", 0.75, saved.metadata)
    np.testing.assert_array_equal(np.frombuffer(row[3], dtype=np.float32), saved.regime_embedding)


def test_an_embedding_beyond_float32_leaves_the_whole_batch_unsaved(
    storage: RegimeStorage, table_digests: TableDigest
) -> None:
    before = table_digests()
    with pytest.raises(VectorError):
        storage.save_regimes([state(0, "NEUTRAL"), state(1, "CRISIS", regime_embedding=np.array([1e300, 1.0]))])
    assert table_digests() == before


def test_many_states_in_one_call_are_one_transaction_over_several_statements(
    storage: RegimeStorage, db_manager: DatabaseManager
) -> None:
    generator = np.random.default_rng(8)
    labels = {DAY + timedelta(days=n): str(generator.choice(LABELS)) for n in range(2_500)}
    assert storage.save_regimes([state(day, label) for day, label in labels.items()]) == 2_500
    assert stored_transitions(db_manager, "US", "m-v1@00000000") == slow_transitions(labels)
    with db_manager.get_runtime_connection() as connection:
        row = connection.execute("SELECT count(DISTINCT created_at) FROM regimes").fetchone()
    assert row == (1,)


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_two_threads_that_interleave_one_history_leave_its_transitions_right(
    storage: RegimeStorage, db_manager: DatabaseManager, isolation: str
) -> None:
    """Even where the server's default isolation would show a transaction an old picture."""
    region, started = f"R{next(_regions)}", threading.Barrier(4)
    default_isolation(db_manager, isolation)
    try:

        def save(part: int) -> None:
            own = RegimeStorage(db_manager=db_manager)
            generator = np.random.default_rng(part)
            started.wait(30)
            for day in generator.permutation(np.arange(part, 48, 4)).tolist():
                own.save_regime(state(day, str(generator.choice(LABELS)), region))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(save, range(4)))
    finally:
        default_isolation(db_manager, "read committed")
    labels = stored_labels(db_manager, region, "m-v1@00000000")
    assert len(labels) == 48
    assert stored_transitions(db_manager, region, "m-v1@00000000") == slow_transitions(labels)


def default_isolation(manager: DatabaseManager, isolation: str) -> None:
    with manager._connect("runtime", owner=True) as connection:
        connection.autocommit = True
        connection.execute(
            f"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = %L',"
            f" current_database(), '{isolation}'); END $$"
        )
    manager.close_all()


def test_histories_that_overlap_in_opposite_order_do_not_deadlock(
    storage: RegimeStorage, db_manager: DatabaseManager
) -> None:
    started = threading.Barrier(2)

    def save(order: int) -> None:
        started.wait(30)
        for round_ in range(10):
            states = [state(round_, "CRISIS" if order else "NEUTRAL", region) for region in ("A", "B", "C")]
            storage.save_regimes(states[::-1] if order else states)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(save, range(2)))
    for region in ("A", "B", "C"):
        labels = stored_labels(db_manager, region, "m-v1@00000000")
        assert stored_transitions(db_manager, region, "m-v1@00000000") == slow_transitions(labels)


def test_models_stand_side_by_side(storage: RegimeStorage, db_manager: DatabaseManager) -> None:
    storage.save_regimes(history("NNCC", model_id="m-v1") + history("CCNN", model_id="m-v2"))
    storage.save_regimes(history("KKKK", region="EU", model_id="m-v1"))
    assert storage.list_models("US") == ["m-v1", "m-v2"]
    assert storage.load_labels("US", "m-v1") == [N, N, C, C]
    assert storage.load_labels("US", "m-v2") == [C, C, N, N]
    assert storage.load_labels("EU") == [K, K, K, K]
    assert storage.get_transition_matrix("US", "m-v1") == {N: {N: 0.5, C: 0.5}, C: {N: 0.0, C: 1.0}}
    assert len(stored_transitions(db_manager, "US", "m-v1")) == 1
    assert RegimeStorage(db_manager=db_manager, model_id="m-v2").load_labels("US") == [C, C, N, N]


def test_a_region_of_several_models_needs_one_named(storage: RegimeStorage) -> None:
    storage.save_regimes(history("N", model_id="m-v1") + history("C", model_id="m-v2"))
    for question in (
        lambda: storage.get_latest_regime("US"),
        lambda: storage.get_history("US", DAY, DAY),
        lambda: storage.get_transition_matrix("US"),
        lambda: storage.load_labels("US"),
    ):
        with pytest.raises(AmbiguousModelError, match=r"name one \(--model-id\): m-v1, m-v2"):
            question()


def test_the_latest_regime_is_that_of_the_newest_date_and_not_of_the_newest_write(storage: RegimeStorage) -> None:
    storage.save_regime(state(5, "CRISIS"))
    storage.save_regime(state(0, "CARRY"))
    latest = storage.get_latest_regime("US")
    assert latest is not None
    assert (latest.as_of_date, latest.regime_label) == (DAY + timedelta(days=5), C)


def test_a_region_without_rows_has_no_latest_regime_and_an_empty_history(storage: RegimeStorage) -> None:
    assert storage.get_latest_regime("MOON") is None
    assert storage.get_latest_regime("MOON", "m-v1") is None
    assert storage.get_history("MOON", date.min, date.max) == []
    assert storage.get_transition_matrix("MOON") == {}
    assert storage.list_models("MOON") == []


def test_a_history_includes_both_ends_and_is_in_date_order(storage: RegimeStorage) -> None:
    storage.save_regimes(list(reversed(history("NCRKN"))))
    found = storage.get_history("US", DAY + timedelta(days=1), DAY + timedelta(days=3))
    assert [each.regime_label for each in found] == [C, R, K]


def test_saving_nothing_is_nothing(storage: RegimeStorage, table_digests: TableDigest) -> None:
    before = table_digests()
    assert storage.save_regimes([]) == 0
    assert table_digests() == before


def test_embeddings_are_those_of_one_encoder_once_per_date(storage: RegimeStorage) -> None:
    vectors = np.random.default_rng(1).normal(size=(4, 2)).astype(np.float32)
    for model_id in ("m-v1", "m-v1@00000000", "m-v2"):
        scale = -1 if model_id == "m-v2" else 1
        storage.save_regimes(
            [
                state(n, "NEUTRAL", model_id=model_id, regime_embedding=scale * vectors[n])
                for n in (2, 0, 3, 1)
            ]
        )  # fmt: skip
    loaded = storage.load_embeddings("US", "m-v1", DAY, DAY + timedelta(days=2))
    assert loaded.vectors.tobytes() == vectors[:3].tobytes()
    assert (loaded.instrument_id, loaded.window_days) == ("SPX", 63)
    assert storage.load_embeddings("US", "m-v2", DAY, DAY).vectors.tobytes() == (-vectors[:1]).tobytes()


def test_no_embeddings_are_refused_with_region_encoder_and_dates(storage: RegimeStorage) -> None:
    storage.save_regimes(history("NN", model_id="m-v1"))
    with pytest.raises(NoRegimesError, match="region 'US' has no regimes of m-v2 from 2025-01-31 to 2025-01-31"):
        storage.load_embeddings("US", "m-v2", DAY, DAY)
    with pytest.raises(NoRegimesError):
        storage.load_embeddings("US", "m-v1", date(2020, 1, 1), date(2020, 12, 31))


@pytest.mark.parametrize(
    "other",
    [{"instrument_id": "NDX", "window_days": 63}, {"instrument_id": "SPX", "window_days": 21}, {}],
)
def test_embeddings_of_two_sources_have_no_common_mean(storage: RegimeStorage, other: dict[str, Any]) -> None:
    storage.save_regimes([state(0, "NEUTRAL"), state(1, "NEUTRAL", metadata=other)])
    with pytest.raises(PrototypeError, match=r"region US: its embeddings of m-v1 in .* mix "):
        storage.load_embeddings("US", "m-v1", DAY, DAY + timedelta(days=1))


def test_sources_are_counted_per_instrument_and_window(storage: RegimeStorage) -> None:
    ndx = {"instrument_id": "NDX", "window_days": 21}
    storage.save_regimes([*history("NNN"), state(5, "NEUTRAL", metadata=ndx), state(6, "NEUTRAL", metadata={})])
    assert storage.load_sources("US", "m-v1@00000000") == {("SPX", "63"): 3, ("NDX", "21"): 1}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("regime_label", "PANIC"), ("confidence", 1.5), ("confidence", "NaN"), ("dim", 3), ("region", ""),
        ("regime_embedding", b"\0" * 7), ("as_of_date", "infinity"),
    ],
)  # fmt: skip
def test_the_database_itself_refuses_impossible_states(db_manager: DatabaseManager, column: str, value: object) -> None:
    values = {
        "region": "US", "model_id": "m", "as_of_date": "2025-01-31", "regime_label": "NEUTRAL", "confidence": 1.0,
        "encoder_model_id": "m", "dim": 2, "regime_embedding": bytes(8),
    } | {column: value}  # fmt: skip
    names, marks = ", ".join(values), ", ".join(f"%({name})s" for name in values)
    with pytest.raises(psycopg.errors.CheckViolation), db_manager.get_runtime_connection() as connection:
        connection.execute(f"INSERT INTO regimes ({names}) VALUES ({marks})", values)
