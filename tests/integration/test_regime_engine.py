"""Regime models and the engine over real rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import pytest
from tests.fixtures.database import TableDigest
from tests.fixtures.market import LoadPrices, random_walk, weekdays
from tests.reference.windows import weekday_list

from prometheus.app.databases import DatabaseManager
from prometheus.data.reader import DataReader
from prometheus.encoders import NumericEmbeddingStore, NumericWindowBuilder, NumericWindowEncoder, NumericWindowSpec
from prometheus.encoders.catalogue import create_numeric_model
from prometheus.errors import InsufficientHistoryError, PrototypeError, UnknownNameError
from prometheus.market.calendar import TradingCalendar
from prometheus.regime import (
    NumericRegimeModel,
    RegimeEngine,
    RegimeLabel,
    RegimeModel,
    RegimePrototype,
    RegimeState,
    RegimeStorage,
    SeedRegimeModel,
)

FRIDAY = date(2025, 1, 31)
SPEC = NumericWindowSpec("INSTRUMENT", "SPX", 63)


@pytest.fixture
def encoder(db_manager: DatabaseManager, load_prices: LoadPrices) -> NumericWindowEncoder:
    """The core encoder over one instrument of 70 bars."""
    load_prices("SPX", weekdays(70), *random_walk(70))
    return encoder_of(db_manager)


def encoder_of(db_manager: DatabaseManager, model_id: str = "num-regime-core-v1") -> NumericWindowEncoder:
    return NumericWindowEncoder(
        builder=NumericWindowBuilder(DataReader(db_manager=db_manager), TradingCalendar()),
        model=create_numeric_model(model_id),
        store=NumericEmbeddingStore(db_manager=db_manager),
        model_id=model_id,
    )


def prototypes_of(n: int = 2, dim: int = 384) -> list[RegimePrototype]:
    generator = np.random.default_rng(4)
    return [
        RegimePrototype(label, (generator.normal(size=dim) * 1e6).astype(np.float32)) for label in list(RegimeLabel)[:n]
    ]


def model_of(
    encoder: NumericWindowEncoder, prototypes: Sequence[RegimePrototype], temperature: float = 1e6
) -> NumericRegimeModel:
    return NumericRegimeModel(
        encoder=encoder, region_instruments={"US": "SPX"}, window_days=63, prototypes=prototypes,
        temperature=temperature,
    )  # fmt: skip


def seed_of(encoder: NumericWindowEncoder) -> SeedRegimeModel:
    return SeedRegimeModel(encoder=encoder, region_instruments={"US": "SPX"}, window_days=63)


def test_the_embedding_of_a_state_is_the_stored_one_bit_for_bit(encoder: NumericWindowEncoder) -> None:
    state = model_of(encoder, prototypes_of()).classify(FRIDAY, "US")
    stored = encoder.store.load_embedding(SPEC, FRIDAY, "num-regime-core-v1")
    assert stored is not None
    assert state.regime_embedding.tobytes() == stored.tobytes()
    assert state.regime_embedding.tobytes() == encoder.embed_and_store(SPEC, FRIDAY).tobytes()


def test_a_state_says_where_it_comes_from(encoder: NumericWindowEncoder) -> None:
    model = model_of(encoder, prototypes_of())
    state = model.classify(FRIDAY, "US")
    assert (state.as_of_date, state.region, state.model_id) == (FRIDAY, "US", model.model_id)
    assert state.encoder_model_id == "num-regime-core-v1"
    assert state.model_id.startswith("num-regime-core-v1@")
    assert state.metadata["instrument_id"] == "SPX"
    assert state.metadata["window_days"] == 63
    nearest = min(state.metadata["distances"], key=state.metadata["distances"].__getitem__)
    assert nearest == state.regime_label.name


def test_the_seed_model_equals_one_prototype_at_the_embedding_itself(encoder: NumericWindowEncoder) -> None:
    seeded = seed_of(encoder).classify(FRIDAY, "US")
    own = model_of(encoder, [RegimePrototype(RegimeLabel.NEUTRAL, seeded.regime_embedding)]).classify(FRIDAY, "US")
    assert (seeded.regime_label, seeded.confidence) == (own.regime_label, own.confidence) == (RegimeLabel.NEUTRAL, 1.0)
    assert seeded.regime_embedding.tobytes() == own.regime_embedding.tobytes()
    assert seeded.metadata == own.metadata
    assert (seeded.model_id, own.encoder_model_id) == ("num-regime-core-v1", "num-regime-core-v1")


def test_a_date_after_a_weekend_gap_is_classified_by_its_last_session(encoder: NumericWindowEncoder) -> None:
    friday, sunday = (seed_of(encoder).classify(day, "US") for day in (FRIDAY, date(2025, 2, 2)))
    assert friday.regime_embedding.tobytes() == sunday.regime_embedding.tobytes()
    assert sunday.as_of_date == date(2025, 2, 2)


def test_prototypes_of_another_dimension_leave_nothing_stored(
    encoder: NumericWindowEncoder, table_digests: TableDigest
) -> None:
    before = table_digests()
    with pytest.raises(PrototypeError, match="of 189 values against embeddings of 384 values"):
        model_of(encoder, prototypes_of(dim=189)).classify(FRIDAY, "US")
    assert table_digests() == before


@pytest.mark.parametrize(
    ("day", "region", "error"),
    [(FRIDAY, "MOON", UnknownNameError), (date(2025, 1, 10), "US", InsufficientHistoryError)],
)
def test_what_cannot_be_classified_leaves_nothing_stored(
    encoder: NumericWindowEncoder, table_digests: TableDigest, day: date, region: str, error: type[Exception]
) -> None:
    before = table_digests()
    with pytest.raises(error):
        seed_of(encoder).classify(day, region)
    assert table_digests() == before


def test_prices_after_the_date_do_not_change_its_regime(
    encoder: NumericWindowEncoder, db_manager: DatabaseManager
) -> None:
    day = date(2025, 1, 27)
    model = model_of(encoder, prototypes_of(4))

    def said() -> tuple[object, ...]:
        state = model.classify(day, "US")
        return state.regime_label, state.confidence.hex(), state.regime_embedding.tobytes(), state.metadata

    before = said()
    for change in ("UPDATE prices_daily SET close = close * 1e6, volume = 0", "DELETE FROM prices_daily"):
        with db_manager.get_historical_connection() as connection:
            connection.execute(f"{change} WHERE trade_date > '2025-01-27'")
        assert said() == before
    with db_manager.get_historical_connection() as connection:
        connection.execute("UPDATE prices_daily SET close = close * 1.5 WHERE trade_date = '2025-01-27'")
    assert said() != before


@pytest.fixture
def storage(db_manager: DatabaseManager) -> RegimeStorage:
    return RegimeStorage(db_manager=db_manager)


def test_the_engine_stores_what_it_returns(encoder: NumericWindowEncoder, storage: RegimeStorage) -> None:
    model = model_of(encoder, prototypes_of())
    engine = RegimeEngine(model=model, storage=storage)
    days = weekday_list(70)[62:]
    states = [engine.get_regime(day, "US") for day in reversed(days)]
    history = engine.get_history("US", days[0], days[-1])
    assert [state.as_of_date for state in history] == days
    for found, state in zip(history, reversed(states), strict=True):
        assert found.regime_embedding.tobytes() == state.regime_embedding.tobytes()
        assert (found.regime_label, found.confidence) == (state.regime_label, state.confidence)
        assert found.metadata == state.metadata
    latest = storage.get_latest_regime("US")
    assert latest is not None
    assert latest.as_of_date == FRIDAY
    assert engine.get_transition_matrix("US") == storage.get_transition_matrix("US")


def test_the_engine_asked_twice_writes_once(
    encoder: NumericWindowEncoder, storage: RegimeStorage, table_digests: TableDigest
) -> None:
    engine = RegimeEngine(model=model_of(encoder, prototypes_of()), storage=storage)
    engine.get_regime(FRIDAY, "US")
    before = table_digests()
    engine.get_regime(FRIDAY, "US")
    assert table_digests() == before
    assert before["runtime.regimes"][0] == before["historical.numeric_window_embeddings"][0] == 1


class Calendrical:
    """Somebody else's model: crisis in odd months."""

    model_id = "odd-months"

    def classify(self, as_of_date: date, region: str) -> RegimeState:
        label = RegimeLabel.CRISIS if as_of_date.month % 2 else RegimeLabel.NEUTRAL
        embedding = np.array([as_of_date.month], dtype=np.float32)
        return RegimeState(as_of_date, region, label, 1.0, embedding, model_id=self.model_id)


def test_the_engine_takes_any_model_of_the_protocol_and_reads_only_its_own_states(
    encoder: NumericWindowEncoder, storage: RegimeStorage
) -> None:
    model: RegimeModel = Calendrical()
    engine = RegimeEngine(model=model, storage=storage)
    RegimeEngine(model=seed_of(encoder), storage=storage).get_regime(FRIDAY, "US")
    for month in (1, 2, 3, 5):
        engine.get_regime(date(2025, month, 1), "US")
    crisis, neutral = RegimeLabel.CRISIS, RegimeLabel.NEUTRAL
    assert engine.get_transition_matrix("US") == {crisis: {crisis: 0.5, neutral: 0.5}, neutral: {crisis: 1, neutral: 0}}
    assert {state.model_id for state in engine.get_history("US", date.min, date.max)} == {"odd-months"}
