"""Pence and splits that a file states, put on one footing on the way in; histories are cuts of the packaged S&P 500."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.integration.test_ingest_histories import PRICE_COLUMNS, Load, history, load, n_stored, scaled
from tests.property.strategies import bounded

from prometheus.app.databases import DatabaseManager
from prometheus.data.staging import CodedTexts, PriceColumns
from prometheus.errors import DataCheckError
from prometheus.ingest.conversions import in_major_units
from prometheus.market.currencies import MINOR_UNITS, major_currency
from prometheus.market.splits import split_factors

__all__ = ["load"]


def stored(db_manager: DatabaseManager, columns: str) -> list[tuple[Any, ...]]:
    with db_manager.get_historical_connection() as connection:
        query = f"SELECT {columns} FROM prices_daily ORDER BY instrument_id, trade_date"
        return connection.execute(query).fetchall()


def with_splits(name: str, splits: dict[int, float], *, is_left_in: bool) -> dict[str, Any]:
    """Return a history without adjusted closes whose column `name` states splits, 0 on other days."""
    whole = history()
    rows, ratios = np.array(sorted(splits)), np.array([splits[row] for row in sorted(splits)])
    stated = np.zeros(len(whole["close"]))
    stated[rows] = ratios
    if is_left_in:
        factors = split_factors(len(stated), rows, ratios)
        whole |= {field: whole[field] * factors for field in PRICE_COLUMNS}
    del whole["adjusted_close"]
    return whole | {name: stated}


@pytest.mark.parametrize("name", ["Split Ratio", "Stock Splits", "splitFactor", "split_factor", "Splits"])
def test_splits_left_in_are_taken_out_of_the_adjusted_close(load: Load, db_manager: DatabaseManager, name: str) -> None:
    columns = with_splits(name, {300: 7.0, 900: 0.1}, is_left_in=True)
    notes = load(columns).notes
    splits = "GSPC.INDX 2013-03-15 7:1, GSPC.INDX 2015-08-03 1:10"
    assert notes[1:] == (f"closes are adjusted for 2 splits of the column {name}: {splits}",)
    rows = np.array(stored(db_manager, "close, adjusted_close"))
    np.testing.assert_array_equal(rows[:, 0], columns["close"])
    np.testing.assert_allclose(rows[:, 1], history()["close"], rtol=1e-12)


def test_splits_of_an_adjusted_history_change_nothing(load: Load, db_manager: DatabaseManager) -> None:
    notes = load(with_splits("Stock Splits", {300: 7.0, 900: 2.0}, is_left_in=False)).notes
    assert notes[1:] == ("closes are adjusted already for the splits of the column Stock Splits",)
    assert all(close == adjusted for close, adjusted in stored(db_manager, "close, adjusted_close"))


def test_a_split_of_another_size_is_named_and_changes_nothing(load: Load, db_manager: DatabaseManager) -> None:
    columns = with_splits("Splits", {300: 3.0}, is_left_in=True)
    columns["Splits"][300] = 7.0
    notes = load(columns).notes
    assert any("moves otherwise than the column Splits says" in note and "7:1 (seen x 3." in note for note in notes)
    assert all(close == adjusted for close, adjusted in stored(db_manager, "close, adjusted_close"))


def test_an_adjusted_close_that_holds_the_split_is_named(load: Load) -> None:
    columns = with_splits("Splits", {300: 7.0}, is_left_in=True)
    notes = load(columns | {"Adj Close": columns["close"]}).notes
    assert any("the adjusted close still jumps by splits of the column Splits" in note for note in notes)


def test_a_column_of_cumulative_factors_is_not_used(load: Load) -> None:
    columns = with_splits("Split Factor", {300: 7.0}, is_left_in=False)
    notes = load(columns | {"Split Factor": np.full(len(columns["close"]), 7.0)}).notes
    assert any("has a ratio on 1,509 bars; it is not used" in note for note in notes)


@pytest.mark.parametrize(("cell", "seen"), [("7:1", 7.0), ("7/1", 7.0), ("1:10", 0.1), ("7", 7.0), ("7.0", 7.0)])
def test_ratios_may_be_texts(load: Load, db_manager: DatabaseManager, cell: str, seen: float) -> None:
    columns = with_splits("Splits", {300: seen}, is_left_in=True)
    texts = np.where(columns["Splits"] == 0, "", cell)
    load(columns | {"Splits": texts})
    adjusted = [row[0] for row in stored(db_manager, "adjusted_close")]
    np.testing.assert_allclose(adjusted, history()["close"], rtol=1e-12)


@pytest.mark.parametrize(
    ("cell", "reason"), [("-2", "negative split ratio"), ("two", "not a number"), ("7:0", "not a number")]
)
def test_a_cell_that_is_no_ratio_refuses_its_row(
    load: Load, db_manager: DatabaseManager, tmp_path: Path, cell: str, reason: str
) -> None:
    columns = with_splits("Splits", {300: 7.0}, is_left_in=True)
    texts = np.where(columns["Splits"] == 0, "", cell)
    with pytest.raises(DataCheckError, match=rf"row 301.*split_ratio.*{reason}"):
        load(columns | {"Splits": texts})
    assert n_stored(db_manager) == 0
    load(columns | {"Splits": texts}, on_error="quarantine", quarantine_path=tmp_path / "bad.csv")
    header, row = (tmp_path / "bad.csv").read_text().splitlines()
    assert header.endswith("currency,split_ratio,line")
    assert f",{cell}," in row


@pytest.mark.parametrize(("minor", "major"), [("GBp", "GBP"), ("GBX", "GBP"), ("ZAc", "ZAR"), ("ILA", "ILS")])
def test_minor_units_are_converted_when_asked(load: Load, db_manager: DatabaseManager, minor: str, major: str) -> None:
    whole = history()
    is_minor = np.arange(len(whole["close"])) < 700
    mixed = whole | {name: np.where(is_minor, whole[name] * 100, whole[name]) for name in PRICE_COLUMNS}
    mixed["currency"] = np.where(is_minor, minor, major)
    with pytest.raises(DataCheckError, match=f"--convert-minor-units stores all in {major}"):
        load(mixed)
    report = load(mixed, convert_minor_units=True)
    assert [note.partition(": ")[2] for note in report.notes] == [
        f"prices of 700 rows in {minor} are divided by 100, stored in {major}"
    ]
    rows = stored(db_manager, "close, volume, currency")
    np.testing.assert_allclose([row[0] for row in rows], whole["close"], rtol=1e-15)
    assert [row[1] for row in rows] == whole["volume"].tolist()
    assert {row[2] for row in rows} == {major}


def test_a_file_in_pence_is_stored_in_pounds(load: Load, db_manager: DatabaseManager) -> None:
    columns = scaled(history(), 100)
    del columns["currency"]
    load(columns, currency="GBX", convert_minor_units=True)
    rows = stored(db_manager, "close, currency")
    np.testing.assert_allclose([row[0] for row in rows], history()["close"], rtol=1e-15)
    assert {row[1] for row in rows} == {"GBP"}


@bounded(100)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from([*MINOR_UNITS, "USD", "GBP", "EUR"]), st.floats(1e-3, 1e6), st.floats(0, 1e12)),
        min_size=1,
    )
)
def test_conversion_divides_prices_of_minor_units_alone(rows: list[tuple[str, float, float]]) -> None:
    names = tuple(dict.fromkeys(unit for unit, _, _ in rows))
    codes = np.array([names.index(unit) for unit, _, _ in rows], np.int64)
    prices, volumes = (np.array([row[at] for row in rows]) for at in (1, 2))
    instruments, numbers = CodedTexts(np.zeros(len(rows), np.int64), ("A",)), {"close": prices, "volume": volumes}
    days = np.arange(len(rows)).astype("M8[D]")
    given_rows = PriceColumns(np.arange(len(rows)), instruments, days, numbers, CodedTexts(codes, names))
    converted, counts = in_major_units(given_rows)
    for at, (unit, price, volume) in enumerate(rows):
        assert converted.currencies.values[converted.currencies.codes[at]] == major_currency(unit)
        assert converted.numbers["close"][at] == (price / 100 if unit in MINOR_UNITS else price)
        assert converted.numbers["volume"][at] == volume
    assert counts.total() == sum(unit in MINOR_UNITS for unit, _, _ in rows)
