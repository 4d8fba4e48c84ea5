"""Classes of a caller's own with the fixed names and nothing else are enough, and give the bytes of the full path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.fixtures.market import random_walk, weekdays
from tests.unit.regime.sample_sessions import sample_set

from prometheus.core.time import TradingCalendar
from prometheus.encoders import (
    JointEmbeddingService,
    JointExample,
    NumericWindowBuilder,
    NumericWindowEncoder,
    NumericWindowSpec,
    TextDoc,
    TextEmbeddingService,
)
from prometheus.encoders.joint.models import IdentityNumericJointModel, SimpleAverageJointModel
from prometheus.encoders.models_simple_numeric import FlattenNumericEmbeddingModel, PadToDimNumericEmbeddingModel
from prometheus.errors import InputRefusedError, InsufficientHistoryError, StaleHistoryError, UsageError
from prometheus.memory import Memory, MemoryBars
from prometheus.regime import (
    NumericRegimeModel,
    PersistentRegimeModel,
    RegimeEngine,
    RegimeLabel,
    RegimePrototype,
    RegimeState,
)

FRIDAY = date(2025, 1, 31)
SPEC = NumericWindowSpec("INSTRUMENT", "SPX", 63)
LABELS = (RegimeLabel.NEUTRAL, RegimeLabel.CRISIS)
N_BARS = 300


class Prices:
    """A reader that only reads prices."""

    def __init__(self, *, trade_dates_as: Callable[[Any], Any] = lambda dates: dates.tolist()) -> None:
        parts = []
        for seed, name in enumerate(("SPX", "NDX")):
            dates, (closes, volumes) = weekdays(N_BARS), random_walk(N_BARS, seed=seed)
            columns = {
                "trade_date": trade_dates_as(dates),
                "close": closes,
                "adjusted_close": closes,
                "volume": volumes,
            }
            parts.append(pd.DataFrame({"instrument_id": name, **columns, "currency": "USD"}))
        self.frame = pd.concat(parts[::-1])
        self.asked: list[tuple[date, date]] = []

    def read_prices(self, instrument_ids: Sequence[str], start_date: date, end_date: date) -> pd.DataFrame:
        self.asked.append((start_date, end_date))
        days = pd.to_datetime(self.frame["trade_date"])
        is_wanted = self.frame["instrument_id"].isin(instrument_ids)
        within = (days >= pd.Timestamp(start_date)) & (days <= pd.Timestamp(end_date))
        return self.frame[is_wanted & within]


class Weekdays:
    """A calendar of the four fixed names."""

    def is_trading_day(self, day: date) -> bool:
        return day.weekday() < 5

    def trading_days_between(self, start: date, end: date) -> list[date]:
        days = (start + timedelta(days=n) for n in range((end - start).days + 1))
        return [day for day in days if self.is_trading_day(day)]

    def get_prev_trading_day(self, day: date) -> date:
        raise NotImplementedError

    def get_next_trading_day(self, day: date) -> date:
        raise NotImplementedError


class Windows:
    """A builder that only builds windows."""

    def __init__(self, window: Any = None) -> None:
        self.window = window

    def build_window(self, spec: NumericWindowSpec, as_of_date: date) -> Any:
        return full_builder().build_window(spec, as_of_date) if self.window is None else self.window


class Vectors:
    """A store that only saves."""

    def __init__(self) -> None:
        self.rows: dict[Any, bytes] = {}

    def save_embedding(self, spec: NumericWindowSpec, as_of_date: date, model_id: str, vector: Any) -> None:
        self.rows[spec, as_of_date, model_id] = vector.tobytes()

    def save_embeddings(self, keys: Sequence[Any], model_id: str, vectors: Any) -> None:
        for key, vector in zip(keys, vectors, strict=True):
            self.rows[key, model_id] = vector.tobytes()


class Encoder:
    """An encoder that only embeds and stores."""

    def __init__(self, vector: Any = None) -> None:
        self.vector = vector

    def embed_and_store(self, spec: NumericWindowSpec, as_of_date: date) -> Any:
        return full_encoder().embed_and_store(spec, as_of_date) if self.vector is None else self.vector


class States:
    """A storage that knows regions and dates, and no models."""

    def __init__(self) -> None:
        self.rows: list[RegimeState] = []

    def save_regime(self, state: RegimeState) -> None:
        self.rows.append(state)

    def get_history(self, region: str, start: date, end: date) -> list[RegimeState]:
        return [row for row in self.rows if row.region == region and start <= row.as_of_date <= end]

    def get_transition_matrix(self, region: str) -> dict[str, dict[str, float]]:
        return {region: {"NEUTRAL": 1.0}}


class Saves:
    """A storage that only saves."""

    def __init__(self) -> None:
        self.rows: list[RegimeState] = []

    def save_regime(self, state: RegimeState) -> None:
        self.rows.append(state)


class OddMonths:
    """A regime model that only classifies."""

    def classify(self, as_of_date: date, region: str) -> RegimeState:
        label = RegimeLabel.CRISIS if as_of_date.month % 2 else RegimeLabel.NEUTRAL
        return RegimeState(as_of_date, region, label, 1.0, np.ones(2, dtype=np.float32), {})


class Lengths:
    """A text model of two values."""

    def embed_batch(self, docs: Sequence[TextDoc]) -> Any:
        return np.array([[len(doc.text), ord(doc.text[0])] for doc in docs], dtype=np.float32)


class Nothing:
    """Has nothing that anyone needs."""


def full_builder() -> NumericWindowBuilder:
    bars = MemoryBars()
    for seed, name in enumerate(("SPX", "NDX")):
        closes, volumes = random_walk(N_BARS, seed=seed)
        bars.add(name, weekdays(N_BARS), close=closes, adjusted_close=closes, volume=volumes)
    return NumericWindowBuilder(bars, TradingCalendar())


def full_encoder(memory: Memory | None = None) -> NumericWindowEncoder:
    store = (memory or Memory()).numeric
    model = PadToDimNumericEmbeddingModel(target_dim=384)
    return NumericWindowEncoder(builder=full_builder(), model=model, store=store, model_id="num-regime-core-v1")


def prototypes() -> list[RegimePrototype]:
    generator = np.random.default_rng(4)
    return [RegimePrototype(label, (generator.normal(size=384) * 1e6).astype(np.float32)) for label in LABELS]


def regime_model(encoder: Any, model_id: str | None = None) -> NumericRegimeModel:
    return NumericRegimeModel(
        encoder=encoder, region_instruments={"US": "SPX", "TECH": "NDX"}, window_days=63, prototypes=prototypes(),
        temperature=1e6, model_id=model_id,
    )  # fmt: skip


@pytest.mark.parametrize(
    "trade_dates_as",
    [
        lambda dates: dates.tolist(),
        lambda dates: dates.astype("M8[ns]"),
        lambda dates: [datetime.combine(day, time()) for day in dates.tolist()],
        lambda dates: dates.astype(str),
    ],
    ids=["dates", "timestamps", "datetimes", "text"],
)
@pytest.mark.parametrize("window_days", [1, 63, N_BARS])
def test_a_reader_of_prices_and_a_calendar_of_sessions_make_the_same_windows(
    window_days: int, trade_dates_as: Callable[[Any], Any]
) -> None:
    reader = Prices(trade_dates_as=trade_dates_as)
    builder = NumericWindowBuilder(reader, Weekdays())
    for day in (FRIDAY, FRIDAY + timedelta(days=2)):
        for name in ("SPX", "NDX"):
            spec = NumericWindowSpec("INSTRUMENT", name, window_days)
            window = builder.build_window(spec, day)
            assert window.shape == (window_days, 3)
            assert window.dtype == np.float32
            assert window.tobytes() == full_builder().build_window(spec, day).tobytes()
    assert all(end <= FRIDAY + timedelta(days=2) for _, end in reader.asked)


def test_ranges_and_input_hashes_are_those_of_the_full_reader() -> None:
    builder = NumericWindowBuilder(Prices(), Weekdays())
    asked = (["NDX", "NONE", "SPX"], date(2024, 12, 1), FRIDAY, 21)
    plain, full = (each.build_range(*asked) for each in (builder, full_builder()))
    assert plain.windows.values().tobytes() == full.windows.values().tobytes()
    assert plain.windows.input_hashes.tolist() == full.windows.input_hashes.tolist()
    assert plain.windows.entity_index.tolist() == full.windows.entity_index.tolist()
    assert [str(each) for each in plain.failures] == [str(each) for each in full.failures]


def test_a_plain_reader_refuses_as_the_full_one_does() -> None:
    builder = NumericWindowBuilder(Prices(), Weekdays())
    with pytest.raises(InsufficientHistoryError, match="NONE: window ending 2025-01-31 needs 63 sessions, found 0"):
        builder.build_window(NumericWindowSpec("INSTRUMENT", "NONE", 63), FRIDAY)
    with pytest.raises(InsufficientHistoryError, match="needs 301 sessions, found 300"):
        builder.build_window(NumericWindowSpec("INSTRUMENT", "SPX", 301), FRIDAY)
    with pytest.raises(StaleHistoryError, match="of 2025-01-31, 6 sessions old"):
        builder.build_window(SPEC, date(2025, 2, 10))
    assert builder.build_window(SPEC, date(2025, 2, 7)).shape == (63, 3)  # five sessions old


def test_what_a_reader_gives_beyond_the_dates_asked_for_is_not_looked_at() -> None:
    class All:
        def read_prices(self, *_asked: Any) -> pd.DataFrame:
            return Prices().frame

    day = date(2024, 12, 2)
    window = NumericWindowBuilder(All(), Weekdays()).build_window(SPEC, day)
    assert window.tobytes() == full_builder().build_window(SPEC, day).tobytes()


def test_a_frame_that_makes_no_bars_is_refused_with_the_class_that_gave_it() -> None:
    class Doubled:
        def read_prices(self, *_asked: Any) -> pd.DataFrame:
            return pd.concat([Prices().frame, Prices().frame.tail(1)])

    class WithoutVolume:
        def read_prices(self, *_asked: Any) -> pd.DataFrame:
            return Prices().frame.drop(columns="volume")

    class Empty:
        def read_prices(self, *_asked: Any) -> pd.DataFrame:
            return pd.DataFrame()

    with pytest.raises(InputRefusedError, match=r"Doubled.read_prices gave two bars of SPX on 2025-01-31"):
        NumericWindowBuilder(Doubled(), Weekdays()).build_window(SPEC, FRIDAY)
    with pytest.raises(InputRefusedError, match=r"WithoutVolume.read_prices gave no column 'volume'"):
        NumericWindowBuilder(WithoutVolume(), Weekdays()).build_window(SPEC, FRIDAY)
    with pytest.raises(InsufficientHistoryError, match="found 0"):
        NumericWindowBuilder(Empty(), Weekdays()).build_window(SPEC, FRIDAY)


@pytest.mark.parametrize("model", [FlattenNumericEmbeddingModel(), PadToDimNumericEmbeddingModel(target_dim=384)])
def test_a_plain_builder_and_a_plain_store_are_enough_for_an_encoder(model: Any) -> None:
    store = Vectors()
    vector = NumericWindowEncoder(builder=Windows(), model=model, store=store, model_id="m").embed_and_store(
        SPEC, FRIDAY
    )
    memory = Memory()
    full = NumericWindowEncoder(builder=full_builder(), model=model, store=memory.numeric, model_id="m")
    assert vector.tobytes() == full.embed_and_store(SPEC, FRIDAY).tobytes()
    assert store.rows == {(SPEC, FRIDAY, "m"): vector.tobytes()}


def test_a_plain_builder_fills_a_full_store_which_records_what_the_model_id_means() -> None:
    memory, model = Memory(), FlattenNumericEmbeddingModel()
    encoder = NumericWindowEncoder(builder=Windows(), model=model, store=memory.numeric, model_id="m")
    vector = encoder.embed_and_store(SPEC, FRIDAY)
    stored = memory.numeric.load_embedding(SPEC, FRIDAY, "m")
    assert stored is not None
    assert stored.tobytes() == vector.tobytes()
    assert memory.registry.load_config("m") == model.config


@pytest.mark.parametrize("window", [np.ones((62, 3)), np.ones(63), np.ones((1, 63, 3)), ()])
def test_a_window_of_the_wrong_shape_is_refused_with_builder_instrument_and_date(window: Any) -> None:
    store = Vectors()
    encoder = NumericWindowEncoder(
        builder=Windows(window), model=FlattenNumericEmbeddingModel(), store=store, model_id="m"
    )
    with pytest.raises(ValueError, match=r"Windows, window of SPX on 2025-01-31: shape .*, expected \(63, 'n"):
        encoder.embed_and_store(SPEC, FRIDAY)
    assert store.rows == {}


def test_a_store_of_texts_that_only_saves_is_enough() -> None:
    docs = [TextDoc("MACRO", str(n), text) for n, text in enumerate(["rate", "bank", "rate"])]
    store, memory = Vectors(), Memory()
    plain = TextEmbeddingService(model=Lengths(), store=store, model_id="t")
    full = TextEmbeddingService(model=Lengths(), store=memory.texts, model_id="t")
    vectors = plain.embed_and_store(docs)
    assert vectors.tobytes() == full.embed_and_store(docs).tobytes()
    assert store.rows == {(doc, "t"): vector.tobytes() for doc, vector in zip(docs, vectors, strict=True)}
    assert plain.embed_and_count(docs).written == 3
    assert plain.embed_and_store([]).shape == (0, 0)


def test_a_store_of_joint_vectors_that_only_saves_is_enough() -> None:
    def example(n: int, numeric: Any, text: Any) -> JointExample:
        return JointExample("REGIME_MACRO_V0", FRIDAY - timedelta(days=n), {"region": "US"}, numeric, text)

    examples = [example(n, np.full(4, n, np.float32), np.ones(4, np.float32)) for n in range(3)]
    store, memory = Vectors(), Memory()
    vectors = JointEmbeddingService(
        model=SimpleAverageJointModel(), store=_ByDate(store), model_id="j"
    ).embed_and_store(examples)
    full = JointEmbeddingService(model=SimpleAverageJointModel(), store=memory.joint, model_id="j")
    assert vectors.tobytes() == full.embed_and_store(examples).tobytes()
    assert list(store.rows.values()) == [vector.tobytes() for vector in vectors]
    service = JointEmbeddingService(model=IdentityNumericJointModel(), store=_ByDate(store), model_id="j")
    assert service.embed_and_store([example(0, np.ones(2, np.float32), None)]).tolist() == [[1, 1]]
    assert service.embed_and_store([]).shape == (0, 0)


class _ByDate:
    def __init__(self, store: Vectors) -> None:
        self.store = store

    def save_embeddings(self, examples: Sequence[JointExample], model_id: str, vectors: Any) -> None:
        self.store.save_embeddings([each.as_of_date for each in examples], model_id, vectors)


@pytest.mark.parametrize(
    ("numeric", "text", "message"),
    [
        (None, np.ones(2), "there is no numeric embedding"),
        (np.ones(2), None, "there is no text embedding"),
        (np.ones((2, 2)), np.ones(2), r"the numeric embedding, float64 of shape \(2, 2\), is not a vector"),
        (np.ones(2), np.ones(0), r"the text embedding, float64 of shape \(0,\), is not a vector"),
        (np.ones(2), np.array(["a", "b"]), "the text embedding, <U1 of shape"),
        (np.ones(2), np.ones(3), "the numeric embedding has 2 values, the text embedding 3"),
        (np.ones(3), np.ones(2), "the numeric embedding has 3 values, that of the first example 2"),
    ],
)
def test_a_joint_example_without_what_a_model_needs_is_refused_by_date(numeric: Any, text: Any, message: str) -> None:
    store = Vectors()
    service = JointEmbeddingService(model=SimpleAverageJointModel(), store=_ByDate(store), model_id="j")
    odd = JointExample("REGIME_MACRO_V0", FRIDAY, {"region": "US"}, numeric, text)
    good = JointExample("REGIME_MACRO_V0", FRIDAY, {"region": "US"}, np.ones(2, np.float32), np.ones(2, np.float32))
    examples = [good, odd] if "first example" in message else [odd]
    with pytest.raises(ValueError, match=f"^REGIME_MACRO_V0 2025-01-31: {message}"):
        service.embed_and_store(examples)
    assert store.rows == {}


def test_a_model_of_the_numeric_branch_refuses_an_example_without_it() -> None:
    without = JointExample("REGIME_MACRO_V0", FRIDAY, {"region": "US"}, None, np.ones(2, np.float32))
    with pytest.raises(ValueError, match="REGIME_MACRO_V0 2025-01-31: there is no numeric embedding"):
        IdentityNumericJointModel().embed_batch([without])


def test_an_encoder_that_only_embeds_and_stores_is_enough_for_a_regime_model() -> None:
    memory = Memory()
    plain, full = regime_model(Encoder(), "desk"), regime_model(full_encoder(memory), "desk")
    for region in ("US", "TECH"):
        one, other = (model.classify(FRIDAY, region) for model in (plain, full))
        assert one.regime_embedding.tobytes() == other.regime_embedding.tobytes()
        assert (one.regime_label, one.confidence, one.metadata) == (
            other.regime_label, other.confidence, other.metadata,
        )  # fmt: skip
    assert plain.encoder.model_id == "Encoder"
    assert regime_model(Encoder()).model_id.startswith("Encoder@")
    with pytest.raises(ValueError, match="unknown region 'MOON'; known: TECH, US"):
        plain.classify(FRIDAY, "MOON")


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (np.ones((1, 384), np.float32), r"Encoder, SPX on 2025-01-31: shape \(1, 384\) is not that of a vector"),
        (np.full(384, np.nan), "Encoder vector of SPX on 2025-01-31: 384 of 384 values are NaN or infinite"),
        (np.ones(3), "of 384 values against embeddings of 3 values"),
    ],
)
def test_an_embedding_that_cannot_be_judged_is_refused(vector: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        regime_model(Encoder(vector)).classify(FRIDAY, "US")


def test_an_encoder_that_gives_nothing_is_named() -> None:
    class Silent:
        def embed_and_store(self, *_asked: Any) -> None:
            return None

    with pytest.raises(ValueError, match="Silent, SPX on 2025-01-31: gave no vector"):
        regime_model(Silent()).classify(FRIDAY, "US")


def test_a_storage_that_knows_regions_only_is_enough_for_an_engine() -> None:
    storage = States()
    engine = RegimeEngine(model=regime_model(Encoder()), storage=storage)
    states = [engine.get_regime(day, "US") for day in (date(2025, 1, 30), FRIDAY)]
    assert storage.rows == states
    assert engine.get_history("US", FRIDAY, FRIDAY) == states[1:]
    assert engine.get_transition_matrix("US") == {"US": {"NEUTRAL": 1.0}}


@pytest.mark.parametrize("storage", [Saves(), States()])
def test_a_storage_that_only_saves_and_a_model_that_only_classifies_are_enough(storage: Any) -> None:
    engine = RegimeEngine(model=OddMonths(), storage=storage)
    assert engine.get_regime(FRIDAY, "US").regime_label is RegimeLabel.CRISIS
    assert [row.as_of_date for row in storage.rows] == [FRIDAY]


def test_the_states_of_a_model_without_a_name_are_those_of_the_region() -> None:
    memory = Memory()
    engine = RegimeEngine(model=OddMonths(), storage=memory.states)
    for month in (1, 2, 3, 5):
        engine.get_regime(date(2025, month, 1), "US")
    assert len(engine.get_history("US", date.min, date.max)) == 4
    crisis, neutral = RegimeLabel.CRISIS, RegimeLabel.NEUTRAL
    assert engine.get_transition_matrix("US") == {crisis: {crisis: 0.5, neutral: 0.5}, neutral: {crisis: 1, neutral: 0}}


def test_a_storage_that_tells_models_apart_is_asked_for_this_one() -> None:
    memory = Memory()
    engines = [
        RegimeEngine(model=regime_model(Encoder(), model_id), storage=memory.states) for model_id in ("one", "two")
    ]
    for engine in engines:
        engine.get_regime(FRIDAY, "US")
    for engine, name in zip(engines, ("one", "two"), strict=True):
        assert [state.model_id for state in engine.get_history("US", FRIDAY, FRIDAY)] == [name]


def _encoder(**given: Any) -> NumericWindowEncoder:
    parts: dict[str, Any] = {"builder": Windows(), "model": FlattenNumericEmbeddingModel(), "store": Vectors()}
    return NumericWindowEncoder(model_id="m", **(parts | given))


def _joint(**given: Any) -> JointEmbeddingService:
    parts: dict[str, Any] = {"model": SimpleAverageJointModel(), "store": Vectors(), "model_id": "m"}
    return JointEmbeddingService(**(parts | given))


def _texts(**given: Any) -> TextEmbeddingService:
    parts: dict[str, Any] = {"model": Lengths(), "store": Vectors(), "model_id": "m"}
    return TextEmbeddingService(**(parts | given))


NOTHING: Any = Nothing()


@pytest.mark.parametrize(
    ("use", "method"),
    [
        (lambda: NumericWindowBuilder(NOTHING, Weekdays()), "read_prices"),
        (lambda: NumericWindowBuilder(Prices(), NOTHING), "trading_days_between"),
        (lambda: _encoder(builder=NOTHING), "build_window"),
        (lambda: _encoder(model=NOTHING), "encode"),
        (lambda: _encoder(store=NOTHING), "save_embedding"),
        (lambda: _texts(model=NOTHING), "embed_batch"),
        (lambda: _texts(store=NOTHING), "save_embeddings"),
        (lambda: _joint(model=NOTHING), "embed_batch"),
        (lambda: _joint(store=NOTHING), "save_embeddings"),
        (lambda: regime_model(NOTHING), "embed_and_store"),
        (lambda: RegimeEngine(model=NOTHING, storage=Saves()).get_regime(FRIDAY, "US"), "classify"),
        (lambda: RegimeEngine(model=OddMonths(), storage=NOTHING).get_regime(FRIDAY, "US"), "save_regime"),
        (lambda: RegimeEngine(model=OddMonths(), storage=NOTHING).get_history("US", FRIDAY, FRIDAY), "get_history"),
        (lambda: RegimeEngine(model=OddMonths(), storage=NOTHING).get_transition_matrix("US"), "get_transition_matrix"),
    ],
)
def test_a_collaborator_that_lacks_a_method_is_refused_by_class_and_method(
    use: Callable[[], object], method: str
) -> None:
    with pytest.raises(UsageError, match=f"^Nothing has no method '{method}', which .* needs of its ") as caught:
        use()
    assert isinstance(caught.value, ValueError)


def test_nothing_is_classified_for_a_storage_that_cannot_keep_it() -> None:
    class Counting(OddMonths):
        n_calls = 0

        def classify(self, as_of_date: date, region: str) -> RegimeState:
            self.n_calls += 1
            return super().classify(as_of_date, region)

    model = Counting()
    with pytest.raises(UsageError, match="save_regime"):
        RegimeEngine(model=model, storage=NOTHING).get_regime(FRIDAY, "US")
    assert model.n_calls == 0


def test_a_model_that_looks_back_says_what_a_plain_encoder_or_builder_lacks() -> None:
    for encoder in (Encoder(), _encoder()):
        model = PersistentRegimeModel(
            encoder=encoder, region_instruments={"US": "SPX"}, prototype_set=sample_set(), model_id="m"
        )
        with pytest.raises(UsageError, match=r"^(Encoder|Windows) has no method 'build_trailing', which a model that"):
            model.classify(FRIDAY, "US")


@pytest.mark.parametrize(
    ("embedding", "confidence", "message"),
    [
        (None, 1.0, "there is no regime embedding"),
        (np.ones((2, 2)), 1.0, "is not a vector"),
        (["a"], 1.0, "is not a vector"),
        ([1.0, float("inf")], 1.0, "1 of 2 values are NaN or infinite"),
        ([1.0], None, "confidence None is not in"),
        ([1.0], 1.5, "confidence 1.5 is not in"),
        ([1.0], float("nan"), "confidence nan is not in"),
    ],
)
def test_a_state_without_a_vector_or_a_confidence_is_refused_by_region_and_date(
    embedding: Any, confidence: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^US 2025-01-31: .*{message}"):
        RegimeState(FRIDAY, "US", RegimeLabel.NEUTRAL, confidence, embedding, {})
