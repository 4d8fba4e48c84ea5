"""What makes a date near, against sums written out one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.examples import share_of

from prometheus.analogs.nearness import LEAST_TOLD, MOST_TOLD, nearness, space_parts
from prometheus.encoders.joint.macro_model import MacroJointModel, Shares
from prometheus.encoders.joint.numbers import NUMBERS, SERIES
from prometheus.errors import WindowShapeError

MODEL = MacroJointModel(SERIES, Shares())
DIM = 20
DATES = np.arange("2020-01-01", "2020-02-10", dtype="M8[D]")


def rows(seed: int, n_rows: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_rows, DIM)).astype(np.float32)


@settings(max_examples=share_of(40), deadline=None)
@given(seed=st.integers(0, 10_000), n_candidates=st.integers(2, 35))
def test_the_parts_of_a_nearness_are_gains_on_the_mean_distance_and_add_to_one(seed: int, n_candidates: int) -> None:
    vectors = rows(seed)
    chosen = np.arange(min(3, n_candidates))

    found = nearness(MODEL, vectors, 39, chosen, n_candidates)

    wide = vectors.astype(np.float64)
    for row, told in zip(chosen.tolist(), found, strict=True):
        gains = []
        for place in range(DIM):
            typical = np.mean([(wide[other, place] - wide[39, place]) ** 2 for other in range(n_candidates)])
            gains.append(typical - (wide[row, place] - wide[39, place]) ** 2)
        if sum(gains) <= 0:
            assert told is None
            continue
        assert told is not None
        assert told.prices + told.numbers == pytest.approx(1.0)
        assert told.numbers == pytest.approx(sum(gains[-13:]) / sum(gains))
        shares = dict(zip((number.words for number in NUMBERS), np.array(gains[-13:]) / sum(gains), strict=True))
        assert [each.share for each in told.near_in] == sorted((each.share for each in told.near_in), reverse=True)
        assert len(told.near_in) <= MOST_TOLD
        for each in told.near_in:
            assert each.share == pytest.approx(shares[each.name])
            assert each.share >= LEAST_TOLD
        if told.apart_in is not None:
            assert told.apart_in.share == pytest.approx(min(shares.values()))


def test_parts_are_those_of_all_pairs_and_see_no_later_row() -> None:
    vectors = rows(3)

    parts = space_parts(MODEL, DATES[:30], vectors[:30])

    assert parts is not None
    pairs = [(vectors[a].astype(float) - vectors[b].astype(float)) ** 2 for a in range(30) for b in range(a)]
    assert parts.numbers == pytest.approx(sum(pair[-13:].sum() for pair in pairs) / sum(pair.sum() for pair in pairs))
    assert (str(parts.first), str(parts.last), parts.n_numbers) == ("2020-01-01", "2020-01-30", 13)
    poisoned = vectors.copy()
    poisoned[30:39] = 1e6
    before, after = (nearness(MODEL, each, 39, np.array([4]), 30) for each in (vectors, poisoned))
    assert before == after
    assert space_parts(MODEL, DATES[:1], vectors[:1]) is None
    assert space_parts(MODEL, DATES[:2], np.zeros((2, DIM), np.float32)) is None
    with pytest.raises(WindowShapeError):
        space_parts(MODEL, DATES[:2], vectors[:2, :13])


def test_numbers_are_told_in_their_units() -> None:
    vectors = np.zeros((3, DIM), np.float32)
    scores = np.zeros((3, 13))
    scores[1] = 1.0
    vectors[:, -13:] = scores * math.sqrt(0.25 / 13)
    vectors[2, 0] = 0.1

    (told,) = nearness(MODEL, vectors, 0, np.array([2]), 2)

    assert told is not None
    assert told.prices < 0 < told.numbers
    named = {each.name: (each.now, each.then) for each in told.near_in}
    assert len(named) == 3
    assert all(now == then for now, then in named.values())
    assert [number.told(0.0) for number in NUMBERS[:8]] == [
        "4.33 %", "4.91 %", "5.93 %", "20.6", "5.67 %", "1.31 %", "+1.02 points", "-0.37 points",
    ]  # fmt: skip
    assert NUMBERS[10].told(1.0) == "+20 %"
