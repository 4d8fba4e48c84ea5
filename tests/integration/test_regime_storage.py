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
from tests.fixtures.database import TableDigest
from tests.property.strategies import LABELS
from tests.reference.regimes import slow_transitions

from prometheus.app.databases import DatabaseManager
from prometheus.data.timelines import RegimeTimelines
from prometheus.regime import RegimeLabel, RegimeState, RegimeStorage
from prometheus.regime.history import preferred_history

DAY = date(2025, 1, 31)
N, C = RegimeLabel.NEUTRAL, RegimeLabel.CRISIS
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


def test_a_date_before_all_others_moves_nothing_but_the_first_change(
    storage: RegimeStorage, db_manager: DatabaseManager, table_digests: TableDigest
) -> None:
    storage.save_regimes(history("NNCCN"))
    before = table_digests()["runtime.regime_transitions"]
    storage.save_regime(state(-5, "NEUTRAL"))
    assert table_digests()["runtime.regime_transitions"] == before
    storage.save_regime(state(-5, "CARRY"))
    assert len(stored_transitions(db_manager, "US", "m-v1@00000000")) == 3


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


def test_a_storage_of_one_model_reads_that_one(db_manager: DatabaseManager, storage: RegimeStorage) -> None:
    storage.save_regimes(history("NNCC", model_id="m-v1") + history("CCNN", model_id="m-v2"))
    assert RegimeStorage(db_manager=db_manager, model_id="m-v2").load_labels("US") == [C, C, N, N]


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


@pytest.mark.parametrize("lengths", [(3, 5, 2), (5, 3, 2), (4, 4, 2), (2, 3, 9)])
def test_the_newest_state_of_a_region_is_of_the_model_that_answers_for_it(
    lengths: tuple[int, int, int], storage: RegimeStorage, db_manager: DatabaseManager
) -> None:
    for model_id, n_dates in zip(("m-v1@00000001", "m-v1@00000002", "m-v1"), lengths, strict=True):
        days = range(1 - n_dates, 1)
        storage.save_regimes([state(day, "CRISIS", model_id=model_id, confidence=n_dates / 10) for day in days])
    timelines = RegimeTimelines(db_manager)
    preferred = preferred_history(timelines.histories())
    (newest,) = timelines.newest()
    assert (newest.as_of_date, newest.confidence) == (preferred.last, preferred.n_dates / 10)
