from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prometheus.files.columns import read_numbers, read_texts
from prometheus.files.instants import DateReader, parse_date
from prometheus.files.tables import Reason

EPOCH = date(1970, 1, 1)


def read_dates(column: pa.Array, date_format: str | None = None) -> list[date | Reason]:
    read = DateReader(date_format).read(column)
    return [
        EPOCH + timedelta(days=int(day)) if reason == Reason.NONE else Reason(reason)
        for day, reason in zip(read.values, read.reasons, strict=True)
    ]


@pytest.mark.parametrize(
    "kind",
    [
        pa.int8(), pa.uint16(), pa.int32(), pa.uint64(), pa.float32(), pa.float64(), pa.decimal128(12, 3),
        pa.decimal256(50, 3),
    ],
    ids=str,
)  # fmt: skip
def test_every_numeric_type_is_read(kind: pa.DataType) -> None:
    column = pa.array([Decimal(3), None, Decimal(7), Decimal(3)]).cast(kind)
    for values in (column, column.dictionary_encode()):
        read = read_numbers(values)
        np.testing.assert_array_equal(read.values, [3, np.nan, 7, 3])
        assert not read.is_unreadable.any()


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_numbers_written_as_text_are_read(kind: pa.DataType) -> None:
    read = read_numbers(pa.array(["1.5", " 2 ", "-3e2", ".5", "5.", "", None, "+1"]).cast(kind))
    np.testing.assert_array_equal(read.values, [1.5, 2, -300, 0.5, 5, np.nan, np.nan, 1])
    assert not read.is_unreadable.any()


def test_a_dictionary_of_texts_is_read_as_its_texts() -> None:
    read = read_numbers(pa.array(["1", "x", None, "1"]).dictionary_encode())
    np.testing.assert_array_equal(read.values, [1, np.nan, np.nan, 1])
    np.testing.assert_array_equal(read.is_unreadable, [False, True, False, False])


@pytest.mark.parametrize("text", ["1,234.5", "$12", "12%", "0x10", "1_000", "1.2.3", "--1", "\u0661", "nil"])
def test_what_is_no_number_is_named_so(text: str) -> None:
    read = read_numbers(pa.array(["1", text]))
    np.testing.assert_array_equal(read.is_unreadable, [False, True])


@pytest.mark.parametrize("text", ["n/a", "#N/A", "null", "NULL", "-", ".", " \u2014 "])
def test_words_for_no_value_are_missing_numbers(text: str) -> None:
    read = read_numbers(pa.array(["1", text]))
    np.testing.assert_array_equal(read.values, [1, np.nan])
    assert not read.is_unreadable.any()


@pytest.mark.parametrize(
    ("text", "value"), [("NaN", np.nan), ("-inf", np.inf), ("Infinity", np.inf), ("1e999", np.inf)]
)
def test_words_and_overflows_are_no_finite_numbers(text: str, value: float) -> None:
    read = read_numbers(pa.array([text, "2"]))
    np.testing.assert_array_equal(np.abs(read.values), [value, 2])
    assert not read.is_unreadable.any()


def test_one_odd_cell_changes_no_other() -> None:
    texts = ["0.1", "1e-5", "123456789.123456789", "17.66"]
    alone = read_numbers(pa.array(texts)).values
    np.testing.assert_array_equal(read_numbers(pa.array([*texts, "x"])).values[:-1], alone)
    np.testing.assert_array_equal(alone, [float(text) for text in texts])


def test_float32_is_widened_exactly() -> None:
    assert read_numbers(pa.array([17.66], pa.float32())).values[0] == float(np.float32(17.66))


def test_texts_become_codes_in_order_of_appearance() -> None:
    read = read_texts(pa.array(["b", None, "a", "b"]))
    assert read.values == ("b", "a")
    np.testing.assert_array_equal(read.codes, [0, -1, 1, 0])


def test_a_null_inside_a_dictionary_is_a_missing_text() -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), pa.array([None, "a"]))
    np.testing.assert_array_equal(read_texts(column).codes, [-1, 1, -1])


