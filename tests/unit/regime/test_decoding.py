"""Decoding against every sequence there is, at its limits, and one date at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.reference.decoding import slow_cost, slow_forward_costs, slow_least_cost, slow_softmax

from prometheus.errors import WindowShapeError
from prometheus.regime.decoding import forward_costs, forward_costs_and_ages, posterior, viterbi_path

eighths = st.integers(0, 48).map(lambda n: n / 8)
"""Sums of these are exact, so the twins can be compared to the last bit."""
INFINITE = math.inf


@st.composite
def cost_tables(draw: st.DrawFn, max_sessions: int = 6) -> np.ndarray:
    """Costs of two or three labels over a few sessions."""
    n_labels = draw(st.integers(2, 3))
    rows = st.lists(eighths, min_size=n_labels, max_size=n_labels)
    return np.array(draw(st.lists(rows, min_size=1, max_size=max_sessions)))


def random_costs(n_sessions: int = 300, n_labels: int = 4, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.2, 1.9, (n_sessions, n_labels))


@bounded(150)
@given(costs=cost_tables(), penalty=eighths, data=st.data())
def test_values_are_those_of_the_cheapest_of_all_sequences(
    costs: np.ndarray, penalty: float, data: st.DataObject
) -> None:
    n_sessions = data.draw(st.integers(1, len(costs)))
    expected = [
        slow_forward_costs(costs[first : first + n_sessions].tolist(), penalty)
        for first in range(len(costs) - n_sessions + 1)
    ]
    assert forward_costs(costs, penalty, n_sessions).tolist() == expected


@bounded(150)
@given(costs=cost_tables(), penalty=st.one_of(eighths, st.just(INFINITE)))
def test_no_sequence_is_cheaper_than_the_path_of_hindsight(costs: np.ndarray, penalty: float) -> None:
    path = viterbi_path(costs, penalty)
    assert path.shape == (len(costs),)
    assert slow_cost(costs.tolist(), path.tolist(), penalty) == slow_least_cost(costs.tolist(), penalty)


@bounded(60)
@given(costs=cost_tables(max_sessions=20), penalty=eighths)
def test_hindsight_and_the_label_of_the_last_session_agree(costs: np.ndarray, penalty: float) -> None:
    values = forward_costs(costs, penalty, len(costs))[0]
    assert values[viterbi_path(costs, penalty)[-1]] == 0


@bounded(100)
@given(costs=cost_tables(max_sessions=12), penalty=eighths, oldest=st.integers(1, 6), data=st.data())
def test_an_age_counts_the_last_labels_of_its_own_stretch(
    costs: np.ndarray, penalty: float, oldest: int, data: st.DataObject
) -> None:
    n_sessions = data.draw(st.integers(1, len(costs)))
    values, ages = forward_costs_and_ages(costs, penalty, n_sessions, oldest)
    assert values.tobytes() == forward_costs(costs, penalty, n_sessions).tobytes()
    for first, age in enumerate(ages.tolist()):
        stretch = costs[first : first + n_sessions]
        told = [int(forward_costs(stretch[:n], penalty, n)[0].argmin()) for n in range(n_sessions, 0, -1)]
        in_a_row = next((n for n, label in enumerate(told) if label != told[0]), len(told))
        assert age == min(in_a_row, oldest)


@pytest.mark.parametrize("n_alone", [1, 2, 3, 4, 50])
def test_a_few_sessions_have_the_bytes_of_the_whole_run(n_alone: int) -> None:
    costs, n_sessions = random_costs(), 17
    whole, ages = forward_costs_and_ages(costs, 1.0, n_sessions, 9)
    assert len(whole) == len(costs) - n_sessions + 1
    assert set(ages.tolist()) > {1, 2, 3}
    for first in range(0, len(whole) - n_alone, 7):
        stretch = costs[first : first + n_sessions + n_alone - 1]
        alone, own_ages = forward_costs_and_ages(stretch, 1.0, n_sessions, 9)
        assert alone.tobytes() == whole[first : first + n_alone].tobytes()
        assert own_ages.tobytes() == ages[first : first + n_alone].tobytes()


def test_a_label_never_changes_when_sessions_are_appended() -> None:
    costs, n_sessions = random_costs(120), 20
    whole = forward_costs(costs, 0.7, n_sessions)
    for n_known in range(n_sessions, len(costs)):
        known = forward_costs(costs[:n_known], 0.7, n_sessions)
        assert known.tobytes() == whole[: len(known)].tobytes()


def test_a_label_depends_on_its_own_stretch_and_on_all_of_it() -> None:
    costs, n_sessions = random_costs(40), 10
    values = forward_costs(costs, 30.0, n_sessions)  # so dear that every session of the stretch counts
    for poisoned in range(40):
        changed = costs.copy()
        changed[poisoned] = [9.0, 0.0, 9.0, 0.0]
        differs = (forward_costs(changed, 30.0, n_sessions) != values).any(axis=1)
        first = poisoned - n_sessions + 1
        assert np.flatnonzero(differs).tolist() == [at for at in range(max(first, 0), poisoned + 1) if at < len(values)]


def test_without_a_penalty_the_nearest_label_wins_every_session() -> None:
    costs = random_costs(60)
    own = costs - costs.min(axis=1, keepdims=True)
    assert forward_costs(costs, 0.0, 12).tobytes() == own[11:].tobytes()
    assert viterbi_path(costs, 0.0).tolist() == costs.argmin(axis=1).tolist()


def test_with_an_infinite_penalty_a_span_has_one_label() -> None:
    costs = np.round(random_costs(60) * 8) / 8
    path = viterbi_path(costs, INFINITE)
    assert set(path.tolist()) == {int(costs.sum(axis=0).argmin())}
    for last, values in zip(range(12, 61), forward_costs(costs, INFINITE, 12), strict=True):
        sums = costs[last - 12 : last].sum(axis=0)
        assert values.tolist() == (sums - sums.min()).tolist()


def test_a_label_is_left_when_staying_has_cost_more_than_the_penalty() -> None:
    # staying costs .5 a session more from the fourth on: after two more sessions 1.0, not yet over; after three 1.5
    costs = np.array([[0.0, 1.0]] * 3 + [[0.5, 0.0]] * 5)
    labels = [int(forward_costs(costs[:n], 1.25, n)[0].argmin()) for n in range(1, 9)]
    assert labels == [0, 0, 0, 0, 0, 1, 1, 1]
    assert viterbi_path(costs, 1.25).tolist() == [0, 0, 0, 1, 1, 1, 1, 1]  # which knows it three sessions sooner


def test_values_stay_within_the_penalty_and_the_spread_of_a_session() -> None:
    costs = random_costs()
    values = forward_costs(costs, 1.0, 126)
    assert values.min(axis=1).tolist() == [0.0] * len(values)
    assert (values.max(axis=1) <= 1.0 + np.ptp(costs[125:], axis=1) + 1e-12).all()
    assert values.max() > 1.0


def test_fewer_sessions_than_are_looked_back_on_are_refused() -> None:
    with pytest.raises(WindowShapeError, match="costs to decode"):
        forward_costs(random_costs(9), 1.0, 10)
    assert forward_costs(random_costs(10), 1.0, 10).shape == (1, 4)


@bounded(100)
@given(values=st.lists(st.floats(0, 50), min_size=1, max_size=4), temperature=st.floats(0.01, 10))
def test_a_posterior_is_the_slow_softmax(values: list[float], temperature: float) -> None:
    values = [value - min(values) for value in values]
    (found,) = posterior(np.array([values]), temperature)
    np.testing.assert_allclose(found, slow_softmax(values, temperature), rtol=1e-12)


def test_a_posterior_at_the_extremes_is_certain_or_even() -> None:
    values = np.array([[0.0, 1e-3, 9.0, 1e9]])
    assert posterior(values, 1e-300).tolist() == [[1.0, 0.0, 0.0, 0.0]]
    np.testing.assert_allclose(posterior(values[:, :3], 1e9), np.full((1, 3), 1 / 3), rtol=1e-6)
