"""The scale-free encoder on random and on real markets: its slow twin, its company, and the units of its input.

That no later bar and no other batch changes a byte is said in `test_point_in_time.py`, of all models.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded, long_histories
from tests.reference.descriptors import slow_log_prices, slow_scale_free_vector
from tests.reference.windows import Bar, Histories, bar_walk, bars_of_histories, sample_bars

from prometheus.arrays import Float32Matrix
from prometheus.encoders.numeric.features import LOG_PRICES
from prometheus.encoders.numeric.scale_free import CONSTANTS_FILE, ScaleFreeNumericEmbeddingModel
from prometheus.encoders.numeric.windows import WindowBatch, windows_in_range

MODEL = ScaleFreeNumericEmbeddingModel()
SCALING = json.loads(
    resources.files("prometheus.encoders.numeric").joinpath(CONSTANTS_FILE).read_text(encoding="utf-8")
)["mean_and_deviation"]


def windows_of(known: Histories) -> WindowBatch:
    bars = bars_of_histories(known, fields=LOG_PRICES.bar_fields)
    return windows_in_range(bars, date.min, date.max, 513, LOG_PRICES).windows


def vectors_of(known: Histories) -> Float32Matrix:
    windows = windows_of(known)
    return MODEL.encode_table(windows.features, windows.ends, windows.window_days)


def slow_vector(bars: Sequence[Bar]) -> list[float]:
    return slow_scale_free_vector(slow_log_prices(bars[-513:]), SCALING)


@pytest.mark.parametrize(("name", "first"), [("AAPL.US", 0), ("GSPC.INDX", 3)])
def test_real_windows_are_those_of_the_slow_twin(name: str, first: int) -> None:
    bars = sample_bars(name)
    vectors = vectors_of({name: bars})
    assert len(vectors) == len(bars) - 512
    for at in range(first, len(vectors), 1301):
        np.testing.assert_allclose(vectors[at], slow_vector(bars[: at + 513]), rtol=0, atol=1e-6)


@bounded(12)
@given(bars=long_histories(max_tail=4))
def test_random_windows_are_those_of_the_slow_twin(bars: list[Bar]) -> None:
    vectors = vectors_of({"X": bars})
    if len(vectors):
        np.testing.assert_allclose(vectors[-1], slow_vector(bars), rtol=1e-6, atol=1e-6)


@bounded(30)
@given(parts=st.lists(long_histories(), min_size=1, max_size=3))
def test_instruments_in_one_table_are_what_each_is_alone(parts: list[list[Bar]]) -> None:
    known = {f"I{number}": bars for number, bars in enumerate(parts)}
    alone = [vector.tobytes() for name, bars in known.items() for vector in vectors_of({name: bars})]
    assert [vector.tobytes() for vector in vectors_of(known)] == alone


@bounded(60)
@given(bars=long_histories(is_legal_only=True))
def test_every_legal_price_has_a_finite_vector(bars: list[Bar]) -> None:
    assert np.isfinite(vectors_of({"X": bars})).all()


@pytest.mark.parametrize("field", ["close", "high", "low"])
def test_prices_that_never_move_or_are_not_there_have_a_finite_vector(field: str) -> None:
    constant = [(day, 7.0, 0.0, 7.0, 7.0, 7.0) for day, *_ in bar_walk(513)]
    assert np.isfinite(vectors_of({"X": constant})).all()
    at = {"close": (), "high": (4,), "low": (5,)}[field]
    unknown = [tuple(np.nan if n in at else value for n, value in enumerate(bar)) for bar in bar_walk(513)]
    assert np.isfinite(vectors_of({"X": unknown})).all()  # type: ignore[dict-item]


def rescaled(bars: Sequence[Bar], price: float, adjusted: float, volume: float) -> list[Bar]:
    return [(day, c * price, v * volume, a * adjusted, h * price, low * price) for day, c, v, a, h, low in bars]


@bounded(40)
@given(
    bars=long_histories(),
    price=st.sampled_from([1_000.0, 1e-4, 7.3]),
    adjusted=st.sampled_from([1_000.0, 0.37]),
    split_at=st.integers(0, 514),
)
def test_price_level_currency_volume_unit_and_splits_do_not_show(
    bars: list[Bar], price: float, adjusted: float, split_at: int
) -> None:
    # not to the byte: ln(1,000 p) is rounded at another place than ln(p), by up to 1e-15 of a price of any size; a
    # return inherits that, and a ratio to the smallest deviation, 1e-4, makes it 1e-11
    expected = vectors_of({"X": bars})
    split = [*rescaled(bars[:split_at], 4.0, 1.0, 0.25), *bars[split_at:]]
    for changed in (
        rescaled(bars, 1_000.0, 1_000.0, 1e-3),
        rescaled(bars, price, adjusted, 1.0),
        split,
    ):
        np.testing.assert_allclose(vectors_of({"X": changed}), expected, rtol=1e-5, atol=1e-5)
    assert vectors_of({"X": split}).tobytes() == expected.tobytes()  # four is a power of two


def test_volumes_change_neither_vector_nor_hash() -> None:
    bars = bar_walk(520)
    plain, silent = windows_of({"X": bars}), windows_of({"X": rescaled(bars, 1.0, 1.0, 0.0)})
    assert plain.features.tobytes() == silent.features.tobytes()
    assert plain.input_hashes.tolist() == silent.input_hashes.tolist()


@bounded(12)
@given(at=st.integers(1, 512), is_high=st.booleans(), factor=st.floats(3.1, 1e6))
def test_an_absurd_high_or_low_counts_as_missing(at: int, is_high: bool, factor: float) -> None:
    bars = bar_walk(513)
    day, close, volume, adjusted, high, low = bars[at]
    results = []
    for value in (
        close * factor if is_high else close / factor,
        np.nan,
        close,
        close * 2.9 if is_high else close / 2.9,
    ):
        bar = (day, close, volume, adjusted, value if is_high else high, low if is_high else value)
        results.append(vectors_of({"X": [*bars[:at], bar, *bars[at + 1 :]]}).tobytes())
    assert results[0] == results[1] == results[2] != results[3]
