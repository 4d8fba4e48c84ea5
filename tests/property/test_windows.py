"""Fast windows and encoders against their slow twins, on random histories and on all of the packaged sample."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded, histories
from tests.reference.windows import (
    MemoryBars,
    Row,
    WeekdayCalendar,
    bars_of_histories,
    float32_bytes,
    slow_vector,
    slow_window,
)

from prometheus.encoders import NumericWindowBuilder, NumericWindowSpec
from prometheus.encoders.models_simple_numeric import FlattenNumericEmbeddingModel, PadToDimNumericEmbeddingModel
from prometheus.encoders.numeric.windows import windows_in_range
from prometheus.errors import InsufficientHistoryError
from prometheus.ingest.sample import PRICES


@bounded(150)
@given(rows=histories(min_size=1), window_days=st.integers(1, 26), days_later=st.integers(0, 5))
def test_a_window_is_what_the_slow_twin_makes_of_the_rows(rows: list[Row], window_days: int, days_later: int) -> None:
    as_of = date.fromordinal(rows[-1][0].toordinal() + days_later)
    builder = NumericWindowBuilder(MemoryBars({"X": rows}), WeekdayCalendar())
    expected = slow_window(rows, as_of, window_days)
    spec = NumericWindowSpec("INSTRUMENT", "X", window_days)
    if expected is None:
        with pytest.raises(InsufficientHistoryError, match=f"needs {window_days} sessions, found {len(rows)};"):
            builder.build_window(spec, as_of)
    else:
        window = builder.build_window(spec, as_of)
        assert window.tobytes() == float32_bytes(slow_vector(expected))
        assert FlattenNumericEmbeddingModel().encode(window).tobytes() == float32_bytes(slow_vector(expected))
        padded = PadToDimNumericEmbeddingModel(target_dim=30).encode(window)
        assert padded.tobytes() == float32_bytes(slow_vector(expected, 30))


@bounded(80)
@given(
    parts=st.lists(histories(max_size=10), min_size=1, max_size=4),
    window_days=st.integers(1, 6),
    first=st.integers(0, 30),
    length=st.integers(0, 30),
)
def test_a_range_is_one_slow_window_per_row_in_it(
    parts: list[list[Row]], window_days: int, first: int, length: int
) -> None:
    known = {f"I{number}": rows for number, rows in enumerate(parts)}
    start = date.fromordinal(date(2024, 1, 1).toordinal() + first)
    end = date.fromordinal(start.toordinal() + length)
    expected = {
        (name, day): float32_bytes(slow_vector(window))
        for name, rows in known.items()
        for day, _, _ in rows
        if start <= day <= end and (window := slow_window(rows, day, window_days)) is not None
    }
    build = NumericWindowBuilder(MemoryBars(known), WeekdayCalendar()).build_range(list(known), start, end, window_days)
    windows = build.windows
    found = {
        (windows.entity_ids[index], day): values.tobytes()
        for index, day, values in zip(windows.entity_index, windows.as_of_dates.tolist(), windows.values(), strict=True)
    }
    assert found == expected
    assert len(windows) == len(expected)
    assert {str(failure.args[0]).partition(":")[0] for failure in build.failures} == known.keys() - {
        name for name, _ in expected
    }


@pytest.mark.parametrize(("name", "n_windows"), [("AAPL.US", 6427 - 62), ("GSPC.INDX", 8564 - 62)])
def test_every_window_of_the_packaged_sample_equals_the_slow_twin(name: str, n_windows: int) -> None:
    table = pq.read_table(PRICES, columns=["instrument_id", "trade_date", "close", "volume"]).to_pylist()
    rows = [(row["trade_date"], row["close"], row["volume"]) for row in table if row["instrument_id"] == name]
    windows = windows_in_range(bars_of_histories({name: rows}), date.min, date.max, 63).windows
    assert len(windows) == n_windows
    # each window is the 63 rows up to it, with the first return set to 0: one slow pass over the rows gives them all
    full = slow_window(rows, date.max, len(rows))
    assert full is not None
    flat = np.frombuffer(float32_bytes(slow_vector(full)), dtype="<f4").reshape(-1, 3)
    for at, values in enumerate(windows.values()):
        expected = flat[at : at + 63].copy()
        expected[0, 2] = 0
        assert values.tobytes() == expected.tobytes()
