"""Rows on the wire: columns encoded together are the fields that each value would be alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.property.strategies import bounded

from prometheus.arrays import Coded
from prometheus.data.postgres.row_copy import encode_column, encoded_block, encoded_rows, write_numbers

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=5), st.binary(max_size=3),
    st.dates(), st.datetimes(timezones=st.just(UTC)), st.lists(st.text(max_size=3), max_size=3).map(tuple),
)  # fmt: skip
SAMPLES: Sequence[Any] = [
    None,
    True,
    7,
    0.5,
    "",
    "Ä\x01",
    b"",
    b"\x00",
    date(2020, 3, 16),
    datetime(2020, 1, 1, tzinfo=UTC),
]


@st.composite
def columns(draw: st.DrawFn) -> list[Any]:
    """Columns of one length, of every kind."""
    n_rows = draw(st.integers(0, 4))
    numbers = st.lists(st.integers(-9, 9), min_size=n_rows, max_size=n_rows)
    coded = st.lists(VALUES, min_size=1, max_size=3).flatmap(
        lambda values: st.lists(st.integers(0, len(values) - 1), min_size=n_rows, max_size=n_rows).map(
            lambda codes: Coded(values, np.array(codes, dtype=np.intp))
        )
    )
    kinds = st.one_of(
        numbers.map(lambda found: np.array(found, dtype=np.int32)),
        numbers.map(lambda found: np.array(found, dtype=np.float64)),
        numbers.map(lambda found: np.array(found, dtype=np.int64).astype("M8[D]")),
        VALUES.map(lambda value: Coded.of_one(value, n_rows)),
        st.lists(VALUES, min_size=n_rows, max_size=n_rows),
        coded,
    )
    return draw(st.lists(kinds, min_size=1, max_size=6))


def slow_rows(wanted: Sequence[Any]) -> list[bytes]:
    """Each field by itself."""
    fields = [encode_column(each) if isinstance(each, np.ndarray) else encode_column(list(each)) for each in wanted]
    return [b"".join(row) for row in zip(*fields, strict=True)]


@bounded(300)
@given(wanted=columns())
def test_columns_written_together_are_their_fields_written_alone(wanted: list[Any]) -> None:
    assert list(encoded_rows(wanted)) == slow_rows(wanted)
    assert encoded_block(wanted) == b"".join(len(wanted).to_bytes(2) + row for row in slow_rows(wanted))


def test_a_constant_of_every_type_may_stand_between_arrays() -> None:
    for value in SAMPLES:
        wanted: list[Any] = [np.arange(3), Coded.of_one(value, 3), np.ones((3, 2), dtype=np.float32)]
        assert list(encoded_rows(wanted)) == slow_rows(wanted)


def test_coded_columns_are_the_sequences_they_stand_for() -> None:
    shared = [{"held": 1}, {}, {}]
    rows = [shared[0], shared[1], shared[0], shared[2]]
    found = Coded.of_shared(rows, lambda each: "held" in each)
    assert list(found) == [True, False, True, False]
    assert (len(found), list(found[1:3])) == (4, [False, True])
    assert list(Coded.of_shared([], bool)) == []


@bounded(2_000)
@given(numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=5))
def test_numbers_have_the_digits_and_the_scale_of_their_python_text(numbers: list[float]) -> None:
    # numeric, in which jsonb keeps numbers, has sign, digits and scale, and no exponent
    written = [Decimal(text).as_tuple() for text in write_numbers(numbers)]
    assert written == [Decimal(repr(number)).as_tuple() for number in numbers]
