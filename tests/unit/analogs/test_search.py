"""Analog search against its slow twin, and what it must never do."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.examples import share_of
from tests.reference import analogs as reference

from prometheus.analogs.search import AnalogSearch, Metric
from prometheus.errors import NotFoundError, UsageError, VectorError, WindowShapeError

DAYS = np.arange("2020-01-01", "2021-06-01", dtype="M8[D]")
VECTORS = np.random.default_rng(3).normal(size=(len(DAYS), 6)).astype(np.float32)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@settings(max_examples=share_of(25), deadline=None)
@given(at=st.integers(20, 119), k=st.integers(1, 12), exclude=st.integers(0, 15), least=st.booleans())
def test_it_finds_what_comparing_every_pair_finds(metric: Metric, at: int, k: int, exclude: int, least: bool) -> None:
    search = AnalogSearch(metric=metric, exclude_sessions=exclude, least=least).fit(DAYS[:120], VECTORS[:120])

    dates, distances = search.predict(DAYS[at].item(), k)

    wanted = reference.nearest(VECTORS, at, k, exclude, metric, least=least)
    assert dates.tolist() == [DAYS[row].item() for row, _ in wanted]
    np.testing.assert_allclose(distances, [measured for _, measured in wanted], rtol=1e-12)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_percentiles_are_shares_of_all_pairs(metric: Metric) -> None:
    search = AnalogSearch(metric=metric, exclude_sessions=4).fit(DAYS[:80], VECTORS[:80])
    limits = np.array([0.4, 3.0, 0.9, 1.4])

    shares = search.percentiles(DAYS[70].item(), limits)

    assert shares.tolist() == [reference.share_of_pairs(VECTORS, 70, limit, 4, metric) for limit in limits.tolist()]


def test_percentiles_of_a_sample_of_dates_are_near_those_of_all() -> None:
    generator = np.random.default_rng(11)
    vectors = generator.normal(size=(2_500, 4)).cumsum(axis=0).astype(np.float32)
    dates = np.arange(np.datetime64("2000-01-01", "D"), np.datetime64("2000-01-01", "D") + 2_500)
    search = AnalogSearch(exclude_sessions=63).fit(dates, vectors)
    limits = np.array([2.0, 5.0, 10.0, 40.0])

    shares = search.percentiles(dates[-1].item(), limits)

    apart = np.triu(np.ones((2_500, 2_500), dtype=bool), 64)
    wide = vectors.astype(np.float64)
    pairs = np.sqrt(((wide[:, np.newaxis] - wide) ** 2).sum(axis=2))[apart]
    np.testing.assert_allclose(shares, [(pairs <= limit).mean() for limit in limits], atol=2e-3)


@settings(max_examples=share_of(25), deadline=None)
@given(n_future=st.integers(1, 100), scale=st.sampled_from([0.0, 1.0, 1e6]))
def test_rows_after_the_date_change_nothing(n_future: int, scale: float) -> None:
    at = 200
    poisoned = VECTORS.copy()
    poisoned[at + 1 :] = scale * poisoned[at]
    past = AnalogSearch(exclude_sessions=10).fit(DAYS[: at + 1], VECTORS[: at + 1])
    whole = AnalogSearch(exclude_sessions=10).fit(DAYS[: at + 1 + n_future], poisoned[: at + 1 + n_future])
    day = DAYS[at].item()

    dates, distances = past.predict(day, 8)
    other_dates, other_distances = whole.predict(day, 8)

    assert dates.tolist() == other_dates.tolist()
    assert distances.tobytes() == other_distances.tobytes()
    assert past.percentiles(day, distances).tobytes() == whole.percentiles(day, distances).tobytes()


def test_distance_between_dates_is_counted_in_the_sessions_given() -> None:
    weekly, sessions = DAYS[:300:5], DAYS[:300]
    search = AnalogSearch(exclude_sessions=12).fit(weekly, VECTORS[: len(weekly)], sessions)

    dates, _ = search.predict(weekly[-1].item(), 1_000)

    gaps = np.diff(np.sort(np.append(dates, weekly[-1]))).astype(int)
    assert gaps.min() == 15


def test_of_equally_near_dates_the_earlier_comes_first() -> None:
    vectors = np.ones((40, 2), dtype=np.float32)

    dates, distances = AnalogSearch(exclude_sessions=2).fit(DAYS[:40], vectors).predict(DAYS[39].item(), 3)

    assert dates.tolist() == DAYS[[0, 3, 6]].tolist()
    assert not distances.any()


def test_without_candidates_nothing_is_found_and_no_share_is_known() -> None:
    search = AnalogSearch(exclude_sessions=63).fit(DAYS[:30], VECTORS[:30])

    dates, distances = search.predict(DAYS[29].item(), 5)

    assert (len(dates), len(distances), search.n_candidates(DAYS[29].item())) == (0, 0, 0)
    assert np.isnan(search.percentiles(DAYS[29].item(), np.array([1.0]))).all()


@pytest.mark.parametrize("k", [0, -1, 10**9])
def test_a_number_of_analogs_that_cannot_be_is_refused(k: int) -> None:
    with pytest.raises(UsageError, match=f"--k {k}: name a number from 1 to 1000"):
        AnalogSearch().fit(DAYS, VECTORS).predict(DAYS[-1].item(), k)


def test_what_cannot_be_searched_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown metric 'manhattan'"):
        AnalogSearch(metric="manhattan")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="exclude-sessions -1"):
        AnalogSearch(exclude_sessions=-1)
    with pytest.raises(WindowShapeError):
        AnalogSearch().fit(DAYS[:3], VECTORS[:4])
    with pytest.raises(VectorError, match="later than the one before"):
        AnalogSearch().fit(DAYS[[0, 2, 1]], VECTORS[:3])
    with pytest.raises(VectorError, match="no direction"):
        AnalogSearch(metric="cosine").fit(DAYS[:2], np.zeros((2, 3), dtype=np.float32))
    with pytest.raises(NotFoundError, match=r"on 2030-01-01; there are some from 2020-01-01 to 2021-05-31"):
        AnalogSearch().fit(DAYS, VECTORS).predict(date(2030, 1, 1))
