"""The frozen trees: beside a slow twin, alone and together, and what they add to the first forecast."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.unit.regime.sample_sessions import BEFORE_THE_CRISIS, calibrated_until, followed, sample_sessions

from prometheus.errors import PrototypeError, UsageError, WindowShapeError
from prometheus.evaluation.figures import area_under_curve, brier_skill
from prometheus.regime.boosted import (
    NAMES,
    RISK_NAMES,
    BoostedTrees,
    boosted_log_odds,
    packaged_trees,
    relative_features,
)
from prometheus.regime.calibration import RegimeCalibration
from prometheus.regime.forecasts import BOOSTED_FORECAST, HighVolatilityForecast, sigmoid


def asked_one_by_one(trees: BoostedTrees, row: np.ndarray) -> int:
    """Return the millionths of log odds of one row, each question asked by itself."""
    total = trees.base
    for features, limits, outcomes in zip(trees.features, trees.limits, trees.outcomes, strict=True):
        answers = sum(int(row[at] > limit) << bit for bit, (at, limit) in enumerate(zip(features, limits, strict=True)))
        total += int(outcomes[answers])
    return total


def test_log_odds_are_the_sum_over_all_trees_asked_one_by_one() -> None:
    trees, features = packaged_trees(), relative_features(sample_sessions().vectors[::397], 0.2)
    expected = [asked_one_by_one(trees, row) * 1e-6 for row in features]
    assert trees.log_odds(features).tolist() == expected


@bounded(25)
@given(st.data())
def test_a_session_has_the_same_bytes_alone_in_a_chunk_and_in_the_whole(data: st.DataObject) -> None:
    vectors = sample_sessions().vectors
    first = data.draw(st.integers(0, len(vectors) - 1))
    stop = data.draw(st.integers(first + 1, min(first + 1_200, len(vectors))))
    whole = boosted_log_odds(vectors, 0.2)
    assert boosted_log_odds(vectors[first:stop], 0.2).tobytes() == whole[first:stop].tobytes()
    assert boosted_log_odds(vectors[first : first + 1], 0.2).tobytes() == whole[first : first + 1].tobytes()


@bounded(25)
@given(st.integers(0, 5_000), st.sampled_from(range(len(RISK_NAMES))), st.floats(0, 2))
def test_more_volatility_never_makes_high_volatility_less_likely(row: int, risk: int, more: float) -> None:
    features = relative_features(sample_sessions().vectors[row : row + 1], 0.2)
    louder = features.copy()
    louder[0, risk] += more
    assert packaged_trees().log_odds(louder)[0] >= packaged_trees().log_odds(features)[0]


@bounded(25)
@given(st.integers(0, 5_000), st.floats(0.05, 1.0), st.floats(1.0, 3.0))
def test_a_higher_threshold_is_never_likelier_to_be_exceeded(row: int, threshold: float, factor: float) -> None:
    vector = sample_sessions().vectors[row : row + 1]
    assert boosted_log_odds(vector, threshold * factor)[0] <= boosted_log_odds(vector, threshold)[0]


def test_beside_the_first_forecast_it_errs_less_and_ranks_as_well_in_years_neither_saw() -> None:
    sessions, (_, calibration) = sample_sessions(), calibrated_until(BEFORE_THE_CRISIS)
    second = calibration.high_volatility
    first = replace(second, version=1)
    assert second.version == BOOSTED_FORECAST
    is_judged = np.isfinite(followed()) & (sessions.dates > np.datetime64(BEFORE_THE_CRISIS))
    is_high = followed()[is_judged] > np.log(second.threshold)
    scores, vectors = sessions.scores[is_judged], sessions.vectors[is_judged]
    before, now = (each.probabilities(scores, vectors) for each in (first, second))
    assert area_under_curve(now, is_high) > area_under_curve(before, is_high) - 0.001
    assert brier_skill(now, is_high) > brier_skill(before, is_high) + 0.001


def test_log_odds_are_the_mean_of_both() -> None:
    sessions = sample_sessions()
    forecast = HighVolatilityForecast(0.2, -1.5, 1.1, BOOSTED_FORECAST)
    both = (forecast.curve(sessions.scores) + boosted_log_odds(sessions.vectors, 0.2)) / 2.0
    assert forecast.probabilities(sessions.scores, sessions.vectors).tobytes() == sigmoid(both).tobytes()


def test_the_first_forecast_is_written_as_before_and_asks_no_tree() -> None:
    forecast = HighVolatilityForecast(0.2, -1.5, 1.1)
    assert forecast.to_dict() == {"threshold": 0.2, "intercept": -1.5, "slope": 1.1}
    assert HighVolatilityForecast.from_dict(forecast.to_dict()) == forecast
    sessions = sample_sessions()
    stated = forecast.probabilities(sessions.scores, np.full_like(sessions.vectors, np.nan))
    assert stated.tobytes() == sigmoid(-1.5 + 1.1 * sessions.scores).tobytes()


def test_a_version_that_is_not_known_is_refused() -> None:
    with pytest.raises(UsageError, match="no version 3"):
        HighVolatilityForecast(0.2, -1.5, 1.1, 3)
    _, calibration = calibrated_until(BEFORE_THE_CRISIS)
    document = calibration.to_dict()
    document["high_volatility"]["version"] = 3
    with pytest.raises(PrototypeError, match="no version 3"):
        RegimeCalibration.from_dict(document, "file.json")


def test_trees_come_back_from_their_file_and_other_names_are_refused() -> None:
    trees = packaged_trees()
    assert BoostedTrees.from_json(trees.to_json()).to_json() == trees.to_json()
    assert trees.source["instrument_id"] == "^GSPC"
    assert trees.source["until"] == "1989-12-31"
    with pytest.raises(WindowShapeError):
        BoostedTrees.from_json(trees.to_json().replace(f'"{NAMES[0]}", ', "", 1))
    with pytest.raises(WindowShapeError):
        replace(trees, outcomes=trees.outcomes[:, :4])
