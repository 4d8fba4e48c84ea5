"""What an index adds to a member's chance of high volatility: what was known on the day, and nothing without it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.unit.regime.sample_sessions import calibrated_until, encoder_without_database, sample_sessions, sample_set

from prometheus.encoders.numeric.scale_free import raw_descriptors
from prometheus.errors import PrototypeError, UsageError
from prometheus.regime import PersistentRegimeModel
from prometheus.regime.calibration import CalibrationSettings, RegimeCalibration
from prometheus.regime.forecasts import logit
from prometheus.regime.market_index import RISE_WEIGHT, IndexRises, MarketIndex, newest_rows, range_rises
from prometheus.regime.model_persistent import DecodedAssignment, decode

INDEX = MarketIndex("WORLD.INDX")
N_DECODED = 126
N_LABELLED = 60
SPAN = slice(4_600, 4_600 + N_DECODED - 1 + N_LABELLED)
DAYS = sample_sessions().dates[SPAN][N_DECODED - 1 :]


@cache
def calibration_with_index() -> RegimeCalibration:
    return replace(calibrated_until()[1], market_index=INDEX)


def decoded(rows: slice = SPAN, seen: IndexRises | None = None, *, has_index: bool = True) -> DecodedAssignment:
    """Labels of the sample's sessions; the index is to be seen on them."""
    prototypes, calibration = calibrated_until()
    sessions = sample_sessions().take(rows)
    chosen = calibration_with_index() if has_index else calibration
    return decode(sessions.vectors, sessions.scores, prototypes, chosen, None, seen)


@cache
def without() -> DecodedAssignment:
    return decoded(has_index=False)


def index_of(rows: np.ndarray) -> IndexRises:
    """An index that was open on some of the days, with the ranges of other years."""
    return IndexRises.of(DAYS[rows], sample_sessions().vectors[1_000 : 1_000 + N_LABELLED][rows])


def test_the_rise_is_the_log_of_recent_ranges_over_those_before() -> None:
    vectors = sample_sessions().vectors[::211]
    recent, usual = raw_descriptors(vectors, ["range_4", "range_16"]).T
    np.testing.assert_array_equal(range_rises(vectors), recent - usual)
    assert 0.1 < range_rises(sample_sessions().vectors).std() < 0.3


@bounded(40)
@given(
    dates=st.sets(st.integers(0, 60), max_size=12).map(sorted),
    days=st.sets(st.integers(0, 60), min_size=1, max_size=12).map(sorted),
)
def test_the_newest_date_of_a_week_is_found(dates: list[int], days: list[int]) -> None:
    found = newest_rows(*(np.array(each, dtype="M8[D]") for each in (dates, days)))
    for day, row in zip(days, found.tolist(), strict=True):
        known = [at for at, each in enumerate(dates) if 0 <= day - each <= 7]
        assert row == (known[-1] if known else -1)


def test_log_odds_rise_with_the_index_less_the_member_and_labels_stay() -> None:
    seen = index_of(np.arange(N_LABELLED)).on(DAYS)
    found, plain = decoded(seen=seen), without()
    expected = RISE_WEIGHT * (seen.rises - range_rises(sample_sessions().vectors[SPAN][N_DECODED - 1 :]))
    np.testing.assert_allclose(logit(found.high_volatility) - logit(plain.high_volatility), expected, atol=1e-6)
    assert np.abs(found.high_volatility - plain.high_volatility).max() > 0.05
    for row in range(N_LABELLED):
        said, before = found.details(row), plain.details(row)
        assert said.pop("market_index") == {"instrument_id": "WORLD.INDX", "session": str(DAYS[row])}
        del said["high_volatility"], before["high_volatility"]
        assert said == before


@bounded(15)
@given(closed=st.sets(st.integers(0, N_LABELLED - 1)), cut=st.integers(0, N_LABELLED - 1), poison=st.floats(-1e6, 1e6))
def test_later_sessions_change_nothing_and_missing_ones_leave_the_forecast_without(
    closed: set[int], cut: int, poison: float
) -> None:
    known = index_of(np.array(sorted(set(range(N_LABELLED)) - closed), dtype=np.int64))
    poisoned = IndexRises(known.sessions, np.where(known.sessions > DAYS[cut], poison, known.rises))
    found, other = decoded(seen=known.on(DAYS)), decoded(seen=poisoned.on(DAYS))
    assert found.high_volatility[: cut + 1].tobytes() == other.high_volatility[: cut + 1].tobytes()
    first = SPAN.start + cut
    alone = decoded(slice(first, first + N_DECODED), known.on(DAYS[cut : cut + 1]))
    assert alone.high_volatility.tobytes() == found.high_volatility[cut : cut + 1].tobytes()
    assert alone.details(0) == found.details(cut)
    unseen = np.flatnonzero(newest_rows(known.sessions, DAYS) < 0)
    assert found.high_volatility[unseen].tobytes() == without().high_volatility[unseen].tobytes()
    assert {row for row in range(N_LABELLED) if found.details(row)["market_index"]["session"] is None} == set(unseen)


def test_an_index_that_was_never_seen_leaves_every_forecast_without() -> None:
    nothing = decoded()
    assert nothing.high_volatility.tobytes() == without().high_volatility.tobytes()
    assert nothing.details(0)["market_index"] == {"instrument_id": "WORLD.INDX", "session": None}
    assert "market_index" not in without().details(0)
    empty = IndexRises.of(DAYS[:0], sample_sessions().vectors[:0]).on(DAYS)
    assert decoded(seen=empty).high_volatility.tobytes() == nothing.high_volatility.tobytes()


def test_a_file_says_its_index_and_one_without_reads_and_is_named_as_before() -> None:
    plain, chosen = sample_set(), sample_set(settings=CalibrationSettings(market_index=INDEX))
    assert chosen.calibration is not None
    assert plain.calibration is not None
    document = json.loads(json.dumps(chosen.calibration.to_dict()))
    assert document.pop("market_index") == {"instrument_id": "WORLD.INDX", "weight": RISE_WEIGHT}
    assert document == json.loads(json.dumps(plain.calibration.to_dict()))
    assert RegimeCalibration.from_dict(chosen.calibration.to_dict(), "p.json").market_index == INDEX
    assert RegimeCalibration.from_dict(document, "p.json").market_index is None
    assert chosen.regime_model_id("core") != plain.regime_model_id("core")


@pytest.mark.parametrize(
    "said", [{}, {"instrument_id": "A", "weight": "much"}, {"instrument_id": "A", "weight": 1e999}]
)
def test_an_index_that_cannot_be_read_is_refused(said: dict[str, object]) -> None:
    document = {**calibrated_until()[1].to_dict(), "market_index": said}
    with pytest.raises(PrototypeError, match=r"p\.json: 'calibration'"):
        RegimeCalibration.from_dict(document, "p.json")


def test_a_builder_of_single_windows_is_refused_before_anything_is_read() -> None:
    encoder = encoder_without_database()
    chosen = sample_set(settings=CalibrationSettings(market_index=INDEX))
    model = PersistentRegimeModel(encoder=encoder, region_instruments={"SPX": "A"}, prototype_set=chosen)
    assert model.index is not None
    assert model.index.instrument_id == "WORLD.INDX"

    class SingleWindows:
        def build_window(self, spec: object, as_of_date: date) -> None:
            raise AssertionError(spec, as_of_date)

    encoder.builder = SingleWindows()  # type: ignore[assignment]
    with pytest.raises(UsageError, match="build_range"):
        PersistentRegimeModel(encoder=encoder, region_instruments={"SPX": "A"}, prototype_set=chosen)
