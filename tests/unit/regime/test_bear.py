"""The chance of a bear market: beside a filter on real closes, alone and together, and its state's few switches."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.reference.windows import sample_bars
from tests.unit.regime.sample_sessions import BEFORE_THE_CRISIS, calibrated_until, sample_sessions

from prometheus.encoders.numeric.features import log_prices
from prometheus.encoders.numeric.scale_free import ScaleFreeNumericEmbeddingModel
from prometheus.errors import PrototypeError
from prometheus.evaluation.bears import bear_market_days
from prometheus.evaluation.figures import (
    area_under_curve,
    balanced_accuracy,
    f1_score,
    switches_per_year,
)
from prometheus.regime.bear import ENTER, LEAVE, UNDECIDED, BearForecast, bear_states
from prometheus.regime.calibration import CalibrationSettings, RegimeCalibration

N_BACK = 126


def sample_closes() -> np.ndarray:
    """Closes of the sessions in `sample_sessions`."""
    closes = {bar[0]: bar[1] for bar in sample_bars("GSPC.INDX")}
    return np.array([closes[day] for day in sample_sessions().dates.tolist()])


def filtered(closes: np.ndarray, fall: float) -> np.ndarray:
    """Return the odds of first passage on each date of a filter that remembers every close."""
    peak = trough = closes[0]
    is_bear, odds = False, []
    for close in closes.tolist():
        if is_bear:
            trough = min(trough, close)
            if close >= trough * (1 + fall):
                is_bear, peak = False, close
        else:
            peak = max(peak, close)
            if close <= peak * (1 - fall):
                is_bear, trough = True, close
        odds.append(1 - (close / trough - 1) / fall if is_bear else (1 - close / peak) / fall)
    return np.array(odds)


def vectors_of(closes: np.ndarray) -> np.ndarray:
    """Return the vector of the last session of closes."""
    table = log_prices(closes, np.ones(len(closes)), np.ones(len(closes)))
    return ScaleFreeNumericEmbeddingModel().encode_table(table, np.array([len(closes)]), 513)


@pytest.mark.parametrize("fall", [0.1, 0.2, 0.3])
def test_odds_read_from_vectors_are_those_of_a_filter_on_closes_but_for_its_longer_memory(fall: float) -> None:
    odds = BearForecast(fall).odds(sample_sessions().vectors)
    expected = filtered(sample_closes(), fall)
    gaps = np.abs(odds - expected)[512:]
    assert np.quantile(gaps, 0.9) < 0.02
    assert np.corrcoef(odds[512:], expected[512:])[0, 1] > 0.95


moves = st.lists(st.floats(-0.08, 0.08), min_size=1, max_size=60)


@bounded(25)
@given(moves, st.floats(0.05, 0.5))
def test_where_the_path_is_short_odds_are_exactly_those_of_the_filter(last: list[float], fall: float) -> None:
    steps = np.concatenate([np.full(513, 1e-3), last])
    closes = 100.0 * np.exp(np.cumsum(steps))
    assert BearForecast(fall).odds(vectors_of(closes))[0] == pytest.approx(
        np.clip(filtered(closes, fall)[-1], 0, 1), abs=2e-4
    )


@bounded(25)
@given(st.data())
def test_a_session_has_the_same_bytes_alone_in_a_chunk_and_in_the_whole(data: st.DataObject) -> None:
    vectors, forecast = sample_sessions().vectors, BearForecast(0.2)
    first = data.draw(st.integers(0, len(vectors) - 1))
    stop = data.draw(st.integers(first + 1, min(first + 400, len(vectors))))
    whole = forecast.probabilities(vectors)
    assert forecast.probabilities(vectors[first:stop]).tobytes() == whole[first:stop].tobytes()
    assert forecast.probabilities(vectors[first : first + 1]).tobytes() == whole[first : first + 1].tobytes()


probabilities = st.lists(st.floats(0, 1), min_size=5, max_size=60)


@bounded(25)
@given(probabilities, st.integers(1, 5))
def test_a_state_is_what_the_last_sure_probability_said(stated: list[float], n_back: int) -> None:
    def said(until: int) -> bool:
        for chance in reversed(stated[until - n_back + 1 : until + 1]):
            if chance > ENTER or chance < LEAVE:
                return chance > ENTER
        return stated[until] > UNDECIDED

    expected = [said(until) for until in range(n_back - 1, len(stated))]
    assert bear_states(np.array(stated), n_back).tolist() == expected
    assert bear_states(np.array(stated)[-n_back:], n_back).tolist() == expected[-1:]


def test_bear_markets_are_told_with_few_switches() -> None:
    sessions, closes = sample_sessions(), sample_closes()
    _, calibration = calibrated_until(BEFORE_THE_CRISIS)
    assert calibration.bear is not None
    assert 0.1 < calibration.bear.fall < 0.25
    chances = calibration.bear.chances(sessions.vectors, N_BACK)
    is_bear = bear_market_days(closes)[N_BACK - 1 :]
    averages = np.convolve(closes, np.full(200, 1 / 200))[: len(closes)]
    is_below = (closes < averages)[N_BACK - 1 :]
    assert area_under_curve(chances.probabilities, is_bear) > 0.85
    assert f1_score(chances.states, is_bear) > f1_score(is_below, is_bear)
    assert balanced_accuracy(chances.states, is_bear) > 0.75
    assert switches_per_year(chances.states) < 2.5 < switches_per_year(is_below)
    assert chances.columns().keys() == {"probability", "is_bear", "fall"}
    for first, stop in [(row, row + n) for row in range(0, len(chances.states) - 3, 67) for n in (1, 3)]:
        few = calibration.bear.chances(sessions.vectors[first : stop + N_BACK - 1], N_BACK)
        assert few.states.tolist() == chances.states[first:stop].tolist()
        assert few.probabilities.tobytes() == chances.probabilities[first:stop].tobytes()


def test_a_wilder_market_must_fall_further() -> None:
    vectors = sample_sessions().vectors
    months = sample_sessions().dates.astype("M8[Y]")
    calm, wild = (BearForecast.fit(vectors[months == np.datetime64(year)]) for year in ("1995", "2008"))
    assert calm.fall < wild.fall
    assert BearForecast.fit(vectors[:1]).fall >= 0.02


def test_the_first_version_says_nothing_of_bear_markets_or_ages_and_is_written_as_before() -> None:
    _, calibration = calibrated_until(BEFORE_THE_CRISIS)
    first = calibrated_until(BEFORE_THE_CRISIS, CalibrationSettings(forecast=1))[1]
    assert set(calibration.to_dict()) - set(first.to_dict()) == {"bear", "stays_by_age"}
    assert first.stays == calibration.stays
    assert set(first.to_dict()["high_volatility"]) == {"threshold", "intercept", "slope"}
    for each in (first, calibration):
        document = json.loads(json.dumps(each.to_dict()))
        assert RegimeCalibration.from_dict(document, "file.json").to_dict() == each.to_dict()


@pytest.mark.parametrize("fall", [0.0, 1.0, -0.2, float("nan")])
def test_a_fall_that_can_be_none_is_refused(fall: float) -> None:
    _, calibration = calibrated_until(BEFORE_THE_CRISIS)
    with pytest.raises(PrototypeError, match="bear market"):
        RegimeCalibration.from_dict({**calibration.to_dict(), "bear": {"fall": fall}}, "file.json")
