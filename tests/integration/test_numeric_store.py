"""Numeric embeddings and the registry of models, at rest."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg.types.json import Jsonb
from tests.fixtures.market import LoadPrices, random_walk, weekdays

from prometheus.app.databases import DatabaseManager
from prometheus.arrays import Float32Matrix, Float32Vector
from prometheus.data.models import ModelRegistry
from prometheus.data.reader import DataReader
from prometheus.encoders import (
    EmbeddingBatch,
    NumericEmbeddingModel,
    NumericEmbeddingStore,
    NumericWindowBuilder,
    NumericWindowEncoder,
    NumericWindowSpec,
)
from prometheus.encoders.identity import fingerprint
from prometheus.encoders.models_simple_numeric import FlattenNumericEmbeddingModel, PadToDimNumericEmbeddingModel
from prometheus.errors import ModelFingerprintError, VectorError, WindowShapeError
from prometheus.market.calendar import TradingCalendar

FRIDAY = date(2025, 1, 31)
SPEC = NumericWindowSpec("INSTRUMENT", "X", 63)
MODEL = "m-v1"


@pytest.fixture
def store(db_manager: DatabaseManager) -> NumericEmbeddingStore:
    return NumericEmbeddingStore(db_manager=db_manager)


def vector_of(dim: int, seed: int = 1) -> Float32Vector:
    return np.random.default_rng(seed).normal(size=dim).astype(np.float32)


def batch_of(
    vectors: Float32Matrix, hashes: list[int] | None = None, names: tuple[str, ...] = ("X",)
) -> EmbeddingBatch:
    n_rows = len(vectors)
    return EmbeddingBatch(
        entity_type="INSTRUMENT",
        model_id=MODEL,
        window_days=63,
        entity_ids=names,
        entity_index=np.arange(n_rows) % len(names),
        as_of_dates=np.datetime64(FRIDAY, "D") - np.arange(n_rows) // len(names),
        input_hashes=None if hashes is None else np.array(hashes, dtype=np.int64),
        vectors=vectors,
    )


def rows_of(db_manager: DatabaseManager, column: str = "created_at") -> dict[tuple[str, date], Any]:
    with db_manager.get_historical_connection() as connection:
        query = f"SELECT entity_id, as_of_date, {column} FROM numeric_window_embeddings"
        return {row[:2]: row[2] for row in connection.execute(query)}


def test_stored_bytes_are_what_the_mission_says_decodes_them(
    store: NumericEmbeddingStore, db_manager: DatabaseManager
) -> None:
    vector = vector_of(384)
    store.save_embedding(SPEC, FRIDAY, MODEL, vector)
    with db_manager.get_historical_connection() as connection:
        row = connection.execute(
            "SELECT vector, dim, window_spec, window_days FROM numeric_window_embeddings"
            " WHERE entity_type = 'INSTRUMENT' AND entity_id = 'X' AND as_of_date = '2025-01-31' AND model_id = %s",
            (MODEL,),
        ).fetchone()
    assert row is not None
    np.testing.assert_array_equal(np.frombuffer(row[0], dtype=np.float32), vector)
    assert row[1:] == (384, {"window_days": 63, "features": ["close", "volume", "log_return"]}, 63)


def test_a_changed_vector_is_rewritten_alone(store: NumericEmbeddingStore, db_manager: DatabaseManager) -> None:
    batch = batch_of(vector_of(12).reshape(4, 3), [1, 2, 3, 4], ("X", "Y"))
    store.save_batch(batch)
    before = rows_of(db_manager)
    vectors = batch.vectors.copy()
    vectors[2, 1] += 1
    assert store.save_batch(batch_of(vectors, [1, 2, 9, 4], ("X", "Y"))) == 1
    after = rows_of(db_manager)
    assert {key for key in before if before[key] != after[key]} == {("X", date(2025, 1, 30))}
    assert rows_of(db_manager, "input_hash")["X", date(2025, 1, 30)] == 9


def test_input_hashes_are_read_from_the_index_alone_and_entity_by_entity(
    store: NumericEmbeddingStore, db_manager: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prometheus.data.postgres import connections

    plans: list[str] = []

    def explained(cursor: psycopg.Cursor[Any], query: psycopg.sql.Composable, dtypes: Any) -> None:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        cursor.execute(psycopg.sql.SQL("EXPLAIN {}").format(query))
        plans.extend(line for (line,) in cursor.fetchall())

    names = tuple(f"N{number:03d}" for number in range(100))
    store.save_batch(batch_of(vector_of(3_000).reshape(1_000, 3), list(range(1_000)), names))  # no statistics yet
    monkeypatch.setattr(connections, "fetch_packed", explained)
    store.load_input_hashes("INSTRUMENT", names, MODEL, 63, np.array(["2025-01-22", FRIDAY], dtype="M8[D]"))
    plan = "\n".join(plans)
    assert "Index Only Scan using numeric_window_embeddings_pkey" in plan
    assert "(entity_id = wanted.id)" in plan
    assert "Join Filter" not in plan


def test_a_batch_names_the_entity_of_its_first_bad_vector() -> None:
    vectors = np.ones((4, 3), dtype=np.float32)
    vectors[3, 0] = np.nan
    with pytest.raises(VectorError, match="m-v1 vector of Y on 2025-01-30: 1 of 3"):
        batch_of(vectors, names=("X", "Y"))


def test_a_batch_of_another_length_than_its_dates_is_refused() -> None:
    whole = batch_of(np.ones((2, 3), dtype=np.float32))
    with pytest.raises(WindowShapeError, match="vectors"):
        EmbeddingBatch(
            "INSTRUMENT", MODEL, 63, whole.entity_ids, whole.entity_index, whole.as_of_dates, None, whole.vectors[:1]
        )


@pytest.mark.parametrize("n_bytes", [0, 3, 8, 13])
def test_the_database_itself_refuses_bytes_that_are_not_of_the_stated_dimension(
    db_manager: DatabaseManager, n_bytes: int
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation), db_manager.get_historical_connection() as connection:
        connection.execute(
            "INSERT INTO numeric_window_embeddings (entity_type, entity_id, model_id, window_days, as_of_date,"
            " window_spec, dim, vector) VALUES ('INSTRUMENT', 'X', 'm', 63, '2025-01-31', '{}', 3, %s)",
            (bytes(n_bytes),),
        )


class MeanModel:
    """A model of somebody else's: no batches, no configuration, float64."""

    def encode(self, window: Float32Matrix) -> Float32Vector:
        mean: Float32Vector = window.astype(np.float64).mean(axis=0)
        return mean


