"""The persistent model: decoding against its slow twin, what a state says, what its name and configuration mean."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.reference.decoding import slow_forward_costs, slow_softmax
from tests.reference.regimes import slow_distance
from tests.unit.regime.sample_sessions import (
    calibrated_until,
    encoder_without_database,
    sample_sessions,
    sample_set,
    sample_windows,
)

from prometheus.encoders.identity import fingerprint
from prometheus.errors import PrototypeError, UnknownNameError
from prometheus.regime import (
    NumericRegimeModel,
    PersistentRegimeModel,
    PrototypeSet,
    RegimeLabel,
    RegimeModel,
    RegimePrototype,
)
from prometheus.regime.calibration import CalibrationSettings, RegimeCalibration
from prometheus.regime.forecasts import HighVolatilityForecast
from prometheus.regime.model_persistent import decode
from prometheus.regime.transitions import StayCounts, exit_hazards, hazards_to_dict

LABELS = (RegimeLabel.CARRY, RegimeLabel.CRISIS, RegimeLabel.NEUTRAL)
STAYS = {RegimeLabel.CARRY: StayCounts(200, 2), RegimeLabel.CRISIS: StayCounts(20, 1)}


def small_calibration(penalty: float, decode_sessions: int, temperature: float = 0.5) -> RegimeCalibration:
    return RegimeCalibration(
        start=date(2000, 1, 3), end=date(2003, 1, 3), n_sessions=800, penalty=penalty,
        decode_sessions=decode_sessions, temperature=temperature,
        high_volatility=HighVolatilityForecast(0.25, -1.0, 0.5), stays=STAYS, norms={}, calm=(), wild=(),
    )  # fmt: skip


def model_of(prototype_set: PrototypeSet | None = None, model_id: str | None = None) -> PersistentRegimeModel:
    return PersistentRegimeModel(
        encoder=encoder_without_database(),
        region_instruments={"SPX": "GSPC.INDX"},
        prototype_set=sample_set() if prototype_set is None else prototype_set,
        model_id=model_id,
    )


@bounded(60)
@given(
    vectors=st.lists(st.lists(st.floats(-4, 4, width=32), min_size=2, max_size=2), min_size=4, max_size=8),
    penalty=st.floats(0, 3),
)
def test_labels_and_confidences_are_those_of_the_slow_twin(vectors: list[list[float]], penalty: float) -> None:
    centers = [[0.0, 0.0], [3.0, 3.0], [0.0, 3.0]]
    prototypes = [RegimePrototype(label, np.array(center)) for label, center in zip(LABELS, centers, strict=True)]
    scores = np.arange(len(vectors), dtype=np.float64)
    decoded = decode(np.array(vectors, dtype=np.float32), scores, prototypes, small_calibration(penalty, 4))
    costs = [[slow_distance(vector, center) for center in centers] for vector in vectors]
    assert len(decoded.nearest) == len(vectors) - 3
    for row, last in enumerate(range(3, len(vectors))):
        values = slow_forward_costs(costs[last - 3 : last + 1], penalty)
        chosen = int(decoded.nearest[row])
        assert values[chosen] == pytest.approx(0, abs=1e-9)
        np.testing.assert_allclose(decoded.posteriors[row], slow_softmax(values, 0.5), rtol=1e-6)
        assert decoded.confidences[row] == decoded.posteriors[row, chosen] == decoded.posteriors[row].max()
        np.testing.assert_allclose(decoded.distances[row], costs[last], rtol=1e-9)
        assert decoded.high_volatility[row] == pytest.approx(1 / (1 + math.exp(1 - 0.5 * last)))


def test_real_dates_alone_have_the_bytes_of_the_whole_run() -> None:
    model, vectors = model_of(), sample_sessions().vectors[-700:]
    whole = model.assign(vectors)
    assert len(whole.nearest) == 700 - 125
    for row in range(0, 575, 23):
        alone = model.assign(vectors[row : row + 126])
        for name in ("nearest", "confidences", "distances", "posteriors", "high_volatility", "ages"):
            assert getattr(alone, name).tobytes() == getattr(whole, name)[row : row + 1].tobytes(), name
        assert alone.details(0) == whole.details(row)


def test_changing_label_costs_something_so_that_few_are_changed() -> None:
    prototypes, calibration = calibrated_until()
    sessions = sample_sessions()
    nearest = NumericRegimeModel(
        encoder=encoder_without_database(), region_instruments={}, window_days=513, prototypes=prototypes
    )
    decoded = decode(sessions.vectors, sessions.scores, prototypes, calibration).nearest
    assert (
        10
        < np.count_nonzero(np.diff(decoded))
        < np.count_nonzero(np.diff(nearest.assign(sessions.vectors).nearest)) / 2
    )


def test_a_state_says_how_likely_its_label_is_and_what_may_follow() -> None:
    model, windows = model_of(), sample_windows()
    batch = model.encoder.encode(windows.take(slice(-130, None)))
    states = model.states(batch, "SPX")
    assert [state.as_of_date for state in states] == windows.as_of_dates[-5:].tolist()
    for row, state in enumerate(states):
        assert (state.region, state.encoder_model_id, state.model_id) == ("SPX", "num-regime-core-v2", model.model_id)
        assert state.regime_embedding.tobytes() == batch.vectors[125 + row].tobytes()
        assert (state.metadata["instrument_id"], state.metadata["window_days"]) == ("GSPC.INDX", 513)
        shares = state.metadata["probabilities"]
        assert math.fsum(shares.values()) == pytest.approx(1, abs=1e-12)
        assert shares[state.regime_label.name] == state.confidence == max(shares.values())
        high = state.metadata["high_volatility"]
        assert high["threshold"] == model.calibration.high_volatility.threshold
        assert 0 < high["probability"] < 1
        calibration, age = model.calibration, state.metadata["spell_sessions"]
        assert calibration.stays_by_age is not None
        by_age = calibration.stays_by_age[state.regime_label]
        risks = exit_hazards(calibration.stays[state.regime_label], by_age, age)
        assert state.metadata["change_risk"] == hazards_to_dict(risks)
        assert json.loads(json.dumps(state.metadata, allow_nan=False)) == state.metadata


def test_a_calibration_of_the_first_version_states_one_chance_at_every_age_and_tells_none() -> None:
    prototypes, calibration = calibrated_until()
    sessions = sample_sessions()
    first = replace(calibration, stays_by_age=None)
    decoded = decode(sessions.vectors, sessions.scores, prototypes, first)
    assert np.bincount(decoded.ages)[[1, 4, 5, 20, 21]].all()
    for row in range(0, len(decoded.nearest), 97):
        said = decoded.details(row)
        assert "spell_sessions" not in said
        label = decoded.labels[decoded.nearest[row]]
        assert said["change_risk"] == hazards_to_dict(exit_hazards(calibration.stays[label]))


def test_the_age_is_how_long_the_label_has_been_told_of_nearly_every_session() -> None:
    prototypes, calibration = calibrated_until()
    sessions = sample_sessions()
    decoded = decode(sessions.vectors, sessions.scores, prototypes, calibration)
    places = np.arange(len(decoded.nearest))
    starts = np.maximum.accumulate(np.where(np.diff(decoded.nearest, prepend=-1) != 0, places, 0))
    told = np.minimum(places - starts + 1, 21)[125:]
    # what was told a session ago had looked back one session further
    assert np.mean(decoded.ages[125:] == told) > 0.98
    assert (decoded.ages[125:][told == 21] >= 20).mean() > 0.99


def test_a_label_the_calibration_never_saw_left_has_the_widest_risk() -> None:
    prototypes = [RegimePrototype(label, np.array([float(at)])) for at, label in enumerate(LABELS)]
    decoded = decode(np.full((2, 1), 2, dtype=np.float32), np.zeros(2), prototypes, small_calibration(1.0, 2))
    assert decoded.labels[decoded.nearest[0]] is RegimeLabel.NEUTRAL
    assert decoded.details(0)["change_risk"]["21"] == {"probability": 0.5, "low": 0.0, "high": 1.0}


def test_a_set_that_was_not_calibrated_is_refused_with_the_command_that_does() -> None:
    written = sample_set()
    for window_days, calibration in ((513, None), (None, written.calibration)):
        plain = PrototypeSet("SPX", written.prototypes, {}, window_days=window_days, calibration=calibration)
        with pytest.raises(PrototypeError, match=r"^SPX: has no calibration; .* python -m prometheus calibrate$"):
            model_of(plain)


def test_vectors_of_another_dimension_and_unknown_regions_are_refused() -> None:
    prototypes = [RegimePrototype(RegimeLabel.CARRY, np.zeros(3, dtype=np.float32))]
    with pytest.raises(PrototypeError, match="of 3 values against embeddings of 2 values"):
        decode(np.zeros((4, 2), dtype=np.float32), np.zeros(4), prototypes, small_calibration(1.0, 2))
    with pytest.raises(UnknownNameError, match="unknown region 'MOON'; known: SPX"):
        model_of().classify(date(2008, 10, 10), "MOON")


def test_it_is_a_regime_model_named_after_encoder_and_calibration() -> None:
    model = model_of()
    plain: RegimeModel = model
    assert plain is model
    assert model.model_id == sample_set().regime_model_id("num-regime-core-v2")
    assert model_of(model_id="desk-view").model_id == "desk-view"
    other = model_of(sample_set(settings=CalibrationSettings(penalty=2.0)))
    assert other.model_id != model.model_id


def test_the_configuration_holds_all_that_decides_a_label() -> None:
    model = model_of()
    config = json.loads(json.dumps(model.config, allow_nan=False))
    assert (config["family"], config["encoder_model_id"], config["window_days"]) == (
        "persistent",
        "num-regime-core-v2",
        513,
    )
    for prototype in model.prototype_set.prototypes:
        stored = np.array(config["centers"][prototype.label.name], dtype=np.float32)
        assert stored.tobytes() == prototype.center.tobytes()
    assert RegimeCalibration.from_dict(config["calibration"], "models").to_dict() == model.calibration.to_dict()
    same, other = model_of(), model_of(sample_set(settings=CalibrationSettings(decode_sessions=63)))
    assert fingerprint(same.config) == fingerprint(model.config) != fingerprint(other.config)
    assert (model.warm_up, other.warm_up) == (125, 62)
