"""Regime backfills on real rows: any order of dates leaves the same rows, and interrupted runs go on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pytest
from tests.fixtures.backfills import run_regimes
from tests.fixtures.database import TableDigest
from tests.fixtures.market import LoadPrices, random_walk, weekdays
from tests.reference.regimes import slow_transitions
from tests.reference.windows import weekday_list

from prometheus.app.databases import DatabaseManager
from prometheus.backfill import plan
from prometheus.backfill.plan import DateSpan
from prometheus.backfill.regime import RegimeBackfill, RegimeReport
from prometheus.data.models import ModelRegistry
from prometheus.data.reader import DataReader
from prometheus.encoders import NumericEmbeddingStore, NumericWindowBuilder, NumericWindowEncoder
from prometheus.encoders.catalogue import create_numeric_model
from prometheus.errors import (
    InputRefusedError,
    InsufficientHistoryError,
    ModelFingerprintError,
    NotFoundError,
    PrometheusError,
    PrototypeError,
    StaleHistoryError,
    VectorError,
)
from prometheus.market.calendar import TradingCalendar
from prometheus.regime import NumericRegimeModel, RegimeLabel, RegimePrototype, RegimeStorage, SeedRegimeModel

FRIDAY = date(2025, 1, 31)
WINDOW_DAYS = 20
EVERYTHING = DateSpan.of_range(date(2024, 1, 1), FRIDAY)


@pytest.fixture
def prices(load_prices: LoadPrices) -> None:
    load_prices("SPX", weekdays(80), *random_walk(80))


@pytest.fixture
def prototypes(prices: None, db_manager: DatabaseManager) -> list[RegimePrototype]:
    """Centres at two of the embeddings, so that both labels occur."""
    builder = NumericWindowBuilder(DataReader(db_manager=db_manager), TradingCalendar())
    windows = builder.build_range(["SPX"], EVERYTHING.start, EVERYTHING.end, WINDOW_DAYS).windows
    vectors = encoder_of(db_manager).encode(windows).vectors
    return [RegimePrototype(RegimeLabel.NEUTRAL, vectors[5]), RegimePrototype(RegimeLabel.CRISIS, vectors[30])]


def encoder_of(db_manager: DatabaseManager) -> NumericWindowEncoder:
    return NumericWindowEncoder(
        builder=NumericWindowBuilder(DataReader(db_manager=db_manager), TradingCalendar()),
        model=create_numeric_model("num-regime-core-v1"),
        store=NumericEmbeddingStore(db_manager=db_manager),
        model_id="num-regime-core-v1",
    )


def backfill_of(
    db_manager: DatabaseManager,
    prototypes: list[RegimePrototype] | None = None,
    instrument_id: str = "SPX",
    model_id: str | None = None,
) -> RegimeBackfill:
    reader = DataReader(db_manager=db_manager)
    encoder, instruments = encoder_of(db_manager), {"US": instrument_id}
    model: NumericRegimeModel | SeedRegimeModel
    if prototypes is None:
        model = SeedRegimeModel(encoder=encoder, region_instruments=instruments, window_days=WINDOW_DAYS)
    else:
        model = NumericRegimeModel(
            encoder=encoder, region_instruments=instruments, window_days=WINDOW_DAYS, prototypes=prototypes,
            temperature=1e5, model_id=model_id,
        )  # fmt: skip
    builder = NumericWindowBuilder(reader, TradingCalendar())
    return RegimeBackfill(builder, model, RegimeStorage(db_manager=db_manager), ModelRegistry(db_manager), reader)


def run(
    db_manager: DatabaseManager, span: DateSpan = EVERYTHING, prototypes: list[RegimePrototype] | None = None
) -> RegimeReport:
    return run_regimes(backfill_of(db_manager, prototypes), "US", span)


def everything_stored(db_manager: DatabaseManager) -> tuple[Any, ...]:
    """All rows but for when they were written."""
    with db_manager.get_runtime_connection() as connection:
        regimes = connection.execute(
            "SELECT as_of_date, region, model_id, regime_label, confidence::text, encoder_model_id, regime_embedding,"
            " metadata::text FROM regimes ORDER BY 1"
        ).fetchall()
        transitions = connection.execute(
            "SELECT as_of_date, previous_date, from_label, to_label FROM regime_transitions ORDER BY 1"
        ).fetchall()
    with db_manager.get_historical_connection() as connection:
        embeddings = connection.execute(
            "SELECT as_of_date, entity_id, vector, input_hash FROM numeric_window_embeddings ORDER BY 1"
        ).fetchall()
    return regimes, transitions, embeddings


def forget_results(db_manager: DatabaseManager) -> None:
    with db_manager.get_runtime_connection() as connection:
        connection.execute("DELETE FROM regimes")
        connection.execute("DELETE FROM regime_transitions")
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM numeric_window_embeddings")


def test_a_range_has_a_state_per_session_and_its_embedding(db_manager: DatabaseManager, prices: None) -> None:
    done = run(db_manager)
    days = weekday_list(80)[WINDOW_DAYS - 1 :]
    regimes, transitions, embeddings = everything_stored(db_manager)
    assert [row[0] for row in regimes] == [row[0] for row in embeddings] == days
    assert [row[6] for row in regimes] == [row[2] for row in embeddings]
    assert transitions == []
    assert (done.regimes.written, done.embeddings.written) == (len(days), len(days))
    assert (done.newest_state().as_of_date, done.newest_state().regime_label) == (FRIDAY, RegimeLabel.NEUTRAL)


def test_a_second_run_writes_nothing(
    db_manager: DatabaseManager, prototypes: list[RegimePrototype], table_digests: TableDigest
) -> None:
    run(db_manager, prototypes=prototypes)
    before = table_digests()
    again = run(db_manager, prototypes=prototypes)
    assert (again.regimes.written, again.embeddings.written) == (0, 0)
    assert (again.regimes.unchanged, again.embeddings.unchanged) == (61, 61)
    assert table_digests() == before


def test_any_way_through_the_dates_leaves_the_same_bytes(
    db_manager: DatabaseManager, prototypes: list[RegimePrototype], monkeypatch: pytest.MonkeyPatch
) -> None:
    days = weekday_list(80)[WINDOW_DAYS - 1 :]

    def whole_range() -> None:
        run(db_manager, prototypes=prototypes)

    def date_by_date() -> None:
        for day in days:
            run(db_manager, DateSpan.of_date(day), prototypes)

    def shuffled() -> None:
        for at in np.random.default_rng(6).permutation(len(days)):
            run(db_manager, DateSpan.of_date(days[at]), prototypes)

    def small_chunks() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(plan, "CHUNK_DAYS", 7)
            run(db_manager, prototypes=prototypes)

    def later_half_first() -> None:
        middle = days[30]
        run(db_manager, DateSpan.of_range(middle, FRIDAY), prototypes)
        run(db_manager, DateSpan.of_range(EVERYTHING.start, middle), prototypes)

    ways: list[Callable[[], None]] = [whole_range, date_by_date, shuffled, small_chunks, later_half_first]
    outcomes = []
    for way in ways:
        forget_results(db_manager)
        way()
        outcomes.append(everything_stored(db_manager))
    regimes, transitions, _ = outcomes[0]
    assert {row[3] for row in regimes} == {"NEUTRAL", "CRISIS"}
    assert set(transitions) == slow_transitions({row[0]: row[3] for row in regimes})
    assert len(transitions) >= 2
    for way, outcome in zip(ways, outcomes, strict=True):
        assert outcome == outcomes[0], way.__name__


def test_an_interrupted_run_is_resumed_by_running_it_again(
    db_manager: DatabaseManager, prototypes: list[RegimePrototype], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(db_manager, prototypes=prototypes)
    complete = everything_stored(db_manager)
    forget_results(db_manager)
    monkeypatch.setattr(plan, "CHUNK_DAYS", 20)

    def interrupt(done: int, _total: int | None) -> None:
        if done >= 340:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_regimes(backfill_of(db_manager, prototypes), "US", EVERYTHING, interrupt)
    regimes, transitions, _ = everything_stored(db_manager)
    assert 0 < len(regimes) < 61
    assert set(transitions) == slow_transitions({row[0]: row[3] for row in regimes})
    resumed = run(db_manager, prototypes=prototypes)
    assert (resumed.regimes.planned, resumed.regimes.written) == (61, 61 - len(regimes))
    assert everything_stored(db_manager) == complete


def test_a_corrected_bar_rewrites_the_states_of_the_windows_that_hold_it(
    db_manager: DatabaseManager, prototypes: list[RegimePrototype]
) -> None:
    run(db_manager, prototypes=prototypes)
    before = {row[0]: row for row in everything_stored(db_manager)[0]}
    days = weekday_list(80)
    with db_manager.get_historical_connection() as connection:
        connection.execute("UPDATE prices_daily SET volume = volume + 1e6 WHERE trade_date = %s", (days[40],))
    again = run(db_manager, prototypes=prototypes)
    assert (again.regimes.written, again.embeddings.written) == (WINDOW_DAYS, WINDOW_DAYS)
    regimes, transitions, _ = everything_stored(db_manager)
    after = {row[0]: row for row in regimes}
    assert {day for day in after if after[day] != before[day]} == set(days[40 : 40 + WINDOW_DAYS])
    assert set(transitions) == slow_transitions({day: row[3] for day, row in after.items()})


def test_prices_after_a_date_change_no_state_up_to_it(
    db_manager: DatabaseManager, prototypes: list[RegimePrototype]
) -> None:
    run(db_manager, prototypes=prototypes)
    cut = weekday_list(80)[50]
    before = [row for row in everything_stored(db_manager)[0] if row[0] <= cut]
    for change in ("UPDATE prices_daily SET close = 1e30, volume = 1e30", "DELETE FROM prices_daily"):
        with db_manager.get_historical_connection() as connection:
            connection.execute(f"{change} WHERE trade_date > %s", (cut,))
        forget_results(db_manager)
        run(db_manager, prototypes=prototypes)
        assert [row for row in everything_stored(db_manager)[0] if row[0] <= cut] == before


@pytest.mark.parametrize(
    ("instrument_id", "span", "error"),
    [
        ("NEVER", EVERYTHING, NotFoundError),
        ("NEVER", DateSpan.of_date(FRIDAY), NotFoundError),
        ("SPX", DateSpan.of_date(weekday_list(80)[WINDOW_DAYS - 2]), InsufficientHistoryError),
        ("SPX", DateSpan.of_date(date(2025, 2, 28)), StaleHistoryError),
        ("SPX", DateSpan.of_range(date(2025, 2, 3), date(2025, 2, 28)), InputRefusedError),
    ],
)
def test_what_cannot_be_classified_is_refused_and_leaves_nothing(
    db_manager: DatabaseManager,
    prices: None,
    table_digests: TableDigest,
    instrument_id: str,
    span: DateSpan,
    error: type[PrometheusError],
) -> None:
    before = table_digests()
    with pytest.raises(error, match=instrument_id) as caught:
        run_regimes(backfill_of(db_manager, instrument_id=instrument_id), "US", span)
    assert caught.value.exit_code == 5
    assert table_digests() == before


def test_prototypes_of_another_dimension_leave_nothing_stored(
    db_manager: DatabaseManager, prices: None, table_digests: TableDigest
) -> None:
    before = table_digests()
    flat = [RegimePrototype(RegimeLabel.NEUTRAL, np.zeros(60, dtype=np.float32))]
    with pytest.raises(PrototypeError, match="of 60 values against embeddings of 384 values"):
        run(db_manager, prototypes=flat)
    assert table_digests() == before


def test_a_regime_model_id_means_one_set_of_prototypes_for_ever(
    db_manager: DatabaseManager, prototypes: list[RegimePrototype], table_digests: TableDigest
) -> None:
    def run_as_desk_view(centers: list[RegimePrototype]) -> None:
        span = DateSpan.of_date(FRIDAY)
        run_regimes(backfill_of(db_manager, centers, model_id="desk-view"), "US", span)

    run_as_desk_view(prototypes)
    before = table_digests()
    run_as_desk_view(prototypes[::-1])
    assert table_digests() == before
    with pytest.raises(ModelFingerprintError, match=r"'desk-view' is taken by another model \(prototypes: stored"):
        run_as_desk_view(prototypes[:1])
    assert table_digests() == before


def test_a_poisoned_bar_stops_the_region_and_is_named(db_manager: DatabaseManager, prices: None) -> None:
    with db_manager.get_historical_connection() as connection:
        connection.execute("UPDATE prices_daily SET volume = 1e300 WHERE trade_date = %s", (weekday_list(80)[40],))
    with pytest.raises(VectorError, match="vector of SPX on"):
        run(db_manager)


def test_progress_counts_dates_up_to_all_of_them(db_manager: DatabaseManager, prices: None) -> None:
    seen: list[tuple[int, int | None]] = []
    run_regimes(backfill_of(db_manager), "US", EVERYTHING, lambda done, total: seen.append((done, total)))
    assert seen == [(0, 397), (397, 397)]  # calendar days: how many are sessions shows only when they are read
