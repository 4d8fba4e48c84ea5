"""Counts of stays and the risk of leaving, against slow twins and by Wilson's own equation."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded

from prometheus.regime import RegimeLabel
from prometheus.regime.transitions import (
    HORIZONS,
    SPELL_AGES,
    StayCounts,
    count_stays,
    count_stays_by_age,
    exit_hazards,
    hazards_to_dict,
)

N, C, R, K = RegimeLabel.NEUTRAL, RegimeLabel.CRISIS, RegimeLabel.RISK_OFF, RegimeLabel.CARRY
counts = st.integers(1, 5_000).flatmap(lambda n: st.builds(StayCounts, st.just(n), st.integers(0, n)))
rare_exits = st.integers(20, 5_000).flatmap(lambda n: st.builds(StayCounts, st.just(n), st.integers(0, n // 4)))
"""Far enough from certainty for five sessions' risk to be turned back into one's."""


@bounded(150)
@given(labels=st.lists(st.sampled_from(list(RegimeLabel)), max_size=40))
def test_stays_are_counted_one_by_one(labels: list[RegimeLabel]) -> None:
    expected: dict[RegimeLabel, list[int]] = {}
    for at in range(len(labels) - 1):
        seen = expected.setdefault(labels[at], [0, 0])
        seen[0] += 1
        seen[1] += labels[at + 1] is not labels[at]
    assert {label: [each.n_sessions, each.n_exits] for label, each in count_stays(labels).items()} == expected


def test_the_last_session_was_followed_by_none_and_does_not_count() -> None:
    assert count_stays([K, K, N, K, C]) == {N: StayCounts(1, 1), K: StayCounts(3, 2)}
    assert count_stays([C]) == count_stays([]) == {}


@bounded(150)
@given(count=counts)
def test_risks_grow_with_the_horizon_and_lie_in_their_interval(count: StayCounts) -> None:
    risks = exit_hazards(count)
    assert [risk.horizon for risk in risks] == [5, 21, 63]
    for risk in risks:
        assert 0 <= risk.low <= risk.probability <= risk.high <= 1
        survived = 1.0
        for _ in range(risk.horizon):
            survived *= 1 - count.n_exits / count.n_sessions
        assert math.isclose(risk.probability, 1 - survived, abs_tol=1e-12)
    for sooner, later in pairwise(risks):
        assert sooner.probability <= later.probability
        assert sooner.low <= later.low
        assert sooner.high <= later.high


@bounded(150)
@given(count=rare_exits)
def test_the_ends_of_an_interval_solve_wilsons_equation(count: StayCounts) -> None:
    # the shares that would lie 1.96 of their own standard errors away from what was observed
    share = count.n_exits / count.n_sessions
    first = exit_hazards(count)[0]
    for end in (first.low, first.high):
        hazard = 1 - (1 - end) ** (1 / 5)
        error = math.sqrt(hazard * (1 - hazard) / count.n_sessions)
        assert math.isclose(abs(share - hazard), 1.959964 * error, rel_tol=1e-6, abs_tol=1e-9)


def test_more_of_the_same_narrows_the_interval() -> None:
    widths = [exit_hazards(StayCounts(100 * n, 2 * n))[1].high - exit_hazards(StayCounts(100 * n, 2 * n))[1].low
              for n in (1, 4, 16)]  # fmt: skip
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 2 * widths[2]


def test_a_label_that_was_never_left_may_still_be_and_one_always_left_will_be() -> None:
    never, always = exit_hazards(StayCounts(50, 0)), exit_hazards(StayCounts(50, 50))
    assert [risk.probability for risk in never] == [0.0] * 3
    assert max(risk.low for risk in never) < 1e-12
    assert never[2].high == pytest.approx(0.99, abs=0.02)  # 1.96 ** 2 / (50 + 1.96 ** 2) a session, for 63 sessions
    assert [risk.probability for risk in always] == [1.0] * 3


@pytest.mark.parametrize("unseen", [None, StayCounts(0, 0)])
def test_of_a_label_never_seen_nothing_is_known(unseen: StayCounts | None) -> None:
    assert [(risk.probability, risk.low, risk.high) for risk in exit_hazards(unseen)] == [(0.5, 0.0, 1.0)] * 3


@bounded(150)
@given(pairs=st.lists(st.tuples(st.sampled_from(list(RegimeLabel)), st.integers(1, 30)), max_size=40))
def test_stays_by_age_are_those_of_the_label_parted(pairs: list[tuple[RegimeLabel, int]]) -> None:
    labels, ages = [label for label, _ in pairs], [age for _, age in pairs]
    kinds = list(RegimeLabel)
    told = np.array([kinds.index(label) for label in labels], dtype=np.int64)
    found = count_stays_by_age(told, np.array(ages, dtype=np.int64), kinds)
    assert list(found) == list(count_stays(labels))
    for label, by_age in found.items():
        assert tuple(by_age) == SPELL_AGES
        for begin, end in pairwise((*SPELL_AGES, math.inf)):
            own = [at for at in range(len(labels) - 1) if labels[at] is label and begin <= ages[at] < end]
            assert by_age[int(begin)] == StayCounts(len(own), sum(labels[at + 1] is not label for at in own))
        together = [sum(getattr(each, name) for each in by_age.values()) for name in ("n_sessions", "n_exits")]
        assert StayCounts(*together) == count_stays(labels)[label]


by_ages = st.lists(counts, min_size=3, max_size=3).map(lambda found: dict(zip(SPELL_AGES, found, strict=True)))


@bounded(100)
@given(by_age=by_ages, age=st.integers(1, 21))
def test_a_spell_meets_the_chance_of_each_age_on_its_way(by_age: dict[int, StayCounts], age: int) -> None:
    n, n_exits = (sum(getattr(each, name) for each in by_age.values()) for name in ("n_sessions", "n_exits"))
    borrowed = min(200, n)
    for risk in exit_hazards(StayCounts(n, n_exits), by_age, age):
        stays = 1.0
        for session in range(age, age + risk.horizon):
            own = by_age[max(begin for begin in SPELL_AGES if begin <= session)]
            stays *= 1.0 - (own.n_exits + borrowed * n_exits / n) / (own.n_sessions + borrowed)
        assert math.isclose(risk.probability, 1.0 - stays, abs_tol=1e-9)
        assert risk.low <= risk.probability <= risk.high


def test_an_age_that_was_never_seen_or_no_different_has_the_chance_of_the_label() -> None:
    whole = StayCounts(400, 8)
    alike = {1: StayCounts(100, 2), 5: StayCounts(100, 2), 21: StayCounts(200, 4)}
    unseen = {1: StayCounts(0, 0), 5: StayCounts(0, 0), 21: whole}
    for by_age in (alike, unseen):
        for age in (1, 4, 5, 20, 21):
            risks = exit_hazards(whole, by_age, age)
            assert [risk.probability for risk in risks] == pytest.approx([1 - 0.98**n for n in HORIZONS])


def test_fresh_spells_that_ended_more_often_are_likelier_to_end() -> None:
    by_age = {1: StayCounts(200, 20), 5: StayCounts(800, 16), 21: StayCounts(2_000, 10)}
    risks = [exit_hazards(StayCounts(3_000, 46), by_age, age)[0].probability for age in range(1, 22)]
    assert risks == sorted(risks, reverse=True)
    assert risks[0] > 3 * risks[-1]


def test_risks_as_json_are_keyed_by_horizon() -> None:
    written = json.loads(json.dumps(hazards_to_dict(exit_hazards(StayCounts(200, 2)))))
    assert list(written) == ["5", "21", "63"]
    assert written["21"]["probability"] == pytest.approx(1 - 0.99**21)
    assert set(written["5"]) == {"probability", "low", "high"}
