"""Counts, matrices and durations of label histories against a slow twin."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.reference.regimes import slow_matrix

from prometheus.regime import RegimeLabel
from prometheus.regime.transitions import HORIZONS, mean_durations, outlook, transition_counts, transition_matrix

N, C, R, K = RegimeLabel.NEUTRAL, RegimeLabel.CRISIS, RegimeLabel.RISK_OFF, RegimeLabel.CARRY
label_lists = st.lists(st.sampled_from(list(RegimeLabel)), max_size=30)


@bounded(200)
@given(labels=label_lists)
def test_a_matrix_is_the_slow_twins(labels: list[RegimeLabel]) -> None:
    matrix = transition_matrix(transition_counts(labels))
    assert matrix == slow_matrix(labels)
    assert all(math.isclose(sum(row.values()), 1.0) for row in matrix.values())


@bounded(100)
@given(labels=label_lists)
def test_counts_add_up_to_the_number_of_pairs(labels: list[RegimeLabel]) -> None:
    counts = transition_counts(labels)
    assert sum(sum(row.values()) for row in counts.values()) == max(len(labels) - 1, 0)
    assert counts.keys() == set(labels)


@bounded(100)
@given(labels=label_lists)
def test_mean_durations_weigh_up_to_the_length_of_the_history(labels: list[RegimeLabel]) -> None:
    durations = mean_durations(labels)
    n_spells = {
        label: sum(labels[at] == label and (at == 0 or labels[at - 1] != label) for at in range(len(labels)))
        for label in set(labels)
    }
    assert durations.keys() == set(labels)
    assert math.isclose(sum(durations[label] * n_spells[label] for label in durations), len(labels), abs_tol=1e-9)


def test_stays_count_and_every_label_seen_has_a_column() -> None:
    assert transition_matrix(transition_counts([N, N, C, N])) == {N: {N: 0.5, C: 0.5}, C: {N: 1.0, C: 0.0}}


def test_a_label_seen_only_on_the_last_date_has_a_column_and_no_row() -> None:
    assert transition_matrix(transition_counts([N, K])) == {N: {N: 0.0, K: 1.0}}


def test_one_date_or_none_has_no_transitions() -> None:
    assert transition_matrix(transition_counts([])) == {}
    assert transition_matrix(transition_counts([R])) == {}


def test_labels_come_in_the_order_of_their_definition() -> None:
    counts = transition_counts([K, R, C, N])
    assert list(counts) == [N, C, R, K]
    assert list(mean_durations([K, R, C, N])) == [N, C, R, K]


def test_durations_are_in_dates_and_the_unfinished_spell_counts() -> None:
    assert mean_durations([N, N, N, C, N, C, C]) == {N: 2.0, C: 1.5}


@bounded(100)
@given(labels=label_lists.filter(len))
def test_an_outlook_is_the_matrix_applied_once_a_session(labels: list[RegimeLabel]) -> None:
    matrix = transition_matrix(transition_counts([*labels, labels[0]]))
    names = list(matrix)
    square = np.array([[matrix[one].get(other, 0.0) for other in names] for one in names])
    for label in names:
        found = outlook(matrix, label)
        assert tuple(found) == HORIZONS
        for horizon, chances in found.items():
            expected = np.linalg.matrix_power(square, horizon)[names.index(label)]
            np.testing.assert_allclose([chances[name] for name in names], expected, atol=1e-12)
            assert math.isclose(sum(chances.values()), 1.0)


def test_a_label_never_followed_by_another_date_has_no_outlook() -> None:
    assert outlook(transition_matrix(transition_counts([N, N, C])), C) == {}
