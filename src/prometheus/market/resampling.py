"""Sessions drawn in whole blocks, so that what is drawn keeps how one session follows another."""

from __future__ import annotations

import numpy as np

from prometheus.arrays import Int64Vector


def stationary_rows(
    generator: np.random.Generator, n_rows: int, mean_block: int, n_drawn: int | None = None
) -> Int64Vector:
    """Return rows of a series of `n_rows`, by default as many of them, drawn in blocks of geometric lengths.

    The series is taken as a circle (Politis and Romano, The Stationary Bootstrap, Journal of the American Statistical
    Association 89, 1994).
    """
    n_drawn = n_rows if n_drawn is None else n_drawn
    begins = np.flatnonzero(generator.random(n_drawn) < 1.0 / mean_block)
    begins = np.concatenate([[0], begins[begins > 0]])
    lengths = np.diff(np.append(begins, n_drawn))
    starts = generator.integers(0, n_rows, len(begins))
    rows: Int64Vector = (np.repeat(starts - begins, lengths) + np.arange(n_drawn)) % n_rows
    return rows
