"""The judge of prices on the packaged S&P 500 and AAPL: faults at random places and of random sizes are found."""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.reference.windows import WeekdayCalendar

from prometheus.ingest.sample import PRICES
from prometheus.market.bars import PriceBars
from prometheus.market.quality import CONTEXT, JUDGED_FIELDS, Judgement, Verdict, judge, missing_sessions

NAMES = ("GSPC.INDX", "AAPL.US")
WITH_VOLUME = pytest.mark.parametrize("has_volume", [True, False], ids=["with volume", "closes alone"])
places = st.integers(100, 3_000)
from_the_end = st.integers(5, 400)


@cache
def real_bars(name: str, has_volume: bool = True) -> PriceBars:
    """Return all packaged bars of an instrument; without volume also without a range, as an index level comes."""
    table = pq.read_table(PRICES, filters=[("instrument_id", "=", name)]).sort_by("trade_date")
    columns = {field: table[field].to_numpy().astype(np.float64) for field in JUDGED_FIELDS}
    if not has_volume:
        columns |= dict.fromkeys(("high", "low", "volume"), np.full(len(table), np.nan))
    dates = table["trade_date"].to_numpy().astype("M8[D]")
    values = np.stack([columns[field] for field in JUDGED_FIELDS])
    return PriceBars((name,), np.array([0, len(dates)]), dates, JUDGED_FIELDS, values)


def with_fault(bars: PriceBars, rows: slice, factor: float, fields: tuple[str, ...] = JUDGED_FIELDS[:4]) -> PriceBars:
    """Return the bars with some prices of some rows multiplied."""
    values = bars.values.copy()
    for field in fields:
        values[bars.fields.index(field), rows] *= factor
    return PriceBars(bars.instrument_ids, bars.offsets, bars.dates, bars.fields, values)


def without(bars: PriceBars, rows: slice) -> PriceBars:
    """Return the bars with some of them missing."""
    kept = np.delete(np.arange(len(bars)), rows)
    return PriceBars(bars.instrument_ids, np.array([0, len(kept)]), bars.dates[kept], bars.fields, bars.values[:, kept])


def judged(bars: PriceBars) -> Judgement:
    return judge(bars, missing_sessions(bars.dates, WeekdayCalendar()))


def is_quiet(bars: PriceBars, row: int) -> bool:
    """Whether no real jump stands beside a bar: AAPL lost half of its value on 2000-09-29."""
    closes = bars.column("adjusted_close")[row - 2 : row + 3]
    return bool(np.abs(np.diff(np.log(closes))).max() < 0.15)


def differences(judgement: Judgement, clean: Judgement) -> list[int]:
    return np.flatnonzero(judgement.settled != clean.settled).tolist()


@pytest.mark.parametrize("name", NAMES)
def test_of_clean_prices_no_bar_is_an_error(name: str) -> None:
    settled = judged(real_bars(name)).settled
    assert not np.isin(settled, (Verdict.ERROR, Verdict.BREAK, Verdict.FROZEN)).any()


@WITH_VOLUME
@bounded(150)
@given(name=st.sampled_from(NAMES), row=places, factor=st.floats(2.2, 1e6), is_below=st.booleans())
def test_a_bar_far_off_is_held_on_its_day_and_an_error_from_the_next(
    has_volume: bool, name: str, row: int, factor: float, is_below: bool
) -> None:
    clean = real_bars(name, has_volume)
    assume(is_quiet(clean, row))
    judgement = judged(with_fault(clean, slice(row, row + 1), 1 / factor if is_below else factor))
    assert judgement.on_day[row] == Verdict.SUSPECT
    assert judgement.settled[row] == Verdict.ERROR
    assert judgement.is_held[row]
    assert differences(judgement, judged(clean)) == [row]


@bounded(100)
@given(name=st.sampled_from(NAMES), row=places, factor=st.floats(2.2, 1e4))
def test_an_adjusted_close_alone_is_judged_like_a_whole_bar(name: str, row: int, factor: float) -> None:
    assume(is_quiet(real_bars(name), row))
    judgement = judged(with_fault(real_bars(name), slice(row, row + 1), factor, ("adjusted_close",)))
    assert judgement.settled[row] == Verdict.ERROR


