"""Regions in time: nothing after a date changes what is said about it, and one date says what a range says."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import FIRST_DATE, bounded, ordinary_bars
from tests.reference.windows import Bar, MemoryBars, WeekdayCalendar, bar_walk

from prometheus.core.config import RegionDefinition
from prometheus.encoders import NumericWindowSpec
from prometheus.encoders.numeric.regions import REGION, RegionMeanModel, RegionWindowBatch, RegionWindowBuilder
from prometheus.errors import InsufficientHistoryError, RegionMembersError

REGIONS = [
    RegionDefinition(members={"A": 0.5, "B": 0.3, "C": 0.2}),
    RegionDefinition(members={"A": 1, "B": 2, "C": 1}, anchor="C"),
]
SPEC = NumericWindowSpec(REGION, "R", 513)
N_TAIL = 24
TAIL = [FIRST_DATE + timedelta(days=at) for at in range(N_TAIL) if (FIRST_DATE + timedelta(days=at)).weekday() < 5]
END = TAIL[-1]
Said = dict[date, tuple[Any, ...]]


@st.composite
def members(draw: st.DrawFn) -> dict[str, list[Bar]]:
    """Three instruments of about 513 sessions each before a few weeks in which each misses days of its own."""
    histories = {}
    for seed, name in enumerate("ABC"):
        walk = bar_walk(draw(st.integers(500, 520)), FIRST_DATE - timedelta(days=3), seed=seed)
        first_missing = draw(st.integers(0, len(TAIL)))
        missing = set(TAIL[first_missing : first_missing + draw(st.integers(0, 9))])
        closing = {day for day in TAIL if day not in missing}
        histories[name] = walk + [draw(ordinary_bars(day)) for day in sorted(closing)]
    return histories


def builder_of(histories: dict[str, list[Bar]], region: RegionDefinition) -> RegionWindowBuilder:
    return RegionWindowBuilder(MemoryBars(histories), WeekdayCalendar(), {"R": region})


def said_of(windows: RegionWindowBatch, region: RegionDefinition) -> Said:
    vectors = windows.vectors(RegionMeanModel(region))
    return {
        day: (vector.tobytes(), digest, str(source))
        for day, vector, digest, source in zip(
            windows.as_of_dates.tolist(), vectors, windows.input_hashes.tolist(), windows.sources, strict=True
        )
    }


def range_said(
    histories: dict[str, list[Bar]], region: RegionDefinition, start: date = date(2020, 1, 1), end: date = END
) -> tuple[Said, dict[date, str]]:
    """What is said of a range, and of the sessions it leaves out."""
    try:
        build = builder_of(histories, region).build_range(["R"], start, end, 513)
    except RegionMembersError:
        return {}, {}
    left_out = {failure.as_of: str(failure) for failure in build.failures if isinstance(failure, RegionMembersError)}
    return said_of(build.windows, region), left_out


def up_to(day: date, said: tuple[Said, dict[date, str]]) -> tuple[Said, dict[date, str]]:
    kept, left_out = said
    return {d: each for d, each in kept.items() if d <= day}, {d: each for d, each in left_out.items() if d <= day}


@bounded(20)
@given(data=st.data(), histories=members(), region=st.sampled_from(REGIONS))
def test_neither_cutting_nor_poisoning_the_future_changes_a_byte(
    data: st.DataObject, histories: dict[str, list[Bar]], region: RegionDefinition
) -> None:
    as_of = data.draw(st.sampled_from(TAIL), label="as of")
    cut = {name: [bar for bar in bars if bar[0] <= as_of] for name, bars in histories.items()}
    poisoned = {
        name: [bar if bar[0] <= as_of else (bar[0], 7.0, 1e12, 1e-3, 9.0, 6.5) for bar in bars]
        for name, bars in histories.items()
    }
    known = up_to(as_of, range_said(histories, region))
    assert up_to(as_of, range_said(poisoned, region)) == known
    assert range_said(cut, region, end=as_of) == known


@bounded(20)
@given(data=st.data(), histories=members(), region=st.sampled_from(REGIONS))
def test_one_date_and_a_range_say_the_same(
    data: st.DataObject, histories: dict[str, list[Bar]], region: RegionDefinition
) -> None:
    builder = builder_of(histories, region)
    whole, left_out = range_said(histories, region)
    middle = data.draw(st.sampled_from(TAIL), label="cut")
    before = range_said(histories, region, end=middle)
    after = range_said(histories, region, start=middle + timedelta(days=1))
    assert (before[0] | after[0], before[1] | after[1]) == (whole, left_out)

    n_windows = data.draw(st.integers(1, 12), label="windows")
    sessions = sorted(whole)
    for day in [bar[0] for bar in histories[region.anchor] if bar[0] in TAIL]:
        trail = [each for each in sessions if each <= day][-n_windows:]
        if day in left_out:
            with pytest.raises(RegionMembersError, match=re.escape(left_out[day])):
                builder.build_trailing(SPEC, day, n_windows)
        elif day not in whole:
            with pytest.raises(RegionMembersError):
                builder.build_trailing(SPEC, day, n_windows)
        elif len(trail) < n_windows:
            with pytest.raises(InsufficientHistoryError):
                builder.build_trailing(SPEC, day, n_windows)
        else:
            windows = builder.build_trailing(SPEC, day, n_windows)
            assert said_of(windows, region) == {each: whole[each] for each in trail}


def test_the_properties_above_see_sessions_left_out() -> None:
    histories = {name: bar_walk(540, END, seed=seed) for seed, name in enumerate("ABC")}
    region = REGIONS[1]
    full, none = range_said(histories, region)
    assert (len(full), none) == (28, {})
    stale = {**histories, "B": histories["B"][:-9], "A": histories["A"][:-9]}
    said, left_out = range_said(stale, region)
    assert len(said) == 24
    assert sorted([*said, *left_out]) == sorted(full)
