"""The invariant that defines us: nothing dated after a date changes a byte of what is said about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import (
    FIRST_DATE,
    bounded,
    histories,
    legal_bars,
    legal_closes,
    legal_volumes,
    long_histories,
)
from tests.reference.windows import (
    Histories,
    MemoryBars,
    NoDatabase,
    WeekdayCalendar,
    bar_walk,
    bars_of_histories,
)

from prometheus.encoders import NumericEmbeddingStore, NumericWindowBuilder, NumericWindowEncoder, WindowBatch
from prometheus.encoders.catalogue import NUMERIC_MODELS, create_numeric_model
from prometheus.encoders.numeric.features import CLOSE_VOLUME, LOG_PRICES, FeatureSet, feature_set_of
from prometheus.encoders.numeric.windows import windows_in_range, windows_on_date
from prometheus.regime import NumericRegimeModel, RegimeLabel, RegimePrototype, SeedRegimeModel

Said = dict[tuple[str, date], tuple[Any, ...]]
"""Everything said about an instrument and date, bit for bit."""

END = date(2026, 12, 31)


@dataclass(frozen=True)
class Market:
    """Histories for the models that see one feature set: long enough for a window, short enough for a warm-up."""

    feature_set: FeatureSet
    histories: st.SearchStrategy[Any]
    """Short rows for close and volume, whole bars for the others."""
    window_days: st.SearchStrategy[int]

    def draw_anything(self, data: st.DataObject, day: date) -> tuple[date, float, float, *tuple[float, ...]]:
        """Anything legal in the place of what is known of a day."""
        if self.feature_set is LOG_PRICES:
            return data.draw(legal_bars(day))
        return day, data.draw(legal_closes), data.draw(legal_volumes)


SHORT = Market(CLOSE_VOLUME, histories(max_size=14), st.integers(1, 7))
LONG = Market(LOG_PRICES, long_histories(), st.integers(513, 515))
each_market = pytest.mark.parametrize("market", [SHORT, LONG], ids=["close and volume", "log prices"])


def models_that_see(feature_set: FeatureSet) -> list[str]:
    return [name for name in NUMERIC_MODELS if feature_set_of(create_numeric_model(name)) is feature_set]


@cache
def regime_models(model_id: str, window_days: int) -> list[NumericRegimeModel | SeedRegimeModel]:
    """A seed model and one with three prototypes, over one encoder, without a database; neither keeps anything."""
    encoder = NumericWindowEncoder(
        builder=NumericWindowBuilder(MemoryBars({}), WeekdayCalendar()),
        model=create_numeric_model(model_id),
        store=NumericEmbeddingStore(NoDatabase()),  # type: ignore[arg-type]
        model_id=model_id,
    )
    dim = create_numeric_model(model_id).encode(np.zeros((window_days, 3), dtype=np.float32)).size
    generator = np.random.default_rng(3)
    labels = (RegimeLabel.NEUTRAL, RegimeLabel.CRISIS, RegimeLabel.CARRY)
    prototypes = [RegimePrototype(label, generator.normal(0, 1e3, dim).astype(np.float32)) for label in labels]
    instruments = {"R": "X"}
    return [
        NumericRegimeModel(
            encoder=encoder, region_instruments=instruments, window_days=window_days, prototypes=prototypes,
            temperature=250.0,
        ),
        SeedRegimeModel(encoder=encoder, region_instruments=instruments, window_days=window_days),
    ]  # fmt: skip


def said_of(windows: WindowBatch) -> Said:
    """Windows, hashes, embeddings of every registered model that sees them, and the regimes they lead to."""
    keys = [
        (windows.entity_ids[index], day)
        for index, day in zip(windows.entity_index, windows.as_of_dates.tolist(), strict=True)
    ]
    said: dict[tuple[str, date], list[Any]] = {key: [] for key in keys}
    for key, values, digest in zip(keys, windows.values(), windows.input_hashes.tolist(), strict=True):
        said[key] += [values.tobytes(), digest]
    for model_id in models_that_see(windows.feature_set):
        for model in regime_models(model_id, windows.window_days):
            batch = model.encoder.encode(windows)
            for key, state in zip(keys, model.states(batch, "R") if len(batch) else [], strict=True):
                said[key] += [state.regime_embedding.tobytes(), state.regime_label, state.confidence.hex()]
                said[key] += [distance.hex() for distance in state.metadata["distances"].values()]
    return {key: tuple(parts) for key, parts in said.items()}


def said_up_to(known: Histories, as_of: date, window_days: int, feature_set: FeatureSet) -> tuple[Said, list[str]]:
    """What a table says about all dates up to one, and about that one alone with its failures.

    The whole table takes part, whatever it holds of later dates.
    """
    bars = bars_of_histories(known, fields=feature_set.bar_fields)
    everything = windows_in_range(bars, FIRST_DATE, END, window_days, feature_set).windows
    past = np.flatnonzero(everything.as_of_dates <= np.datetime64(as_of, "D"))
    on_date = windows_on_date(bars, as_of, window_days, WeekdayCalendar(), feature_set)
    said = said_of(everything.take(past))
    for (name, _), parts in said_of(on_date.windows).items():
        said[f"{name} alone", as_of] = parts
    return said, [str(failure) for failure in on_date.failures]


def days_of(known: Histories) -> list[date]:
    """The last days on which anything happened: all of a short history, the end of a long one."""
    return sorted({row[0] for rows in known.values() for row in rows[-14:]})


@each_market
@bounded(60)
@given(data=st.data())
def test_neither_cutting_nor_poisoning_the_future_changes_a_byte(market: Market, data: st.DataObject) -> None:
    window_days = data.draw(market.window_days, label="window_days")
    known: Histories = {name: data.draw(market.histories, label=name) for name in ("X", "Y", "Z")}
    # cuts may fall anywhere: before the first bar and inside the warm-up of a history too
    as_of = data.draw(st.sampled_from([FIRST_DATE, *days_of(known)]), label="as of")
    poisoned = {
        name: [row if row[0] <= as_of else market.draw_anything(data, row[0]) for row in rows]
        for name, rows in known.items()
    }
    cut = {name: [row for row in rows if row[0] <= as_of] for name, rows in known.items()}
    expected = said_up_to(known, as_of, window_days, market.feature_set)
    assert said_up_to(poisoned, as_of, window_days, market.feature_set) == expected
    assert said_up_to(cut, as_of, window_days, market.feature_set) == expected


@each_market
@bounded(40)
@given(data=st.data())
def test_one_date_at_a_time_chunks_and_the_whole_range_say_the_same(market: Market, data: st.DataObject) -> None:
    window_days = data.draw(market.window_days, label="window_days")
    known: Histories = {name: data.draw(market.histories, label=name) for name in ("X", "Y", "Z")}
    builder = NumericWindowBuilder(MemoryBars(known), WeekdayCalendar(), market.feature_set)
    ids = list(known)
    start = days_of(known)[0] if days_of(known) else FIRST_DATE

    def said_in(names: Iterable[str], first: date, last: date) -> Said:
        return said_of(builder.build_range(list(names), first, last, window_days).windows)

    whole = said_in(ids, start, END)
    alone: Said = {}
    for day in days_of(known):
        said = said_of(builder.build_date(ids, day, window_days).windows)
        alone |= {key: parts for key, parts in said.items() if any(row[0] == day for row in known[key[0]])}
    assert alone == whole

    cuts = sorted(data.draw(st.sets(st.dates(start, date(2024, 3, 1)), max_size=4), label="cuts"))
    starts = [start, *cuts]
    ends = [*(date.fromordinal(cut.toordinal() - 1) for cut in cuts), END]
    chunked: Said = {}
    for first, last in zip(starts, ends, strict=True):
        if first <= last:
            chunked |= said_in(ids, first, last)
    assert chunked == whole

    one_by_one: Said = {}
    for name in data.draw(st.permutations(ids), label="order"):
        one_by_one |= said_in([name], start, END)
    assert one_by_one == whole


@pytest.mark.parametrize("model_id", sorted(NUMERIC_MODELS))
def test_the_property_above_looks_at_something(model_id: str) -> None:
    feature_set = feature_set_of(create_numeric_model(model_id))
    window_days = 513 if feature_set is LOG_PRICES else 3
    rows = bar_walk(window_days + 7, date(2024, 1, 11))
    said, failures = said_up_to({"X": rows}, date(2024, 1, 11), window_days, feature_set)
    assert failures == []
    assert len(said) == 9
    parts = said["X", date(2024, 1, 11)]
    assert parts == said["X alone", date(2024, 1, 11)]
    dim = 9 if model_id == "numeric-simple-v1" else 384
    assert 4 * dim in {len(part) for part in parts if isinstance(part, bytes)}
    assert {part for part in parts if isinstance(part, RegimeLabel)} >= {RegimeLabel.NEUTRAL}
