"""Plans: pure decisions against a set-based twin."""

from __future__ import annotations

import json
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.reference.regimes import slow_missing

from prometheus.backfill.plan import (
    CHUNK_BARS,
    CHUNK_WINDOWS,
    BackfillReport,
    DateSpan,
    NumericRequest,
    chunked,
    instruments_per_chunk,
    missing_windows,
)
from prometheus.encoders import WindowBatch
from prometheus.encoders.numeric.features import CLOSE_VOLUME
from prometheus.errors import UsageError, unknown_instrument

DAY = date(2025, 1, 31)
Key = tuple[int, date, int]
STORED_DTYPE = [("entity_index", "i4"), ("as_of_date", "M8[D]"), ("input_hash", "i8")]

few_days = st.integers(-3, 3).map(lambda n: date(1970, 1, 1) + timedelta(days=n))
days = st.one_of(few_days, st.dates())
hashes = st.one_of(st.integers(-2, 2), st.integers(-(2**63), 2**63 - 1))
keys = st.dictionaries(st.tuples(st.integers(0, 4), days), hashes, max_size=20).map(
    lambda found: [(entity, day, digest) for (entity, day), digest in found.items()]
)


def batch_of(wanted: list[Key]) -> WindowBatch:
    dates = np.array([day for _, day, _ in wanted], dtype="M8[D]")
    return WindowBatch(
        window_days=1,
        entity_ids=tuple("ABCDE"),
        entity_index=np.array([entity for entity, _, _ in wanted], dtype=np.int64),
        as_of_dates=dates,
        last_sessions=dates,
        ends=np.arange(1, len(wanted) + 1),
        features=np.zeros((len(wanted), 3), dtype=np.float32),
        input_hashes=np.array([digest for _, _, digest in wanted], dtype=np.int64),
        feature_set=CLOSE_VOLUME,
        is_held=np.zeros(len(wanted), dtype=bool),
        closes=np.empty(0),
        close_ends=np.arange(len(wanted)),
    )


def missing(wanted: list[Key], stored: list[Key]) -> list[Key]:
    positions = missing_windows(batch_of(wanted), np.array(stored, dtype=STORED_DTYPE))
    return [wanted[position] for position in positions]


@bounded(300)
@given(wanted=keys, stored=keys, n_shared=st.integers(0, 20))
def test_missing_is_wanted_minus_stored_in_the_order_wanted(
    wanted: list[Key], stored: list[Key], n_shared: int
) -> None:
    shared = {key[:2]: key for key in wanted[:n_shared]}
    stored = [key for key in stored if key[:2] not in shared] + list(shared.values())
    assert missing(wanted, stored) == slow_missing(wanted, stored)


def test_the_same_key_with_another_hash_is_missing() -> None:
    assert missing([(0, DAY, 5)], [(0, DAY, 6)]) == [(0, DAY, 5)]
    assert missing([(0, DAY, 5)], [(0, DAY, 5)]) == []


def test_the_same_date_of_another_instrument_is_another_key() -> None:
    assert missing([(1, DAY, 5)], [(0, DAY, 5)]) == [(1, DAY, 5)]


def test_the_farthest_dates_do_not_run_into_the_next_instrument() -> None:
    wanted = [(0, date.max, 1), (1, date.min, 1), (1, date.max, 1), (2, date.min, 1)]
    assert missing(wanted, wanted[:1]) == wanted[1:]
    assert missing(wanted, wanted[1:]) == wanted[:1]


@pytest.mark.parametrize("power", range(22))
def test_no_distance_between_dates_is_taken_for_another_instrument(power: int) -> None:
    wanted = [(1, date.max - timedelta(days=2**power), 1)]
    assert missing(wanted, [(0, date.max, 1)]) == wanted


@bounded(100)
@given(items=st.lists(st.integers(), max_size=40), size=st.integers(1, 50))
def test_chunks_are_full_but_for_the_last_and_lose_nothing(items: list[int], size: int) -> None:
    chunks = [list(chunk) for chunk in chunked(items, size)]
    assert [item for chunk in chunks for item in chunk] == items
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert all(0 < len(chunk) <= size for chunk in chunks)


@pytest.mark.parametrize(
    ("span", "n_instruments"),
    [
        (DateSpan.of_date(DAY), 1000),
        (DateSpan.of_range(DAY, DAY), 1000),
        (DateSpan.of_range(date(2024, 1, 1), date(2024, 12, 31)), 3),  # 261 sessions each
        (DateSpan.of_range(date(1950, 1, 1), DAY), 1),
    ],
)
def test_a_chunk_holds_about_as_many_windows_as_it_may(span: DateSpan, n_instruments: int) -> None:
    assert instruments_per_chunk(span, 63, chunk_windows=1000) == n_instruments


def test_long_windows_make_chunks_of_fewer_instruments() -> None:
    one_date = DateSpan.of_date(DAY)
    assert instruments_per_chunk(one_date, 63) == CHUNK_WINDOWS
    assert instruments_per_chunk(one_date, 20_000) * 20_001 <= CHUNK_BARS < CHUNK_WINDOWS * 20_001
    assert instruments_per_chunk(one_date, 10 * CHUNK_BARS) == 1


def test_a_span_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(UsageError, match="the range ends 2025-01-30, before it starts 2025-01-31"):
        DateSpan.of_range(DAY, date(2025, 1, 30))


def test_a_span_of_one_date_is_told_from_a_range_of_one_day() -> None:
    assert not DateSpan.of_date(DAY).is_range
    assert DateSpan.of_range(DAY, DAY).is_range
    assert DateSpan.of_date(DAY) != DateSpan.of_range(DAY, DAY)


def test_a_request_for_impossible_windows_is_refused() -> None:
    with pytest.raises(UsageError, match="between 1 and 20000, got 0"):
        NumericRequest(("X",), DateSpan.of_date(DAY), 0, "numeric-simple-v1")


def test_reports_add_up() -> None:
    failure = unknown_instrument("NOPE.US")
    report = BackfillReport(5, 2, (), 800) + BackfillReport(3, 3, (failure,), 1_200)
    assert report == BackfillReport(8, 5, (failure,), 2_000)
    assert report.unchanged == 3
    assert json.loads(json.dumps(report.to_dict())) == {
        "planned": 8, "written": 5, "unchanged": 3, "failed": 1, "bytes": 2_000, "dropped": 0,
        "failures": [str(failure)],
    }  # fmt: skip
