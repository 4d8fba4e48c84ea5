"""Columns of states: each row is the state, the JSON and the statement that it would be alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest

from prometheus.errors import InputRefusedError
from prometheus.regime.record import FIELDS, columns_of, fields_of
from prometheus.regime.states import RegimeStates
from prometheus.regime.types import RegimeLabel, metadata_text

RISK = {"5": {"probability": 0.06080208385219, "low": 0.0, "high": 1.0}}
NAMES = (RegimeLabel.CARRY, RegimeLabel.CRISIS)
SHARES = np.array([[1 / 3, 2 / 3], [1e-07, 1 - 1e-07], [1.0, 0.0]])
DETAILS: dict[str, Any] = {
    "probabilities": dict(zip(NAMES, SHARES.T, strict=True)),
    "high_volatility": {"probability": np.array([0.25, 5e-324, 1.0]), "threshold": 0.1},
    "bear": {"is_bear": np.array([True, False, True]), "fall": 0.2},
    "spell_sessions": np.array([1, 2, 21]),
    "market_index": {"instrument_id": '50%s\u00e9"', "session": ["2020-03-16", None, "2020-03-18"]},
    "change_risk": [RISK, {}, RISK],
}


def states(sources: list[Any] | None = None, **details: Any) -> RegimeStates:
    plain = {"instrument_id": "A%B", "window_days": 513}
    return RegimeStates(
        region="US",
        model_id="m@1",
        encoder_model_id="m",
        names=NAMES,
        dates=np.arange("2020-03-16", "2020-03-19", dtype="M8[D]"),
        labels=np.array([1, 1, 0]),
        confidences=np.array([2 / 3, 1.0, 1.0]),
        vectors=np.arange(6, dtype=np.float32).reshape(3, 2),
        sources=sources or [plain, {**plain, "held": "the bar"}, plain],
        details={**DETAILS, **details},
    )


def test_a_row_is_the_state_of_its_date() -> None:
    first, second, third = found = states()
    assert (second.as_of_date, second.regime_label, second.confidence) == (date(2020, 3, 17), RegimeLabel.CRISIS, 1.0)
    assert second.regime_embedding.tolist() == [2.0, 3.0]
    assert second.metadata["held"] == "the bar"
    assert second.metadata["bear"] == {"is_bear": False, "fall": 0.2}
    assert second.metadata["probabilities"] == {"CARRY": 1e-07, "CRISIS": 1 - 1e-07}
    assert (first.metadata["change_risk"], third.metadata["spell_sessions"]) == (RISK, 21)
    assert [state.metadata for state in found[1:]] == [second.metadata, third.metadata]


def test_texts_are_those_of_each_state_alone() -> None:
    assert states().metadata_texts() == [metadata_text(state) for state in states()]
    assert states()[1:2].metadata_texts() == [metadata_text(states()[1])]
    assert states()[:0].metadata_texts() == []


@pytest.mark.parametrize("column", [np.array([0.5, np.nan, 0.5]), [RISK, {"5": np.inf}, {}], [1, {1, 2}, 3]])
def test_what_is_not_json_is_refused_with_its_date(column: Any) -> None:
    with pytest.raises(InputRefusedError, match="US 2020-03-17: the metadata is not JSON"):
        states(x=column).metadata_texts()


def test_a_confidence_that_is_none_is_refused() -> None:
    with pytest.raises(InputRefusedError, match=r"US 2020-03-18: confidence nan is not in \[0, 1\]"):
        replace(states(), confidences=np.array([0.5, 1.0, np.nan]))


OUT_OF_RANGE = {"probability": np.array([2.0, np.nan, 0.5]), "threshold": -1.0}


@pytest.mark.parametrize("details", [{}, {"probabilities": {}}, {"high_volatility": OUT_OF_RANGE}])
def test_statements_are_those_of_each_state_alone(details: dict[str, Any]) -> None:
    said_at, hashes = datetime(2020, 3, 20, tzinfo=UTC), np.array([5, -(2**63), 0])
    columns = columns_of(states(**details), hashes, said_at)
    assert len(columns) == len(FIELDS)
    alone = [fields_of(state, made_of, said_at) for state, made_of in zip(states(**details), hashes, strict=True)]
    listed = [column.tolist() if isinstance(column, np.ndarray) else column for column in columns]
    assert list(zip(*listed, strict=True)) == alone
