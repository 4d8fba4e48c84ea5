"""Covered spans: a run that trusts them ends as one that looks at every row, whatever happened to the rows between."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from tests.fixtures.database import TableDigest, as_owner, empty_databases
from tests.fixtures.examples import share_of
from tests.fixtures.market import LoadPrices, random_walk, weekdays

from prometheus.app import App
from prometheus.app.backfills import EngineChoice
from prometheus.app.databases import DatabaseManager
from prometheus.backfill.embeddings import MissingWindows, NumericBackfill
from prometheus.backfill.plan import BackfillReport, DateSpan, NumericRequest
from prometheus.data.coverage import NumericCoverage
from prometheus.data.reader import DataReader
from prometheus.encoders.identity import NUM_REGIME_CORE_V1, NUM_REGIME_CORE_V2, NUMERIC_SIMPLE_V1
from prometheus.encoders.numeric.coverage import CoveredSpan
from prometheus.encoders.numeric.encoder import EmbeddingBatch
from prometheus.encoders.numeric.windows import NumericWindowSpec
from prometheus.errors import NotFoundError

LAST = date(2025, 1, 31)
NAMES = ("A", "B", "C")
WINDOW_DAYS = {NUM_REGIME_CORE_V1: 5, NUMERIC_SIMPLE_V1: 5, NUM_REGIME_CORE_V2: 513}
Said = tuple[int, int, int, list[str]]


def everything(model_id: str = NUM_REGIME_CORE_V1, start: date = date(2020, 1, 1), end: date = LAST) -> NumericRequest:
    return NumericRequest(NAMES, DateSpan.of_range(start, end), WINDOW_DAYS[model_id], model_id)


def run(db_manager: DatabaseManager, request: NumericRequest, *, dry_run: bool = False, trusts: bool = True) -> Said:
    """Return what a run says: rows planned, written and dropped, and failures in order."""
    app = App(db_manager)
    if not trusts:
        app.wired.coverage = None
    done = app.embeddings.backfill(request, EngineChoice(workers=1, dry_run=dry_run))
    report: BackfillReport = done.report
    return report.planned, report.written, report.dropped, sorted(map(str, done.failures))


def run_and_compare(db_manager: DatabaseManager, request: NumericRequest) -> None:
    """Run a request that trusts coverage: as planned by a run that does not, which finds nothing left after it."""
    planned = run(db_manager, request, dry_run=True, trusts=False)
    assert run(db_manager, request, dry_run=True) == planned
    assert run(db_manager, request) == planned
    n_planned, _, _, failures = planned
    assert run(db_manager, request, dry_run=True, trusts=False) == (n_planned, 0, 0, failures)
    assert NumericCoverage(db_manager).check() == []


def covered(db_manager: DatabaseManager) -> dict[str, tuple[date, date, int]]:
    with db_manager.get_historical_connection() as connection:
        rows = connection.execute("SELECT entity_id, first_date, last_date, n_rows FROM numeric_coverage")
        return {name: (first, last, n_rows) for name, first, last, n_rows in rows}


def execute(db_manager: DatabaseManager, statement: str, *parameters: Any) -> int:
    with db_manager.get_historical_connection() as connection:
        return connection.execute(statement, parameters).rowcount


@pytest.fixture
def prices(load_prices: LoadPrices) -> None:
    """Three instruments of 30, 40 and 50 bars up to a Friday."""
    for number, name in enumerate(NAMES):
        n_rows = 30 + 10 * number
        load_prices(name, weekdays(n_rows), *random_walk(n_rows, seed=number))


NEW_BAR = """
    INSERT INTO prices_daily (instrument_id, trade_date, close, adjusted_close, volume, currency)
    SELECT instrument_id, %s, close, close, volume, currency FROM prices_daily
    WHERE instrument_id = ANY(%s) AND trade_date = %s ON CONFLICT DO NOTHING
