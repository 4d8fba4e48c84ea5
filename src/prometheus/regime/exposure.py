"""How much of a position a stored label leaves in the market, by one stated rule; no more than a way to read labels."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus.regime.types import RegimeLabel

EXPOSURES: Mapping[RegimeLabel, float] = {
    RegimeLabel.CARRY: 1.0, RegimeLabel.NEUTRAL: 1.0, RegimeLabel.RISK_OFF: 0.5, RegimeLabel.CRISIS: 0.5,
}  # fmt: skip
"""All of it on the risk-on side, half on the risk-off side (`benchmarks.exposure` has the grid it was chosen from)."""
RULE = "a fixed rule, no advice: 1 in CARRY and NEUTRAL, 0.5 in RISK_OFF and CRISIS"
