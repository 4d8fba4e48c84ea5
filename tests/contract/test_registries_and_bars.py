"""Every registry of models and every source of bars gives the same answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.market import random_walk, weekdays
from tests.fixtures.stores import Stores
from tests.property.strategies import bounded
from tests.reference.windows import MemoryBars, walk

from prometheus.encoders import NumericWindowBuilder, NumericWindowEncoder, NumericWindowSpec
from prometheus.encoders.models_simple_numeric import PadToDimNumericEmbeddingModel
from prometheus.errors import ModelFingerprintError
from prometheus.market.calendar import TradingCalendar

FRIDAY = date(2025, 1, 31)
FIELDS = ("close", "volume")
MODEL = "m-v1"
CONFIG = {"a": 1, "b": 2}


def test_a_model_is_recorded_once_with_all_that_it_means(stores: Stores) -> None:
    config = {"family": "flatten-pad", "target_dim": 384, "temperature": 1.0, "labels": ["A", "B"], "none": None}
    stores.registry.require_same(MODEL, "numeric", config)
    assert stores.registry.load_config(MODEL) is None
    stores.registry.register(MODEL, "numeric", config)
    before = stores.snapshot()
    stores.registry.register(MODEL, "numeric", dict(reversed(config.items())))
    stores.registry.require_same(MODEL, "numeric", config)
    assert stores.snapshot() == before
    assert stores.registry.load_config(MODEL) == config


@pytest.mark.parametrize(
    ("kind", "config", "difference"),
    [
        ("numeric", {"a": 1, "b": 3}, "b: stored 2, now 3"),
        ("numeric", {"a": 1}, "b: stored 2, now None"),
        ("numeric", {"a": 1, "b": 2, "c": "x"}, "c: stored None, now 'x'"),
        ("numeric", {"a": 9, "b": 8}, "a: stored 1, now 9; b: stored 2, now 8"),
        ("numeric", {"a": "x" * 200, "b": 2}, f"a: stored 1, now '{'x' * 119}…"),
        ("regime", CONFIG, "kind: stored 'numeric', now 'regime'"),
        (
            "numeric",
            {"a": 1, "b": 2.0},
            "fingerprint: stored 43258cff783fe7036d8a43033f830adfc60ec037382473548ac742b888292777, now ",
        ),
    ],
)
def test_another_meaning_is_refused_with_what_differs(
    stores: Stores, kind: str, config: dict[str, Any], difference: str
) -> None:
    stores.registry.register(MODEL, "numeric", CONFIG)
    before = stores.snapshot()
    for refuse in (stores.registry.register, stores.registry.require_same):
        with pytest.raises(ModelFingerprintError) as caught:
            refuse(MODEL, kind, config)
        assert str(caught.value).startswith(f"model id 'm-v1' is taken by another model ({difference}")
        assert caught.value.exit_code == 5
    assert stores.snapshot() == before


def test_many_who_register_the_same_at_once_all_succeed(stores: Stores) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: stores.registry.register(MODEL, "numeric", CONFIG), range(24)))
    assert stores.registry.load_config(MODEL) == CONFIG


def test_of_many_who_register_different_meanings_at_once_one_wins(stores: Stores) -> None:
    def attempt(value: int) -> int | None:
        try:
            stores.registry.register(MODEL, "numeric", {"a": value})
        except ModelFingerprintError:
            return None
        return value

    with ThreadPoolExecutor(8) as pool:
        winners = [value for value in pool.map(attempt, range(16)) if value is not None]
    assert [{"a": value} for value in winners] == [stores.registry.load_config(MODEL)]


def test_the_stores_of_one_place_share_their_registry(stores: Stores) -> None:
    stores.numeric.registry.register(MODEL, "numeric", CONFIG)
    for store in (stores.texts, stores.joint, stores.numeric):
        with pytest.raises(ModelFingerprintError, match="kind: stored 'numeric', now 'text'"):
            store.registry.require_same(MODEL, "text", CONFIG)


@pytest.fixture
def twin(stores: Stores) -> MemoryBars:
    """Histories of different length in the store, and the same ones in lists."""
    histories = {}
    for number, (name, n_rows) in enumerate([("LONG", 60), ("SHORT", 9), ("EARLY", 30), ("it's; odd", 20)]):
        last = date(2024, 12, 20) if name == "EARLY" else FRIDAY
        stores.load_bars(name, weekdays(n_rows, last), *random_walk(n_rows, seed=number))
        histories[name] = walk(n_rows, last, seed=number)
    return MemoryBars(histories)


@bounded(60)
@given(
    ids=st.lists(st.sampled_from(["LONG", "SHORT", "EARLY", "it's; odd", "NONE", "ALSO NONE"]), max_size=6),
    days_before=st.integers(0, 100),
    length=st.integers(0, 60),
    n_before=st.integers(1, 70),
)
def test_bars_are_those_of_the_range_and_as_many_before_as_a_window_needs(
    stores: Stores, twin: MemoryBars, ids: list[str], days_before: int, length: int, n_before: int
) -> None:
    first = FRIDAY - timedelta(days=days_before)
    last = first + timedelta(days=length)
    found = stores.bars.load_bars(ids, first, last, n_before, FIELDS)
    expected = twin.load_bars(ids, first, last, n_before, FIELDS)
    assert found.instrument_ids == expected.instrument_ids == tuple(dict.fromkeys(ids))
    assert found.fields == FIELDS
    assert found.offsets.tolist() == expected.offsets.tolist()
    assert found.dates.tolist() == expected.dates.tolist()
    assert found.values.shape == expected.values.shape
    assert found.values.tobytes() == expected.values.tobytes()


def test_the_columns_asked_for_are_the_ones_delivered(stores: Stores, twin: MemoryBars) -> None:
    bars = stores.bars.load_bars(["SHORT"], FRIDAY, FRIDAY, 2, ["volume", "adjusted_close", "close", "high"])
    rows = twin.histories["SHORT"][-2:]
    assert bars.column("close").tolist() == bars.column("adjusted_close").tolist() == [row[1] for row in rows]
    assert bars.column("volume").tolist() == [row[2] for row in rows]
    assert np.isnan(bars.column("high")).all()
    assert [str(bars.values.dtype), str(bars.dates.dtype)] == ["float64", "datetime64[D]"]


def test_windows_of_every_source_are_the_same(stores: Stores, twin: MemoryBars) -> None:
    calendar = TradingCalendar()
    stored, remembered = (NumericWindowBuilder(source, calendar) for source in (stores.bars, twin))
    for day in (FRIDAY, date(2025, 2, 2), date(2024, 12, 31)):
        one, other = (each.build_date(list(twin.histories), day, 9) for each in (stored, remembered))
        assert one.windows.values().tobytes() == other.windows.values().tobytes()
        assert one.windows.input_hashes.tolist() == other.windows.input_hashes.tolist()
        assert [str(failure) for failure in one.failures] == [str(failure) for failure in other.failures]


def test_an_instrument_is_known_by_a_single_bar_of_any_date(stores: Stores, twin: MemoryBars) -> None:
    assert stores.bars.known_instruments(["SHORT", "NONE", "it's; odd", "SHORT"]) == {"SHORT", "it's; odd"}
    assert stores.bars.known_instruments([]) == set()


def test_an_encoder_embeds_stores_and_refuses_in_every_place_alike(stores: Stores, twin: MemoryBars) -> None:
    def encoder(dim: int) -> NumericWindowEncoder:
        return NumericWindowEncoder(
            builder=NumericWindowBuilder(stores.bars, TradingCalendar()),
            model=PadToDimNumericEmbeddingModel(dim),
            store=stores.numeric,
            model_id=MODEL,
        )

    spec = NumericWindowSpec("INSTRUMENT", "LONG", 21)
    vector = encoder(384).embed_and_store(spec, FRIDAY)
    stored = stores.numeric.load_embedding(spec, FRIDAY, MODEL)
    assert stored is not None
    assert stored.tobytes() == vector.tobytes()
    other = encoder(512)
    before = stores.snapshot()
    for _ in range(2):  # a refusal is not forgotten
        with pytest.raises(ModelFingerprintError, match="target_dim: stored 384, now 512"):
            other.embed_and_store(spec, FRIDAY)
    assert stores.snapshot() == before
