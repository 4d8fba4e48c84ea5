"""However rows are written, split or ordered, the same rows are stored; and a bad cell is always named."""

import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fixtures.database import empty_databases
from tests.fixtures.examples import share_of

from prometheus.app.databases import DatabaseManager
from prometheus.errors import DataCheckError
from prometheus.files import csv_lines, parquet
from prometheus.ingest.prices import PriceIngest
from prometheus.ingest.report import IngestOptions

COLUMNS = ("instrument_id", "trade_date", "open", "high", "low", "close", "adjusted_close", "volume", "currency")
OPTIONS = IngestOptions(today=date(2024, 6, 28), calendar="24/7")

Row = tuple[Any, ...]

few = settings(
    max_examples=share_of(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

ids = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters='",'), min_size=1, max_size=12).filter(
    lambda text: text.isprintable()
)
prices = st.floats(1e-6, 1e9, exclude_min=True)


@st.composite
def bars(draw: st.DrawFn) -> Row:
    low, high = sorted([draw(prices), draw(prices)])
    day = date(1800, 1, 1) + timedelta(days=draw(st.integers(0, 81_000)))
    volume = draw(st.one_of(st.integers(0, 10**12), st.floats(0, 1e12)))
    name = draw(ids)
    currency = ("USD", "GBp", "EUR")[len(name) % 3]  # one instrument has one
    return (name, day, draw(prices), high, low, draw(prices), draw(prices), float(volume), currency)


tables = st.lists(bars(), min_size=1, max_size=30, unique_by=lambda row: row[:2])


def write_csv(path: Path, rows: list[Row]) -> Path:
    lines = [",".join(COLUMNS), *(",".join(str(cell) for cell in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_parquet(path: Path, rows: list[Row]) -> Path:
    columns = zip(*rows, strict=True)
    pq.write_table(pa.table(dict(zip(COLUMNS, map(list, columns), strict=True))), path, row_group_size=7)
    return path


def stored_after(db_manager: DatabaseManager, *paths: Path) -> set[Row]:
    empty_databases(db_manager)
    PriceIngest(db_manager).ingest_prices(paths, OPTIONS)
    with db_manager.get_historical_connection() as connection:
        return set(connection.execute(f"SELECT {', '.join(COLUMNS)} FROM prices_daily").fetchall())


@few
@given(rows=tables)
def test_csv_and_parquet_store_the_rows_they_hold(db_manager: DatabaseManager, rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert stored_after(db_manager, write_csv(Path(folder, "p.csv"), rows)) == set(rows)
        assert stored_after(db_manager, write_parquet(Path(folder, "p.parquet"), rows)) == set(rows)


@few
@given(rows=tables, data=st.data())
def test_splits_order_and_repeats_change_nothing(
    db_manager: DatabaseManager, rows: list[Row], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(rows + rows[: data.draw(st.integers(0, len(rows)))]))
    cut = data.draw(st.integers(0, len(shuffled)))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_lines, "BLOCK_BYTES", data.draw(st.integers(40, 400)))
        patch.setattr(parquet, "BATCH_ROWS", data.draw(st.integers(1, 10)))
        one, two = write_csv(Path(folder, "1.csv"), shuffled[:cut]), write_csv(Path(folder, "2.csv"), shuffled[cut:])
        assert stored_after(db_manager, one, two) == set(rows)
        assert stored_after(db_manager, write_parquet(Path(folder, "3.parquet"), shuffled)) == set(rows)


BAD_CELLS = {
    "instrument_id": ["", " X", "X\u200b"],
    "trade_date": ["", "01/02/2024", "2024-13-01", "2024-06-29", "1799-12-31"],
    **{name: ["0", "-1", "inf", "nil", "$1"] for name in ("open", "high", "low")},
    **{name: ["", "0", "-1", "inf", "nan", "n/a", "$1"] for name in ("close", "adjusted_close")},
    "volume": ["-1", "inf", "12q"],
    "currency": ["", "US", "US1"],
}


@few
@given(rows=tables.filter(lambda rows: len(rows) > 1), data=st.data())
def test_a_corrupted_cell_is_named_with_its_line_and_column(
    db_manager: DatabaseManager, rows: list[Row], data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.sampled_from(COLUMNS))
    text = data.draw(st.sampled_from(BAD_CELLS[column]))
    cells = list(rows[position])
    cells[COLUMNS.index(column)] = text
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_lines, "BLOCK_BYTES", data.draw(st.integers(40, 4000)))
        path = write_csv(Path(folder, "p.csv"), [*rows[:position], tuple(cells), *rows[position + 1 :]])
        with pytest.raises(DataCheckError) as caught:
            PriceIngest(db_manager).ingest_prices([path], OPTIONS)
    assert f"1 of {len(rows)} rows refused" in str(caught.value)
    assert f"first: line {position + 2}, column {column}: {text!r} is refused" in str(caught.value)
