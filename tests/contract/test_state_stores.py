"""Every store of regime states gives the same answers, and its transitions always say what its states say."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.stores import Stores, hashes_of
from tests.property.strategies import LABELS, bounded
from tests.reference.regimes import slow_matrix, slow_transitions

from prometheus.errors import InputRefusedError, NoRegimesError, NotFoundError, PrototypeError, VectorError
from prometheus.regime import RegimeLabel, RegimeState

DAY = date(2025, 1, 31)
MODEL = "m-v1@00000000"
N, C, R, K = RegimeLabel.NEUTRAL, RegimeLabel.CRISIS, RegimeLabel.RISK_OFF, RegimeLabel.CARRY
_regions = count(1)


def state(day: date | int, label: str, region: str = "US", model_id: str = MODEL, **changes: Any) -> RegimeState:
    values: dict[str, Any] = {
        "as_of_date": day if isinstance(day, date) else DAY + timedelta(days=day),
        "region": region,
        "regime_label": RegimeLabel[label],
        "confidence": 0.75,
        "regime_embedding": np.array([1.0, -2.5], dtype=np.float32),
        "metadata": {"instrument_id": "SPX", "window_days": 63, "distances": {label: 0.1}},
        "model_id": model_id,
    }
    return RegimeState(**(values | changes))


def history(labels: str, **where: str) -> list[RegimeState]:
    """States of consecutive days, from initials: N, C, R, K."""
    names = {"N": "NEUTRAL", "C": "CRISIS", "R": "RISK_OFF", "K": "CARRY"}
    return [state(n, names[initial], **where) for n, initial in enumerate(labels)]


def stored_labels(stores: Stores, region: str, model_id: str = MODEL) -> dict[date, str]:
    found = stores.states.get_history(region, date.min, date.max, model_id)
    return {each.as_of_date: each.regime_label.name for each in found}


def fields(each: RegimeState) -> tuple[Any, ...]:
    """All of a state, comparable."""
    return (
        each.as_of_date, each.region, each.regime_label, each.confidence, each.regime_embedding.tobytes(),
        each.metadata, each.model_id, each.encoder_model_id,
    )  # fmt: skip


batches = st.lists(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(LABELS), st.sampled_from(["m-v1", "m-v2"])), min_size=1, max_size=6
    ),
    min_size=1,
    max_size=6,
)


@bounded(80)
@given(saves=batches)
def test_transitions_are_those_of_the_rows_whatever_was_saved_in_whatever_order(
    stores: Stores, saves: list[list[tuple[int, str, str]]]
) -> None:
    region = f"R{next(_regions)}"
    expected: dict[str, dict[date, str]] = {}
    for batch in saves:
        before = {model_id: dict(labels) for model_id, labels in expected.items()}
        for day, label, model_id in batch:
            expected.setdefault(model_id, {})[DAY + timedelta(days=day)] = label
        n_written = stores.states.save_regimes([state(day, label, region, model_id) for day, label, model_id in batch])
        n_changed = sum(
            before.get(model_id, {}).get(day) != label
            for model_id, labels in expected.items()
            for day, label in labels.items()
        )
        assert n_written == n_changed
        for model_id, labels in expected.items():
            assert stored_labels(stores, region, model_id) == labels
            assert stores.transitions(region, model_id) == slow_transitions(labels)
    for model_id, labels in expected.items():
        in_order = [labels[day] for day in sorted(labels)]
        assert stores.states.get_transition_matrix(region, model_id) == slow_matrix(in_order)
        assert [each.regime_label for each in stores.states.get_history(region, date.min, date.max, model_id)] == (
            in_order
        )


def test_a_date_between_two_of_one_label_adds_two_changes_and_taking_it_back_removes_them(stores: Stores) -> None:
    stores.states.save_regimes([state(0, "NEUTRAL"), state(2, "NEUTRAL")])
    assert stores.transitions("US", MODEL) == set()
    stores.states.save_regime(state(1, "CRISIS"))
    first, second = DAY + timedelta(days=1), DAY + timedelta(days=2)
    assert stores.transitions("US", MODEL) == {
        (first, DAY, "NEUTRAL", "CRISIS"),
        (second, first, "CRISIS", "NEUTRAL"),
    }
    stores.states.save_regime(state(1, "NEUTRAL"))
    assert stores.transitions("US", MODEL) == set()


def test_a_date_before_all_others_moves_nothing_but_the_first_change(stores: Stores) -> None:
    stores.states.save_regimes(history("NNCCN"))
    before = stores.transitions("US", MODEL)
    stores.states.save_regime(state(-5, "NEUTRAL"))
    assert stores.transitions("US", MODEL) == before
    stores.states.save_regime(state(-5, "CARRY"))
    assert len(stores.transitions("US", MODEL)) == 3


def test_saving_the_same_states_again_writes_nothing(stores: Stores) -> None:
    states = history("NNCCNK") + history("CN", region="EU") + history("RR", model_id="m-v2")
    assert stores.states.save_regimes(states) == 10
    before = stores.snapshot()
    assert stores.states.save_regimes(list(reversed(states))) == 0
    for each in states:
        stores.states.save_regime(each)
    assert stores.states.save_regimes([]) == 0
    assert stores.snapshot() == before


@pytest.mark.parametrize(
    "change",
    [
        {"regime_label": C},
        {"confidence": np.nextafter(0.75, 1)},
        {"regime_embedding": np.array([1.0, 2.5], dtype=np.float32)},
        {"regime_embedding": np.array([1.0, -2.5, 0.0], dtype=np.float32)},
        {"metadata": {"instrument_id": "SPX"}},
        {"encoder_model_id": "m-v2"},
    ],
)
def test_whatever_changed_is_written(stores: Stores, change: dict[str, Any]) -> None:
    stores.states.save_regimes(history("NNN"))
    changed = state(1, "NEUTRAL", **change)
    assert stores.states.save_regimes([changed]) == 1
    assert fields(stores.states.get_history("US", changed.as_of_date, changed.as_of_date)[0]) == fields(changed)


def test_the_later_of_two_states_of_one_date_counts(stores: Stores) -> None:
    assert stores.states.save_regimes([state(0, "CRISIS"), state(1, "NEUTRAL"), state(0, "CARRY")]) == 2
    assert stored_labels(stores, "US")[DAY] == "CARRY"


def test_a_state_comes_back_whole(stores: Stores) -> None:
    saved = state(
        0,
        "RISK_OFF",
        region="Länder; 'x'",
        confidence=0.1 + 0.2,
        regime_embedding=np.random.default_rng(1).normal(size=384).astype(np.float32),
        metadata={"distances": {"NEUTRAL": 1 / 3, "CRISIS": 1e-300}, "nested": [None, True, "ü", {"1": -0.5}]},
        model_id="desk-view",
        encoder_model_id="num-regime-core-v1",
    )
    stores.states.save_regime(saved)
    latest = stores.states.get_latest_regime("Länder; 'x'")
    assert latest is not None
    assert fields(latest) == fields(saved)
    assert latest.regime_embedding.dtype == np.float32


def test_what_the_caller_does_with_a_state_later_changes_nothing_stored(stores: Stores) -> None:
    metadata: dict[str, Any] = {"members": ["A"]}
    vector = np.array([1.0, 2.0], dtype=np.float32)
    stores.states.save_regime(state(0, "NEUTRAL", metadata=metadata, regime_embedding=vector))
    metadata["members"].append("B")
    vector[0] = 9
    (loaded,) = stores.states.get_history("US", DAY, DAY)
    assert (loaded.metadata, loaded.regime_embedding.tolist()) == ({"members": ["A"]}, [1.0, 2.0])
    assert isinstance(loaded.metadata, dict)
    loaded.metadata["members"].append("C")
    assert stores.states.get_history("US", DAY, DAY)[0].metadata == {"members": ["A"]}


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), {1, 2}])
def test_metadata_that_is_not_json_is_refused_and_nothing_is_stored(stores: Stores, value: Any) -> None:
    before = stores.snapshot()
    with pytest.raises(InputRefusedError, match="US 2025-02-01: the metadata is not JSON "):
        stores.states.save_regimes([state(0, "NEUTRAL"), state(1, "NEUTRAL", metadata={"x": value})])
    assert stores.snapshot() == before


def test_an_embedding_beyond_float32_leaves_the_whole_batch_unsaved(stores: Stores) -> None:
    before = stores.snapshot()
    with pytest.raises(VectorError, match="1 of 2 values are NaN or infinite"):
        stores.states.save_regimes([state(0, "NEUTRAL"), state(1, "CRISIS", regime_embedding=np.array([1e300, 1.0]))])
    assert stores.snapshot() == before


def test_input_hashes_say_what_states_were_made_of(stores: Stores) -> None:
    extremes = [-(2**63), 2**63 - 1, 0]
    dates = np.array([DAY, DAY + timedelta(days=1)], dtype="M8[D]")

    def known(model_id: str = MODEL) -> set[Any]:
        return set(stores.states.load_input_hashes("US", model_id, dates).tolist())

    assert stores.states.save_regimes(history("NNN"), hashes_of(*extremes)) == 3
    assert known() == {(DAY, extremes[0]), (DAY + timedelta(days=1), extremes[1])}
    assert known("m-v2") == set()
    assert stores.states.save_regimes(history("NNN")) == 0
    assert stores.states.save_regimes(history("NNN"), hashes_of(5, extremes[1], 0)) == 1
    assert stores.states.save_regimes([state(1, "CRISIS")]) == 1  # of unknown inputs
    assert known() == {(DAY, 5)}


def test_many_states_in_one_call_are_all_there(stores: Stores) -> None:
    generator = np.random.default_rng(8)
    labels = {DAY + timedelta(days=n): str(generator.choice(LABELS)) for n in range(2_500)}
    assert stores.states.save_regimes([state(day, label) for day, label in labels.items()]) == 2_500
    assert stores.transitions("US", MODEL) == slow_transitions(labels)
    written = stores.states.written("US", "m-v1", DAY, DAY + timedelta(days=2_499))
    assert len(written) == 2_500
    assert len(set(written.values())) == 1  # one write, whole or not at all


def test_writers_that_interleave_one_history_leave_its_transitions_right(stores: Stores) -> None:
    started = threading.Barrier(4)

    def save(part: int) -> None:
        generator = np.random.default_rng(part)
        started.wait(30)
        for day in generator.permutation(np.arange(part, 48, 4)).tolist():
            stores.states.save_regime(state(day, str(generator.choice(LABELS))))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(save, range(4)))
    labels = stored_labels(stores, "US")
    assert len(labels) == 48
    assert stores.transitions("US", MODEL) == slow_transitions(labels)


def test_histories_that_overlap_in_opposite_order_do_not_deadlock(stores: Stores) -> None:
    started = threading.Barrier(2)

    def save(order: int) -> None:
        started.wait(30)
        for round_ in range(10):
            states = [state(round_, "CRISIS" if order else "NEUTRAL", region) for region in ("A", "B", "C")]
            stores.states.save_regimes(states[::-1] if order else states)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(save, range(2)))
    for region in ("A", "B", "C"):
        assert stores.transitions(region, MODEL) == slow_transitions(stored_labels(stores, region))


def test_models_stand_side_by_side(stores: Stores) -> None:
    stores.states.save_regimes(history("NNCC", model_id="m-v1") + history("CCNN", model_id="m-v2"))
    stores.states.save_regimes(history("KKKK", region="EU", model_id="m-v1"))
    assert stores.states.list_models("US") == ["m-v1", "m-v2"]
    assert stores.states.load_labels("US", "m-v1") == [N, N, C, C]
    assert stores.states.load_labels("US", "m-v2") == [C, C, N, N]
    assert stores.states.load_labels("EU") == [K, K, K, K]
    assert stores.states.get_transition_matrix("US", "m-v1") == {N: {N: 0.5, C: 0.5}, C: {N: 0.0, C: 1.0}}
    assert len(stores.transitions("US", "m-v1")) == 1


def test_a_region_of_several_models_needs_one_named(stores: Stores) -> None:
    stores.states.save_regimes(history("N", model_id="m-v1") + history("C", model_id="m-v2"))
    for question in (
        lambda: stores.states.get_latest_regime("US"),
        lambda: stores.states.get_history("US", DAY, DAY),
        lambda: stores.states.get_transition_matrix("US"),
        lambda: stores.states.load_labels("US"),
    ):
        with pytest.raises(NotFoundError, match=r"name one \(--model-id\): m-v1, m-v2"):
            question()


def test_the_latest_regime_is_that_of_the_newest_date_and_not_of_the_newest_write(stores: Stores) -> None:
    stores.states.save_regime(state(5, "CRISIS"))
    stores.states.save_regime(state(0, "CARRY"))
    latest = stores.states.get_latest_regime("US")
    assert latest is not None
    assert (latest.as_of_date, latest.regime_label) == (DAY + timedelta(days=5), C)


def test_a_region_without_rows_has_no_latest_regime_and_an_empty_history(stores: Stores) -> None:
    assert stores.states.get_latest_regime("MOON") is None
    assert stores.states.get_latest_regime("MOON", "m-v1") is None
    assert stores.states.get_history("MOON", date.min, date.max) == []
    assert stores.states.get_transition_matrix("MOON") == {}
    assert stores.states.list_models("MOON") == []
    assert stores.states.written("MOON", "m-v1", date.min, date.max) == {}


def test_a_history_includes_both_ends_and_is_in_date_order(stores: Stores) -> None:
    stores.states.save_regimes(list(reversed(history("NCRKN"))))
    found = stores.states.get_history("US", DAY + timedelta(days=1), DAY + timedelta(days=3))
    assert [each.regime_label for each in found] == [C, R, K]


def test_embeddings_are_those_of_one_encoder_once_per_date(stores: Stores) -> None:
    vectors = np.random.default_rng(1).normal(size=(4, 2)).astype(np.float32)
    for model_id in ("m-v1", "m-v1@00000000", "m-v2"):
        scale = -1 if model_id == "m-v2" else 1
        stores.states.save_regimes(
            [state(n, "NEUTRAL", model_id=model_id, regime_embedding=scale * vectors[n]) for n in (2, 0, 3, 1)]
        )
    loaded = stores.states.load_embeddings("US", "m-v1", DAY, DAY + timedelta(days=2))
    assert loaded.vectors.tobytes() == vectors[:3].tobytes()
    assert loaded.dates == tuple(DAY + timedelta(days=n) for n in range(3))
    assert (loaded.instrument_id, loaded.window_days) == ("SPX", 63)
    assert stores.states.load_embeddings("US", "m-v2", DAY, DAY).vectors.tobytes() == (-vectors[:1]).tobytes()


def test_the_embedding_written_last_counts_and_of_one_write_the_first_by_model_id(stores: Stores) -> None:
    def save(*model_ids: str, value: float) -> None:
        vectors = [np.array([value + n, 1], dtype=np.float32) for n in range(len(model_ids))]
        stores.states.save_regimes(
            [
                state(0, "NEUTRAL", model_id=model_id, encoder_model_id="e", regime_embedding=vector)
                for model_id, vector in zip(model_ids, vectors, strict=True)
            ]
        )

    def loaded() -> float:
        return float(stores.states.load_embeddings("US", "e", DAY, DAY).vectors[0, 0])

    save("b", "a", "ab", value=1)
    assert loaded() == 2
    save("ab", value=7)
    assert loaded() == 7
    first = stores.states.written("US", "e", DAY, DAY)[DAY]
    save("b", value=1)  # nothing new
    assert stores.states.written("US", "e", DAY, DAY) == {DAY: first}
    save("b", value=8)
    assert loaded() == 8
    assert stores.states.written("US", "e", DAY, DAY)[DAY] > first


def test_no_embeddings_are_refused_with_region_encoder_and_dates(stores: Stores) -> None:
    stores.states.save_regimes(history("NN", model_id="m-v1"))
    with pytest.raises(NoRegimesError, match="region 'US' has no regimes of m-v2 from 2025-01-31 to 2025-01-31"):
        stores.states.load_embeddings("US", "m-v2", DAY, DAY)
    with pytest.raises(NoRegimesError):
        stores.states.load_embeddings("US", "m-v1", date(2020, 1, 1), date(2020, 12, 31))


@pytest.mark.parametrize(
    ("other", "listed"),
    [
        ({"instrument_id": "NDX", "window_days": 63}, "NDX (63 sessions, 2 values) and SPX (63 sessions, 2 values)"),
        ({"instrument_id": "SPX", "window_days": 21}, "SPX (21 sessions, 2 values) and SPX (63 sessions, 2 values)"),
        ({}, "SPX (63 sessions, 2 values) and None (None sessions, 2 values)"),
    ],
)
def test_embeddings_of_two_sources_have_no_common_mean(stores: Stores, other: dict[str, Any], listed: str) -> None:
    stores.states.save_regimes([state(0, "NEUTRAL"), state(1, "NEUTRAL", metadata=other)])
    with pytest.raises(PrototypeError) as caught:
        stores.states.load_embeddings("US", "m-v1", DAY, DAY + timedelta(days=1))
    message = f"region US: its embeddings of m-v1 in 2025-01-31..2025-02-01 mix {listed}"
    assert str(caught.value) == message
