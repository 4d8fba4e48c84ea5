"""The figures a labeller is judged by: pure functions of labels, scores, probabilities and what followed."""

from __future__ import annotations

import numpy as np

from prometheus.arrays import DateVector, Float64Matrix, Float64Vector
from prometheus.evaluation.labeller import BoolVector

SESSIONS_PER_YEAR = 252
N_BINS = 10
BEAR_FALL = 0.2
BULL_RISE = 0.2

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


def area_under_curve(scores: Float64Vector, is_high: BoolVector) -> float:
    """Return the chance that a high session scores above another, ties counting half; NaN without both kinds.

    Mann and Whitney's statistic from ranks.

    Examples
    --------
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


def explained_variance(is_risk_off: BoolVector, values: Float64Vector) -> float:
    """Return eta squared: the share of the variance of `values` that lies between the two labels, in [0, 1].

    NaN if the values do not vary.
    """
    if not len(values) or values.min() == values.max():
        return float("nan")
    above = values - values.min()
    above /= above.max()  # the square of a tiny value would be zero
    deviations = above - above.mean()
    total = float((deviations**2).sum())
    between = sum(
        float(group.sum()) ** 2 / len(group)
        for group in (deviations[is_risk_off], deviations[~is_risk_off])
        if len(group)
    )
    return min(between / total, 1.0)


def brier_skill(probabilities: Float64Vector, is_high: BoolVector) -> float:
    """Return 1 less the mean squared error over that of always saying the observed rate; NaN without both kinds."""
    outcomes = is_high.astype(np.float64)
    reference = float(((outcomes - outcomes.mean()) ** 2).mean()) if len(outcomes) else 0.0
    if not reference > 0.0:
        return float("nan")
    return 1.0 - float(((probabilities - outcomes) ** 2).mean()) / reference


def reliability_bins(probabilities: Float64Vector, is_high: BoolVector, n_bins: int = N_BINS) -> Float64Matrix:
    """Return mean probability, observed rate and count of each bin, shape (at most `n_bins`, 3).

    Bins hold equally many sessions as far as ties allow: equal probabilities fall into one bin.
    """
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


def bear_market_days(closes: Float64Vector, fall: float = BEAR_FALL, rise: float = BULL_RISE) -> BoolVector:
    """Return which sessions lie after the peak and up to the trough of a bear market, shape (n,).

    A bear market begins at the last peak once closes have fallen by `fall` from it, and ends at its trough once they
    have risen by `rise` from that. One that has not ended lasts up to the lowest close so far.
    """
    is_bear = np.zeros(len(closes), dtype=np.bool_)
    peak = trough = 0
    is_falling = False
    for day, close in enumerate(closes.tolist()):
        if is_falling:
            if close < closes[trough]:
                trough = day
            elif close >= closes[trough] * (1.0 + rise):
                is_bear[peak + 1 : trough + 1] = True
                is_falling, peak = False, day
        elif close > closes[peak]:
            peak = day
        elif close <= closes[peak] * (1.0 - fall):
            is_falling, trough = True, day
    if is_falling:
        is_bear[peak + 1 : trough + 1] = True
    return is_bear


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
