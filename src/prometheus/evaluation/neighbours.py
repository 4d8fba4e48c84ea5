"""Forecasts from nearest past neighbours: whether a space that knows more forecasts worse.

For each date the nearest earlier dates are looked up whose own future was already over, and the mean of what followed
them is the forecast. Nothing of a date's own future enters its forecast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prometheus.arrays import Float32Matrix, Float64Matrix, Float64Vector, Int64Vector
from prometheus.errors import InputRefusedError
from prometheus.market.forward_volatility import HORIZON_SESSIONS

N_NEIGHBOURS = 20
MIN_CANDIDATES = 100
MIN_FORECASTS = 50
TOLERATED_LOSS = -0.02
BLOCK_DATES = 63
N_RESAMPLES = 1_000
SEED = 20_200_316


@dataclass(frozen=True, slots=True)
class HarmCheck:
    """R squared of forecasts from the numeric and from the joint space.

    Attributes
    ----------
    low, high
        Bounds of the 95 % interval of `difference`, by a circular block bootstrap over dates.
    """

    n_forecasts: int
    r2_numeric: float
    r2_joint: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """R squared of the joint space less that of the numeric one."""
        return self.r2_joint - self.r2_numeric

    @property
    def is_harmless(self) -> bool:
        """Whether the whole interval lies above the loss that is tolerated, -0.02."""
        return self.low > TOLERATED_LOSS


def neighbour_forecasts(
    vectors: Float32Matrix | Float64Matrix,
    targets: Float64Vector,
    sessions: Int64Vector,
    horizon: int = HORIZON_SESSIONS,
    n_neighbours: int = N_NEIGHBOURS,
) -> Float64Vector:
    """Return the mean target of each date's nearest candidates, shape (n,); NaN with fewer than 100 candidates.

    Parameters
    ----------
    vectors
        Shape (n, dim), one per date, ascending in time.
    targets
        Shape (n,): what followed each date.
    sessions
        Shape (n,): number of each date's session; a candidate's lies at least `horizon` sessions back.
    """
    wide = np.asarray(vectors, dtype=np.float64)
    forecasts = np.full(len(wide), np.nan)
    for row in range(len(wide)):
        n_past = int(np.searchsorted(sessions, sessions[row] - horizon, side="right"))
        candidates = np.flatnonzero(np.isfinite(targets[:n_past]))
        if len(candidates) < MIN_CANDIDATES:
            continue
        differences = wide[candidates] - wide[row]
        distances = np.einsum("ij,ij->i", differences, differences)
        nearest = candidates[np.argsort(distances, kind="stable")[:n_neighbours]]
        forecasts[row] = targets[nearest].mean()
    return forecasts


def check_harm(
    numeric: Float32Matrix | Float64Matrix,
    joint: Float32Matrix | Float64Matrix,
    targets: Float64Vector,
    sessions: Int64Vector,
) -> HarmCheck:
    """Compare the forecasts of two spaces on the dates that both can forecast.

    Raises
    ------
    InputRefusedError
        There are fewer than 50 such dates.
    """
    forecasts = np.stack([neighbour_forecasts(vectors, targets, sessions) for vectors in (numeric, joint)])
    is_judged = np.isfinite(targets) & np.isfinite(forecasts).all(axis=0)
    n_judged = int(is_judged.sum())
    if n_judged < MIN_FORECASTS:
        raise InputRefusedError(
            f"only {n_judged} dates can be judged, {MIN_FORECASTS} are needed: after {MIN_CANDIDATES} past dates each, "
            f"and with {HORIZON_SESSIONS} sessions of prices to follow"
        )
    actual, errors = targets[is_judged], (forecasts[:, is_judged] - targets[is_judged]) ** 2
    r2_numeric, r2_joint = 1.0 - errors.sum(axis=1) / ((actual - actual.mean()) ** 2).sum()
    low, high = np.quantile(_resampled_differences(actual, errors), [0.025, 0.975])
    return HarmCheck(n_judged, float(r2_numeric), float(r2_joint), float(low), float(high))


def _resampled_differences(actual: Float64Vector, errors: Float64Matrix) -> Float64Vector:
    """Return the difference of R squared in resamples of whole blocks, the series taken as a circle."""
    generator = np.random.default_rng(SEED)
    n_dates = len(actual)
    block = min(BLOCK_DATES, max(1, n_dates // 4))
    n_blocks = -(-n_dates // block)
    differences = np.empty(N_RESAMPLES)
    for resample in range(N_RESAMPLES):
        starts = generator.integers(0, n_dates, n_blocks)
        chosen = ((starts[:, np.newaxis] + np.arange(block)) % n_dates).reshape(-1)[:n_dates]
        spread = ((actual[chosen] - actual[chosen].mean()) ** 2).sum()
        differences[resample] = (errors[0, chosen].sum() - errors[1, chosen].sum()) / spread
    return differences