"""


def test_a_covered_rerun_reads_no_bar_and_a_new_day_reads_that_day(
    db_manager: DatabaseManager, prices: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(db_manager, everything())
    assert covered(db_manager) == {name: (date(2020, 1, 1), LAST, 26 + 10 * n) for n, name in enumerate(NAMES)}
    asked: list[tuple[Any, ...]] = []
    spy_on_bars(monkeypatch, asked)
    assert run(db_manager, everything()) == (108, 0, 0, [])
    assert not asked
    monday = LAST + timedelta(days=3)
    assert execute(db_manager, NEW_BAR, monday, list(NAMES), LAST) == 3
    assert run(db_manager, everything(end=monday)) == (111, 3, 0, [])
    assert asked == [(NAMES, LAST + timedelta(days=1), monday)]
    assert covered(db_manager)["C"] == (date(2020, 1, 1), monday, 47)
    assert run(db_manager, everything(end=LAST + timedelta(days=300))) == (111, 0, 0, [])
    assert len(asked) == 1


def spy_on_bars(monkeypatch: pytest.MonkeyPatch, asked: list[tuple[Any, ...]]) -> None:
    load = DataReader.load_bars

    def noted(self: DataReader, ids: Any, first: date, last: date, *rest: Any) -> Any:
        asked.append((tuple(ids), first, last))
        return load(self, ids, first, last, *rest)

    monkeypatch.setattr(DataReader, "load_bars", noted)


def test_a_second_run_leaves_every_table_as_it_is(
    db_manager: DatabaseManager, prices: None, table_digests: TableDigest
) -> None:
    run(db_manager, everything())
    before = table_digests()
    for trusts in (True, False):
        assert run(db_manager, everything(), trusts=trusts) == (108, 0, 0, [])
        assert table_digests() == before


FAR = LAST + timedelta(days=30)
STARTS = (date(2020, 1, 1), LAST - timedelta(days=25), LAST - timedelta(days=2))
ENDS = (LAST - timedelta(days=20), LAST, FAR)
Edit = Callable[[DatabaseManager, str, date, str], object]


def remove_bars(db_manager: DatabaseManager, name: str, day: date, _model_id: str) -> None:
    with suppress(NotFoundError):  # without a bar of those days
        App(db_manager).findings.remove_bars([name], day, day + timedelta(days=3), is_plan=False)


def embed_one(db_manager: DatabaseManager, name: str, day: date, model_id: str) -> None:
    request = NumericRequest((name,), DateSpan.of_date(day), WINDOW_DAYS[model_id], model_id)
    App(db_manager).embeddings.backfill(request)


def save_own(db_manager: DatabaseManager, name: str, day: date, model_id: str) -> None:
    spec = NumericWindowSpec("INSTRUMENT", name, WINDOW_DAYS[model_id])
    App(db_manager).wired.vectors.save_embedding(spec, day, model_id, np.ones(384, dtype=np.float32))


def drop_own(db_manager: DatabaseManager, name: str, day: date, model_id: str) -> None:
    days = np.array([day], dtype="M8[D]")
    App(db_manager).wired.vectors.drop("INSTRUMENT", name, model_id, WINDOW_DAYS[model_id], days)


def by_sql(statement: str) -> Edit:
    def edit(db_manager: DatabaseManager, name: str, day: date, model_id: str) -> None:
        with db_manager.get_historical_connection() as connection:
            connection.execute(statement, {"name": name, "day": day, "model": model_id, "last": LAST})

    return edit


OF_BAR = "instrument_id = %(name)s AND trade_date = %(day)s"
OF_ROW = "entity_id = %(name)s AND as_of_date = %(day)s"
EDITS: dict[str, Edit] = {
    "add a bar": by_sql(
        "INSERT INTO prices_daily (instrument_id, trade_date, close, adjusted_close, volume, currency)"
        " VALUES (%(name)s, %(day)s, 100, 100, 1, 'USD')"
        " ON CONFLICT (instrument_id, trade_date) DO UPDATE SET volume = 7"
    ),
    "correct a bar": by_sql(f"UPDATE prices_daily SET close = close * 1.001 WHERE {OF_BAR}"),
    "spoil a bar": by_sql(f"UPDATE prices_daily SET close = close * 9, adjusted_close = close * 9 WHERE {OF_BAR}"),
    "delete a bar": by_sql(f"DELETE FROM prices_daily WHERE {OF_BAR}"),
    "delete old bars": by_sql("DELETE FROM prices_daily WHERE instrument_id = %(name)s AND trade_date < %(day)s - 20"),
    "exchange two bars": by_sql(
        "UPDATE prices_daily p SET volume = (SELECT volume FROM prices_daily o WHERE o.instrument_id = %(name)s AND"
        " o.trade_date = CASE p.trade_date WHEN %(day)s THEN %(last)s ELSE %(day)s END)"
        " WHERE instrument_id = %(name)s AND trade_date IN (%(day)s, %(last)s) AND"
        " EXISTS (SELECT FROM prices_daily WHERE instrument_id = %(name)s AND trade_date = %(day)s) AND"
        " EXISTS (SELECT FROM prices_daily WHERE instrument_id = %(name)s AND trade_date = %(last)s)"
    ),
    "remove bars": remove_bars,
    "decide": by_sql(
        "INSERT INTO price_decisions (instrument_id, trade_date, verdict, close, decided_by, decided_at, reason)"
        f" SELECT instrument_id, trade_date, 'REJECTED', close, 'me', clock_timestamp(), 'why' FROM prices_daily"
        f" WHERE {OF_BAR} ON CONFLICT DO NOTHING"
    ),
    "reopen": by_sql(
        "UPDATE price_decisions SET reopened_by = 'me', reopened_at = now(), reopened_for = 'why'"
        " WHERE reopened_at IS NULL"
    ),
    "delete a row": by_sql(f"DELETE FROM numeric_window_embeddings WHERE {OF_ROW}"),
    "alter a row": by_sql(f"UPDATE numeric_window_embeddings SET input_hash = 1 WHERE {OF_ROW}"),
    "add a row": by_sql(
        "INSERT INTO numeric_window_embeddings SELECT entity_type, %(name)s, model_id, window_days, %(day)s,"
        " window_spec, dim, vector, input_hash FROM numeric_window_embeddings WHERE model_id = %(model)s LIMIT 1"
        " ON CONFLICT DO NOTHING"
    ),
    "save a row": save_own,
    "drop a row": drop_own,
    "embed one date": embed_one,
    "truncate": lambda db_manager, *_: truncate(db_manager),
}


def truncate(db_manager: DatabaseManager) -> None:
    with db_manager.get_owner_connection("historical") as connection:
        connection.execute("TRUNCATE numeric_window_embeddings")


SATURDAY = LAST + timedelta(days=1)


@pytest.mark.parametrize("day", [LAST - timedelta(days=3), LAST, SATURDAY, LAST + timedelta(days=3)])
def test_a_run_after_each_edit_ends_as_one_that_looks_at_everything(
    db_manager: DatabaseManager, prices: None, day: date
) -> None:
    request = everything(end=FAR)
    run(db_manager, request)
    for name in sorted(EDITS):
        EDITS["add a bar"](db_manager, "B", day, NUM_REGIME_CORE_V1)
        run(db_manager, request)
        EDITS[name](db_manager, "B", day, NUM_REGIME_CORE_V1)
        run_and_compare(db_manager, request)


def test_a_row_without_a_window_behind_what_is_covered_is_dropped(db_manager: DatabaseManager, prices: None) -> None:
    run(db_manager, everything())
    save_hashed(db_manager, "A", SATURDAY)
    assert run(db_manager, everything(end=SATURDAY), dry_run=True) == (108, 0, 1, [])
    run_and_compare(db_manager, everything(end=SATURDAY))
    run(db_manager, everything(end=SATURDAY))
    save_hashed(db_manager, "A", SATURDAY)
    monday = LAST + timedelta(days=3)
    execute(db_manager, NEW_BAR, monday, list(NAMES), LAST)
    assert run(db_manager, everything(end=monday), dry_run=True) == (111, 3, 1, [])
    run_and_compare(db_manager, everything(end=monday))


def test_an_instrument_with_a_row_before_its_first_window_is_not_covered(
    db_manager: DatabaseManager, prices: None
) -> None:
    save_hashed(db_manager, "A", LAST - timedelta(days=300))
    run_and_compare(db_manager, everything())
    assert set(covered(db_manager)) == {"B", "C"}


def save_hashed(db_manager: DatabaseManager, name: str, day: date) -> None:
    """Store a row of an input of its own, as our own code does."""
    spec = NumericWindowSpec("INSTRUMENT", name, WINDOW_DAYS[NUM_REGIME_CORE_V1])
    batch = EmbeddingBatch.of_one(spec, day, NUM_REGIME_CORE_V1, np.ones(384, dtype=np.float32))
    App(db_manager).wired.vectors.save_batch(replace(batch, input_hashes=np.ones(1, dtype=np.int64)))


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, str, date] | tuple[date, date]]:
    """Runs of some span, with edits before each."""
    days = st.integers(-40, 10).map(lambda n: LAST + timedelta(days=n))
    edit = st.tuples(st.sampled_from(sorted(EDITS)), st.sampled_from(NAMES), days)
    a_run = st.tuples(st.sampled_from(STARTS), st.sampled_from(ENDS)).filter(lambda span: span[0] <= span[1])
    whole = st.just((STARTS[0], FAR))
    return draw(st.lists(st.one_of(edit, edit, a_run, whole), min_size=3, max_size=9))


@pytest.mark.parametrize("model_id", [NUM_REGIME_CORE_V1, NUM_REGIME_CORE_V2])
def test_a_run_that_trusts_coverage_ends_as_one_that_does_not(
    db_manager: DatabaseManager, load_prices: LoadPrices, model_id: str
) -> None:
    n_examples = share_of(40 if model_id == NUM_REGIME_CORE_V1 else 20)

    @settings(max_examples=n_examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(histories())
    def agree(history: list[Any]) -> None:
        empty_databases(db_manager)
        for number, name in enumerate(NAMES):
            n_rows = WINDOW_DAYS[model_id] + 25 + 10 * number
            load_prices(name, weekdays(n_rows), *random_walk(n_rows, seed=number))
        run(db_manager, everything(model_id))
        for step in history:
            if len(step) == 2:
                run_and_compare(db_manager, everything(model_id, *step))
            else:
                edit, name, day = step
                EDITS[edit](db_manager, name, day, model_id)
        run_and_compare(db_manager, everything(model_id))

    agree()


def test_another_model_another_length_and_another_code_are_not_covered(
    db_manager: DatabaseManager, prices: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(db_manager, everything())
    assert run(db_manager, everything(NUMERIC_SIMPLE_V1))[:2] == (108, 108)
    longer = NumericRequest(NAMES, everything().span, 6, NUM_REGIME_CORE_V1)
    assert run(db_manager, longer)[:2] == (105, 105)
    monkeypatch.setattr("prometheus.app.window_makers._code", lambda: "another judge")
    asked: list[tuple[Any, ...]] = []
    spy_on_bars(monkeypatch, asked)
    assert run(db_manager, everything())[:2] == (108, 0)
    assert asked


def test_a_refused_instrument_is_told_every_time(db_manager: DatabaseManager, prices: None) -> None:
    execute(db_manager, "DELETE FROM prices_daily WHERE instrument_id = 'A' AND trade_date < %s", LAST)
    first = run(db_manager, everything())
    assert first[3] == [
        "A: window ending 2025-01-31 needs 5 sessions, found 1; load older bars or shorten --window-days"
    ]
    assert run(db_manager, everything()) == (first[0], 0, 0, first[3])
    assert set(covered(db_manager)) == {"B", "C"}


def test_a_failed_transaction_leaves_no_coverage_without_rows(
    db_manager: DatabaseManager, prices: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr("prometheus.data.vectors.numeric.record_spans", fail)
        with pytest.raises(RuntimeError):
            run(db_manager, everything())
    assert covered(db_manager) == {}
    assert run(db_manager, everything(), trusts=False)[:2] == (108, 108)


def test_what_changes_while_a_chunk_is_read_is_not_covered(
    db_manager: DatabaseManager, prices: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each between the question what is covered and the write of the rows."""
    disturb: list[Callable[[], object]] = [
        lambda: execute(db_manager, "UPDATE prices_daily SET volume = volume + 1 WHERE instrument_id = 'A'"),
        lambda: execute(db_manager, "DELETE FROM numeric_window_embeddings WHERE entity_id = 'B'"),
        lambda: save_own(db_manager, "C", LAST, NUM_REGIME_CORE_V1),
        lambda: (execute(db_manager, "UPDATE prices_daily SET volume = volume + 1"), run(db_manager, everything())),
    ]
    run(db_manager, everything())
    write = NumericBackfill.write

    def disturbed(self: NumericBackfill, encoded: MissingWindows) -> BackfillReport:
        for act in [due.pop() for _ in due[:1]]:
            act()
        return write(self, encoded)

    while disturb:
        due = [disturb.pop()]
        execute(db_manager, "UPDATE prices_daily SET volume = volume + 1")
        with monkeypatch.context() as patch:
            patch.setattr(NumericBackfill, "write", disturbed)
            run(db_manager, everything())
        run_and_compare(db_manager, everything())


