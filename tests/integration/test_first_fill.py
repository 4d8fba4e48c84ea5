"""The first fill of an empty table: the rows of the ordinary store, in one transaction that holds the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date
from itertools import chain, repeat

import numpy as np
import psycopg
import pytest
from tests.fixtures.database import as_owner, empty_databases
from tests.fixtures.market import LoadPrices, random_walk, weekdays

from prometheus.app import App, backfills
from prometheus.app.backfills import EngineChoice
from prometheus.app.databases import DatabaseManager
from prometheus.app.wiring import Wiring
from prometheus.backfill.plan import DateSpan, NumericRequest
from prometheus.data.vectors.first_fill import FirstFill, first_fill
from prometheus.encoders import EmbeddingBatch, NumericEmbeddingStore
from prometheus.encoders.identity import NUM_REGIME_CORE_V1
from prometheus.errors import DatabaseError, DatabaseUnreachableError
from prometheus.market.calendar import US_EQ

pytestmark = pytest.mark.timeout(
    120
)  # a step of a run that asks for the table while the run holds it would wait for ever

TABLE = "numeric_window_embeddings"
MODEL, WINDOW_DAYS, DIM, N_DATES = "m-v1", 63, 384, 300
DATES = np.datetime64("2025-01-31", "D") - np.arange(N_DATES)
FOR_LONG = 1e9
END_HOLDERS = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_locks
    WHERE relation = 'numeric_window_embeddings'::regclass AND mode = 'AccessExclusiveLock'
"""


def batch_of(*names: str) -> EmbeddingBatch:
    """Return all dates of some instruments, not in the order of their key."""
    n_rows = len(names) * N_DATES
    generator = np.random.default_rng(len(names[0]) + ord(names[0][-1]))
    return EmbeddingBatch(
        entity_type="INSTRUMENT", model_id=MODEL, window_days=WINDOW_DAYS, entity_ids=names,
        entity_index=np.repeat(np.arange(len(names)), N_DATES), as_of_dates=np.tile(DATES, len(names)),
        input_hashes=generator.integers(-(2**63), 2**63 - 1, n_rows),
        vectors=generator.normal(size=(n_rows, DIM)).astype(np.float32),
    )  # fmt: skip


BATCHES = (batch_of("A.US", "LONGER.US"), batch_of("B.US"), batch_of("C.US"))


def stored(db_manager: DatabaseManager) -> set[tuple[object, ...]]:
    """Return every row but for when it was written."""
    query = f"""
        SELECT entity_type, entity_id, model_id, window_days, as_of_date, window_spec::text, dim, vector, input_hash
        FROM {TABLE}
    """
    with db_manager.get_historical_connection() as connection:
        return set(connection.execute(query).fetchall())


def n_stored(db_manager: DatabaseManager) -> int:
    """Return the number of rows that others see; an error at once if the table is held."""
    with db_manager.get_historical_connection() as connection:
        connection.execute("SET LOCAL lock_timeout = 1")
        row = connection.execute(f"SELECT count(*) FROM {TABLE}").fetchone()
    assert row is not None
    return int(row[0])


def save_all(store: NumericEmbeddingStore) -> list[int]:
    """Append every batch."""
    return [store.save_batch(batch, is_new=True) for batch in BATCHES]


def test_it_stores_what_the_ordinary_store_stores(db_manager: DatabaseManager) -> None:
    counts = [NumericEmbeddingStore(db_manager).save_batch(batch) for batch in BATCHES]
    expected = stored(db_manager)
    empty_databases(db_manager)
    with first_fill(db_manager, FOR_LONG) as store:
        assert isinstance(store, FirstFill)
        assert save_all(store) == counts
    assert stored(db_manager) == expected
    assert len(expected) == 4 * N_DATES


