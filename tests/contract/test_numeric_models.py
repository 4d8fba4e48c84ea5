"""What every registered numeric model promises; a model added to the registry is tested here without a change."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded

from prometheus.arrays import FeatureCube
from prometheus.encoders.catalogue import NUMERIC_MODELS, create_numeric_model
from prometheus.encoders.identity import model_config
from prometheus.encoders.models_simple_numeric import FlattenNumericEmbeddingModel, PadToDimNumericEmbeddingModel
from prometheus.errors import UsageError, WindowShapeError
from prometheus.protocols import BatchNumericEmbeddingModel, TableNumericEmbeddingModel

each_model = pytest.mark.parametrize("model_id", sorted(NUMERIC_MODELS))
DIMS_OF_63_DAYS = {"numeric-simple-v1": 189, "num-regime-core-v1": 384, "num-regime-core-v2": 384}
OLDER_DAYS = {"num-regime-core-v2": 512}
"""Sessions that a model reads before those that a test asks for."""


def windows_of(n_windows: int, window_days: int, seed: int = 1, model_id: str = "") -> FeatureCube:
    """Windows like real ones, in what the model sees.

    Closes about 100, volumes about a million, small returns; or a random walk with highs and lows around it.
    """
    generator = np.random.default_rng(seed)
    window_days += OLDER_DAYS.get(model_id, 0)
    noise = generator.normal(size=(n_windows, window_days, 3))
    if model_id in OLDER_DAYS:
        return np.dstack([np.cumsum(noise[:, :, 0], axis=1), np.abs(noise[:, :, 1:])]) * 0.01
    return noise.astype(np.float32) * np.array([100, 1e6, 0.01], dtype=np.float32)


def batch_model(model_id: str) -> BatchNumericEmbeddingModel:
    model = create_numeric_model(model_id)
    assert isinstance(model, BatchNumericEmbeddingModel)
    return model


@each_model
@bounded(25)
@given(n_windows=st.integers(1, 7), window_days=st.integers(1, 140), seed=st.integers(0, 1000))
def test_a_batch_equals_its_windows_one_by_one(model_id: str, n_windows: int, window_days: int, seed: int) -> None:
    model, windows = batch_model(model_id), windows_of(n_windows, window_days, seed, model_id)
    together = model.encode_batch(windows)
    alone = np.stack([model.encode(window) for window in windows])
    assert together.dtype == alone.dtype == np.float32
    assert together.tobytes() == alone.tobytes()


@each_model
def test_a_table_equals_the_windows_cut_out_of_it(model_id: str) -> None:
    model, table = create_numeric_model(model_id), windows_of(1, 40, model_id=model_id)[0]
    if isinstance(model, TableNumericEmbeddingModel):
        window_days = OLDER_DAYS[model_id] + 3
        ends = np.array([len(table), window_days, len(table) - 7], dtype=np.int64)
        vectors = model.encode_table(table, ends, window_days)
        assert [each.tobytes() for each in vectors] == [
            model.encode(table[end - window_days : end]).tobytes() for end in ends
        ]
        assert vectors.dtype == np.float32


@each_model
def test_two_instances_give_the_same_bytes(model_id: str) -> None:
    windows = windows_of(3, 63, model_id=model_id)
    assert (
        batch_model(model_id).encode_batch(windows).tobytes() == batch_model(model_id).encode_batch(windows).tobytes()
    )


@each_model
def test_the_layout_of_a_batch_in_memory_does_not_matter(model_id: str) -> None:
    model, windows = batch_model(model_id), windows_of(4, 63, model_id=model_id)
    expected = model.encode_batch(windows).tobytes()
    assert model.encode_batch(np.asfortranarray(windows)).tobytes() == expected
    assert model.encode_batch(np.repeat(windows, 2, axis=0)[::2]).tobytes() == expected
    assert model.encode(np.asfortranarray(windows[0])).tobytes() == model.encode(windows[0]).tobytes()


@each_model
def test_a_window_is_neither_changed_nor_kept(model_id: str) -> None:
    model, windows = batch_model(model_id), windows_of(2, 63, model_id=model_id)
    untouched = windows.copy()
    windows.flags.writeable = False
    vectors, vector = model.encode_batch(windows), model.encode(windows[0])
    np.testing.assert_array_equal(windows, untouched)
    assert not np.shares_memory(vectors, windows)
    assert not np.shares_memory(vector, windows)


@each_model
def test_the_dimension_is_the_documented_one(model_id: str) -> None:
    assert create_numeric_model(model_id).encode(windows_of(1, 63, model_id=model_id)[0]).shape == (
        DIMS_OF_63_DAYS[model_id],
    )


@each_model
def test_no_windows_are_no_vectors(model_id: str) -> None:
    vectors = batch_model(model_id).encode_batch(windows_of(0, 63, model_id=model_id))
    assert vectors.shape == (0, DIMS_OF_63_DAYS[model_id])
    assert vectors.dtype == np.float32


@each_model
@pytest.mark.parametrize("shape", [(3,), (2, 63, 3)])
def test_only_one_window_is_encoded_at_a_time(model_id: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(WindowShapeError, match="window_days"):
        create_numeric_model(model_id).encode(np.zeros(shape, dtype=np.float32))


@each_model
def test_what_decides_the_bytes_can_be_written_as_json(model_id: str) -> None:
    config = model_config(create_numeric_model(model_id))
    assert json.loads(json.dumps(config, allow_nan=False)) == config
    assert {"family", "code_version"} <= config.keys()


@pytest.mark.parametrize("window_days", [1, 63, 127, 128])
def test_the_core_model_appends_zeros_to_the_flat_window(window_days: int) -> None:
    window = windows_of(1, window_days)[0]
    vector = create_numeric_model("num-regime-core-v1").encode(window)
    assert vector[: 3 * window_days].tolist() == window.ravel().tolist()
    assert not vector[3 * window_days :].any()


@pytest.mark.parametrize("window_days", [128, 129, 252])
def test_the_core_model_keeps_the_oldest_128_sessions_of_a_longer_window(window_days: int) -> None:
    window = windows_of(1, window_days)[0]
    assert create_numeric_model("num-regime-core-v1").encode(window).tolist() == window[:128].ravel().tolist()


@pytest.mark.parametrize("window_days", [1, 63, 252])
def test_the_simple_model_is_the_window_row_by_row(window_days: int) -> None:
    window = windows_of(1, window_days)[0]
    assert FlattenNumericEmbeddingModel().encode(window).tolist() == [value for row in window for value in row]


def test_a_target_in_the_middle_of_a_session_cuts_there() -> None:
    window = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert PadToDimNumericEmbeddingModel(target_dim=4).encode(window).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("target_dim", [0, -1])
def test_a_model_of_no_dimension_is_refused(target_dim: int) -> None:
    with pytest.raises(UsageError, match=f"at least 1, got {target_dim}"):
        PadToDimNumericEmbeddingModel(target_dim=target_dim)
