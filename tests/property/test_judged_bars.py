"""The bars that encoders see, against a slow twin that cuts the history at each date and judges it anew."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.property.test_price_quality import judged, real_bars, several_faults, without
from tests.reference.windows import WeekdayCalendar

from prometheus.encoders.numeric.judged import JudgedBars
from prometheus.market.bars import PriceBars
from prometheus.market.quality import AGED, CONTEXT, LEFT_OUT, NEW_SCALE, Verdict

CALENDAR = WeekdayCalendar()
N_BARS = 420


def slow_window(bars: PriceBars, row: int, window_days: int) -> tuple[list[str], bytes] | None:
    """Return dates and adjusted closes of the window as of a bar, of nothing but the bars up to it; None if too few."""
    seen = bars.take(slice(0, row + 1))
    verdicts = judged(seen).known_at(row).tolist()
    prices = seen.column("adjusted_close")
    days: list[str] = []
    values: list[float] = []
    factors: list[float] = []
    new_level = None
    for at, verdict in enumerate(verdicts):
        if verdict == Verdict.NEW_START:
            days, values, factors, new_level = [], [], [], None
        if verdict in NEW_SCALE:
            new_level = float(prices[at])
        if verdict in LEFT_OUT or (at == row and verdict == Verdict.SUSPECT):
            continue
        if new_level is not None and days:
            factors[-1] = new_level / values[-1]
        new_level = None
        days.append(str(seen.dates[at]))
        values.append(float(prices[at]))
        factors.append(1.0)
    if len(days) < window_days or verdicts[-1] in AGED:
        return None
    scale = 1.0
    scaled = []
    for value, factor in zip(reversed(values), reversed(factors), strict=True):
        scale *= factor
        scaled.append(value * scale)
    return days[-window_days:], np.array(scaled[::-1][-window_days:]).tobytes()


def fast_window(judged_bars: JudgedBars, at: int, window_days: int) -> tuple[list[str], bytes] | None:
    if not judged_bars.have_window(window_days)[at]:
        return None
    rows = slice(int(judged_bars.ends[at]) - window_days, int(judged_bars.ends[at]))
    return (
        judged_bars.bars.dates[rows].astype(str).tolist(),
        judged_bars.bars.column("adjusted_close")[rows].tobytes(),
    )


rows_in_part = st.integers(30, N_BARS - 5)
faults = st.lists(
    st.tuples(rows_in_part, st.sampled_from([0.01, 0.25, 0.5, 2.0, 4.0, 100.0]), st.integers(1, 3), st.booleans()),
    max_size=4,
)
holes = st.lists(st.tuples(rows_in_part, st.sampled_from([2, 9, 40, 90])), max_size=1)


def faulty_part(start: int, spoiled: list[tuple[int, float, int, bool]], missing: list[tuple[int, int]]) -> PriceBars:
    part = several_faults(real_bars("AAPL.US").take(slice(start, start + N_BARS)), spoiled)
    for row, length in missing:
        part = without(part, slice(row, min(row + length, len(part) - 1)))
    return part


@bounded(40)
@given(start=st.integers(0, 5_000), spoiled=faults, missing=holes, window_days=st.sampled_from([1, 2, 21, 150]))
def test_each_date_has_the_window_of_what_was_known_on_it(
    start: int, spoiled: list[tuple[int, float, int, bool]], missing: list[tuple[int, int]], window_days: int
) -> None:
    bars = faulty_part(start, spoiled, missing)
    fast = JudgedBars.judged(bars, window_days, CALENDAR)
    assert fast.dates.tolist() == bars.dates.tolist()
    places = [row for row, *_ in spoiled] + [row for row, _ in missing]
    near = {row + days for row in places for days in (-1, 0, 1, 2, 5, window_days)}
    for row in sorted(near & set(range(len(bars)))):
        assert fast_window(fast, row, window_days) == slow_window(bars, row, window_days)


@bounded(40)
@given(start=st.integers(0, 5_000), spoiled=faults, window_days=st.sampled_from([2, 21, 60]), n_cut=st.integers(0, 150))
def test_a_part_of_the_history_gives_the_windows_of_the_whole(
    start: int, spoiled: list[tuple[int, float, int, bool]], window_days: int, n_cut: int
) -> None:
    bars = faulty_part(start, spoiled, [])
    whole = JudgedBars.judged(bars, window_days, CALENDAR)
    part = JudgedBars.judged(bars.take(slice(n_cut, None)), window_days, CALENDAR, np.array([CONTEXT]))
    skipped = n_cut + CONTEXT
    assert part.verdicts.tolist() == whole.verdicts[skipped:].tolist()
    for at in np.flatnonzero(part.have_window(window_days)).tolist():
        assert fast_window(part, at, window_days) == fast_window(whole, skipped + at, window_days)
