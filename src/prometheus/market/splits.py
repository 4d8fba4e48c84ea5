"""Splits that a source states beside its closes: whether they are still in the closes, and closes without them.

A ratio of 7 says that one share became seven on that day, so that unadjusted closes fall to a seventh. A close that
moves as any other day's had the split taken out already.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Float64Vector, Int64Vector

USUAL_DAYS, MIN_USUAL_DAYS = 63, 10
LARGEST_MOVE = 10
"""In units of a usual day: what the price itself may have moved on the day of a split."""
LEAST_USUAL, FIRST_USUAL = 0.004, 0.03
"""Bounds of a usual day (log return): the least, and the one of a history too short to measure it."""


class SplitFound(IntEnum):
    """What the closes say of a split."""

    ADJUSTED = 0
    LEFT_IN = 1
    OTHER = 2


@dataclass(frozen=True, slots=True, eq=False)
class SplitCheck:
    """What the closes of one instrument say of its splits, shape (n_splits,) each, oldest first.

    Attributes
    ----------
    rows
        The bar of each split; one on the first bar has no close before it and is left out.
    ratios
        New shares for an old one, as the source states them.
    seen
        The close before over the close of the day: what the ratio would be by the closes.
    found
        int8, values of `SplitFound`.
    """

    rows: Int64Vector
    ratios: Float64Vector
    seen: Float64Vector
    found: NDArray[np.int8]

    def of(self, found: SplitFound) -> Int64Vector:
        """Return the positions of the splits with one finding."""
        return np.flatnonzero(self.found == found)


def check_splits(closes: Float64Vector, rows: Int64Vector, ratios: Float64Vector) -> SplitCheck:
    """Return what closes, oldest first, say of the splits on some of their bars.

    Parameters
    ----------
    closes
        Shape (n,), positive.
    rows, ratios
        Shape (n_splits,): ascending positions in `closes`, and positive ratios other than 1.
    """
    rows, ratios = rows[rows > 0], ratios[rows > 0]
    returns = np.diff(np.log(closes))
    moved, stated = returns[rows - 1], -np.log(ratios)
    allowed = np.array([LARGEST_MOVE * _usual_day(returns[: row - 1]) for row in rows.tolist()])
    may_be_adjusted, may_be_left_in = np.abs(moved) <= allowed, np.abs(moved - stated) <= allowed
    # where the day fits both, a small split of a wild stock, the splits of the instrument decide together
    gains = (np.abs(moved) - np.abs(moved - stated))[may_be_adjusted | may_be_left_in]
    is_left_in = may_be_left_in & (~may_be_adjusted | (gains.sum() > 0))
    found = np.where(is_left_in, SplitFound.LEFT_IN, np.where(may_be_adjusted, SplitFound.ADJUSTED, SplitFound.OTHER))
    return SplitCheck(rows, ratios, np.exp(-moved), found.astype(np.int8))


def split_factors(n_bars: int, rows: Int64Vector, ratios: Float64Vector) -> Float64Vector:
    """Return by what each close is divided to be without the splits on some bars, shape (n_bars,).

    Examples
    --------
    >>> split_factors(4, np.array([1, 3]), np.array([2.0, 5.0]))
    array([10.,  5.,  5.,  1.])
    """
    by_bar: Float64Vector = np.ones(n_bars + 1)
    by_bar[rows] = ratios
    return np.cumprod(by_bar[::-1])[::-1][1:].astype(np.float64, copy=False)


def _usual_day(returns: Float64Vector) -> float:
    """Return the size of a usual day from the log returns before it."""
    recent = np.abs(returns[-USUAL_DAYS:])
    if len(recent) < MIN_USUAL_DAYS:
        return FIRST_USUAL
    return max(1.4826 * float(np.median(recent)), LEAST_USUAL)