def test_its_rows_are_settled_and_need_no_wal(db_manager: DatabaseManager) -> None:
    with db_manager.get_historical_connection() as connection:
        before = connection.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    with first_fill(db_manager, FOR_LONG) as store:
        save_all(store)
    with db_manager.get_historical_connection() as connection:
        wal = connection.execute("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", before).fetchone()
        connection.execute("SET LOCAL enable_seqscan = off")
        connection.execute("SET LOCAL enable_bitmapscan = off")
        plan = connection.execute(
            f"EXPLAIN (ANALYZE, FORMAT JSON) SELECT input_hash FROM {TABLE} WHERE entity_type = 'INSTRUMENT'"
        ).fetchone()
    assert wal is not None
    assert wal[0] < 0.1 * sum(batch.vectors.nbytes for batch in BATCHES)
    assert plan is not None
    scan = plan[0][0]["Plan"]
    assert (scan["Node Type"], scan["Actual Rows"], scan["Heap Fetches"]) == ("Index Only Scan", 4 * N_DATES, 0)


def test_others_wait_for_the_table_and_then_see_all(db_manager: DatabaseManager) -> None:
    with first_fill(db_manager, FOR_LONG) as store:
        save_all(store)
        with pytest.raises(DatabaseError, match="lock"):
            n_stored(db_manager)
        assert len(store.load_input_hashes("INSTRUMENT", ["A.US"], MODEL, WINDOW_DAYS, DATES)) == 0
    assert n_stored(db_manager) == 4 * N_DATES


def test_when_the_time_is_up_it_goes_on_as_the_ordinary_store(db_manager: DatabaseManager) -> None:
    clock = chain([0.0, 29.0, 31.0], repeat(32.0))
    with first_fill(db_manager, 30.0, lambda: next(clock)) as store:
        store.save_batch(BATCHES[0], is_new=True)
        store.save_batch(BATCHES[1], is_new=True)
        assert n_stored(db_manager) == 3 * N_DATES
        hashes = store.load_input_hashes("INSTRUMENT", ["A.US"], MODEL, WINDOW_DAYS, DATES)
        expected = BATCHES[0].input_hashes
        assert expected is not None
        assert set(hashes["input_hash"].tolist()) == set(expected[:N_DATES].tolist())
        assert store.save_batch(BATCHES[2], is_new=True) == N_DATES
        assert n_stored(db_manager) == 4 * N_DATES
        assert store.save_batch(BATCHES[2]) == 0


def test_a_table_with_rows_is_not_emptied(db_manager: DatabaseManager) -> None:
    NumericEmbeddingStore(db_manager).save_batch(BATCHES[0])
    with first_fill(db_manager, FOR_LONG) as store:
        assert not isinstance(store, FirstFill)
        assert store.save_batch(BATCHES[1], is_new=True) == N_DATES
        assert n_stored(db_manager) == 3 * N_DATES


def test_a_table_that_somebody_reads_is_not_taken(db_manager: DatabaseManager) -> None:
    with db_manager.get_historical_connection() as reader:
        reader.execute(f"SELECT FROM {TABLE}")
        with first_fill(db_manager, FOR_LONG) as store:
            assert not isinstance(store, FirstFill)
            assert store.save_batch(BATCHES[1], is_new=True) == N_DATES
            assert n_stored(db_manager) == N_DATES


def test_an_interruption_between_batches_keeps_those_that_are_whole(db_manager: DatabaseManager) -> None:
    with suppress(KeyboardInterrupt), first_fill(db_manager, FOR_LONG) as store:
        store.save_batch(BATCHES[0], is_new=True)
        raise KeyboardInterrupt
    assert n_stored(db_manager) == 2 * N_DATES


def test_a_batch_that_fails_takes_all_with_it_and_the_next_run_does_it_again(db_manager: DatabaseManager) -> None:
    faulty = replace(BATCHES[1], window_days=-1)
    with suppress(psycopg.errors.CheckViolation), first_fill(db_manager, FOR_LONG) as store:
        store.save_batch(BATCHES[0], is_new=True)
        store.save_batch(faulty, is_new=True)
        pytest.fail("it was stored")
    assert n_stored(db_manager) == 0
    with first_fill(db_manager, FOR_LONG) as store:
        assert save_all(store) == [2 * N_DATES, N_DATES, N_DATES]
    assert n_stored(db_manager) == 4 * N_DATES