@WITH_VOLUME
@bounded(150)
@given(
    name=st.sampled_from(NAMES),
    row=places,
    ratio=st.sampled_from([2, 3, 4, 5, 7, 10, 20, 100, 1000]),
    is_reverse=st.booleans(),
)
def test_a_split_left_in_is_a_break_and_touches_no_other_bar(
    has_volume: bool, name: str, row: int, ratio: int, is_reverse: bool
) -> None:
    clean = real_bars(name, has_volume)
    assume(is_quiet(clean, row))
    judgement = judged(with_fault(clean, slice(0, row), 1 / ratio if is_reverse else ratio))
    assert judgement.on_day[row] == Verdict.SUSPECT
    assert judgement.settled[row] == Verdict.BREAK
    assert differences(judgement, judged(clean)) == [row]


@bounded(60)
@given(name=st.sampled_from(NAMES), ratio=st.sampled_from([2, 4, 7]), row=places)
def test_a_split_that_is_adjusted_is_no_finding(name: str, ratio: int, row: int) -> None:
    clean = real_bars(name)
    quoted = with_fault(clean, slice(0, row), ratio, ("close", "high", "low"))
    assert differences(judged(quoted), judged(clean)) == []


@bounded(80)
@given(name=st.sampled_from(NAMES), row=places, length=st.integers(6, 80))
def test_a_feed_is_frozen_from_its_sixth_still_bar_on(name: str, row: int, length: int) -> None:
    clean = real_bars(name)
    values = clean.values.copy()
    values[:4, row : row + length] = values[1, row - 1]
    values[4, row : row + length] = 0
    frozen = PriceBars(clean.instrument_ids, clean.offsets, clean.dates, clean.fields, values)
    on_day = judged(frozen).on_day
    assert np.flatnonzero(on_day == Verdict.FROZEN).tolist() == list(range(row + 5, row + length))
    expected = Verdict.NEW_START if length > 63 else Verdict.HOLE
    assert on_day[row + length] == expected


@bounded(80)
@given(name=st.sampled_from(NAMES), row=places, length=st.integers(1, 120))
def test_a_return_across_a_hole_is_not_that_of_a_day(name: str, row: int, length: int) -> None:
    holed = without(real_bars(name), slice(row, row + length))
    n_missing = int(missing_sessions(holed.dates, WeekdayCalendar())[row])
    assert n_missing >= length
    said = judged(holed).on_day[row]
    if n_missing > 5:
        assert said == (Verdict.NEW_START if n_missing > 63 else Verdict.HOLE)
    else:
        assert said in (Verdict.SOUND, Verdict.SUSPECT)


faulty = st.tuples(places, st.floats(0.01, 100), st.integers(1, 3), st.booleans())


def several_faults(bars: PriceBars, faults: list[tuple[int, float, int, bool]]) -> PriceBars:
    for row, factor, length, is_lasting in faults:
        bars = with_fault(bars, slice(0, row) if is_lasting else slice(row, row + length), factor)
    return bars


@WITH_VOLUME
@bounded(60)
@given(name=st.sampled_from(NAMES), faults=st.lists(faulty, max_size=4), later=st.lists(st.integers(0, 6), max_size=4))
def test_what_is_said_at_a_bar_is_said_without_the_bars_after_it(
    has_volume: bool, name: str, faults: list[tuple[int, float, int, bool]], later: list[int]
) -> None:
    bars = several_faults(real_bars(name, has_volume), faults)
    whole = judged(bars)
    for row in [fault[0] + days for fault in faults for days in later]:
        cut = judged(bars.take(slice(0, row + 1)))
        assert cut.known_at(row).tolist() == whole.known_at(row).tolist()
        assert cut.log_returns.tobytes() == whole.log_returns[: row + 1].tobytes()


@bounded(60)
@given(name=st.sampled_from(NAMES), faults=st.lists(faulty, max_size=4), start=st.integers(0, 3_000))
def test_what_is_said_at_a_bar_needs_no_more_than_its_context(
    name: str, faults: list[tuple[int, float, int, bool]], start: int
) -> None:
    bars = several_faults(real_bars(name), faults)
    whole, part = judged(bars), judged(bars.take(slice(start, None)))
    first = start + CONTEXT
    assert part.on_day[CONTEXT:].tolist() == whole.on_day[first:].tolist()
    assert part.settled[CONTEXT:].tolist() == whole.settled[first:].tolist()
