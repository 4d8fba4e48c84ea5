"""The figures a labeller or a space of vectors is judged by: pure functions of what was said and what followed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float32Matrix, Float64Matrix, Float64Vector, Int64Vector
from prometheus.errors import InputRefusedError
from prometheus.evaluation.labeller import BoolVector
from prometheus.market.outcomes import HORIZON_SESSIONS

SESSIONS_PER_YEAR = 252
N_BINS = 10
COST_PER_SWITCH = 0.001
N_RESAMPLES = 1_000
_EXECUTION_LAG = 2
"""A label of close t is traded at close t+1, so the first return it decides is that of session t+2."""
N_NEIGHBOURS = 20
MIN_CANDIDATES = 100
MIN_FORECASTS = 50
TOLERATED_LOSS = -0.02
BLOCK_DATES = 63
HARM_SEED = 20_200_316

RECESSIONS = (
    ("1960-04", "1961-02"),
    ("1969-12", "1970-11"),
    ("1973-11", "1975-03"),
    ("1980-01", "1980-07"),
    ("1981-07", "1982-11"),
    ("1990-07", "1991-03"),
    ("2001-03", "2001-11"),
    ("2007-12", "2009-06"),
    ("2020-02", "2020-04"),
)
"""Months of peaks and troughs of the United States since 1960, as dated by the NBER.

Up to 2009 as in the shared file ``macro/nber_peaks_troughs_bencasselman.csv``; the last pair from the announcements of
the NBER's Business Cycle Dating Committee of 8 June 2020 and 19 July 2021.
"""


def json_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with None for a figure that is not finite, as JSON has no word for it."""
    return {key: None if isinstance(each, float) and not math.isfinite(each) else each for key, each in values.items()}


def area_under_curve(scores: Float64Vector, is_high: BoolVector) -> float:
    """Return Mann and Whitney's chance that a high session scores above another; NaN without both kinds.

    >>> area_under_curve(np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, False, True, True]))
    0.875
    """
    n_high = int(is_high.sum())
    n_low = len(is_high) - n_high
    if not n_high or not n_low:
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[place]
    return float((ranks[is_high].sum() - n_high * (n_high + 1) / 2.0) / (n_high * n_low))


def explained_variance(labels: NDArray[Any], values: Float64Vector) -> float:
    """Return eta squared, the share of the variance of `values` between the labels; NaN if they do not vary."""
    if not len(values) or values.min() == values.max():
        return float("nan")
    above = values - values.min()
    above /= above.max()  # the square of a tiny value would be zero
    deviations = above - above.mean()
    total = float((deviations**2).sum())
    groups = (deviations[labels == label] for label in np.unique(labels))
    between = sum(float(group.sum()) ** 2 / len(group) for group in groups)
    return min(between / total, 1.0)


def explained_share(forecasts: Float64Vector, values: Float64Vector) -> float:
    """Return R squared: 1 less the squared errors over those of the mean of `values`; NaN if they do not vary."""
    total = float(((values - values.mean()) ** 2).sum()) if len(values) else 0.0
    return 1.0 - float(((values - forecasts) ** 2).sum()) / total if total > 0.0 else float("nan")


def quasi_likelihood(forecasts: Float64Vector, variances: Float64Vector) -> float:
    """Return QLIKE, the mean of v/f - ln(v/f) - 1 of realised and forecast variance; 0 is perfect, NaN without any.

    Patton, Volatility forecast comparison using imperfect volatility proxies, Journal of Econometrics 160, 2011.
    """
    ratios = variances / forecasts
    return float((ratios - np.log(ratios) - 1.0).mean()) if len(ratios) else float("nan")


def brier_skill(probabilities: Float64Vector, is_high: BoolVector) -> float:
    """Return 1 less the mean squared error over that of always saying the observed rate; NaN without both kinds."""
    outcomes = is_high.astype(np.float64)
    reference = float(((outcomes - outcomes.mean()) ** 2).mean()) if len(outcomes) else 0.0
    if not reference > 0.0:
        return float("nan")
    return 1.0 - float(((probabilities - outcomes) ** 2).mean()) / reference


