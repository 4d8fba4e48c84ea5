"""What a label is worth to someone who acts on it: in the market or out of it, with costs and a delay."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from prometheus.arrays import Float64Vector, Int64Vector
from prometheus.evaluation.figures import SESSIONS_PER_YEAR
from prometheus.evaluation.labeller import BoolVector

COST_PER_SWITCH = 0.001
MEAN_BLOCK = 63
N_RESAMPLES = 1_000
SEED = 19_871_019
_EXECUTION_LAG = 2
"""A label of close t is traded at close t+1, so the first return it decides is that of session t+2."""


@dataclass(frozen=True, slots=True, eq=False)
class Trading:
    """The returns of the strategy and of holding.

    Attributes
    ----------
    positions
        Shape (n,), 0 or 1: held over the return that ends at each session's close.
    returns, holding_returns
        Shape (n,), simple, after and without costs.
    """

    positions: Float64Vector
    returns: Float64Vector
    holding_returns: Float64Vector

    @property
    def turnover(self) -> float:
        """Round trips a year."""
        return float(np.abs(np.diff(self.positions)).sum()) / 2.0 * SESSIONS_PER_YEAR / len(self.positions)


def trade(is_risk_off: BoolVector, returns: Float64Vector, cost: float = COST_PER_SWITCH, delay: int = 0) -> Trading:
    """Return what being out of the market on risk-off labels would have earned; cash earns nothing.

    Parameters
    ----------
    is_risk_off
        Shape (n,), each known at its session's close.
    returns
        Shape (n,), simple return of each session. Until the first label can be acted on, the market is held.
    cost
        Share of the position lost by each switch.
    delay
        Further sessions between a label and its trade.
    """
    positions = np.ones(len(returns))
    lag = _EXECUTION_LAG + delay
    positions[lag:] = np.where(is_risk_off, 0.0, 1.0)[: max(len(returns) - lag, 0)]
    is_switch = np.concatenate([[0.0], np.abs(np.diff(positions))])
    return Trading(positions, positions * returns - cost * is_switch, returns)


def sharpe_ratio(returns: Float64Vector) -> float:
    """Return mean over standard deviation (ddof=1), annualised by the root of 252; NaN if returns do not vary."""
    spread = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    return float(returns.mean()) / spread * math.sqrt(SESSIONS_PER_YEAR) if spread > 0.0 else float("nan")


def max_drawdown(returns: Float64Vector) -> float:
    """Return the deepest fall of wealth below its earlier high, at most 0."""
    wealth = np.concatenate([[1.0], np.cumprod(1.0 + returns)])
    return float((wealth / np.maximum.accumulate(wealth) - 1.0).min())


def sharpe_difference_interval(
    trading: Trading, mean_block: int = MEAN_BLOCK, n_resamples: int = N_RESAMPLES, seed: int = SEED
) -> tuple[float, float]:
    """Return the 95 % interval of the strategy's Sharpe ratio less that of holding.

    A stationary bootstrap: both series are resampled together in blocks of geometric length, taken as a circle.

    References
    ----------
    Politis and Romano, The Stationary Bootstrap, Journal of the American Statistical Association 89 (1994).
    """
    generator = np.random.default_rng(seed)
    differences = np.empty(n_resamples)
    for resample in range(n_resamples):
        chosen = _stationary_rows(generator, len(trading.returns), mean_block)
        differences[resample] = sharpe_ratio(trading.returns[chosen]) - sharpe_ratio(trading.holding_returns[chosen])
    known = differences[np.isfinite(differences)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def _stationary_rows(generator: np.random.Generator, n_rows: int, mean_block: int) -> Int64Vector:
    begins = np.flatnonzero(generator.random(n_rows) < 1.0 / mean_block)
    begins = np.concatenate([[0], begins[begins > 0]])
    lengths = np.diff(np.append(begins, n_rows))
    starts = generator.integers(0, n_rows, len(begins))
    rows: Int64Vector = (np.repeat(starts - begins, lengths) + np.arange(n_rows)) % n_rows
    return rows