def test_a_lost_connection_ends_the_run_in_one_line(db_manager: DatabaseManager) -> None:
    def fill() -> None:
        with first_fill(db_manager, FOR_LONG) as store:
            store.save_batch(BATCHES[0], is_new=True)
            with as_owner(db_manager, "historical") as owner:
                assert owner.execute(END_HOLDERS).fetchone() == (True,)
            store.save_batch(BATCHES[1], is_new=True)

    with pytest.raises(DatabaseUnreachableError, match="historical database"):
        fill()
    assert n_stored(db_manager) == 0


def test_a_large_load_ends_with_a_checkpoint(
    db_manager: DatabaseManager, request_of: Callable[..., NumericRequest], fills: list[object]
) -> None:
    query = "SELECT redo_lsn::text FROM pg_control_checkpoint()"
    with as_owner(db_manager, "historical") as owner:
        before = owner.execute(query).fetchone()
        App(db_manager).embeddings.backfill(request_of("A", "B"), EngineChoice(workers=1))
        assert fills == [FirstFill]
        assert owner.execute(query).fetchone() != before


@pytest.fixture
def fills(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The stores that backfills get, once a load of 100 rows is a large one."""
    found: list[object] = []

    @contextmanager
    def noting(databases: DatabaseManager, longest_s: float) -> Iterator[NumericEmbeddingStore]:
        with first_fill(databases, longest_s) as store:
            found.append(type(store))
            yield store

    monkeypatch.setattr(backfills, "LARGE_LOAD_ROWS", 100)
    monkeypatch.setattr(backfills, "first_fill", noting)
    return found


@pytest.fixture
def request_of(load_prices: LoadPrices) -> Callable[..., NumericRequest]:
    """Return a request for instruments whose bars are stored."""
    for number, name in enumerate("AB"):
        load_prices(name, weekdays(160), *random_walk(160, seed=number))
    span = DateSpan.of_range(date(2024, 1, 1), date(2025, 1, 31))
    return lambda *names: NumericRequest(names, span, WINDOW_DAYS, NUM_REGIME_CORE_V1)


def test_a_backfill_fills_once_and_changes_nothing_the_second_time(
    db_manager: DatabaseManager, request_of: Callable[..., NumericRequest], fills: list[object]
) -> None:
    embeddings = App(db_manager).embeddings
    assert embeddings.backfill(request_of("A", "B"), EngineChoice(dry_run=True)).report.written == 196
    assert fills == []
    assert embeddings.backfill(request_of("A", "B")).report.written == 196
    assert fills == [FirstFill]
    first = stored(db_manager)
    left = Wiring(db_manager).numeric_backfill(NUM_REGIME_CORE_V1).remaining(request_of("A", "B"), US_EQ)
    assert (left.chunks, left.n_covered) == ((), 196), "the run that filled the table keeps what it covered"
    assert embeddings.backfill(request_of("A", "B")).report.written == 0
    assert fills == [FirstFill]
    empty_databases_of_vectors(db_manager)
    embeddings.backfill(request_of("A"))
    embeddings.backfill(request_of("B"))
    assert stored(db_manager) == first


@pytest.mark.parametrize(("n_cores", "expected"), [(1, [FirstFill]), (2, [FirstFill]), (4, [])])
def test_a_run_of_its_own_accord_takes_one_process_on_few_cores_alone(
    db_manager: DatabaseManager, request_of: Callable[..., NumericRequest], fills: list[object],
    monkeypatch: pytest.MonkeyPatch, n_cores: int, expected: list[object],
) -> None:  # fmt: skip
    monkeypatch.setattr(backfills, "_one_per_core", lambda: n_cores)
    assert App(db_manager).embeddings.backfill(request_of("A", "B"), EngineChoice()).report.written == 196
    assert fills == expected


def test_two_processes_do_not_share_a_first_fill(
    db_manager: DatabaseManager, request_of: Callable[..., NumericRequest], fills: list[object]
) -> None:
    App(db_manager).embeddings.backfill(request_of("A", "B"), EngineChoice(workers=2))
    assert fills == []


def empty_databases_of_vectors(db_manager: DatabaseManager) -> None:
    """Delete the vectors, and leave the prices."""
    with db_manager.get_historical_connection() as connection:
        connection.execute(f"DELETE FROM {TABLE}")
