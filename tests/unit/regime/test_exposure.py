"""The rule of exposure: every label has one number, the risk-off side half, and its words say so."""

from __future__ import annotations

from prometheus.regime import RegimeLabel
from prometheus.regime.calibration import RISK_OFF_SIDE
from prometheus.regime.exposure import EXPOSURES, RULE


def test_each_label_has_all_or_half_by_its_side_and_the_rule_says_so() -> None:
    assert {label: 0.5 if label in RISK_OFF_SIDE else 1.0 for label in RegimeLabel} == EXPOSURES
    assert RULE == "a fixed rule, no advice: 1 in CARRY and NEUTRAL, 0.5 in RISK_OFF and CRISIS"