def reliability_bins(probabilities: Float64Vector, is_high: BoolVector, n_bins: int = N_BINS) -> Float64Matrix:
    """Return mean probability, observed rate and count of each bin of equally many sessions (ties stay together)."""
    edges = np.quantile(probabilities, np.arange(1, n_bins) / n_bins)
    place = np.searchsorted(edges, probabilities, side="right")
    counts = np.bincount(place, minlength=n_bins).astype(np.float64)
    used = counts > 0
    stated = np.bincount(place, weights=probabilities, minlength=n_bins)[used] / counts[used]
    observed = np.bincount(place, weights=is_high.astype(np.float64), minlength=n_bins)[used] / counts[used]
    return np.column_stack([stated, observed, counts[used]])


def calibration_error(probabilities: Float64Vector, is_high: BoolVector, n_bins: int = N_BINS) -> float:
    """Return the expected calibration error: the mean gap of stated and observed rate, weighted by sessions."""
    if not len(probabilities):
        return float("nan")
    stated, observed, counts = reliability_bins(probabilities, is_high, n_bins).T
    return float((np.abs(stated - observed) * counts).sum() / counts.sum())


def recession_days(dates: DateVector) -> BoolVector:
    """Return which sessions lie in a recession month: after that of the peak, up to that of the trough."""
    months = dates.astype("M8[M]")
    is_recession = np.zeros(len(dates), dtype=np.bool_)
    for peak, trough in RECESSIONS:
        is_recession |= (months > np.datetime64(peak)) & (months <= np.datetime64(trough))
    return is_recession


def balanced_accuracy(said: BoolVector, actual: BoolVector) -> float:
    """Return the mean of the shares of true and of false days that are said right; NaN without both kinds."""
    if actual.all() or not actual.any():
        return float("nan")
    return (float(said[actual].mean()) + float((~said[~actual]).mean())) / 2.0


def f1_score(said: BoolVector, actual: BoolVector) -> float:
    """Return the harmonic mean of precision and recall; 0 without a hit, NaN if there is nothing to find or say."""
    n_both, n_said, n_actual = int((said & actual).sum()), int(said.sum()), int(actual.sum())
    return 2.0 * n_both / (n_said + n_actual) if n_said + n_actual else float("nan")


def count_switches(is_risk_off: BoolVector) -> int:
    """Return how often the label differs from that of the session before."""
    return int((is_risk_off[1:] != is_risk_off[:-1]).sum())


def switches_per_year(is_risk_off: BoolVector) -> float:
    """Return switches per 252 sessions."""
    return count_switches(is_risk_off) * SESSIONS_PER_YEAR / len(is_risk_off)


def mean_duration(is_risk_off: BoolVector) -> float:
    """Return the mean length of an unbroken spell, in sessions."""
    return len(is_risk_off) / (count_switches(is_risk_off) + 1)


@dataclass(frozen=True, slots=True, eq=False)
class Trading:
    """Positions, 1 in the market and 0 out of it, and their simple returns, shape (n,) each.

    A position is held over the return that ends at the session's close; only `returns` are after costs.
    """

    positions: Float64Vector
    returns: Float64Vector
    holding_returns: Float64Vector

    def share_out(self, share: float) -> Float64Vector:
        """Return the simple returns, after costs, of being out with a share of the position instead of all of it."""
        mixed: Float64Vector = (1.0 - share) * self.holding_returns + share * self.returns
        return mixed

    @property
    def turnover(self) -> float:
        """Round trips a year."""
        return float(np.abs(np.diff(self.positions)).sum()) / 2.0 * SESSIONS_PER_YEAR / len(self.positions)


def trade(is_risk_off: BoolVector, returns: Float64Vector, cost: float = COST_PER_SWITCH, delay: int = 0) -> Trading:
    """Return what being out of the market on risk-off labels would have earned; cash earns nothing.

    Labels are known at their session's close, `returns` are simple ones, shape (n,) each. The market is held until the
    first label can be acted on, `delay` sessions later than it must; a trade costs the share `cost` of the position.
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


@dataclass(frozen=True, slots=True)
class HarmCheck:
    """R squared of forecasts in the numeric and in the joint space; `low` and `high` bound 95 % of `difference`."""

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

    Vectors, shape (n, dim), ascend in time; targets say what followed each date, `sessions` are the numbers of the
    dates. Candidates lie at least `horizon` sessions back: nothing of a date's own future enters its forecast.
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
    """Compare the forecasts of two spaces on the dates, at least 50, that both can forecast."""
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
    """Resample whole blocks, the series taken as a circle."""
    generator = np.random.default_rng(HARM_SEED)
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
