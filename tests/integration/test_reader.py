"""Prices out of a real database, as a frame and as arrays."""

from __future__ import annotations

from datetime import date

import psycopg
import pytest
from tests.fixtures.market import LoadPrices, random_walk, weekdays
from tests.reference.windows import MemoryBars, walk

from prometheus.app.databases import DatabaseManager
from prometheus.data.instruments import InstrumentCatalog
from prometheus.data.reader import PRICE_COLUMNS, DataReader
from prometheus.errors import NotFoundError

FRIDAY = date(2025, 1, 31)
FIELDS = ("close", "volume")


@pytest.fixture
def reader(db_manager: DatabaseManager) -> DataReader:
    return DataReader(db_manager=db_manager)


@pytest.fixture
def twin(load_prices: LoadPrices) -> MemoryBars:
    """Histories of different length in the database, and the same ones in memory."""
    histories = {}
    for number, (name, n_rows) in enumerate([("LONG", 60), ("SHORT", 9), ("EARLY", 30), ("it's; odd", 20)]):
        last = date(2024, 12, 20) if name == "EARLY" else FRIDAY
        load_prices(name, weekdays(n_rows, last), *random_walk(n_rows, seed=number))
        histories[name] = walk(n_rows, last, seed=number)
    return MemoryBars(histories)


def test_the_frame_has_the_documented_columns_in_order_and_rows_by_instrument_and_date(
    reader: DataReader, twin: MemoryBars
) -> None:
    frame = reader.read_prices(["SHORT", "LONG", "NONE"], date(2025, 1, 30), FRIDAY)
    assert list(frame.columns) == [
        "instrument_id", "trade_date", "open", "high", "low", "close", "adjusted_close", "volume", "currency",
    ]  # fmt: skip
    assert list(frame.columns) == list(PRICE_COLUMNS)
    expected = [(name, *row) for name in ("LONG", "SHORT") for row in twin.histories[name][-2:]]
    columns = (frame[name].tolist() for name in ("instrument_id", "trade_date", "close", "volume"))
    assert list(zip(*columns, strict=True)) == expected
    assert frame["currency"].tolist() == ["USD"] * 4


def test_missing_prices_are_nan_and_never_objects(reader: DataReader, twin: MemoryBars) -> None:
    frame = reader.read_prices(["SHORT"], FRIDAY, FRIDAY)
    assert frame["open"].isna().all()
    assert {str(kind) for kind in frame[list(PRICE_COLUMNS[2:8])].dtypes} == {"float64"}


def test_an_empty_frame_still_has_its_columns_and_types(reader: DataReader) -> None:
    frame = reader.read_prices(["NONE"], FRIDAY, FRIDAY)
    assert len(frame) == 0
    assert list(frame.columns) == list(PRICE_COLUMNS)
    assert str(frame.dtypes["close"]) == "float64"


def test_a_session_is_proved_by_a_bar_of_any_instrument(reader: DataReader, twin: MemoryBars) -> None:
    assert reader.has_bar_on(FRIDAY, ["NONE", "SHORT"])
    assert not reader.has_bar_on(FRIDAY, ["NONE", "EARLY"])
    assert not reader.has_bar_on(date(2025, 2, 1), ["SHORT"])
    assert not reader.has_bar_on(FRIDAY, [])


@pytest.mark.parametrize(
    ("column", "value"),
    [("close", "NaN"), ("close", "Infinity"), ("close", 0), ("adjusted_close", -1), ("volume", "NaN"), ("volume", -1)],
)
def test_the_database_itself_refuses_impossible_prices(db_manager: DatabaseManager, column: str, value: object) -> None:
    values = {"close": 1.0, "adjusted_close": 1.0, "volume": 1.0} | {column: value}
    with pytest.raises(psycopg.errors.CheckViolation), db_manager.get_historical_connection() as connection:
        connection.execute(
            "INSERT INTO prices_daily (instrument_id, trade_date, close, adjusted_close, volume, currency)"
            " VALUES ('X', '2025-01-31', %(close)s, %(adjusted_close)s, %(volume)s, 'USD')",
            values,
        )


@pytest.fixture
def catalog(db_manager: DatabaseManager) -> InstrumentCatalog:
    with db_manager.get_runtime_connection() as connection:
        for market in ("US_EQ", "UK_EQ"):
            connection.execute("INSERT INTO markets (market_id, name, calendar) VALUES (%s, %s, 'XNYS')", (market,) * 2)
        for name, market, status in [
            ("B.US", "US_EQ", "ACTIVE"), ("A.US", "US_EQ", "DELISTED"), ("C.US", "US_EQ", "ACTIVE"),
            ("Z.UK", "UK_EQ", "ACTIVE"),
        ]:  # fmt: skip
            connection.execute(
                "INSERT INTO instruments (instrument_id, market_id, symbol, currency, status)"
                " VALUES (%s, %s, %s, 'USD', %s)",
                (name, market, name, status),
            )
    return InstrumentCatalog(db_manager)


def test_a_market_lists_its_instruments_by_id_the_delisted_ones_too(catalog: InstrumentCatalog) -> None:
    assert catalog.list_instruments("US_EQ") == ["A.US", "B.US", "C.US"]
    assert catalog.list_instruments("US_EQ", limit=2) == ["A.US", "B.US"]
    assert catalog.list_instruments("US_EQ", limit=2, offset=2) == ["C.US"]
    assert catalog.list_instruments("US_EQ", limit=5, offset=9) == []


def test_an_unknown_market_is_refused_with_the_known_ones(catalog: InstrumentCatalog) -> None:
    with pytest.raises(NotFoundError, match="'MOON'; known: UK_EQ, US_EQ"):
        catalog.list_instruments("MOON")


def test_instruments_know_their_market(catalog: InstrumentCatalog) -> None:
    assert catalog.markets_of(["Z.UK", "A.US", "NONE"]) == {"Z.UK": "UK_EQ", "A.US": "US_EQ"}
    assert catalog.markets_of([]) == {}