class ColumnMajorModel(MeanModel):
    """The same for batches, in an unusual layout."""

    def encode_batch(self, windows: np.ndarray[Any, np.dtype[np.float32]]) -> Float32Matrix:
        means: Float32Matrix = np.asfortranarray([self.encode(window) for window in windows])
        return means


def encoder_of(
    db_manager: DatabaseManager, model: NumericEmbeddingModel, model_id: str = MODEL
) -> NumericWindowEncoder:
    return NumericWindowEncoder(
        builder=NumericWindowBuilder(DataReader(db_manager=db_manager), TradingCalendar()),
        model=model,
        store=NumericEmbeddingStore(db_manager=db_manager),
        model_id=model_id,
    )


@pytest.mark.parametrize("model", [MeanModel(), ColumnMajorModel()])
def test_a_model_that_only_encodes_single_windows_or_returns_float64_works(
    db_manager: DatabaseManager, load_prices: LoadPrices, model: NumericEmbeddingModel
) -> None:
    load_prices("X", weekdays(80), *random_walk(80))
    encoder = encoder_of(db_manager, model)
    vector = encoder.embed_and_store(SPEC, FRIDAY)
    assert isinstance(encoder.builder, NumericWindowBuilder)
    window = encoder.builder.build_one(SPEC, FRIDAY).values()[0]
    assert vector.dtype == np.float32
    assert vector.tobytes() == MeanModel().encode(window).astype(np.float32).tobytes()
    stored = encoder.store.load_embedding(SPEC, FRIDAY, MODEL)
    assert stored is not None
    assert stored.tobytes() == vector.tobytes()
    batch = encoder.encode(encoder.builder.build_range(["X"], date(2025, 1, 1), FRIDAY, 63).windows)
    assert batch.vectors[-1].tobytes() == vector.tobytes()
    assert encoder.save(batch) == len(batch) - 1


def test_a_volume_beyond_float32_is_refused_by_the_name_of_its_instrument(
    db_manager: DatabaseManager, load_prices: LoadPrices
) -> None:
    closes, volumes = random_walk(63)
    volumes[10] = 1e300
    load_prices("X", weekdays(63), closes, volumes)
    encoder = encoder_of(db_manager, PadToDimNumericEmbeddingModel(384))
    with pytest.raises(VectorError, match="m-v1 vector of X on 2025-01-31: 1 of 384 values are NaN or infinite"):
        encoder.embed_and_store(SPEC, FRIDAY)
    assert rows_of(db_manager) == {}


