"""What users decide of bars: a rejected one is as good as never loaded, an accepted one is believed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.property.test_judged_bars import CALENDAR, N_BARS, fast_window
from tests.property.test_price_quality import differences, is_quiet, judged, real_bars, with_fault, without

from prometheus.encoders.numeric.judged import JudgedBars
from prometheus.market.bars import ACCEPTED, DECISION, REJECTED, PriceBars
from prometheus.market.findings import findings_of
from prometheus.market.quality import CONTEXT, HOLE_SESSIONS, Verdict, judge, missing_sessions

WINDOW_DAYS = 21
starts = st.integers(0, 5_000)


def decided(bars: PriceBars, rows: list[int], decision: float) -> PriceBars:
    """Return the bars with a decision on some of them."""
    column = bars.column(DECISION).copy()
    column[rows] = decision
    fields = tuple(name for name in bars.fields if name != DECISION)
    values = np.stack([*(bars.column(name) for name in fields), column])
    return replace(bars, fields=(*fields, DECISION), values=values)


def open_findings(bars: PriceBars) -> list[str]:
    n_missing = missing_sessions(bars.dates, CALENDAR)
    return [each.kind for each in findings_of(bars, judge(bars, n_missing), n_missing)]


@bounded(60)
@given(start=starts, first=st.integers(120, N_BARS - 60), length=st.integers(1, 9))
def test_windows_after_rejected_bars_are_those_of_a_history_without_them(start: int, first: int, length: int) -> None:
    whole = real_bars("AAPL.US").take(slice(start, start + N_BARS))
    assume(len(whole) == N_BARS)
    assume(all(is_quiet(whole, row) for row in range(first, first + length + 1)))
    rows = slice(first, first + length)
    rejected = JudgedBars.judged(decided(whole, list(range(first, first + length)), REJECTED), WINDOW_DAYS, CALENDAR)
    absent = JudgedBars.judged(without(whole, rows), WINDOW_DAYS, CALENDAR)
    places = {day: at for at, day in enumerate(rejected.dates.tolist())}
    for at, day in enumerate(absent.dates.tolist()):
        assert fast_window(absent, at, WINDOW_DAYS) == fast_window(rejected, places[day], WINDOW_DAYS)
    newest = fast_window(rejected, first - 1, WINDOW_DAYS)
    for row in range(first, first + length):
        age = int(np.busday_count(whole.dates[first - 1], whole.dates[row]))
        assert fast_window(rejected, row, WINDOW_DAYS) == (newest if age <= HOLE_SESSIONS else None)


@bounded(60)
@given(start=starts, rows=st.sets(st.integers(0, N_BARS - 2), max_size=12), n_cut=st.integers(0, 150))
def test_a_part_of_a_decided_history_is_judged_as_the_whole(start: int, rows: set[int], n_cut: int) -> None:
    bars = decided(real_bars("AAPL.US").take(slice(start, start + N_BARS)), sorted(rows), REJECTED)
    whole, part = judged(bars), judged(bars.take(slice(n_cut, None)))
    skipped = n_cut + CONTEXT
    assert part.settled[CONTEXT:].tolist() == whole.settled[skipped:].tolist()
    assert part.on_day[CONTEXT:].tolist() == whole.on_day[skipped:].tolist()


@bounded(60)
@given(row=st.integers(100, 3_000), factor=st.floats(2.2, 1e5), decision=st.sampled_from([ACCEPTED, REJECTED]))
def test_verdicts_before_a_decided_bar_stay_and_it_is_no_open_finding(row: int, factor: float, decision: float) -> None:
    clean = real_bars("GSPC.INDX")
    assume(is_quiet(clean, row))
    faulty = with_fault(clean, slice(row, row + 1), factor)
    judgement = judged(decided(faulty, [row], decision))
    assert judgement.settled[row] == (Verdict.MOVE if decision == ACCEPTED else Verdict.ERROR)
    assert judgement.is_held[row] == (decision == REJECTED)
    assert judgement.settled[:row].tolist() == judged(faulty).settled[:row].tolist()
    if decision == REJECTED:
        assert differences(judgement, judged(faulty)) == []
        assert open_findings(decided(faulty, [row], decision)) == open_findings(clean)


@bounded(40)
@given(row=st.integers(200, 3_000), ratio=st.sampled_from([2.0, 4.0, 10.0]))
def test_an_accepted_break_is_a_day_like_any_other(row: int, ratio: float) -> None:
    clean = real_bars("GSPC.INDX")
    assume(is_quiet(clean, row))
    split = with_fault(clean, slice(0, row), ratio)
    assert open_findings(split) == ["break", *open_findings(clean)]
    accepted = decided(split, [row], ACCEPTED)
    assert open_findings(accepted) == open_findings(clean)
    seen = JudgedBars.judged(accepted, WINDOW_DAYS, CALENDAR)
    plain = JudgedBars.of_all(split)
    assert [fast_window(seen, at, WINDOW_DAYS) for at in range(row - 2, row + 3)] == [
        fast_window(plain, at, WINDOW_DAYS) for at in range(row - 2, row + 3)
    ]


@bounded(40)
@given(row=st.integers(200, 3_000), length=st.sampled_from([9, 40, 90, 200]))
def test_an_accepted_hole_is_none_and_an_accepted_new_start_is_a_hole(row: int, length: int) -> None:
    bars = without(real_bars("GSPC.INDX"), slice(row, row + length))
    accepted = judged(decided(bars, [row], ACCEPTED))
    assert judged(bars).settled[row] == (Verdict.HOLE if length <= 61 else Verdict.NEW_START)
    if length <= 61:
        assert accepted.settled[row] in (Verdict.SOUND, Verdict.MOVE)
    else:
        assert accepted.settled[row] == Verdict.HOLE
