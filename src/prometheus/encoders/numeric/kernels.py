"""Weighted sums over trailing stretches of 2**n rows, the same bytes wherever the rows stand in a table.

A sum over ``2**(n+1)`` rows is made of the two sums over its halves, always in that order. So the value at a row is a
function of the rows it covers and of nothing else: not of where a table begins, nor of how many rows are asked for.
Prefix sums and running averages, which cost about the same, are not (ADR-0008).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from prometheus.arrays import Float64Matrix, Float64Vector
from prometheus.errors import UsageError, WindowShapeError


def trailing_means(values: Float64Matrix, half_lives: Sequence[float], n_rows: int, n_last: int) -> Float64Matrix:
    """Return exponentially weighted means over `n_rows` values, ending at each of the last `n_last`.

    A value ``k`` rows back weighs ``0.5 ** (k / half_life)``; the weights of a mean add to 1.

    Parameters
    ----------
    values
        Shape (n_series, n), with n at least ``n_rows + n_last - 1``.
    half_lives
        One per series.
    n_rows
        A power of two.

    Returns
    -------
    Shape (n_series, n_last).

    Raises
    ------
    UsageError
        `n_rows` is no power of two.
    WindowShapeError
        There are too few values.

    Examples
    --------
    >>> trailing_means(np.array([[9.0, 1.0, 2.0]]), [1.0], 2, 1).round(3)
    array([[1.667]])
    """
    require_power_of_two(n_rows)
    n_needed = n_rows + n_last - 1
    if values.shape[1] < n_needed:
        raise WindowShapeError("series", values.shape, (len(half_lives), n_needed))
    decay = 0.5 ** (1.0 / np.asarray(half_lives, dtype=np.float64))[:, np.newaxis]
    sums, span = values[:, values.shape[1] - n_needed :], 1
    while span < min(n_rows, n_last):  # neighbouring stretches share their halves: every sum is taken once
        older = decay**span * sums[:, :-span]
        sums, span = np.add(older, sums[:, span:], out=older), 2 * span
    # the rest lie apart: axis 1 counts the stretches of `span` rows, axis 2 the rows they lead up to
    by_series, by_row = sums.strides
    blocks = as_strided(sums, (len(sums), n_rows // span, n_last), (by_series, span * by_row, by_row), writeable=False)
    while span < n_rows:
        older = (decay**span)[:, np.newaxis] * blocks[:, 0::2]
        blocks, span = np.add(older, blocks[:, 1::2], out=older), 2 * span
    means: Float64Matrix = blocks[:, 0] * ((1.0 - decay) / (1.0 - decay**n_rows))
    return means


def trailing_averages(values: Float64Vector, lengths: Sequence[int], n_last: int) -> dict[int, Float64Vector]:
    """Return plain means ending at each of the last `n_last` values, shape (n_last,), per length, a power of two."""
    sums, found, span = values, {}, 1
    for length in sorted(lengths):
        require_power_of_two(length)
        while span < length:
            sums, span = sums[span:] + sums[:-span], 2 * span
        found[length] = sums[len(sums) - n_last :] / length
    return found


def trailing_maxima(values: Float64Matrix, lengths: Sequence[int], n_last: int) -> dict[int, Float64Matrix]:
    """Return the greatest values, likewise, shape (n_series, n_last), per length, a power of two."""
    maxima, found, span = values, {}, 1
    for length in sorted(lengths):
        require_power_of_two(length)
        while span < length:
            maxima, span = np.maximum(maxima[:, span:], maxima[:, :-span]), 2 * span
        found[length] = maxima[:, maxima.shape[1] - n_last :].copy()
    return found


def require_power_of_two(n_rows: int) -> int:
    """Return `n_rows` if it is a power of two, else raise `UsageError`."""
    if n_rows < 1 or n_rows & (n_rows - 1):
        raise UsageError(f"a trailing stretch must be a power of two long, got {n_rows}")
    return n_rows
