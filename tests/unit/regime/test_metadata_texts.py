"""Metadata of many states as JSON: that of each alone, whatever they share."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import numpy as np
import pytest

from prometheus.errors import InputRefusedError
from prometheus.regime.types import RegimeLabel, RegimeState, metadata_text, metadata_texts

RISK = {"5": {"probability": 0.06080208385219, "low": 0.0, "high": 1.0}}


def state(**metadata: Any) -> RegimeState:
    return RegimeState(date(2020, 3, 16), "US", RegimeLabel.CRISIS, 0.9, np.ones(3, np.float32), metadata)


def test_they_hold_what_each_holds_alone() -> None:
    states = [
        state(), state(change_risk=RISK), state(a=1, change_risk=RISK), state(change_risk={}, b="}"),
        state(change_risk=dict(RISK), bear={"probability": 1e-07}), state(change_risk=None, b=[1, 2.5]),
    ]  # fmt: skip
    texts = metadata_texts(states)
    assert [json.loads(text) for text in texts] == [each.metadata for each in states]
    assert [sorted(text) for text in texts] == [sorted(metadata_text(each)) for each in states]


@pytest.mark.parametrize("metadata", [{"a": float("nan")}, {"change_risk": {"5": float("inf")}}, {"a": object()}])
def test_what_is_not_json_is_refused(metadata: dict[str, Any]) -> None:
    with pytest.raises(InputRefusedError, match="US 2020-03-16: the metadata is not JSON"):
        metadata_texts([state(**metadata)])