def test_coverage_that_disagrees_with_its_rows_is_named_and_forgotten(
    db_manager: DatabaseManager, prices: None
) -> None:
    run(db_manager, everything())
    coverage = NumericCoverage(db_manager)
    assert coverage.check() == []
    with as_owner(db_manager, "historical") as connection:  # whose triggers rest
        connection.execute("DELETE FROM numeric_window_embeddings WHERE entity_id = 'B' AND as_of_date = %s", (LAST,))
        connection.execute("UPDATE numeric_window_embeddings SET input_hash = 1 WHERE entity_id = 'C'")
    where = f"({NUM_REGIME_CORE_V1}, 5 sessions, 2020-01-01..2025-01-31)"
    assert [str(each) for each in coverage.check()] == [
        f"numeric_window_embeddings: {name} {where} has {n_found} rows that are not the {n_known} known to be stored"
        " [coverage_disagrees]"
        for name, n_found, n_known in (("B", 35, 36), ("C", 46, 46))
    ]
    assert run(db_manager, everything()) == (108, 0, 0, [])
    coverage.repair()
    assert set(covered(db_manager)) == {"A"}
    assert run(db_manager, everything()) == (108, 47, 0, [])
    assert coverage.check() == []


def test_what_is_covered_is_one_look_at_an_index_per_instrument(
    db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"N{number:03d}" for number in range(500)]
    coverage = NumericCoverage(db_manager)
    spans = [CoveredSpan(name, date(2020, 1, 1), LAST, 0, 0, 0, 1, 0) for name in names]
    assert coverage.record(NUM_REGIME_CORE_V1, 63, spans) == set(names)  # no statistics yet
    plans: list[str] = []

    def explained(_self: object, query: sql.Composed) -> list[tuple[Any, ...]]:
        with db_manager.get_historical_connection() as connection:
            plans.extend(line for (line,) in connection.execute(sql.SQL("EXPLAIN {}").format(query)).fetchall())
        return []

    monkeypatch.setattr(type(coverage._db), "rows", explained)
    coverage.states(names, NUM_REGIME_CORE_V1, 63, 0, date(2020, 1, 1), LAST)
    plan = "\n".join(plans)
    assert "(entity_id = wanted.id)" in plan
    assert "Join Filter" not in plan
