from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from prometheus.files.columns import cells_as_text
from prometheus.files.instants import DateReader
from prometheus.files.tables import RawBatch, Reason, row_numbers
from prometheus.ingest.checks import (
    PRICE_COLUMNS,
    check_prices,
    currency_fault,
    read_price_rows,
    text_fault,
)

TODAY = date(2024, 6, 28)
GOOD: dict[str, str | None] = {
    "instrument_id": "A.US", "trade_date": "2024-06-27", "open": "10", "high": "11", "low": "9", "close": "10.5",
    "adjusted_close": "10.1", "volume": "100", "currency": "USD",
}  # fmt: skip


def batch_of(*rows: dict[str, str | None]) -> RawBatch:
    columns = {name: pa.array([row[name] for row in rows], pa.string()) for name in rows[0]}
    return RawBatch(row_numbers(1, len(rows)), columns)


def verdicts(batch: RawBatch, zero_as_missing: frozenset[str] = frozenset()) -> list[tuple[str, Reason]]:
    rows = read_price_rows(batch, DateReader(), None, zero_as_missing)
    faults = check_prices(rows, TODAY)
    return [
        (faults.fields[column] if reason else "", Reason(reason))
        for column, reason in zip(faults.columns, faults.reasons, strict=True)
    ]


CORRUPTIONS = [
    ("instrument_id", None, Reason.EMPTY_TEXT),
    ("instrument_id", " A.US", Reason.TEXT_WITH_OUTER_SPACES),
    ("instrument_id", "A\0US", Reason.TEXT_WITH_CONTROL_CHARACTERS),
    ("instrument_id", "A\u2028US", Reason.TEXT_WITH_CONTROL_CHARACTERS),
    ("instrument_id", "A" * 129, Reason.TEXT_TOO_LONG),
    ("trade_date", None, Reason.MISSING_VALUE),
    ("trade_date", "27/06/2024", Reason.AMBIGUOUS_DATE),
    ("trade_date", "1799-12-31", Reason.DATE_BEFORE_1800),
    ("trade_date", "2024-06-29", Reason.FUTURE_DATE),
    ("trade_date", "soon", Reason.NOT_A_DATE),
    ("open", "0", Reason.ZERO_PRICE),
    ("high", "inf", Reason.INFINITE_VALUE),
    ("low", "-1", Reason.NEGATIVE_PRICE),
    ("close", None, Reason.MISSING_VALUE),
    ("close", "n/a", Reason.MISSING_VALUE),
    ("close", "ten", Reason.NOT_A_NUMBER),
    ("adjusted_close", "", Reason.MISSING_VALUE),
    ("adjusted_close", "0.0", Reason.ZERO_PRICE),
    ("adjusted_close", "-inf", Reason.INFINITE_VALUE),
    ("volume", "-1", Reason.NEGATIVE_VOLUME),
    ("volume", "1,234", Reason.NOT_A_NUMBER),
    ("high", "8", Reason.HIGH_BELOW_LOW),
    ("currency", "", Reason.CURRENCY_NOT_THREE_LETTERS),
    ("currency", "US$", Reason.CURRENCY_NOT_THREE_LETTERS),
]


@pytest.mark.parametrize(("column", "text", "reason"), CORRUPTIONS)
def test_each_fault_is_found_in_its_row_and_column(column: str, text: str | None, reason: Reason) -> None:
    found = verdicts(batch_of(GOOD, {**GOOD, column: text}, GOOD))
    assert found == [("", Reason.NONE), (column, reason), ("", Reason.NONE)]


def test_zero_volume_and_an_open_outside_the_range_are_accepted() -> None:
    assert verdicts(batch_of({**GOOD, "volume": "0", "open": "11.01"})) == [("", Reason.NONE)]


def test_the_first_fault_from_the_left_counts() -> None:
    assert verdicts(batch_of({**GOOD, "low": "-1", "volume": "-1"})) == [("low", Reason.NEGATIVE_PRICE)]


@pytest.mark.parametrize("text", ["0", "", "nan", "-0.0"])
def test_a_zero_may_mean_missing(text: str) -> None:
    assert verdicts(batch_of({**GOOD, "open": text}), frozenset({"open"})) == [("", Reason.NONE)]
    rows = read_price_rows(batch_of({**GOOD, "open": text}), DateReader(), None, frozenset({"open"}))
    assert np.isnan(rows.values("open")).all()


@pytest.mark.parametrize("column", ["open", "high", "low", "volume"])
@pytest.mark.parametrize("text", ["", None, "nan", "n/a", "-"])
def test_a_bar_need_have_neither_range_nor_volume(column: str, text: str | None) -> None:
    batch = batch_of(GOOD, {**GOOD, column: text})
    assert verdicts(batch) == [("", Reason.NONE)] * 2
    rows = read_price_rows(batch, DateReader(), None, frozenset())
    assert rows.n_blank[column] == 1
    accepted = rows.accepted(np.ones(2, bool), ["USD"])
    assert np.isnan(accepted.numbers[column][1]) == (column != "volume")
    assert accepted.numbers["volume"][1] == (0 if column == "volume" else 100)


def test_a_row_without_any_number_is_no_bar() -> None:
    blank = dict.fromkeys(("open", "high", "low", "close", "adjusted_close", "volume"), "null")
    read = read_price_rows(batch_of(GOOD, {**GOOD, **blank}, GOOD), DateReader(), None, frozenset())
    assert read.is_bar.tolist() == [True, False, True]
    bars = read.bars()
    assert bars.rows.tolist() == [1, 3]
    assert check_prices(bars, TODAY).is_good.all()


def test_a_negative_open_stays_a_fault_where_zero_means_missing() -> None:
    assert verdicts(batch_of({**GOOD, "open": "-3"}), frozenset({"open"})) == [("open", Reason.NEGATIVE_PRICE)]


def test_a_missing_adjusted_column_is_the_close() -> None:
    without = {name: text for name, text in GOOD.items() if name != "adjusted_close"}
    rows = read_price_rows(batch_of(without), DateReader(), None, frozenset())
    np.testing.assert_array_equal(rows.values("adjusted_close"), [10.5])


def test_pence_are_a_currency_of_their_own() -> None:
    assert currency_fault("GBp") is Reason.NONE
    assert currency_fault("GB1") is Reason.CURRENCY_NOT_THREE_LETTERS


def test_ids_may_hold_inner_spaces_and_other_scripts() -> None:
    assert text_fault("BRK B") is text_fault("\u30c8\u30e8\u30bf") is Reason.NONE


def test_cells_come_back_as_written() -> None:
    columns = {"open": pa.array([17.66, None], pa.float32()), "trade_date": pa.array([date(2024, 1, 2), None])}
    cells = cells_as_text(columns, ("trade_date", "open", "close"), np.array([0, 1]))
    assert cells == [("2024-01-02", "17.66", ""), ("", "", "")]


def test_long_cells_are_cut() -> None:
    long = pa.array(["x" * 10_000]).dictionary_encode()
    assert len(cells_as_text({"instrument_id": long}, PRICE_COLUMNS, np.array([0]))[0][0]) == 1_000
