"""What every labeller promises; one added to the roster is tested here without a change."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from tests.unit.evaluation.sample_market import sample_history

from prometheus.evaluation.labeller import FittedLabeller, Labeller, Predictions
from prometheus.evaluation.peers import peer_labellers
from prometheus.evaluation.rules import rule_labellers
from prometheus.evaluation.v2 import PersistentLabeller

SPAN = 756
THRESHOLD = 0.2
N_FIT = 4600
N_YEAR = 60
"""Sessions after the fit: they reach into October 2008's wildest weeks."""

LABELLERS: dict[str, Labeller] = {
    each.name: each for each in [PersistentLabeller(SPAN), *rule_labellers(SPAN), *peer_labellers(SPAN)]
}
each_labeller = pytest.mark.parametrize("name", sorted(LABELLERS))


@cache
def fitted(name: str) -> FittedLabeller:
    return LABELLERS[name].fit(sample_history().until(N_FIT), THRESHOLD)


def bytes_of(predictions: Predictions, row: int) -> tuple[bytes, ...]:
    columns = (predictions.is_risk_off, predictions.scores, predictions.probabilities)
    return (*(column[row].tobytes() for column in columns), predictions.says(row).encode())


@each_labeller
def test_a_prediction_is_the_same_bytes_whatever_follows(name: str) -> None:
    history = sample_history()
    together = fitted(name).predictions(history.until(N_FIT + N_YEAR), N_YEAR)

    for row in (0, 1, 20, 41, N_YEAR - 1):
        alone = fitted(name).predictions(history.until(N_FIT + row + 1), 1)
        assert bytes_of(alone, 0) == bytes_of(together, row)
        some = fitted(name).predictions(history.until(N_FIT + row + 1), min(row + 1, 7))
        assert bytes_of(some, -1) == bytes_of(together, row)


@each_labeller
def test_poisoned_sessions_after_a_date_do_not_reach_it(name: str) -> None:
    history = sample_history().until(N_FIT + N_YEAR)
    is_late = np.arange(len(history)) >= N_FIT + 30
    assert history.high_over_close is not None
    assert history.low_over_close is not None
    assert history.volumes is not None
    poisoned = replace(
        history,
        closes=np.where(is_late, history.closes * 5.0, history.closes),
        high_over_close=np.where(is_late, 1.5, history.high_over_close),
        low_over_close=np.where(is_late, np.nan, history.low_over_close),
        volumes=np.where(is_late, 0.0, history.volumes),
    )

    clean, dirty = fitted(name).predictions(history, N_YEAR), fitted(name).predictions(poisoned, N_YEAR)

    assert [bytes_of(clean, row) for row in range(30)] == [bytes_of(dirty, row) for row in range(30)]


@each_labeller
def test_fitting_again_gives_the_same_predictions(name: str) -> None:
    again = LABELLERS[name].fit(sample_history().until(N_FIT), THRESHOLD)
    shown = sample_history().until(N_FIT + 20)
    first, second = fitted(name).predictions(shown, 20), again.predictions(shown, 20)
    assert [bytes_of(first, row) for row in range(20)] == [bytes_of(second, row) for row in range(20)]


@each_labeller
def test_predictions_are_finite_and_probabilities_are_some(name: str) -> None:
    predictions = fitted(name).predictions(sample_history().until(N_FIT + N_YEAR), N_YEAR)

    assert len(predictions) == N_YEAR
    assert np.isfinite(predictions.scores).all()
    assert ((predictions.probabilities >= 0) & (predictions.probabilities <= 1)).all()
    assert predictions.is_risk_off.dtype == np.bool_


@each_labeller
def test_the_crash_of_2008_scores_above_the_calm_of_2006(name: str) -> None:
    if name in {"holding", "num-regime-core-v1"}:
        pytest.skip("has no opinion, or one of volumes only")
    labeller, history = LABELLERS[name], sample_history()
    crash = history.position_of(np.datetime64("2008-11-03"))
    model = labeller.fit(history.until(history.position_of(np.datetime64("2008-01-02"))), THRESHOLD)

    before = model.predictions(history.until(crash), 20)
    calm = model.predictions(history.until(history.position_of(np.datetime64("2008-05-23"))), 20)

    assert before.is_risk_off.all()
    assert before.scores.mean() > calm.scores.mean()
    assert before.probabilities.mean() > calm.probabilities.mean()


@each_labeller
def test_global_settings_are_left_as_they_were(name: str) -> None:
    settings = np.geterr()
    LABELLERS[name].fit(sample_history().until(1400), THRESHOLD)
    assert np.geterr() == settings
