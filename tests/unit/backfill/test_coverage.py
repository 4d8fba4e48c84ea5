"""What is left of a request by what is covered, and what is covered after a span more."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from prometheus.backfill.coverage import Remaining
from prometheus.backfill.plan import DateSpan, NumericRequest
from prometheus.encoders.numeric.coverage import CoveredSpan, SpanState, digest_of_keys
from prometheus.market.calendar import US_EQ

FIRST, LAST, END = date(2020, 1, 1), date(2025, 1, 31), date(2025, 3, 31)
COVERED = CoveredSpan("A", FIRST, LAST, sources=1, made_by=2, n_outside_writes=0, n_rows=100, digest=7, replaces=5)
STATE = SpanState("A", 3, LAST, 2, 0, transaction=5, covered=COVERED, n_stored=100)
REQUEST = NumericRequest(("A",), DateSpan.of_range(FIRST, END), 63, "m-v1")


def test_what_is_covered_is_counted_and_only_the_rest_is_looked_at() -> None:
    assert Remaining.of(REQUEST, US_EQ, [STATE]) == Remaining((), 100)
    tail = Remaining.of(REQUEST, US_EQ, [replace(STATE, has_tail=True)])
    (chunk,) = tail.chunks
    assert (tail.n_covered, chunk.span, chunk.since) == (100, DateSpan.of_range(date(2025, 2, 1), END), FIRST)
    for state in (replace(STATE, covered=None), replace(STATE, n_stored=0)):
        whole = Remaining.of(REQUEST, US_EQ, [state])
        assert (whole.n_covered, whole.chunks[0].span, whole.chunks[0].since) == (0, REQUEST.span, None)


def test_a_span_right_behind_what_is_covered_joins_it_and_another_takes_its_place_if_longer() -> None:
    state = replace(STATE, newest=END)
    behind = state.covers(LAST + timedelta(days=1), 20, 9)
    assert behind == CoveredSpan("A", FIRST, END, 3, 2, 0, n_rows=120, digest=7 ^ 9)
    assert behind.replaces == 5
    assert state.covers(FIRST, 130, 9) == CoveredSpan("A", FIRST, END, 3, 2, 0, n_rows=130, digest=9)
    assert state.covers(date(2023, 1, 1), 20, 9) == COVERED, "it overlaps, so its rows cannot be told apart"
    assert state.covers(LAST + timedelta(days=5), 20, 9) == COVERED
    far = replace(state, newest=date(2035, 1, 1)).covers(LAST + timedelta(days=5), 20, 9)
    assert (far.first, far.n_rows) == (LAST + timedelta(days=5), 20)
    assert replace(state, covered=None).covers(date(2023, 1, 1), 20, 9).n_rows == 20


ROWS = st.dictionaries(st.integers(-30_000, 30_000), st.integers(-(2**63), 2**63 - 1), max_size=20)


@given(ROWS, st.randoms(use_true_random=False))
def test_a_digest_of_keys_knows_no_order_and_adds_up(rows: dict[int, int], random: object) -> None:
    def digest(days: list[int]) -> int:
        hashes = np.array([rows[day] for day in days], dtype=np.int64)
        return digest_of_keys(np.array(days, dtype="M8[D]"), hashes)

    days = sorted(rows)
    shuffled = days[::-1]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert digest(days) == digest(shuffled)
    half = len(days) // 2
    assert digest(days) == digest(days[:half]) ^ digest(days[half:])
    one_by_one = 0
    for day in days:
        one_by_one ^= digest([day])
    assert digest(days) == one_by_one
    if len({rows[day] for day in days[:2]}) == 2:
        rows[days[0]], rows[days[1]] = rows[days[1]], rows[days[0]]
        assert digest(shuffled) != one_by_one
