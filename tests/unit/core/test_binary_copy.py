"""The wire format of COPY, as far as it can be told without a server."""

from __future__ import annotations

import struct
from datetime import date

import numpy as np
import pytest

from prometheus.data.postgres.binary_copy import decode_dates, encode_dates, encode_rows


def test_a_row_is_a_field_count_and_per_field_a_length_and_a_big_endian_value() -> None:
    rows = encode_rows({"n": np.array([7], dtype=np.int32), "x": np.array([1.5])})
    assert rows.tobytes() == struct.pack(">h i i i d", 2, 4, 7, 8, 1.5)


def test_a_matrix_becomes_one_field_of_little_endian_singles_per_row() -> None:
    rows = encode_rows({"vector": np.array([[1, 2], [3, 4]], dtype=np.float32)})
    assert rows.tobytes() == b"".join(
        struct.pack(">h i", 1, 8) + struct.pack("<2f", *values) for values in ((1, 2), (3, 4))
    )


@pytest.mark.parametrize(
    ("day", "n_days"),
    [(date(2000, 1, 1), 0), (date(1999, 12, 31), -1), (date(1, 1, 1), -730119), (date(2024, 2, 29), 8825)],
)
def test_dates_are_days_since_2000(day: date, n_days: int) -> None:
    encoded = encode_dates(np.array([day], dtype="M8[D]"))
    assert encoded.tolist() == [n_days]
    assert decode_dates(encoded).tolist() == [day]


def test_finer_dates_are_cut_to_days() -> None:
    assert encode_dates(np.array(["2000-01-02T23:59"], dtype="M8[m]")).tolist() == [1]


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"different length: \[1, 2\]"):
        encode_rows({"a": np.zeros(1), "b": np.zeros(2)})


@pytest.mark.parametrize("dtype", ["U3", "O", "c16", "u4", "f2"])
def test_a_dtype_without_a_fixed_width_twin_in_postgresql_is_refused(dtype: str) -> None:
    with pytest.raises(TypeError, match="no fixed-width PostgreSQL form"):
        encode_rows({"a": np.zeros(1, dtype=dtype)})


def test_columns_in_either_byte_order_and_any_stride_give_the_same_rows() -> None:
    values = np.arange(8, dtype=np.int64)
    plain = encode_rows({"a": values[::2].copy()}).tobytes()
    assert encode_rows({"a": values[::2]}).tobytes() == plain
    assert encode_rows({"a": values[::2].astype(">i8")}).tobytes() == plain
