"""Realised volatility of the sessions that follow each close."""

from __future__ import annotations

import numpy as np

from prometheus.arrays import Float64Vector

HORIZON_SESSIONS = 21
_SESSIONS_PER_YEAR = 252


def forward_log_volatility(closes: Float64Vector, horizon: int = HORIZON_SESSIONS) -> Float64Vector:
    """Return the log of the annualised realised volatility of the next `horizon` sessions, shape (n,).

    NaN where the horizon reaches past the last close, or where no close moved. The volatility is the root of the mean
    squared log return.
    """
    squares = np.diff(np.log(closes)) ** 2
    sums = np.concatenate([[0.0], np.cumsum(squares)])
    variances = np.full(len(closes), np.nan)
    n_known = len(closes) - horizon
    if n_known > 0:
        variances[:n_known] = (sums[horizon:] - sums[:-horizon])[:n_known] / horizon
    with np.errstate(divide="ignore", invalid="ignore"):
        logs: Float64Vector = 0.5 * np.log(variances * _SESSIONS_PER_YEAR)
    logs[~np.isfinite(logs)] = np.nan
    return logs
