"""Scores become probabilities in one way, from outcomes that were over."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.evaluation.sample_market import sample_history

from prometheus.evaluation.figures import calibration_error
from prometheus.evaluation.labeller import BASE_RATE, high_outcomes, recalibrated


def test_outcomes_whose_horizon_is_not_over_are_unknown() -> None:
    history = sample_history().until(1000)
    outcomes = high_outcomes(history, 0.15)
    assert np.isnan(outcomes[-21:]).all()
    assert set(outcomes[:-21].tolist()) == {0.0, 1.0}
    longer = high_outcomes(sample_history().until(1021), 0.15)
    assert longer[:979].tolist() == outcomes[:979].tolist()


def test_probabilities_follow_the_rates_that_were_observed() -> None:
    generator = np.random.default_rng(5)
    scores = generator.normal(3.0, 2.0, 4000)
    truth = 1.0 / (1.0 + np.exp(-(scores - 5.0)))
    outcomes = (generator.random(4000) < truth).astype(np.float64)
    outcomes[:100] = np.nan

    stated = recalibrated(scores, outcomes).probabilities(scores)

    assert np.abs(stated - truth).max() < 0.05
    assert calibration_error(stated[100:], outcomes[100:] == 1.0) < 0.02


@pytest.mark.parametrize("scores", [np.zeros(500), np.full(500, 7.25)])
def test_a_score_that_says_nothing_gives_the_observed_rate(scores: np.ndarray) -> None:
    outcomes = (np.arange(500) % 4 == 0).astype(np.float64)
    stated = recalibrated(scores, outcomes).probabilities(scores)
    assert stated == pytest.approx(0.25, abs=2e-3)


def test_without_any_outcome_the_base_rate_is_stated() -> None:
    stated = recalibrated(np.arange(3.0), np.full(3, np.nan)).probabilities(np.array([-1e9, 0.0, 1e9]))
    assert stated.tolist() == pytest.approx([BASE_RATE] * 3)


def test_a_past_of_one_kind_leaves_probabilities_inside_the_open_interval() -> None:
    scores = np.linspace(-1, 1, 3000)
    for outcome in (0.0, 1.0):
        stated = recalibrated(scores, np.full(3000, outcome)).probabilities(scores)
        assert ((stated > 0) & (stated < 1)).all()
        assert np.abs(stated - outcome).max() < 0.05
