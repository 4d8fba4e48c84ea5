"""What a span decides in few steps is what it decides session after session; where rounding may decide, it says so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.reference.windows import bar_walk, bars_of_histories
from tests.unit.regime.sample_sessions import sample_sessions

from prometheus.arrays import Float32Matrix, Float64Matrix
from prometheus.encoders.numeric.features import LOG_PRICES
from prometheus.encoders.numeric.scale_free import ScaleFreeNumericEmbeddingModel
from prometheus.errors import PrototypeError
from prometheus.regime.calibration import CalibrationSettings, find_prototypes
from prometheus.regime.certain import certain_decoding, certain_distances, certain_place
from prometheus.regime.decoding import SpanDecoding, decode_span, prototype_distances
from prometheus.regime.pooled import packaged_pooled
from prometheus.regime.span_decoding import DecidedSpan, WeightedPrototypes, decide_span, decide_span_in_order
from prometheus.regime.types import RegimeLabel, RegimePrototype

TEMPERATURES = np.geomspace(0.02, 5.0, 24)


def weighted_of(vectors: Float32Matrix) -> WeightedPrototypes:
    """The prototypes of a span, and what a whole one may say instead."""
    sessions = sample_sessions().take(slice(0, 0))
    sessions = type(sessions).of(np.arange(len(vectors)).astype("M8[D]"), vectors)
    prototypes, _, _ = find_prototypes(sessions, CalibrationSettings())
    others = packaged_pooled().alternatives(prototypes, len(vectors))
    return [(1.0 - sum(weight for weight, _ in others), prototypes), *others]


def walk_vectors(n_sessions: int, seed: int) -> Float32Matrix:
    bars = bars_of_histories({"X": bar_walk(512 + n_sessions, seed=seed)}, fields=LOG_PRICES.bar_fields)
    table = LOG_PRICES.tabulate(bars)
    return ScaleFreeNumericEmbeddingModel().encode_table(table, np.arange(513, len(table) + 1), 513)


def assert_same(found: SpanDecoding, expected: SpanDecoding) -> None:
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-9)
    assert found.nearest.tolist() == expected.nearest.tolist()
    assert found.ages.tolist() == expected.ages.tolist()
    assert [path.tolist() for path in found.paths] == [path.tolist() for path in expected.paths]


def assert_decided_alike(found: DecidedSpan, expected: DecidedSpan) -> None:
    assert found.temperature == expected.temperature
    assert_same(found.decoding, expected.decoding)


@pytest.mark.parametrize(("first", "n_sessions"), [(0, 3000), (3000, 3000), (500, 700), (2000, 252)])
def test_real_spans_decide_in_few_steps_what_they_decide_in_order(first: int, n_sessions: int) -> None:
    vectors = sample_sessions().vectors[first : first + n_sessions]
    weighted = weighted_of(vectors)
    assert len(weighted) == (1 if n_sessions == 3000 else 3)
    assert_decided_alike(decide_span(vectors, weighted, 1.0, 126), decide_span_in_order(vectors, weighted, 1.0, 126))


@bounded(12)
@given(
    n_sessions=st.integers(252, 900), seed=st.integers(0, 99), penalty=st.sampled_from([0.0, 0.05, 1.0, 3.0]),
    look_back=st.sampled_from([1, 21, 40, 126, 250]),
)  # fmt: skip
def test_walks_decide_in_few_steps_what_they_decide_in_order(
    n_sessions: int, seed: int, penalty: float, look_back: int
) -> None:
    vectors = walk_vectors(n_sessions, seed)
    weighted = weighted_of(vectors)
    expected = decide_span_in_order(vectors, weighted, penalty, look_back)
    assert_decided_alike(decide_span(vectors, weighted, penalty, look_back), expected)


def test_the_few_steps_are_taken_on_real_spans() -> None:
    vectors = sample_sessions().vectors[:3000]
    (_, prototypes), *_ = weighted_of(vectors)
    distances = certain_distances(vectors, prototypes)
    assert distances is not None
    np.testing.assert_allclose(distances, prototype_distances(vectors, prototypes), rtol=0, atol=1e-11)
    decoding = certain_decoding([distances], 1.0, 126, 21)
    assert decoding is not None
    assert certain_place(decoding, [1.0], TEMPERATURES, floor=1e-12) is not None


costs_of_labels = st.integers(0, 2**32 - 1).flatmap(
    lambda seed: st.integers(60, 400).map(lambda n: np.random.default_rng(seed).uniform(0.1, 2.0, (n, 4)))
)


@bounded(80)
@given(costs=costs_of_labels, penalty=st.sampled_from([0.0, 0.3, 1.0, 4.0]), oldest=st.integers(1, 21))
def test_any_costs_are_decoded_alike_or_not_at_all(costs: Float64Matrix, penalty: float, oldest: int) -> None:
    n_sessions = min(50, len(costs) // 2)
    found = certain_decoding([costs, costs[::-1] / 2.0], penalty, n_sessions, oldest)
    if found is not None:
        assert_same(found, decode_span([costs, costs[::-1] / 2.0], penalty, n_sessions, oldest))


def same_label(n_sessions: int) -> Sequence[Float64Matrix]:
    costs = np.random.default_rng(1).uniform(0.1, 0.9, (n_sessions, 4))
    costs[:, 1] = costs[:, 0]
    return [costs]


@pytest.mark.parametrize(
    ("costs", "penalty", "n_sessions"),
    [
        (same_label(300), 1.0, 126),  # two labels always cost the same
        ([np.full((300, 4), 0.5)], 1.0, 126),
        ([np.random.default_rng(2).uniform(0.1, 0.9, (300, 4))], 1e6, 126),  # no label is ever forgotten
        ([np.random.default_rng(3).uniform(0.1, 0.9, (300, 4))], 1.0, 22),  # nothing to take together
        ([np.random.default_rng(4).uniform(0.1, 0.9, (100, 4))], 1.0, 126),
    ],
)
def test_what_rounding_may_decide_is_left_open(costs: Sequence[Float64Matrix], penalty: float, n_sessions: int) -> None:
    assert certain_decoding(costs, penalty, n_sessions, 21) is None


def test_distances_that_are_lost_in_rounding_are_left_open() -> None:
    vectors = sample_sessions().vectors[:40]
    at_a_vector = [RegimePrototype(RegimeLabel.CARRY, vectors[7])]
    assert certain_distances(vectors, at_a_vector) is None
    assert certain_distances(vectors * np.float32(1e12), [RegimePrototype(RegimeLabel.CARRY, vectors[7] + 1)]) is None
    assert certain_distances(vectors[:0], at_a_vector) is None
    with pytest.raises(PrototypeError, match="of 3 values against embeddings of 384 values"):
        decide_span(vectors, [(1.0, [RegimePrototype(RegimeLabel.CARRY, np.ones(3, dtype=np.float32))])], 1.0, 22)


def test_two_temperatures_that_do_equally_well_are_left_open() -> None:
    values = np.tile([[0.0], [40.0], [40.0], [40.0]], 50)
    path = np.zeros(50, dtype=np.intp)
    decoding = SpanDecoding(values, path, np.ones(50, dtype=np.int64), [path])
    assert certain_place(decoding, [1.0], TEMPERATURES[:4], floor=1e-12) is None