@pytest.mark.parametrize(
    "column",
    [
        pa.array([date(2024, 2, 29)]),
        pa.array([date(2024, 2, 29)], pa.date64()),
        pa.array([20240229]),
        pa.array([20240229], pa.uint32()),
        pa.array(["2024-02-29"]),
        pa.array(["20240229"]).dictionary_encode(),
        pa.array(["2024/2/29"]),
        pa.array([" 2024-02-29 16:00:00 "]),
        pa.array(["2024-02-29T00:00:00.000Z"]),
        pa.array(["2024-02-29 00:00:00+08:00"]),
        pa.array([datetime(2024, 2, 29, 23, 59, tzinfo=UTC)], pa.timestamp("s")),
        pa.array([datetime(2024, 2, 29, tzinfo=timezone(timedelta(hours=8)))], pa.timestamp("ns", "+08:00")),
        pa.array([datetime(2024, 2, 29, 5, tzinfo=UTC)], pa.timestamp("us", "America/New_York")),
        pa.array([date(2024, 2, 29)]).dictionary_encode(),
    ],
    ids=lambda column: f"{column.type} {column[0]}",
)
def test_dates_come_in_many_types(column: pa.Array) -> None:
    assert read_dates(column) == [date(2024, 2, 29)]


@given(
    ticks=st.integers(-(2**62), 2**62), unit=st.sampled_from(["s", "ms", "us", "ns"]),
    minutes=st.integers(-14 * 60, 14 * 60),
)  # fmt: skip
def test_a_stamp_with_an_offset_has_the_date_of_its_own_clock(ticks: int, unit: str, minutes: int) -> None:
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    seconds = ticks // per_second % (200 * 366 * 86_400)
    offset = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    column = pa.array([seconds * per_second, None]).cast(pa.timestamp(unit, offset))
    twin = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, minutes=minutes)).date()
    assert read_dates(column) == [twin, Reason.MISSING_VALUE]


@pytest.mark.parametrize("column", [pa.array(["", None]), pa.array([None, None]), pa.array([None, None], pa.date32())])
def test_a_missing_date_is_called_missing(column: pa.Array) -> None:
    assert read_dates(column) == [Reason.MISSING_VALUE] * 2


@pytest.mark.parametrize("text", ["03/04/2021", "3.4.21", "03-04-2021", "13/04/2021", "1/2/2003 10:00"])
def test_an_ambiguous_form_is_refused_unless_named(text: str) -> None:
    assert read_dates(pa.array([text])) == [Reason.AMBIGUOUS_DATE]


def test_a_named_format_decides() -> None:
    assert read_dates(pa.array(["03/04/2021", "2021-04-03"]), "%d/%m/%Y") == [date(2021, 4, 3), Reason.NOT_A_DATE]


def test_a_second_form_in_one_column_is_refused_row_by_row() -> None:
    column = pa.array(["2024-01-02", "20240103", "2024-01-04 00:00:00", "2024/01/05"])
    other = Reason.DATE_IN_ANOTHER_FORMAT
    assert read_dates(column) == [date(2024, 1, 2), other, date(2024, 1, 4), other]


def test_the_form_holds_for_the_whole_file() -> None:
    reader = DateReader()
    reader.read(pa.array(["2024-01-02"]))
    assert list(reader.read(pa.array(["20240103"])).reasons) == [Reason.DATE_IN_ANOTHER_FORMAT]


@pytest.mark.parametrize(
    "text", ["2024-02-30", "20241301", "1609459200", "2024-1-2x", "today", "-20240101", "0000-01-01"]
)
def test_what_is_no_date_is_called_so(text: str) -> None:
    assert parse_date(text)[0] is Reason.NOT_A_DATE


def test_an_impossible_timestamp_is_no_date() -> None:
    far = pa.array([2**62, -(2**62), 0], pa.timestamp("s"))
    assert read_dates(far) == [Reason.NOT_A_DATE, Reason.NOT_A_DATE, EPOCH]
    zoned = pa.array([2**62, -(2**62), 0], pa.timestamp("s", "Asia/Tokyo"))
    assert read_dates(zoned) == [Reason.NOT_A_DATE, Reason.NOT_A_DATE, EPOCH]
