"""The byte form of stored vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded, finite_float32

from prometheus.arrays import decode_vector, encode_vector, require_finite
from prometheus.errors import VectorError


@bounded(200)
@given(values=st.lists(finite_float32, min_size=1, max_size=40))
def test_a_vector_comes_back_bit_for_bit(values: list[float]) -> None:
    vector = np.array(values, dtype=np.float32)
    decoded = decode_vector(encode_vector(vector), len(values))
    assert decoded.dtype == np.float32
    assert decoded.view(np.uint32).tolist() == vector.view(np.uint32).tolist()  # -0.0 is not 0.0


def test_stored_bytes_are_little_endian_ieee_singles() -> None:
    vector = np.array([1.0, -2.0, 0.1, 1e-45, 3.4028235e38])
    assert encode_vector(vector).hex() == "0000803f000000c0cdcccc3d01000000ffff7f7f"


@pytest.mark.parametrize("dtype", [">f4", "<f4", "<f8", ">f8", "f2"])
def test_bytes_depend_on_values_and_not_on_their_dtype(dtype: str) -> None:
    values = np.array([0.5, -1.25, 1024.0], dtype=dtype)
    assert encode_vector(values) == encode_vector(np.array([0.5, -1.25, 1024.0], dtype=np.float32))


def test_a_strided_view_encodes_like_its_copy() -> None:
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert encode_vector(table[:, 1]) == encode_vector(table[:, 1].copy())


@pytest.mark.parametrize("shape", [(), (0,), (1, 3), (2, 2)])
def test_only_a_vector_is_encoded(shape: tuple[int, ...]) -> None:
    with pytest.raises(VectorError, match="is not that of a vector"):
        encode_vector(np.ones(shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3.5e38, -1e300])
def test_a_value_that_is_not_finite_as_float32_is_refused_by_name(bad: float) -> None:
    with pytest.raises(VectorError, match=r"AAPL\.US: 1 of 3 values are NaN or infinite"):
        encode_vector(np.array([1.0, bad, 2.0]), "AAPL.US")


@pytest.mark.parametrize("n_bytes", [0, 1, 3, 5, 4095])
def test_bytes_that_hold_no_whole_values_are_refused(n_bytes: int) -> None:
    with pytest.raises(VectorError, match=f"{n_bytes} stored bytes"):
        decode_vector(bytes(n_bytes))


def test_bytes_of_another_dimension_are_refused_with_both_numbers() -> None:
    with pytest.raises(VectorError, match="3 stored values, expected 384"):
        decode_vector(bytes(12), 384)


def test_a_decoded_vector_cannot_be_changed() -> None:
    decoded = decode_vector(bytes(8))
    with pytest.raises(ValueError, match="read-only"):
        decoded[0] = 1.0


def test_a_memoryview_is_decoded_like_bytes() -> None:
    stored = encode_vector(np.array([1.0, 2.0]))
    np.testing.assert_array_equal(decode_vector(memoryview(stored)), decode_vector(stored))


def test_the_number_of_bad_values_is_named() -> None:
    with pytest.raises(VectorError, match="x: 2 of 6 values"):
        require_finite(np.array([[0, np.nan, 1], [2, 3, np.inf]]), "x")
