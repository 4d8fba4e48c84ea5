"""How much of a position a stored label leaves in the market, by one stated rule; no more than a way to read labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from prometheus.arrays import Float64Vector
from prometheus.regime.history import LABELS, RegimeTimeline
from prometheus.regime.types import RegimeLabel

SHARE_OUT = 0.5
"""Of the position, on the risk-off side."""
EXPOSURES: Mapping[RegimeLabel, float] = {
    RegimeLabel.CARRY: 1.0, RegimeLabel.NEUTRAL: 1.0, RegimeLabel.RISK_OFF: 1.0 - SHARE_OUT,
    RegimeLabel.CRISIS: 1.0 - SHARE_OUT,
}  # fmt: skip
"""All of it on the risk-on side, half on the risk-off side (`benchmarks.exposure` has the grid it was chosen from)."""
RULE = "a fixed rule, no advice: 1 in CARRY and NEUTRAL, 0.5 in RISK_OFF and CRISIS"


def exposures_of(timeline: RegimeTimeline) -> Float64Vector:
    """Return the exposure of each date, shape (n,), in [0, 1]."""
    exposures: Float64Vector = np.array([EXPOSURES[label] for label in LABELS])[timeline.labels]
    return exposures
