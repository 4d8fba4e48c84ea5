"""A session more is told what decoding all sessions again would tell it, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.property.strategies import bounded
from tests.unit.regime.sample_sessions import Calibrated, calibrated_until, sample_sessions

from prometheus.arrays import Float32Matrix
from prometheus.encoders.numeric.descriptors import NAMES
from prometheus.encoders.numeric.scale_free import raw_descriptors, scores_and_units, standard_scores
from prometheus.errors import WindowShapeError
from prometheus.market.outcomes import forward_log_volatility
from prometheus.regime.boosted import boosted_log_odds, boosted_log_odds_of
from prometheus.regime.calibration import CalibrationSettings, calibrate
from prometheus.regime.forecasts import volatility_score_of, volatility_scores
from prometheus.regime.market_index import IndexRises, MarketIndex
from prometheus.regime.model_persistent import DecodedAssignment, decode
from prometheus.regime.rolling import RollingDecoder


@cache
def calibrated(look_back: int, forecast: int = 2) -> Calibrated:
    if look_back == 126 and forecast == 2:
        return calibrated_until()
    sessions = sample_sessions().take(slice(1_000, 1_600))
    closes = np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.01, len(sessions))))
    settings = CalibrationSettings(decode_sessions=look_back, forecast=forecast, penalty=0.4)
    return calibrate(sessions, forward_log_volatility(closes), settings)


def said_of(decoded: DecodedAssignment, row: int) -> tuple[Any, ...]:
    """Everything said about one session, bit for bit."""
    columns = decoded.columns()
    spell = (int(decoded.nearest[row]), int(decoded.ages[row]))
    bear = decoded.bear
    return (
        decoded.labels, spell, decoded.exit_hazards[spell], decoded.threshold, decoded.says_age, sorted(columns),
        *(each[row].tobytes() for each in (decoded.distances, decoded.posteriors, decoded.high_volatility)),
        decoded.confidences[row].tobytes(),
        None if bear is None else (bear.probabilities[row].tobytes(), bool(bear.states[row]), bear.fall),
    )  # fmt: skip


def assert_rolls(calibration: Calibrated, vectors: Float32Matrix, is_held: NDArray[np.bool_], first: int) -> None:
    prototypes, said = calibration
    n_back = said.decode_sessions
    whole = decode(vectors, volatility_scores(vectors), prototypes, said, is_held)
    rolling = RollingDecoder(prototypes, said, vectors[:first], is_held[:first].tolist())
    for at in range(first, len(vectors)):
        one = rolling.append(vectors[at], is_held=bool(is_held[at]))
        assert said_of(one, 0) == said_of(whole, at - n_back + 1), at


def test_real_sessions_one_by_one_are_told_what_the_whole_history_is() -> None:
    vectors = sample_sessions().vectors
    is_held = np.random.default_rng(0).random(len(vectors)) < 0.02
    assert_rolls(calibrated(126), vectors, is_held, 125)


@bounded(12)
@given(
    look_back=st.sampled_from([1, 2, 20, 126]), forecast=st.sampled_from([1, 2]), start=st.integers(0, 5_000),
    more=st.integers(0, 30), held=st.lists(st.booleans(), min_size=220, max_size=220),
)  # fmt: skip
def test_any_stretch_one_by_one_is_told_what_the_stretch_is(
    look_back: int, forecast: int, start: int, more: int, held: Sequence[bool]
) -> None:
    vectors = sample_sessions().vectors[start : start + 220]
    assert_rolls(calibrated(look_back, forecast), vectors, np.array(held), look_back - 1 + more)


def test_a_member_is_told_what_its_index_says_too() -> None:
    prototypes, said = calibrated(126)
    said = replace(said, market_index=MarketIndex("INDEX"))
    sessions = sample_sessions().take(slice(3_000, 3_200))
    rises = IndexRises.of(sessions.dates, sample_sessions().vectors[500:700])
    for seen in (None, rises):
        rows = None if seen is None else seen.on(sessions.dates[125:])
        whole = decode(sessions.vectors, sessions.scores, prototypes, said, None, rows)
        rolling = RollingDecoder(prototypes, said, sessions.vectors[:125], [False] * 125)
        for at in range(125, 200):
            one = rolling.append(
                sessions.vectors[at], seen=None if seen is None else seen.on(sessions.dates[at : at + 1])
            )
            assert said_of(one, 0) == said_of(whole, at - 125)


def test_too_few_vectors_to_begin_with_are_refused() -> None:
    prototypes, said = calibrated(126)
    with pytest.raises(WindowShapeError, match="vectors to begin with"):
        RollingDecoder(prototypes, said, sample_sessions().vectors[:124], [False] * 124)


def test_what_is_read_of_one_vector_is_what_is_read_of_many() -> None:
    vectors = sample_sessions().vectors[::7]
    _, said = calibrated(126)
    assert said.bear is not None
    scores, raw = standard_scores(vectors, NAMES), raw_descriptors(vectors, NAMES)
    many = (
        volatility_scores(vectors), boosted_log_odds(vectors, 0.25),
        said.high_volatility.probabilities(volatility_scores(vectors), vectors), said.bear.probabilities(vectors),
    )  # fmt: skip
    n_falls = 0
    for at, vector in enumerate(vectors):
        own_scores, own_raw = scores_and_units(vector)
        assert (own_scores.tobytes(), own_raw.tobytes()) == (scores[at].tobytes(), raw[at].tobytes())
        one = (
            volatility_score_of(own_scores), boosted_log_odds_of(own_raw, np.log(0.25)),
            said.high_volatility.probability_of(own_scores, own_raw), said.bear.probability_of(own_raw),
        )  # fmt: skip
        assert [each.hex() for each in one] == [float(each[at]).hex() for each in many]
        n_falls += said.bear.odds(vectors[at : at + 1])[0] > 0.9
    assert n_falls > 10


def test_bear_markets_of_a_few_dates_are_those_of_all() -> None:
    vectors = sample_sessions().vectors
    bear = calibrated(126)[1].bear
    assert bear is not None
    whole = bear.odds(vectors)
    for first in range(0, len(vectors), 331):
        assert bear.odds(vectors[first : first + 16]).tobytes() == whole[first : first + 16].tobytes()
