"""The invariant that defines us: nothing dated after a date changes a byte of what is said about it."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import FIRST_DATE, bounded, histories, legal_closes, legal_volumes
from tests.reference.windows import Histories, MemoryBars, NoDatabase, Row, WeekdayCalendar, bars_of_histories

from prometheus.data.bars import PriceBars
from prometheus.encoders import NumericEmbeddingStore, NumericWindowBuilder, NumericWindowEncoder, WindowBatch
from prometheus.encoders.registry import NUMERIC_MODELS, create_numeric_model
from prometheus.encoders.windows import windows_in_range, windows_on_date
from prometheus.regime import NumericRegimeModel, RegimeLabel, RegimePrototype, SeedRegimeModel

Said = dict[tuple[str, date], tuple[Any, ...]]
"""Everything said about an instrument and date, bit for bit."""

END = date(2026, 12, 31)


def regime_models(model_id: str, window_days: int) -> list[NumericRegimeModel | SeedRegimeModel]:
    """A seed model and one with three prototypes, over one encoder, without a database."""
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
    """Windows, hashes, embeddings of every registered model, and the regimes they lead to."""
    keys = [
        (windows.entity_ids[index], day)
        for index, day in zip(windows.entity_index, windows.as_of_dates.tolist(), strict=True)
    ]
    said: dict[tuple[str, date], list[Any]] = {key: [] for key in keys}
    for key, values, digest in zip(keys, windows.values(), windows.input_hashes.tolist(), strict=True):
        said[key] += [values.tobytes(), digest]
    for model_id in NUMERIC_MODELS:
        for model in regime_models(model_id, windows.window_days):
            batch = model.encoder.encode(windows)
            for key, state in zip(keys, model.states(batch, "R") if len(batch) else [], strict=True):
                said[key] += [state.regime_embedding.tobytes(), state.regime_label, state.confidence.hex()]
                said[key] += [distance.hex() for distance in state.metadata["distances"].values()]
    return {key: tuple(parts) for key, parts in said.items()}


def said_up_to(bars: PriceBars, as_of: date, window_days: int) -> tuple[Said, list[str]]:
    """What a table says about all dates up to one, and about that one alone with its failures.

    The whole table takes part, whatever it holds of later dates.
    """
    everything = windows_in_range(bars, FIRST_DATE, END, window_days).windows
    past = np.flatnonzero(everything.as_of_dates <= np.datetime64(as_of, "D"))
    on_date = windows_on_date(bars, as_of, window_days, WeekdayCalendar())
    said = said_of(everything.take(past))
    for (name, _), parts in said_of(on_date.windows).items():
        said[f"{name} alone", as_of] = parts
    return said, [str(failure) for failure in on_date.failures]


@bounded(60)
@given(data=st.data(), window_days=st.integers(1, 7))
def test_neither_cutting_nor_poisoning_the_future_changes_a_byte(data: st.DataObject, window_days: int) -> None:
    known = {name: data.draw(histories(max_size=14), label=name) for name in ("X", "Y", "Z")}
    days = sorted({day for rows in known.values() for day, _, _ in rows})
    # cuts may fall anywhere: before the first bar and inside the warm-up of a history too
    as_of = data.draw(st.sampled_from([FIRST_DATE, *days]), label="as of")
    poisoned: dict[str, list[Row]] = {}
    for name, rows in known.items():
        poisoned[name] = [
            row if row[0] <= as_of else (row[0], data.draw(legal_closes), data.draw(legal_volumes)) for row in rows
        ]
    cut = {name: [row for row in rows if row[0] <= as_of] for name, rows in known.items()}
    expected = said_up_to(bars_of_histories(known), as_of, window_days)
    assert said_up_to(bars_of_histories(poisoned), as_of, window_days) == expected
    assert said_up_to(bars_of_histories(cut), as_of, window_days) == expected


@bounded(40)
@given(data=st.data(), window_days=st.integers(1, 7))
def test_one_date_at_a_time_chunks_and_the_whole_range_say_the_same(data: st.DataObject, window_days: int) -> None:
    known: Histories = {name: data.draw(histories(max_size=14), label=name) for name in ("X", "Y", "Z")}
    builder = NumericWindowBuilder(MemoryBars(known), WeekdayCalendar())
    ids = list(known)
    whole = said_of(builder.build_range(ids, FIRST_DATE, END, window_days).windows)

    days = sorted({day for rows in known.values() for day, _, _ in rows})
    alone: Said = {}
    for day in days:
        said = said_of(builder.build_date(ids, day, window_days).windows)
        alone |= {key: parts for key, parts in said.items() if any(row[0] == day for row in known[key[0]])}
    assert alone == whole

    cuts = sorted(data.draw(st.sets(st.dates(FIRST_DATE, date(2024, 3, 1)), max_size=4), label="cuts"))
    starts = [FIRST_DATE, *cuts]
    ends = [*(date.fromordinal(cut.toordinal() - 1) for cut in cuts), END]
    chunked: Said = {}
    for start, end in zip(starts, ends, strict=True):
        if start <= end:
            chunked |= said_of(builder.build_range(ids, start, end, window_days).windows)
    assert chunked == whole

    one_by_one: Said = {}
    for name in data.draw(st.permutations(ids), label="order"):
        one_by_one |= said_of(builder.build_range([name], FIRST_DATE, END, window_days).windows)
    assert one_by_one == whole


@pytest.mark.parametrize("model_id", sorted(NUMERIC_MODELS))
def test_the_property_above_looks_at_something(model_id: str) -> None:
    rows = [(date(2024, 1, day), 100.0 + day, 1e3 * day) for day in range(2, 12)]
    said, failures = said_up_to(bars_of_histories({"X": rows}), date(2024, 1, 11), 3)
    assert failures == []
    assert len(said) == 9
    parts = said["X", date(2024, 1, 11)]
    assert parts == said["X alone", date(2024, 1, 11)]
    dim = 9 if model_id == "numeric-simple-v1" else 384
    assert 4 * dim in {len(part) for part in parts if isinstance(part, bytes)}
    assert {part for part in parts if isinstance(part, RegimeLabel)} >= {RegimeLabel.NEUTRAL}
