"""Nearest prototype and softmax: against slow twins, at extremes, and one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded, finite_float32
from tests.reference.regimes import slow_distance, slow_softmax_of_nearest
from tests.reference.windows import MemoryBars, NoDatabase, WeekdayCalendar

from prometheus.encoders import NumericEmbeddingStore, NumericWindowBuilder, NumericWindowEncoder
from prometheus.encoders.models_simple_numeric import FlattenNumericEmbeddingModel
from prometheus.errors import PrototypeError, UnknownNameError, UsageError
from prometheus.regime import NumericRegimeModel, RegimeLabel, RegimePrototype, SeedRegimeModel
from prometheus.regime.decoding import euclidean_distances
from prometheus.regime.model_numeric import default_temperature, nearest_confidence

distances = st.floats(min_value=0, max_value=1e12)
temperatures = st.floats(min_value=1e-300, max_value=1e300)


def encoder() -> NumericWindowEncoder:
    return NumericWindowEncoder(
        builder=NumericWindowBuilder(MemoryBars({}), WeekdayCalendar()),
        model=FlattenNumericEmbeddingModel(),
        store=NumericEmbeddingStore(NoDatabase()),  # type: ignore[arg-type]
        model_id="numeric-simple-v1",
    )


def model(centers: dict[str, list[float]], temperature: float = 1.0) -> NumericRegimeModel:
    prototypes = [RegimePrototype(RegimeLabel[name], np.array(values)) for name, values in centers.items()]
    return NumericRegimeModel(
        encoder=encoder(), region_instruments={"US": "X"}, window_days=1, prototypes=prototypes, temperature=temperature
    )


def single(values: list[float]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.array([values], dtype=np.float32)


@bounded(200)
@given(rows=st.lists(st.lists(distances, min_size=3, max_size=3), min_size=1, max_size=4), temperature=temperatures)
def test_confidence_is_the_slow_softmax_at_any_temperature(rows: list[list[float]], temperature: float) -> None:
    found = nearest_confidence(np.array(rows), temperature)
    for confidence, row in zip(found.tolist(), rows, strict=True):
        assert 1 / 3 - 1e-12 <= confidence <= 1
        assert math.isclose(confidence, slow_softmax_of_nearest(row, temperature), rel_tol=1e-12)


def test_confidence_at_the_extremes_is_certain_or_even() -> None:
    far = np.array([[1e12, 1e12 + 1, 2e12]])
    assert nearest_confidence(far, 1e-300).tolist() == [1.0]
    assert nearest_confidence(far, 5e-324).tolist() == [1.0]
    assert nearest_confidence(far, 1e300).tolist() == [pytest.approx(1 / 3)]


def test_a_confidence_anyone_can_check() -> None:
    # exp(0) / (exp(0) + exp(-ln 3)) = 1 / (1 + 1/3)
    assert nearest_confidence(np.array([[2.0, 2.0 + math.log(3)]]), 1.0).tolist() == [pytest.approx(0.75)]
    assert nearest_confidence(np.array([[2.0, 2.0 + 4 * math.log(3)]]), 4.0).tolist() == [pytest.approx(0.75)]


@bounded(150)
@given(data=st.data(), dim=st.integers(1, 12))
def test_distances_are_the_slow_ones(data: st.DataObject, dim: int) -> None:
    vector = st.lists(finite_float32, min_size=dim, max_size=dim)
    vectors = data.draw(st.lists(vector, min_size=1, max_size=4))
    centers = data.draw(st.lists(vector, min_size=1, max_size=4))
    found = euclidean_distances(np.array(vectors, dtype=np.float32), np.array(centers, dtype=np.float32))
    for row, each in zip(found.tolist(), vectors, strict=True):
        for distance, center in zip(row, centers, strict=True):
            assert math.isclose(distance, slow_distance(each, center), rel_tol=1e-12)


def test_a_vector_is_classified_the_same_alone_and_among_thousands_in_any_layout() -> None:
    generator = np.random.default_rng(9)
    vectors = (generator.normal(size=(3_000, 384)) * 1e6).astype(np.float32)
    centers = {label.name: (generator.normal(size=384) * 1e6).tolist() for label in RegimeLabel}
    classify = model(centers, temperature=1e5)
    together = classify.assign(vectors)
    by_column = classify.assign(np.asfortranarray(vectors))
    every_other = classify.assign(np.repeat(vectors, 2, axis=0)[::2])
    assert together.distances.tobytes() == by_column.distances.tobytes() == every_other.distances.tobytes()
    assert together.confidences.tobytes() == by_column.confidences.tobytes() == every_other.confidences.tobytes()
    for row in range(0, 3_000, 131):
        alone = classify.assign(vectors[row : row + 1])
        assert alone.distances.tobytes() == together.distances[row].tobytes()
        assert alone.confidences.tobytes() == together.confidences[row : row + 1].tobytes()


def test_the_nearest_label_wins() -> None:
    assigned = model({"NEUTRAL": [0, 0, 0], "CRISIS": [10, 0, 0]}).assign(single([9, 1, 0]))
    assert assigned.labels[assigned.nearest[0]] is RegimeLabel.CRISIS
    assert assigned.distances.tolist() == [[math.sqrt(82), math.sqrt(2)]]


@bounded(100)
@given(data=st.data(), dim=st.integers(1, 6))
def test_no_prototype_is_nearer_than_the_one_chosen(data: st.DataObject, dim: int) -> None:
    values = st.lists(st.floats(-1e6, 1e6, width=32), min_size=dim, max_size=dim)
    centers = {label.name: data.draw(values) for label in RegimeLabel}
    vector = data.draw(values)
    assigned = model(centers).assign(single(vector))
    chosen = assigned.labels[assigned.nearest[0]].name
    assert slow_distance(vector, centers[chosen]) <= min(slow_distance(vector, each) for each in centers.values()) * (
        1 + 1e-12
    )


def test_a_tie_goes_to_the_first_prototype_with_an_even_confidence() -> None:
    for order in (["CARRY", "CRISIS"], ["CRISIS", "CARRY"]):
        centers = {"CARRY": [1.0, 0, 0], "CRISIS": [-1.0, 0, 0]}
        assigned = model({name: centers[name] for name in order}).assign(single([0, 0, 0]))
        assert assigned.labels[assigned.nearest[0]].name == order[0]
        assert assigned.confidences.tolist() == [0.5]


def test_one_prototype_is_certain_of_everything() -> None:
    assert model({"NEUTRAL": [0, 0, 0]}).assign(single([1e6, 0, 0])).confidences.tolist() == [1.0]


def test_the_seed_model_is_one_neutral_prototype_at_the_vector_itself() -> None:
    vectors = np.random.default_rng(2).normal(size=(5, 3)).astype(np.float32)
    seed = SeedRegimeModel(encoder=encoder(), region_instruments={"US": "X"}, window_days=1)
    assigned = seed.assign(vectors)
    for row, vector in enumerate(vectors):
        own = model({"NEUTRAL": vector.tolist()}).assign(vectors[row : row + 1])
        assert own.labels == assigned.labels
        assert own.nearest.tolist() == [assigned.nearest[row]]
        assert own.confidences.tobytes() == assigned.confidences[row : row + 1].tobytes()
        assert own.distances.tobytes() == assigned.distances[row : row + 1].tobytes()


def test_vectors_of_another_dimension_are_refused_with_both() -> None:
    with pytest.raises(PrototypeError, match="of 2 values against embeddings of 3 values"):
        model({"NEUTRAL": [0, 0]}).assign(single([0, 0, 0]))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    with pytest.raises(UsageError, match="temperature must be positive and finite"):
        model({"NEUTRAL": [0]}, temperature)


def test_no_prototypes_or_two_of_one_label_or_of_two_dimensions_are_refused() -> None:
    neutral = RegimePrototype(RegimeLabel.NEUTRAL, np.zeros(3, dtype=np.float32))
    crisis = RegimePrototype(RegimeLabel.CRISIS, np.zeros(2, dtype=np.float32))
    for prototypes, reason in [
        ([], "there is no prototype"),
        ([neutral, neutral], "more than one prototype of NEUTRAL"),
        ([neutral, crisis], "different dimension"),
    ]:
        with pytest.raises(PrototypeError, match=reason):
            NumericRegimeModel(encoder=encoder(), region_instruments={}, window_days=1, prototypes=prototypes)


def test_a_region_without_an_instrument_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="unknown region 'MOON'; known: US"):
        model({"NEUTRAL": [0]}).instrument_of("MOON")


def test_the_default_name_says_encoder_and_prototypes() -> None:
    first, same, other = (model({"NEUTRAL": [value]}) for value in (0, 0, 1))
    assert first.model_id == same.model_id != other.model_id
    name, at, digits = first.model_id.partition("@")
    assert (name, at, len(digits)) == ("numeric-simple-v1", "@", 8)
    int(digits, 16)


def test_the_configuration_changes_with_all_that_decides_a_label() -> None:
    base = model({"NEUTRAL": [0, 1]}).config
    assert base == model({"NEUTRAL": [0, 1]}).config
    assert base != model({"NEUTRAL": [0, 2]}).config
    assert base != model({"CRISIS": [0, 1]}).config
    assert base != model({"NEUTRAL": [0, 1]}, 2.0).config


@pytest.mark.parametrize(
    ("encoder_model_id", "centers", "expected"),
    [
        ("num-regime-core-v1", [[0, 0], [8, 0]], 1.0),
        ("numeric-simple-v1", [[0, 0], [8, 0]], 1.0),
        ("num-regime-core-v2", [[0, 0], [8, 0], [8, 2]], 0.5),
        ("num-regime-core-v2", [[0, 0]], 1.0),
        ("num-regime-core-v2", [[1, 1], [1, 1]], 1.0),
    ],
)
def test_the_default_temperature_follows_the_scale_of_the_prototypes(
    encoder_model_id: str, centers: list[list[float]], expected: float
) -> None:
    labels = (RegimeLabel.CARRY, RegimeLabel.NEUTRAL, RegimeLabel.CRISIS)
    prototypes = [
        RegimePrototype(label, np.array(center, dtype=np.float32))
        for label, center in zip(labels, centers, strict=False)
    ]
    assert default_temperature(encoder_model_id, prototypes) == expected
