"""Backfills of numeric embeddings on real rows: exactly what is missing or changed, and each failure alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from tests.fixtures.backfills import run_here
from tests.fixtures.database import TableDigest, empty_databases
from tests.fixtures.market import LoadPrices, random_walk, weekdays
from tests.reference.loops import embed_one_by_one
from tests.reference.windows import weekday_list

from prometheus.app import App, backfills
from prometheus.app.databases import DatabaseManager
from prometheus.backfill import plan
from prometheus.backfill.embeddings import NumericBackfill
from prometheus.backfill.plan import BackfillReport, DateSpan, NumericRequest, numeric_chunks
from prometheus.backfill.work import Progress
from prometheus.data.reader import DataReader
from prometheus.encoders import NumericEmbeddingStore, NumericWindowBuilder, NumericWindowEncoder
from prometheus.encoders.catalogue import NUMERIC_MODELS, create_numeric_model, default_window_days
from prometheus.encoders.identity import NUM_REGIME_CORE_V1, NUM_REGIME_CORE_V2, NUMERIC_SIMPLE_V1
from prometheus.encoders.numeric.features import feature_set_of
from prometheus.errors import (
    InsufficientHistoryError,
    ModelFingerprintError,
    NotFoundError,
    StaleHistoryError,
    VectorError,
)
from prometheus.market.calendar import US_EQ, TradingCalendar

pytestmark = pytest.mark.tcp

FRIDAY = date(2025, 1, 31)
WINDOW_DAYS = 20
EVERYTHING = DateSpan.of_range(date(2024, 1, 1), FRIDAY)
NAMES = ("A", "B", "C")
Key = tuple[str, date]


@pytest.fixture
def prices(load_prices: LoadPrices) -> None:
    """Three instruments of 60, 70 and 80 bars up to one Friday."""
    load_histories(load_prices, WINDOW_DAYS)


def load_histories(load_prices: LoadPrices, window_days: int) -> None:
    """Store three instruments with bars for 41, 51 and 61 windows up to one Friday."""
    for number, name in enumerate(NAMES):
        n_rows = 40 + window_days + 10 * number
        load_prices(name, weekdays(n_rows), *random_walk(n_rows, seed=number))


def window_days_of(model_id: str) -> int:
    """Twenty sessions, for models that take any number."""
    return default_window_days(model_id) if model_id == NUM_REGIME_CORE_V2 else WINDOW_DAYS


def backfill_of(db_manager: DatabaseManager, model_id: str = NUM_REGIME_CORE_V1) -> NumericBackfill:
    reader = DataReader(db_manager=db_manager)
    model = create_numeric_model(model_id)
    builder = NumericWindowBuilder(reader, TradingCalendar(), feature_set_of(model))
    encoder = NumericWindowEncoder(
        builder=builder,
        model=model,
        store=NumericEmbeddingStore(db_manager=db_manager),
        model_id=model_id,
    )
    return NumericBackfill(lambda _market: builder, encoder, reader)


def run(
    db_manager: DatabaseManager,
    *names: str,
    span: DateSpan = EVERYTHING,
    model_id: str = NUM_REGIME_CORE_V1,
    dry_run: bool = False,
) -> BackfillReport:
    request = NumericRequest(names or NAMES, span, window_days_of(model_id), model_id)
    return carry_out(backfill_of(db_manager, model_id), request, dry_run=dry_run)


def carry_out(
    backfill: NumericBackfill,
    request: NumericRequest,
    *,
    dry_run: bool = False,
    progress: Progress = lambda _done, _total: None,
) -> BackfillReport:
    backfill.encoder.require_same()
    chunks = numeric_chunks(request, US_EQ)
    return run_here(backfill, chunks, BackfillReport(), dry_run=dry_run, progress=progress).report


def rows_of(db_manager: DatabaseManager, columns: str = "vector, input_hash") -> dict[tuple[str, str, date], Any]:
    with db_manager.get_historical_connection() as connection:
        query = f"SELECT model_id, entity_id, as_of_date, {columns} FROM numeric_window_embeddings"
        return {row[:3]: row[3:] for row in connection.execute(query)}


def keys_of(db_manager: DatabaseManager) -> set[Key]:
    return {key[1:] for key in rows_of(db_manager)}


def change_price(db_manager: DatabaseManager, name: str, day: date, assignment: str) -> None:
    with db_manager.get_historical_connection() as connection:
        done = connection.execute(
            f"UPDATE prices_daily SET {assignment} WHERE instrument_id = %s AND trade_date = %s",
            (name, day),
        )
        assert done.rowcount == 1


def test_a_range_stores_one_row_per_session_with_enough_history(db_manager: DatabaseManager, prices: None) -> None:
    report = run(db_manager)
    assert report == BackfillReport(planned=153, written=153, n_bytes=153 * 4 * 384)
    assert keys_of(db_manager) == {
        (name, day)
        for name, n_rows in zip(NAMES, (60, 70, 80), strict=True)
        for day in weekday_list(n_rows)[WINDOW_DAYS - 1 :]
    }


def test_a_second_run_writes_nothing(db_manager: DatabaseManager, prices: None, table_digests: TableDigest) -> None:
    first = run(db_manager)
    before = table_digests()
    second = run(db_manager)
    assert (second.planned, second.written, second.unchanged) == (first.planned, 0, first.planned)
    assert table_digests() == before


@pytest.mark.parametrize("assignment", ["close = close * 1.01", "volume = volume + 1"])
def test_a_corrected_bar_rewrites_exactly_the_windows_that_hold_it(
    db_manager: DatabaseManager, prices: None, assignment: str
) -> None:
    run(db_manager)
    before = rows_of(db_manager, "created_at, vector")
    days = weekday_list(70)
    change_price(db_manager, "B", days[35], assignment)
    assert run(db_manager).written == WINDOW_DAYS
    after = rows_of(db_manager, "created_at, vector")
    rewritten = {key[1:] for key in after if after[key] != before[key]}
    assert rewritten == {("B", day) for day in days[35 : 35 + WINDOW_DAYS]}
    assert all(after[key][0] != before[key][0] for key in after if key[1:] in rewritten)


@pytest.mark.parametrize("assignment", ["adjusted_close = adjusted_close / 2", "high = close * 2", "currency = 'EUR'"])
def test_a_correction_that_no_window_sees_rewrites_nothing(
    db_manager: DatabaseManager, prices: None, assignment: str
) -> None:
    run(db_manager)
    change_price(db_manager, "B", weekday_list(70)[35], assignment)
    assert run(db_manager).written == 0


def test_a_bar_that_arrives_late_rewrites_the_windows_that_now_hold_it(
    db_manager: DatabaseManager, load_prices: LoadPrices
) -> None:
    days, (closes, volumes) = weekdays(60), random_walk(60)
    late = 30
    load_prices("A", np.delete(days, late), np.delete(closes, late), np.delete(volumes, late))
    assert run(db_manager, "A").written == 40
    load_prices("A", days[late : late + 1], closes[late : late + 1], volumes[late : late + 1])
    # the late session itself is new; the 19 after it hold it
    assert run(db_manager, "A").written == WINDOW_DAYS
    assert len(keys_of(db_manager)) == 41


def test_a_newer_session_is_the_only_one_written(db_manager: DatabaseManager, load_prices: LoadPrices) -> None:
    days, (closes, volumes) = weekdays(60), random_walk(60)
    load_prices("A", days[:-1], closes[:-1], volumes[:-1])
    run(db_manager, "A")
    before = rows_of(db_manager, "created_at, vector")
    load_prices("A", days[-1:], closes[-1:], volumes[-1:])
    assert run(db_manager, "A").written == 1
    after = rows_of(db_manager, "created_at, vector")
    assert {key: after[key] for key in before} == before


def whole_range(db_manager: DatabaseManager, model_id: str) -> None:
    run(db_manager, model_id=model_id)


def date_by_date(db_manager: DatabaseManager, model_id: str) -> None:
    for day in reversed(weekday_list(80)):
        run(db_manager, span=DateSpan.of_date(day), model_id=model_id)


def instrument_by_instrument(db_manager: DatabaseManager, model_id: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "instruments_per_chunk", lambda _span, _window_days: 1)
        run(db_manager, *reversed(NAMES), model_id=model_id)


def range_by_range(db_manager: DatabaseManager, model_id: str) -> None:
    cuts = sorted(np.random.default_rng(4).choice(120, size=5, replace=False).tolist())
    starts = [EVERYTHING.start, *(FRIDAY - timedelta(days=120 - cut) for cut in cuts)]
    ends = [*(start - timedelta(days=1) for start in starts[1:]), FRIDAY]
    for start, end in zip(starts, ends, strict=True):
        run(db_manager, span=DateSpan.of_range(start, end), model_id=model_id)


@pytest.mark.parametrize("model_id", sorted(NUMERIC_MODELS))
@pytest.mark.parametrize("way", [date_by_date, instrument_by_instrument, range_by_range])
def test_any_way_through_the_dates_and_instruments_leaves_the_same_bytes(
    db_manager: DatabaseManager,
    load_prices: LoadPrices,
    way: Callable[[DatabaseManager, str], None],
    model_id: str,
) -> None:
    load_histories(load_prices, window_days_of(model_id))
    whole_range(db_manager, model_id)
    expected = rows_of(db_manager)
    assert len(expected) == 41 + 51 + 61
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM numeric_window_embeddings")
    way(db_manager, model_id)
    assert rows_of(db_manager) == expected


@pytest.mark.parametrize("cut_at", [0, 10, WINDOW_DAYS - 1, WINDOW_DAYS, 45])
def test_prices_after_a_date_change_no_row_up_to_it(
    db_manager: DatabaseManager, load_prices: LoadPrices, migrated: DatabaseManager, cut_at: int
) -> None:
    days, (closes, volumes) = weekdays(60), random_walk(60)
    poisoned = closes.copy(), volumes.copy()
    poisoned[0][cut_at:], poisoned[1][cut_at:] = 1e30, 1e30
    outcomes = []
    for values in ((closes, volumes), poisoned, (closes[:cut_at], volumes[:cut_at])):
        empty_databases(migrated)
        load_prices("A", days[: len(values[0])], *values)
        run(db_manager, "A")
        outcomes.append({key: row for key, row in rows_of(db_manager).items() if key[2] < days[cut_at].item()})
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert len(outcomes[0]) == max(0, cut_at - WINDOW_DAYS + 1)


def test_a_dry_run_counts_and_writes_nothing(
    db_manager: DatabaseManager, prices: None, table_digests: TableDigest
) -> None:
    before = table_digests()
    report = run(db_manager, dry_run=True)
    assert (report.planned, report.written) == (153, 153)
    assert table_digests() == before
    run(db_manager, "A")
    assert run(db_manager, dry_run=True).written == 153 - 41


def test_each_failure_is_named_and_stops_nobody_else(db_manager: DatabaseManager, load_prices: LoadPrices) -> None:
    load_prices("GOOD", weekdays(60), *random_walk(60))
    load_prices("YOUNG", weekdays(WINDOW_DAYS - 1), *random_walk(WINDOW_DAYS - 1))
    load_prices("STALE", weekdays(60, date(2025, 1, 22)), *random_walk(60))
    report = run(db_manager, "GOOD", "YOUNG", "STALE", "NEVER", span=DateSpan.of_date(FRIDAY))
    assert (report.planned, report.written, len(report.failures)) == (1, 1, 3)
    assert {type(failure): str(failure).partition(":")[0] for failure in report.failures} == {
        NotFoundError: "unknown instrument 'NEVER'; load it with",
        StaleHistoryError: "STALE",
        InsufficientHistoryError: "YOUNG",
    }
    assert keys_of(db_manager) == {("GOOD", FRIDAY)}


def test_a_poisoned_instrument_fails_alone_and_is_named(db_manager: DatabaseManager, prices: None) -> None:
    days = weekday_list(70)
    change_price(db_manager, "B", days[35], "volume = 1e300")
    report = run(db_manager)
    refused = {("B", day) for day in days[35 : 35 + WINDOW_DAYS]}
    assert [type(failure) for failure in report.failures] == [VectorError]
    assert f"vector of B on {days[35]}: 1 of 384 values are NaN or infinite" in str(report.failures[0])
    assert (report.planned, report.written) == (153 - WINDOW_DAYS, 153 - WINDOW_DAYS)
    assert not keys_of(db_manager) & refused
    assert len(keys_of(db_manager)) == 153 - WINDOW_DAYS
    again = run(db_manager)
    assert (again.planned, again.written, len(again.failures)) == (153 - WINDOW_DAYS, 0, 1)


def test_a_cured_instrument_is_completed_by_the_next_run(db_manager: DatabaseManager, prices: None) -> None:
    days = weekday_list(70)
    change_price(db_manager, "B", days[35], "volume = 1e300")
    run(db_manager)
    change_price(db_manager, "B", days[35], "volume = 5e5")
    report = run(db_manager)
    assert (report.planned, report.written, report.failures) == (153, WINDOW_DAYS, ())


def test_every_poisoned_instrument_is_named_once(db_manager: DatabaseManager, prices: None) -> None:
    for name in NAMES:
        change_price(db_manager, name, FRIDAY, "volume = 1e300")
        change_price(db_manager, name, weekday_list(30)[0], "close = 1e200")
    report = run(db_manager)
    assert [str(failure).split()[3] for failure in report.failures] == list(NAMES)
    only_today = run(db_manager, span=DateSpan.of_date(FRIDAY))
    assert (only_today.planned, only_today.written, len(only_today.failures)) == (0, 0, 3)


def test_a_range_without_bars_is_not_called_a_lack_of_history(db_manager: DatabaseManager, prices: None) -> None:
    report = run(db_manager, "A", span=DateSpan.of_range(date(2025, 3, 1), date(2025, 3, 31)))
    assert [str(failure) for failure in report.failures] == [
        "A: no bar from 2025-03-01 to 2025-03-31; load newer bars or ask for an earlier range"
    ]


def test_two_models_store_side_by_side(db_manager: DatabaseManager, prices: None) -> None:
    for model_id in (NUM_REGIME_CORE_V1, NUMERIC_SIMPLE_V1):
        assert run(db_manager, "A", model_id=model_id).written == 41
    sizes = {(key[0], len(row[0])) for key, row in rows_of(db_manager).items()}
    assert sizes == {("num-regime-core-v1", 4 * 384), ("numeric-simple-v1", 4 * 3 * WINDOW_DAYS)}


def test_an_id_that_means_another_model_writes_nothing(
    db_manager: DatabaseManager, prices: None, table_digests: TableDigest
) -> None:
    with db_manager.get_historical_connection() as connection:
        connection.execute(
            "INSERT INTO models (model_id, kind, fingerprint, config) VALUES (%s, 'numeric', 'f', %s)",
            (NUM_REGIME_CORE_V1, '{"target_dim": 512}'),
        )
    before = table_digests()
    with pytest.raises(ModelFingerprintError, match="target_dim: stored 512, now 384"):
        run(db_manager)
    assert table_digests() == before


def test_progress_counts_instruments_up_to_all_of_them(db_manager: DatabaseManager, prices: None) -> None:
    seen: list[tuple[int, int | None]] = []
    request = NumericRequest((*NAMES, "NEVER"), EVERYTHING, WINDOW_DAYS, NUM_REGIME_CORE_V1)
    carry_out(backfill_of(db_manager), request, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 4)
    assert seen[-1] == (4, 4)
    assert seen == sorted(seen)


def test_nothing_asked_is_nothing_done(db_manager: DatabaseManager) -> None:
    request = NumericRequest((), EVERYTHING, WINDOW_DAYS, NUM_REGIME_CORE_V1)
    assert carry_out(backfill_of(db_manager), request) == BackfillReport()


def test_a_loop_of_one_query_and_one_insert_stores_the_same_vectors(db_manager: DatabaseManager, prices: None) -> None:
    run(db_manager)
    with db_manager.get_historical_connection() as connection:
        embed_one_by_one(connection, sorted(keys_of(db_manager)), WINDOW_DAYS, "looped")
    vectors = {(key[0], *key[1:]): row[0] for key, row in rows_of(db_manager, "vector").items()}
    ours = {key[1:]: vector for key, vector in vectors.items() if key[0] != "looped"}
    assert {key[1:]: vector for key, vector in vectors.items() if key[0] == "looped"} == ours
    assert len(ours) == 153


def test_a_large_load_leaves_a_table_whose_rows_are_counted_and_settled(
    db_manager: DatabaseManager, prices: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfills, "LARGE_LOAD_ROWS", 153)
    request = NumericRequest(NAMES, EVERYTHING, WINDOW_DAYS, NUM_REGIME_CORE_V1)
    assert App(db_manager).embeddings.backfill(request).report.written == 153
    query = """
        SELECT reltuples, relallvisible = relpages FROM pg_class WHERE oid = 'numeric_window_embeddings'::regclass
    """
    with db_manager.get_historical_connection() as connection:
        assert connection.execute(query).fetchone() == (153, True)
