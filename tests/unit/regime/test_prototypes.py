"""Prototype sets as values: their text, their fingerprint, their space."""

from __future__ import annotations

import json
from datetime import date
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded, finite_float32

from prometheus.errors import PrototypeError, UsageError
from prometheus.regime import PrototypeSet, RegimeLabel, RegimePrototype
from prometheus.regime.prototypes import (
    CalibrationWindow,
    default_regime_model_id,
    mean_prototype,
    prototypes_fingerprint,
)

NEUTRAL = RegimePrototype(RegimeLabel.NEUTRAL, np.array([0.5, -1.25], dtype=np.float32))
CRISIS = RegimePrototype(RegimeLabel.CRISIS, np.array([3.0, 4.0], dtype=np.float32))
CARRY = RegimePrototype(RegimeLabel.CARRY, np.array([0.0, 0.1], dtype=np.float32))
WINDOWS = {
    RegimeLabel.NEUTRAL: CalibrationWindow(RegimeLabel.NEUTRAL, date(2018, 1, 1), date(2018, 12, 31)),
    RegimeLabel.CRISIS: CalibrationWindow(RegimeLabel.CRISIS, date(2020, 3, 1), date(2020, 4, 30)),
}


def test_the_text_has_the_documented_keys_and_nothing_is_missing() -> None:
    document = json.loads(PrototypeSet("US", (NEUTRAL, CRISIS), WINDOWS, "numeric-simple-v1", 63).to_json())
    assert document == {
        "embedding_dim": 2,
        "prototypes": {
            "CRISIS": {
                "center": [3.0, 4.0],
                "l2_norm": 5.0,
                "window": {"end_date": "2020-04-30", "start_date": "2020-03-01"},
            },
            "NEUTRAL": {
                "center": [0.5, -1.25],
                "l2_norm": pytest.approx(1.8125**0.5),
                "window": {"end_date": "2018-12-31", "start_date": "2018-01-01"},
            },
        },
        "region": "US",
        "schema_version": 1,
        "model_id": "numeric-simple-v1",
        "window_days": 63,
    }


def test_equal_sets_have_equal_text_whatever_their_order() -> None:
    texts = {
        PrototypeSet("US", order, dict(reversed(WINDOWS.items()))).to_json()
        for order in permutations((NEUTRAL, CRISIS, CARRY))
    }
    assert len(texts) == 1
    text = texts.pop()
    assert text.endswith("}\n")
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=2) + "\n"


@bounded(100)
@given(values=st.lists(finite_float32, min_size=1, max_size=8))
def test_a_centre_comes_back_bit_for_bit_through_the_documented_snippet(values: list[float]) -> None:
    center = np.array(values, dtype=np.float32)
    text = PrototypeSet("US", (RegimePrototype(RegimeLabel.NEUTRAL, center),), {}).to_json()
    read = np.array(json.loads(text)["prototypes"]["NEUTRAL"]["center"], dtype=np.float32)
    assert read.tobytes() == center.tobytes()


def test_the_fingerprint_does_not_follow_the_order_but_everything_else() -> None:
    assert len({prototypes_fingerprint(order) for order in permutations((NEUTRAL, CRISIS, CARRY))}) == 1
    renamed = RegimePrototype(RegimeLabel.RISK_OFF, CRISIS.center)
    moved = RegimePrototype(RegimeLabel.CRISIS, np.nextafter(CRISIS.center, np.float32(9)))
    longer = RegimePrototype(RegimeLabel.CRISIS, np.append(CRISIS.center, np.float32(0)))
    sets = [[CRISIS], [renamed], [moved], [longer], [CRISIS, NEUTRAL]]
    assert len({prototypes_fingerprint(each) for each in sets}) == len(sets)


def test_the_fingerprint_of_a_set_never_changes() -> None:
    # sha256(b"CRISIS\0" b"2\0" + 3.0 and 4.0 as little-endian singles), first 8 digits; printed by `sha256sum`
    assert default_regime_model_id("num-regime-core-v1", [CRISIS]) == "num-regime-core-v1@ac3acb3c"
    assert PrototypeSet("US", (CRISIS,), {}).regime_model_id("x") == "x@ac3acb3c"


def test_a_mean_is_taken_in_float64() -> None:
    # in float32 the second and third value would be lost against the first
    vectors = np.array([[2.0**24], [1.0], [1.0], [2.0]], dtype=np.float32)
    assert mean_prototype(RegimeLabel.NEUTRAL, vectors).center.tolist() == [(2.0**24 + 4) / 4]


def test_a_mean_is_that_of_each_column() -> None:
    vectors = np.array([[1, 10], [2, 30]], dtype=np.float32)
    assert mean_prototype(RegimeLabel.CRISIS, vectors).center.tolist() == [1.5, 20]


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(UsageError, match="CRISIS window ends 2020-03-01, before it starts 2020-04-30"):
        CalibrationWindow(RegimeLabel.CRISIS, date(2020, 4, 30), date(2020, 3, 1))


def test_a_window_of_one_day_is_a_window() -> None:
    assert CalibrationWindow(RegimeLabel.CRISIS, date(2020, 3, 1), date(2020, 3, 1)).label is RegimeLabel.CRISIS


def test_a_set_is_refused_in_another_space_only_where_it_says_which_is_its_own() -> None:
    stated = PrototypeSet("US", (NEUTRAL,), {}, "numeric-simple-v1", 63)
    stated.require_space("p.json", "numeric-simple-v1", 63)
    with pytest.raises(PrototypeError, match=r"p\.json: made for model numeric-simple-v1, not num-regime-core-v1"):
        stated.require_space("p.json", "num-regime-core-v1", 63)
    with pytest.raises(PrototypeError, match="made of windows of 63 sessions, not 21"):
        stated.require_space("p.json", "numeric-simple-v1", 21)
    PrototypeSet("US", (NEUTRAL,), {}).require_space("p.json", "anything", 5)


def test_a_set_that_cannot_classify_is_not_a_set() -> None:
    with pytest.raises(PrototypeError, match="US: there is no prototype"):
        PrototypeSet("US", (), {})
    with pytest.raises(PrototypeError, match="more than one prototype of NEUTRAL"):
        PrototypeSet("US", (NEUTRAL, NEUTRAL), {})