def test_an_encoder_stores_under_the_entity_type_of_the_spec(
    db_manager: DatabaseManager, load_prices: LoadPrices
) -> None:
    load_prices("SPX", weekdays(63), *random_walk(63))
    encoder = encoder_of(db_manager, FlattenNumericEmbeddingModel())
    spec = NumericWindowSpec("INDEX", "SPX", 63)
    vector = encoder.embed_and_store(spec, FRIDAY)
    stored = encoder.store.load_embedding(spec, FRIDAY, MODEL)
    assert stored is not None
    assert stored.tobytes() == vector.tobytes()


@pytest.fixture
def registry(db_manager: DatabaseManager) -> ModelRegistry:
    return ModelRegistry(db_manager)


def models_of(db_manager: DatabaseManager) -> list[tuple[str, str, str, dict[str, Any], datetime]]:
    with db_manager.get_historical_connection() as connection:
        return connection.execute(
            "SELECT model_id, kind, fingerprint, config, created_at FROM models ORDER BY 1"
        ).fetchall()


def test_a_model_is_recorded_once_with_all_that_it_means(registry: ModelRegistry, db_manager: DatabaseManager) -> None:
    config = {"family": "flatten-pad", "target_dim": 384, "temperature": 1.0, "labels": ["A", "B"]}
    registry.register(MODEL, "numeric", config)
    before = models_of(db_manager)
    registry.register(MODEL, "numeric", dict(reversed(config.items())))
    assert models_of(db_manager) == before
    assert before[0][:4] == (MODEL, "numeric", fingerprint(config), config)


def test_registration_waits_for_one_that_is_not_committed_yet(
    registry: ModelRegistry, db_manager: DatabaseManager
) -> None:
    with ThreadPoolExecutor(1) as pool, db_manager.get_historical_connection() as connection:
        connection.execute(
            "INSERT INTO models (model_id, kind, fingerprint, config) VALUES (%s, 'numeric', %s, %s)",
            (MODEL, fingerprint({"a": 1}), Jsonb({"a": 1})),
        )
        outcome = pool.submit(registry.register, MODEL, "numeric", {"a": 2})
        with pytest.raises(TimeoutError):
            outcome.result(0.3)
        connection.commit()
        with pytest.raises(ModelFingerprintError, match="a: stored 1, now 2"):
            outcome.result(30)


@pytest.mark.parametrize(("writer", "is_new"), [("upsert_rows", False), ("copy_new_rows", True)])
def test_a_save_survives_the_loss_of_its_connection(
    store: NumericEmbeddingStore,
    db_manager: DatabaseManager,
    monkeypatch: pytest.MonkeyPatch,
    writer: str,
    is_new: bool,
) -> None:
    from prometheus.data.vectors import numeric

    write, calls = getattr(numeric, writer), []

    def killed_once(cursor: psycopg.Cursor[Any], batch: EmbeddingBatch, **options: bool) -> int:
        calls.append(cursor.connection.info.backend_pid)
        n_written: int = write(cursor, batch, **options)
        if len(calls) == 1:
            with db_manager.get_historical_connection() as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", (calls[0],))
        return n_written

    monkeypatch.setattr(numeric, writer, killed_once)
    assert store.save_batch(batch_of(vector_of(12).reshape(4, 3), [1, 2, 3, 4]), is_new=is_new) == 4
    assert len(set(calls)) == 2
    assert len(rows_of(db_manager)) == 4


WHOLE_ROW = "(entity_type, model_id, window_days, window_spec, dim, vector, input_hash)::text"
UNSORTED = ("ZÜRICH", "a b", "É", "B'; --", "A")


def test_rows_copied_straight_in_are_those_of_an_upsert(
    store: NumericEmbeddingStore, db_manager: DatabaseManager
) -> None:
    batch = batch_of(vector_of(12 * 384).reshape(12, 384), list(range(-6, 6)), UNSORTED)

    assert store.save_batch(batch, is_new=True) == 12
    copied = rows_of(db_manager, WHOLE_ROW)
    assert store.save_batch(batch) == 0
    with db_manager.get_historical_connection() as connection:
        connection.execute("DELETE FROM numeric_window_embeddings")
    assert store.save_batch(batch) == 12

    assert rows_of(db_manager, WHOLE_ROW) == copied
    assert len(copied) == 12
