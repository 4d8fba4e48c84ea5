"""One order out of scores of several kinds: each in standard deviations from the mean of the texts compared, added."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Float64Vector


def standardised(scores: Float64Vector) -> Float64Vector:
    """Return scores in standard deviations from their mean, shape (n,); 0 for NaN, and where all are equal.

    NaN stands for a text that has no score of that kind: it takes no part in mean and deviation, and counts as the
    mean.

    Examples
    --------
    >>> standardised(np.array([1.0, 3.0, np.nan])).tolist()
    [-1.0, 1.0, 0.0]
    """
    found = np.zeros(len(scores))
    there = np.flatnonzero(~np.isnan(scores))
    if len(there) and np.ptp(scores[there]) > 0:
        values = scores[there]
        found[there] = (values - values.mean()) / values.std()
    return found


def standardised_by(groups: NDArray[np.integer], scores: Float64Vector) -> Float64Vector:
    """Return scores standardised within each group of texts, shape (n,): those of two models have no common measure."""
    found = np.zeros(len(scores))
    for group in np.unique(groups):
        members = groups == group
        found[members] = standardised(scores[members])
    return found
