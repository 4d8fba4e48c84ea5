"""Volumes that change their unit: a feed goes from shares to thousands or to lots, and from then on stays there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Float64Vector, Int64Vector

UNIT_DAYS = 63
MIN_UNIT_DAYS = 21
"""Fewer bars on a side say nothing of its unit."""
LEAST_RATIO = 50
UNITS_OFF = 0.25
"""How far the ratio of the medians may be from a power of ten, in decades: half or double is a change of trading."""
LEAST_STEP = 10
"""A volume that moves by less on the day itself changes its trading, not its unit."""
STAYS = 0.9
"""The share of the bars on each side that must be nearer to the median of their own side."""


def unit_changes(volume: Float64Vector, is_break: NDArray[np.bool_]) -> tuple[Int64Vector, Float64Vector]:
    """Return the bars on which the unit of volumes changes, and the median volume after over the one before.

    Parameters
    ----------
    volume
        Shape (n,), oldest first; zeros and NaN say nothing.
    is_break
        Shape (n,): bars on which prices have a new scale; a split explains its volume.
    """
    traded = np.flatnonzero(volume > 0)
    logs = np.log10(volume[traded])
    steps = np.abs(np.diff(logs, prepend=logs[:1]))
    rows: list[int] = []
    ratios: list[float] = []
    for at in np.flatnonzero(steps >= np.log10(LEAST_STEP)).tolist():
        ratio = _change_of_unit(logs[max(at - UNIT_DAYS, 0) : at], logs[at : at + UNIT_DAYS])
        if ratio is None or is_break[traded[at]]:
            continue
        if rows and at - rows[-1] < MIN_UNIT_DAYS:  # one change, seen from two days: the larger step is its day
            if steps[at] > steps[rows[-1]]:
                rows[-1], ratios[-1] = at, ratio
            continue
        rows.append(at)
        ratios.append(ratio)
    return traded[np.array(rows, np.int64)], np.array(ratios)


def _change_of_unit(before: Float64Vector, after: Float64Vector) -> float | None:
    """Return the ratio of two sides if they differ by a unit and each keeps to its own; log10 of volumes."""
    if min(len(before), len(after)) < MIN_UNIT_DAYS:
        return None
    low, high = float(np.median(before)), float(np.median(after))
    change = high - low
    if abs(change) < np.log10(LEAST_RATIO) or abs(change - round(change)) > UNITS_OFF:
        return None
    middle, sign = (low + high) / 2, np.sign(change)
    own = min(float(np.mean(sign * (middle - before) > 0)), float(np.mean(sign * (after - middle) > 0)))
    return float(10**change) if own >= STAYS else None
