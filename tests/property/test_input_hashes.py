"""Input hashes: they tell windows apart exactly when their bars differ."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.property.strategies import bounded, histories, legal_closes, legal_volumes
from tests.reference.windows import Histories, Row, bars_of_histories

from prometheus.encoders.numeric.windows import windows_in_range

Hashes = dict[tuple[str, date], int]


def hashes(known: Histories, window_days: int) -> Hashes:
    windows = windows_in_range(bars_of_histories(known), date.min, date.max, window_days).windows
    names = [windows.entity_ids[index] for index in windows.entity_index]
    return dict(zip(zip(names, windows.as_of_dates.tolist(), strict=True), windows.input_hashes.tolist(), strict=True))


@bounded(200)
@given(
    rows=histories(min_size=1),
    window_days=st.integers(1, 6),
    data=st.data(),
)
def test_a_changed_value_changes_the_windows_that_hold_it_and_no_other(
    rows: list[Row], window_days: int, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(rows) - 1))
    day, close, volume = rows[at]
    changed = data.draw(
        st.one_of(
            st.tuples(st.just(day), legal_closes, st.just(volume)),
            st.tuples(st.just(day), st.just(close), legal_volumes),
        )
    )
    assume(changed != rows[at])
    before = hashes({"X": rows}, window_days)
    after = hashes({"X": [*rows[:at], changed, *rows[at + 1 :]]}, window_days)
    assert before.keys() == after.keys()
    for position in range(window_days - 1, len(rows)):
        holds_it = position - window_days < at <= position
        key = "X", rows[position][0]
        assert (before[key] != after[key]) is holds_it


@bounded(100)
@given(rows=histories(min_size=2), window_days=st.integers(1, 6), data=st.data())
def test_a_moved_date_changes_the_windows_that_hold_it(rows: list[Row], window_days: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(rows) - 2))  # not the last: the window's own date is part of its key
    moved = (rows[at][0] + timedelta(days=1), *rows[at][1:])
    assume(moved[0] < rows[at + 1][0])
    before = hashes({"X": rows}, window_days)
    after = hashes({"X": [*rows[:at], moved, *rows[at + 1 :]]}, window_days)
    for position in range(max(window_days - 1, at + 1), len(rows)):
        key = "X", rows[position][0]
        assert (before[key] != after[key]) is (position - window_days < at)


@bounded(100)
@given(rows=histories(min_size=2), data=st.data())
def test_swapping_the_values_of_two_days_changes_the_hash(rows: list[Row], data: st.DataObject) -> None:
    first, second = sorted(data.draw(st.sets(st.integers(0, len(rows) - 1), min_size=2, max_size=2)))
    assume(rows[first][1:] != rows[second][1:])
    swapped = list(rows)
    swapped[first], swapped[second] = (rows[first][0], *rows[second][1:]), (rows[second][0], *rows[first][1:])
    key = "X", rows[-1][0]
    assert hashes({"X": rows}, len(rows))[key] != hashes({"X": swapped}, len(rows))[key]


@bounded(60)
@given(rows=histories(min_size=1, max_size=12), data=st.data())
def test_close_and_volume_are_not_interchangeable(rows: list[Row], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(rows) - 1))
    day, close, volume = rows[at]
    assume(close != volume)
    exchanged = [*rows[:at], (day, volume, close), *rows[at + 1 :]]
    assume(volume > 0)
    key = "X", rows[-1][0]
    assert hashes({"X": rows}, len(rows))[key] != hashes({"X": exchanged}, len(rows))[key]


@bounded(100)
@given(
    rows=histories(min_size=1, max_size=8),
    before=st.lists(histories(max_size=8), max_size=3),
    after=st.lists(histories(max_size=8), max_size=3),
    older=st.lists(st.tuples(legal_closes, legal_volumes), max_size=5),
)
def test_equal_bars_have_equal_hashes_wherever_they_stand(
    rows: list[Row], before: list[list[Row]], after: list[list[Row]], older: list[tuple[float, float]]
) -> None:
    key = "X", rows[-1][0]
    alone = hashes({"X": rows}, len(rows))[key]
    prologue = [(rows[0][0] - timedelta(days=n + 1), *values) for n, values in enumerate(older)]
    crowd = {f"A{n}": part for n, part in enumerate(before)} | {"X": prologue + rows}
    crowd |= {f"Z{n}": part for n, part in enumerate(after)}
    assert hashes(crowd, len(rows))[key] == alone


def test_hashes_of_a_long_random_history_do_not_collide() -> None:
    generator = np.random.default_rng(5)
    days = [date(1950, 1, 1) + timedelta(days=n) for n in range(20_000)]
    # coarse prices, as real ones are: many equal rows apart from their date
    closes, volumes = generator.integers(1, 50, 20_000) / 4, generator.integers(0, 3, 20_000) * 1.0
    rows = list(zip(days, closes.tolist(), volumes.tolist(), strict=True))
    for window_days in (1, 2, 63):
        found = hashes({"X": rows, "Y": [(day, close, volume + 1) for day, close, volume in rows]}, window_days)
        assert len(set(found.values())) == len(found)


def test_the_hash_of_a_window_never_changes() -> None:
    # computed below with Python integers; another answer would rewrite every stored row on the next backfill
    rows = [(date(2025, 1, 30), 100.0, 5.0), (date(2025, 1, 31), 101.5, 0.0)]
    mask = 2**64 - 1

    def mix(value: int) -> int:
        value = (value + 0x9E3779B97F4A7C15) & mask
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
        return value ^ (value >> 31)

    def bits(value: float) -> int:
        return int(np.float64(value).view(np.uint64))

    digests = [mix(mix(mix((day - date(1970, 1, 1)).days) ^ bits(close)) ^ bits(volume)) for day, close, volume in rows]
    expected = mix((digests[0] + digests[1] * 0x9E3779B97F4A7C15) & mask)
    found = hashes({"X": rows}, 2)["X", date(2025, 1, 31)]
    assert found & mask == expected
    assert found == -7461119949461082345
