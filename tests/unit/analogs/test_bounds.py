"""Bounds of squared distances hold, and what they save from being measured changes no answer."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.examples import share_of
from tests.reference import analogs as reference

from prometheus.analogs.bounds import BoundedRows, count_near_pairs
from prometheus.analogs.search import AnalogSearch, Metric
from prometheus.regime.decoding import euclidean_distances


def walk(n_rows: int, seed: int, dim: int = 384, scale: float = 1.0) -> np.ndarray:
    steps = np.random.default_rng(seed).normal(size=(n_rows, dim))
    return (scale * steps.cumsum(axis=0)).astype(np.float32)


@settings(max_examples=share_of(60), deadline=None)
@given(
    seed=st.integers(0, 99), dim=st.integers(1, 400), power=st.integers(-12, 22), is_wide=st.booleans(),
    shift=st.sampled_from([0.0, 1.0, 1e3]),
)  # fmt: skip
def test_a_squared_distance_lies_between_its_bounds(
    seed: int, dim: int, power: int, is_wide: bool, shift: float
) -> None:
    generator = np.random.default_rng(seed)
    with np.errstate(over="ignore"):
        short = ((generator.normal(size=(30, dim)) + shift) * 10.0**power).astype(np.float32)
    vectors = short.astype(np.float64) if is_wide else short
    rows = BoundedRows.of(vectors)

    exact = euclidean_distances(vectors, vectors[:1])[:, 0] ** 2

    assert (rows.at_least(vectors[0]) <= exact).all()
    assert (rows.at_most(vectors[0]) >= exact).all()


@settings(max_examples=share_of(20), deadline=None)
@given(
    seed=st.integers(0, 99), n_rows=st.integers(2, 300), exclude=st.integers(0, 70), scale=st.sampled_from([1.0, 1e18])
)
def test_near_pairs_are_those_of_comparing_all(seed: int, n_rows: int, exclude: int, scale: float) -> None:
    vectors = walk(n_rows, seed, scale=scale)
    vectors[n_rows // 2 :: 5] = vectors[0]  # equal rows: many pairs of one distance
    places = np.arange(n_rows)
    pairs = reference.squared_distances(vectors)[places < (places - exclude)[:, np.newaxis]]
    own = euclidean_distances(vectors, vectors[-1:])[::7, 0] ** 2  # exactly as far as pairs that are counted
    limits = np.concatenate([own, np.random.default_rng(seed).choice(pairs, 3)]) if len(pairs) else own

    found = count_near_pairs(vectors, np.maximum(places - exclude, 0), limits)

    assert found.tolist() == [np.count_nonzero(pairs <= limit) for limit in limits]


@pytest.mark.parametrize("least", [False, True])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("kind", ["walk", "equal", "huge", "noise"])
def test_measuring_fewer_dates_changes_no_answer(metric: Metric, kind: str, least: bool) -> None:
    n_rows, day = 3_000, np.datetime64("2000-01-03", "D")
    vectors = {
        "walk": walk(n_rows, 3, 24), "equal": np.repeat(walk(n_rows // 1_000, 3, 24), 1_000, axis=0),
        "huge": walk(n_rows, 3, 24, 1e17), "noise": np.random.default_rng(3).normal(size=(n_rows, 24)).astype("f4"),
    }[kind]  # fmt: skip
    dates = day + np.arange(n_rows)
    search = AnalogSearch(metric=metric, exclude_sessions=5, least=least).fit(dates, vectors)

    for at in (n_rows - 1, 2_000, 700, 3):
        for k in (1, 10, 400):
            found, distances = search.predict(dates[at].item(), k)
            rows, wanted = reference.nearest_by_sorting_all(vectors, at, k, 5, metric, least=least)
            assert found.tolist() == dates[rows].tolist()
            assert distances.tobytes() == wanted.tobytes()


def test_without_an_earlier_date_nothing_is_found() -> None:
    search = AnalogSearch().fit(np.array(["2000-01-03"], dtype="M8[D]"), walk(1, 0))

    assert search.predict(date(2000, 1, 3))[0].tolist() == []
