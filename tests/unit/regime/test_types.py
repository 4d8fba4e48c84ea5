"""Labels, states and prototypes: valid by construction."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pytest

from prometheus.errors import InputRefusedError, NotFoundError, VectorError
from prometheus.regime import RegimeLabel, RegimePrototype, RegimeState

DAY = date(2025, 1, 31)
VECTOR = np.array([1, 2], dtype=np.float32)


def test_a_label_is_its_name() -> None:
    assert [str(label) for label in RegimeLabel] == ["NEUTRAL", "CRISIS", "RISK_OFF", "CARRY"]
    assert RegimeLabel["RISK_OFF"] is RegimeLabel.RISK_OFF
    assert RegimeLabel.CRISIS == "CRISIS"
    assert json.dumps(RegimeLabel.CARRY) == '"CARRY"'


@pytest.mark.parametrize("name", ["PANIC", "neutral", "", "NEUTRAL "])
def test_any_other_label_is_refused_with_the_ones_there_are(name: str) -> None:
    with pytest.raises(NotFoundError, match="known: NEUTRAL, CRISIS, RISK_OFF, CARRY"):
        RegimeLabel.parse(name)


def test_a_state_takes_a_label_by_name() -> None:
    state = RegimeState(DAY, "US", "CRISIS", 0.5, VECTOR)  # type: ignore[arg-type]
    assert state.regime_label is RegimeLabel.CRISIS
    with pytest.raises(NotFoundError):
        RegimeState(DAY, "US", "PANIC", 0.5, VECTOR)  # type: ignore[arg-type]


@pytest.mark.parametrize("confidence", [-1e-9, 1.0000001, float("nan"), float("inf")])
def test_a_confidence_that_is_none_is_refused(confidence: float) -> None:
    with pytest.raises(InputRefusedError, match=r"US 2025-01-31: confidence .* is not in \[0, 1\]"):
        RegimeState(DAY, "US", RegimeLabel.NEUTRAL, confidence, VECTOR)


@pytest.mark.parametrize("confidence", [0.0, 1.0])
def test_the_ends_of_the_range_are_confidences(confidence: float) -> None:
    assert RegimeState(DAY, "US", RegimeLabel.NEUTRAL, confidence, VECTOR).confidence == confidence


@pytest.mark.parametrize("vector", [np.ones((1, 2)), np.ones(0), np.array(1.0), np.array([1, np.nan]), [np.inf]])
def test_an_embedding_or_centre_that_is_no_finite_vector_is_refused(vector: np.ndarray) -> None:
    values = np.asarray(vector, dtype=np.float32)
    with pytest.raises(VectorError, match="US 2025-01-31"):
        RegimeState(DAY, "US", RegimeLabel.NEUTRAL, 1.0, values)
    with pytest.raises(VectorError, match="prototype CRISIS"):
        RegimePrototype(RegimeLabel.CRISIS, values)


def test_a_centre_beyond_float32_is_refused_without_a_warning() -> None:
    with pytest.raises(VectorError, match="1 of 2 values are NaN or infinite as float32"):
        RegimePrototype(RegimeLabel.CRISIS, np.array([0.0, 1e300]))


def test_the_encoder_is_the_part_of_the_model_id_before_the_at_sign() -> None:
    def encoder(model_id: str, given: str = "") -> str:
        state = RegimeState(DAY, "US", RegimeLabel.NEUTRAL, 1.0, VECTOR, {}, model_id, given)
        return state.encoder_model_id

    assert encoder("num-regime-core-v1@0a1b2c3d") == "num-regime-core-v1"
    assert encoder("num-regime-core-v1") == "num-regime-core-v1"
    assert encoder("desk-view", "numeric-simple-v1") == "numeric-simple-v1"


def test_a_state_and_a_prototype_do_not_follow_later_changes_of_what_they_were_made_of() -> None:
    metadata = {"window_days": 63}
    center = VECTOR.copy()
    state = RegimeState(DAY, "US", RegimeLabel.NEUTRAL, 1.0, VECTOR, metadata)
    prototype = RegimePrototype(RegimeLabel.NEUTRAL, center)
    metadata["window_days"] = 1
    center[:] = 9
    assert state.metadata == {"window_days": 63}
    assert prototype.center.tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        prototype.center[0] = 5


def test_a_centre_may_be_any_sequence_of_numbers() -> None:
    prototype = RegimePrototype(RegimeLabel.NEUTRAL, [1, 2.5])  # type: ignore[arg-type]
    assert prototype.center.dtype == np.float32
    assert prototype.center.tolist() == [1, 2.5]
