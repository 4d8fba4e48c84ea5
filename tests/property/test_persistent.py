"""Labels with a memory are as point in time as the windows they are read from: no later bar, no other company."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.fixtures.backfills import run_regimes
from tests.property.strategies import FIRST_DATE, bounded, legal_bars, ordinary_bars
from tests.reference.windows import Bar, MemoryBars, NoDatabase, WeekdayCalendar, bar_walk, bars_of_histories

from prometheus.arrays import Int64Vector
from prometheus.backfill import plan
from prometheus.backfill.plan import DateSpan
from prometheus.backfill.regime import RegimeBackfill
from prometheus.data.models import ModelRegistry
from prometheus.encoders import EmbeddingBatch, NumericEmbeddingStore, NumericWindowBuilder, NumericWindowEncoder
from prometheus.encoders.numeric.features import LOG_PRICES
from prometheus.encoders.numeric.scale_free import ScaleFreeNumericEmbeddingModel
from prometheus.encoders.numeric.windows import windows_in_range
from prometheus.errors import InsufficientHistoryError
from prometheus.market.quality import CONTEXT
from prometheus.regime import PersistentRegimeModel, PrototypeSet, RegimeLabel, RegimePrototype, RegimeState
from prometheus.regime.calibration import RegimeCalibration
from prometheus.regime.forecasts import HighVolatilityForecast
from prometheus.regime.transitions import StayCounts

DECODE_SESSIONS = 5
N_NEEDED = 513 + DECODE_SESSIONS - 1
END = date(2026, 12, 31)
Said = dict[date, tuple[Any, ...]]
"""Everything said about a date, bit for bit."""


class ForgetfulEncoder(NumericWindowEncoder):
    """Stores nothing."""

    def save(self, batch: EmbeddingBatch, **_how: bool) -> int:
        return len(batch)

    def require_same(self) -> None:
        pass


class EmptyStore(NumericEmbeddingStore):
    """Knows no row."""

    def load_input_hashes(self, *_wanted: object) -> NDArray[Any]:
        return np.empty(0, dtype=[("as_of_date", "M8[D]"), ("input_hash", "i8")])


class MemoryStorage:
    """Keeps states instead of writing them."""

    def __init__(self) -> None:
        self.states: list[RegimeState] = []

    def save_regimes(self, states: Sequence[RegimeState], input_hashes: Int64Vector) -> int:
        assert len(input_hashes) == len(states)
        self.states += states
        return len(states)

    def load_input_hashes(self, *_wanted: object) -> NDArray[Any]:
        return np.empty(0, dtype=[("as_of_date", "M8[D]"), ("input_hash", "i8")])


class OpenRegistry(ModelRegistry):
    """Takes every id for what it says."""

    def __init__(self) -> None:
        pass

    def register(self, *named: object) -> None:
        assert named[1] == "regime"

    def require_same(self, *named: object) -> None:
        assert named[1] == "regime"


class AllKnown:
    """Every instrument exists."""

    def known_instruments(self, instrument_ids: Sequence[str]) -> set[str]:
        return set(instrument_ids)


@cache
def prototype_set() -> PrototypeSet:
    """Centres at the ends of three walks, near enough to each other for labels to change."""
    prototypes = []
    for seed, label in enumerate((RegimeLabel.NEUTRAL, RegimeLabel.CRISIS, RegimeLabel.CARRY)):
        known = bars_of_histories({"X": bar_walk(513, seed=seed)}, fields=LOG_PRICES.bar_fields)
        windows = windows_in_range(known, date.min, date.max, 513, LOG_PRICES).windows
        prototypes.append(RegimePrototype(label, windows.vectors(ScaleFreeNumericEmbeddingModel())[0]))
    calibration = RegimeCalibration(
        start=date(2000, 1, 3), end=date(2003, 1, 3), n_sessions=800, penalty=0.05, decode_sessions=DECODE_SESSIONS,
        temperature=0.1, high_volatility=HighVolatilityForecast(0.25, -1.0, 0.5),
        stays={label: StayCounts(100, 3) for label in (RegimeLabel.NEUTRAL, RegimeLabel.CRISIS)}, norms={}, calm=(),
        wild=(), stays_by_age={
            label: {1: StayCounts(20, 2), 5: StayCounts(40, 1), 21: StayCounts(40, 0)}
            for label in (RegimeLabel.NEUTRAL, RegimeLabel.CRISIS)
        },
    )  # fmt: skip
    return PrototypeSet("R", tuple(prototypes), {}, "num-regime-core-v2", 513, calibration)


def model_of(bars: Sequence[Bar]) -> PersistentRegimeModel:
    encoder = ForgetfulEncoder(
        builder=NumericWindowBuilder(MemoryBars({"X": bars}), WeekdayCalendar(), LOG_PRICES),
        model=ScaleFreeNumericEmbeddingModel(),
        store=EmptyStore(NoDatabase()),  # type: ignore[arg-type]
        model_id="num-regime-core-v2",
    )
    return PersistentRegimeModel(encoder=encoder, region_instruments={"R": "X"}, prototype_set=prototype_set())


def said_of(states: Sequence[RegimeState]) -> Said:
    return {
        state.as_of_date: (
            state.regime_label,
            state.confidence.hex(),
            state.regime_embedding.tobytes(),
            repr(state.metadata),  # floats as they are, to the last digit
        )
        for state in states
    }


def states_in(bars: Sequence[Bar], span: DateSpan) -> list[RegimeState]:
    """What a backfill would store of a span."""
    storage, builder = MemoryStorage(), NumericWindowBuilder(MemoryBars({"X": bars}), WeekdayCalendar(), LOG_PRICES)
    backfill = RegimeBackfill(builder, model_of(bars), storage, OpenRegistry(), AllKnown())  # type: ignore[arg-type]
    run = run_regimes(backfill, "R", span)
    assert run.regimes.planned == len(storage.states) == len({state.as_of_date for state in storage.states})
    return storage.states


def said_in(bars: Sequence[Bar], span: DateSpan) -> Said:
    return said_of(states_in(bars, span))


def said_from(bars: Sequence[Bar], start: date) -> Said:
    return said_in(bars, DateSpan.of_range(start, END))


@st.composite
def long_enough(draw: st.DrawFn) -> list[Bar]:
    """Enough bars for a label even if those drawn, the last ones, are left out for their faults."""
    n_tail = draw(st.integers(1, 6))
    walk = bar_walk(N_NEEDED + draw(st.integers(0, 2)), FIRST_DATE - timedelta(days=3), seed=draw(st.integers(0, 3)))
    return walk + [draw(ordinary_bars(FIRST_DATE + timedelta(days=at))) for at in range(n_tail)]


@bounded(60)
@given(bars=long_enough(), data=st.data())
def test_neither_cutting_nor_poisoning_the_future_changes_a_label(bars: list[Bar], data: st.DataObject) -> None:
    as_of = data.draw(st.sampled_from([bar[0] for bar in bars[N_NEEDED - 1 :]]), label="as of")
    poisoned = [bar if bar[0] <= as_of else data.draw(legal_bars(bar[0])) for bar in bars]
    cut = [bar for bar in bars if bar[0] <= as_of]
    start = bars[0][0]
    expected = said_from(cut, start)
    assert max(expected) == as_of
    for known in (bars, poisoned):
        assert {day: parts for day, parts in said_from(known, start).items() if day <= as_of} == expected
        assert said_in(known, DateSpan.of_date(as_of)) == {as_of: expected[as_of]}
        assert said_of([model_of(known).classify(as_of, "R")]) == {as_of: expected[as_of]}


@bounded(40)
@given(bars=long_enough(), data=st.data())
def test_one_date_at_a_time_chunks_and_the_whole_range_say_the_same(bars: list[Bar], data: st.DataObject) -> None:
    whole = said_from(bars, bars[0][0])
    days = sorted(whole)
    assert days[-1] == bars[-1][0]

    alone = [said_in(bars, DateSpan.of_date(day)) for day in data.draw(st.permutations(days), label="order")]
    assert {day: parts for said in alone for day, parts in said.items()} == whole

    for n_days in (1, data.draw(st.integers(2, 7), label="days a chunk")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plan, "CHUNK_DAYS", n_days)
            few = DateSpan.of_range(days[0] - timedelta(days=4), days[-1] + timedelta(days=1))
            assert said_in(bars, few) == whole

    start, end = sorted(data.draw(st.tuples(st.sampled_from(days), st.sampled_from(days)), label="part"))
    part = said_in(bars, DateSpan.of_range(start, end))
    assert part == {day: parts for day, parts in whole.items() if start <= day <= end}


@bounded(15)
@given(bars=long_enough())
def test_a_label_reads_no_bar_older_than_its_stated_span(bars: list[Bar]) -> None:
    """Its windows, what the judge needs before them, and one more bar for each that is left out."""
    last = bars[-1][0]
    older = bar_walk(CONTEXT + 60, bars[0][0] - timedelta(days=3), seed=9)
    longer, span = [*older, *bars], len(bars) + CONTEXT
    assert said_in(longer[-span:], DateSpan.of_date(last)) == said_in(longer, DateSpan.of_date(last))


@pytest.mark.parametrize("n_bars", [N_NEEDED - 1, 1])
def test_too_few_bars_are_counted(n_bars: int) -> None:
    bars = bar_walk(n_bars)
    last = bars[-1][0]
    with pytest.raises(InsufficientHistoryError, match=f"needs {N_NEEDED} sessions, found {n_bars};"):
        said_in(bars, DateSpan.of_date(last))
    with pytest.raises(InsufficientHistoryError, match=f"found {n_bars};"):
        said_from(bars, bars[0][0])


def test_the_properties_above_look_at_labels_that_change_and_remember() -> None:
    bars = bar_walk(N_NEEDED + 400, seed=5)
    states = states_in(bars, DateSpan.of_range(bars[0][0], END))
    assert len(states) == 401
    assert len({state.regime_label for state in states}) == 3
    kept = [state for state in states if nearest_of(state) is not state.regime_label]
    assert 5 < len(kept) < 200


def nearest_of(state: RegimeState) -> RegimeLabel:
    distances = state.metadata["distances"]
    return RegimeLabel(min(distances, key=distances.__getitem__))
