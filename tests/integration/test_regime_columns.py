"""A history that is stored at once, as columns, has the rows that its states have when they are stored one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.fixtures.database import empty_databases

from prometheus.app.databases import DatabaseManager
from prometheus.arrays import Int64Vector
from prometheus.data import regimes
from prometheus.errors import InputRefusedError
from prometheus.regime import RegimeStorage
from prometheus.regime.states import RegimeStates
from prometheus.regime.types import RegimeLabel

NAMES = tuple(RegimeLabel)
DIM = 384
_ROWS = """
    SELECT region, model_id, as_of_date, regime_label, confidence, encoder_model_id, dim, regime_embedding,
           metadata::text, input_hash
    FROM regimes ORDER BY region, model_id, as_of_date
"""
_TRANSITIONS = (
    "SELECT region, model_id, as_of_date, previous_date, from_label, to_label FROM regime_transitions ORDER BY 1, 2, 3"
)
_SAID = """
    SELECT number, region, model_id, as_of_date, regime_label, confidence, neutral, crisis, risk_off, carry,
           high_volatility, threshold, is_held, instruments, input_hash
    FROM forward_record ORDER BY number
"""


def made_states(n: int, region: str = "AAA", seed: int = 7) -> tuple[RegimeStates, Int64Vector]:
    """Return states as a calibrated model makes them, with numbers of every size, and hashes of their inputs."""
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet(np.full(4, 0.05), n)
    shares[::5] = np.eye(4)[generator.integers(0, 4, len(shares[::5]))]
    plain = {"instrument_id": region, "window_days": 513}
    held = {**plain, "held": "the newest bar is suspect"}
    risks = [{"5": {"probability": float(each), "low": 0.0, "high": 1.0}} for each in generator.random(3)]
    sizes = 10.0 ** generator.integers(-12, 17, n)
    states = RegimeStates(
        region=region, model_id="m@1", encoder_model_id="m", names=NAMES,
        dates=np.datetime64("2001-01-01", "D") + np.cumsum(generator.integers(1, 4, n)),
        labels=shares.argmax(axis=1), confidences=shares.max(axis=1),
        vectors=generator.normal(size=(n, DIM)).astype(np.float32),
        sources=[held if at % 7 == 3 else plain for at in range(n)],
        details={
            "distances": {name: generator.random(n) * sizes for name in NAMES},
            "probabilities": dict(zip(NAMES, shares.T, strict=True)),
            "high_volatility": {"probability": generator.random(n), "threshold": 0.25},
            "bear": {"is_bear": shares[:, 0] > 0.5, "fall": 0.2},
            "spell_sessions": generator.integers(1, 21, n),
            "change_risk": [risks[at] for at in generator.integers(0, 3, n).tolist()],
        },
    )  # fmt: skip
    return states, generator.integers(-(2**63), 2**63 - 1, n)


@pytest.fixture
def stored(db_manager: DatabaseManager) -> Callable[..., list[Any]]:
    """All rows that some work leaves in empty tables, without when and by which transaction they came."""

    def rows(work: Callable[[RegimeStorage], object]) -> list[Any]:
        empty_databases(db_manager)
        work(RegimeStorage(db_manager=db_manager))
        with db_manager.get_runtime_connection() as connection:
            return [connection.execute(query).fetchall() for query in (_ROWS, _TRANSITIONS, _SAID)]

    return rows


def test_states_at_once_and_one_by_one_leave_the_same_rows(stored: Callable[..., list[Any]]) -> None:
    states, hashes = made_states(60)

    def one_by_one(storage: RegimeStorage) -> None:
        for at, state in enumerate(states):
            storage.save_regimes([state], hashes[at : at + 1])

    at_once = stored(lambda storage: storage.save_regimes(states, hashes))
    assert [len(rows) for rows in at_once[::2]] == [60, 60]
    assert at_once[1]
    assert at_once == stored(one_by_one)


def test_columns_of_several_pieces_and_objects_leave_the_same_rows(stored: Callable[..., list[Any]]) -> None:
    n = 2 * regimes.ROWS_AT_ONCE + 1
    states, hashes = made_states(n)
    as_columns = stored(lambda storage: storage.save_regimes(states, hashes))
    assert len(as_columns[0]) == len(as_columns[2]) == n
    assert as_columns == stored(lambda storage: storage.save_regimes(list(states), hashes))


def test_storing_columns_again_changes_nothing_and_fills_what_is_missing(
    stored: Callable[..., list[Any]], db_manager: DatabaseManager
) -> None:
    states, hashes = made_states(40)
    whole = stored(lambda storage: storage.save_regimes(states, hashes))

    def in_parts(storage: RegimeStorage) -> None:
        assert storage.save_regimes(states[:25], hashes[:25]) == 25
        assert storage.save_regimes(states, hashes) == 15
        assert storage.save_regimes(states, hashes) == 0

    assert stored(in_parts) == whole


def test_a_state_that_is_not_json_in_the_middle_of_a_copy_leaves_nothing(stored: Callable[..., list[Any]]) -> None:
    n = 2 * regimes.ROWS_AT_ONCE
    states, hashes = made_states(n)
    states.details["high_volatility"]["probability"][n - 1] = np.nan

    def refused(storage: RegimeStorage) -> None:
        with pytest.raises(InputRefusedError, match=f"AAA {states.dates[-1]}: the metadata is not JSON"):
            storage.save_regimes(states, hashes)

    assert stored(refused) == [[], [], []]
