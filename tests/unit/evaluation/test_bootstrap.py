"""Resamples kept as counts give what the drawn series themselves would."""

from __future__ import annotations

import numpy as np
import pytest

from prometheus.evaluation.bootstrap import draw_counts, interval_of, mean_difference_interval, resampled_areas
from prometheus.evaluation.figures import area_under_curve

GENERATOR = np.random.default_rng(3)
N = 120
SCORES = GENERATOR.integers(0, 9, N).astype(np.float64)
IS_HIGH = SCORES + GENERATOR.normal(0, 3, N) > 6


def test_an_area_of_counts_is_that_of_the_rows_drawn() -> None:
    counts, areas = draw_counts(N), resampled_areas(SCORES, IS_HIGH)
    for resample in range(0, len(counts), 97):
        rows = np.repeat(np.arange(N), counts[resample])
        assert len(rows) == N
        assert areas[resample] == pytest.approx(area_under_curve(SCORES[rows], IS_HIGH[rows]))


def test_blocks_are_long_and_the_same_seed_draws_the_same() -> None:
    counts = draw_counts(N, mean_block=40, n_resamples=50)
    assert (counts == draw_counts(N, mean_block=40, n_resamples=50)).all()
    assert (counts[:, 1:] == counts[:, :-1]).mean() > 0.8


def test_a_score_is_no_better_than_itself_and_a_shift_is_found() -> None:
    areas = resampled_areas(SCORES, IS_HIGH)
    assert interval_of(areas - resampled_areas(2 * SCORES + 1, IS_HIGH)) == (0.0, 0.0)
    low, high = mean_difference_interval(SCORES + 1.0, SCORES)
    assert (low, high) == pytest.approx((1.0, 1.0))
    assert np.isnan(interval_of(resampled_areas(SCORES, np.zeros(N, dtype=np.bool_)))).all()
