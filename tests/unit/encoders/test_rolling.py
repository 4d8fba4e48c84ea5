"""A session more has the bytes of its whole window, however many came before it one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded
from tests.reference.windows import bar_walk, bars_of_histories, sample_bars

from prometheus.arrays import Float64Matrix
from prometheus.encoders.numeric.features import LOG_PRICES, log_prices
from prometheus.encoders.numeric.rolling import RollingEncoder
from prometheus.encoders.numeric.scale_free import ScaleFreeNumericEmbeddingModel
from prometheus.errors import WindowShapeError

MODEL = ScaleFreeNumericEmbeddingModel()


def assert_rolls(table: Float64Matrix, first: int) -> None:
    """Begin with the first rows, then give the others one by one."""
    whole = MODEL.encode_table(table, np.arange(513, len(table) + 1), 513)
    rolling = RollingEncoder(MODEL, table[:first])
    assert rolling.vector().tobytes() == whole[first - 513].tobytes()
    for at in range(first, len(table)):
        assert rolling.append(table[at]).tobytes() == whole[at - 512].tobytes(), at


@pytest.mark.parametrize(("name", "first"), [("GSPC.INDX", 513), ("AAPL.US", 1000)])
def test_real_sessions_one_by_one_have_the_bytes_of_the_whole_history(name: str, first: int) -> None:
    bars = bars_of_histories({name: sample_bars(name)}, fields=LOG_PRICES.bar_fields)
    table = np.asarray(LOG_PRICES.tabulate(bars), dtype=np.float64)
    assert len(table) > 4_000  # the sums and the values that are kept go round more than once
    assert_rolls(table, first)


@bounded(10)
@given(
    n_rows=st.integers(514, 700), first=st.integers(513, 600), seed=st.integers(0, 99),
    scale=st.sampled_from([0.0, 1e-9, 1.0, 60.0]), has_ranges=st.booleans(),
)  # fmt: skip
def test_any_rows_one_by_one_have_the_bytes_of_the_whole(
    n_rows: int, first: int, seed: int, scale: float, has_ranges: bool
) -> None:
    generator = np.random.default_rng(seed)
    closes = np.exp(scale * np.cumsum(generator.normal(0, 0.02, n_rows)))
    if seed % 3 == 0:
        closes[generator.random(n_rows) < 0.7] = 1.0  # zeros of either sign
    apart = np.exp(generator.exponential(0.01, (2, n_rows))) if has_ranges else np.full((2, n_rows), np.nan)
    assert_rolls(log_prices(closes, apart[0], 1.0 / apart[1]), min(first, n_rows))


def test_rows_before_the_window_do_not_matter() -> None:
    bars = bars_of_histories({"X": bar_walk(900, seed=4)}, fields=LOG_PRICES.bar_fields)
    table = np.asarray(LOG_PRICES.tabulate(bars), dtype=np.float64)
    long, short = RollingEncoder(MODEL, table[:800]), RollingEncoder(MODEL, table[287:800])
    for row in table[800:]:
        assert long.append(row).tobytes() == short.append(row).tobytes()


@pytest.mark.parametrize("shape", [(512, 3), (600, 2), (600,)])
def test_too_few_rows_to_begin_with_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(WindowShapeError, match="rows to begin with"):
        RollingEncoder(MODEL, np.zeros(shape))
