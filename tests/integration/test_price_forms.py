"""Files in the forms of vendors and tools, written by their public documentation, beside a twin in our own form."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prometheus.app.databases import DatabaseManager
from prometheus.errors import DataCheckError, UsageError
from prometheus.ingest.prices import PriceIngest
from prometheus.ingest.report import IngestOptions, IngestReport

TODAY = date(2024, 6, 28)
Row = tuple[Any, ...]

OHLCV = """instrument_id,trade_date,open,high,low,close,adjusted_close,volume,currency
ACME,2024-01-12,1200.5,1250.25,1199.75,1240.5,1240.5,1234500,USD
ACME,2024-01-16,1240,1300,1235.5,1299.75,1299.75,987600,USD
ACME,2024-01-17,1299.5,1310.25,1280,1285.5,1285.5,2000000,USD
"""
CLOSES = """instrument_id,trade_date,open,high,low,close,adjusted_close,volume,currency
ACME,2024-01-12,,,,1240.5,1240.5,,USD
ACME,2024-01-16,,,,1299.75,1299.75,,USD
ACME,2024-01-17,,,,1285.5,1285.5,,USD
"""
TWO = """instrument_id,trade_date,open,high,low,close,adjusted_close,volume,currency
ACME,2024-01-12,,,,1240.5,1240.5,,USD
ACME,2024-01-16,,,,1299.75,1299.75,,USD
ACME,2024-01-17,,,,1285.5,1285.5,,USD
BETA,2024-01-12,,,,50.5,50.5,,USD
BETA,2024-01-17,,,,51.25,51.25,,USD
"""
TWO_BARS = """instrument_id,trade_date,open,high,low,close,adjusted_close,volume,currency
ACME,2024-01-12,1200.5,,,1240.5,620.25,1234500,USD
ACME,2024-01-16,1240,,,1299.75,649.875,987600,USD
BETA,2024-01-16,50,,,50.5,50.5,700,USD
"""

FORMS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "stooq": (
        ("<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\r\n"
        "ACME,D,20240112,000000,1200.5,1250.25,1199.75,1240.5,1234500,0\r\n"
        "ACME,D,20240116,000000,1240,1300,1235.5,1299.75,987600,0\r\n"
        "ACME,D,20240117,000000,1299.5,1310.25,1280,1285.5,2000000,0\r\n"),
        OHLCV,
        {},
    ),
    "stooq, one ticker": (
        ("Date,Open,High,Low,Close,Volume\r\n2024-01-12,1200.5,1250.25,1199.75,1240.5,1234500\r\n"
        "2024-01-16,1240,1300,1235.5,1299.75,987600\r\n2024-01-17,1299.5,1310.25,1280,1285.5,2000000\r\n"),
        OHLCV,
        {"instrument_id": "ACME"},
    ),
    "investing.com": (
        ('\ufeff"Date","Price","Open","High","Low","Vol.","Change %"\n'
        '"Jan 17, 2024","1,285.50","1,299.50","1,310.25","1,280.00","2.00M","-1.10%"\n'
        '"Jan 16, 2024","1,299.75","1,240.00","1,300.00","1,235.50","987.60K","4.78%"\n'
        '"Jan 12, 2024","1,240.50","1,200.50","1,250.25","1,199.75","1234.50K","0.10%"\n'),
        OHLCV,
        {"instrument_id": "ACME"},
    ),
    "investing.com, newer": (
        ('"Date","Price","Open","High","Low","Vol.","Change %"\n'
        '"01/17/2024","1,285.50","1,299.50","1,310.25","1,280.00","0.002B","-1.10%"\n'
        '"01/16/2024","1,299.75","1,240.00","1,300.00","1,235.50","987.60K","4.78%"\n'
        '"01/12/2024","1,240.50","1,200.50","1,250.25","1,199.75","1.2345M","0.10%"\n'),
        OHLCV,
        {"instrument_id": "ACME"},
    ),
    "investing.com in German": (
        '"Date","Price","Vol."\n"17.01.2024","1.285,50","-"\n"16.01.2024","1.299,75","-"\n"12.01.2024","1.240,50","-"\n',
        CLOSES,
        {"instrument_id": "ACME"},
    ),
    "yfinance, one ticker": (
        ("Price,Close,High,Low,Open,Volume\nTicker,ACME,ACME,ACME,ACME,ACME\nDate,,,,,\n"
        "2024-01-12,1240.5,1250.25,1199.75,1200.5,1234500\n2024-01-16,1299.75,1300.0,1235.5,1240.0,987600\n"
        "2024-01-17,1285.5,1310.25,1280.0,1299.5,2000000\n"),
        OHLCV,
        {},
    ),
    "yfinance, two lines": (
        ("Date,Close,High,Low,Open,Volume\n,ACME,ACME,ACME,ACME,ACME\n"
        "2024-01-12,1240.5,1250.25,1199.75,1200.5,1234500\n2024-01-16,1299.75,1300.0,1235.5,1240.0,987600\n"
        "2024-01-17,1285.5,1310.25,1280.0,1299.5,2000000\n"),
        OHLCV,
        {},
    ),
    "yfinance, many tickers": (
        ("Price,Adj Close,Adj Close,Close,Close,Open,Open,Volume,Volume\n"
        "Ticker,ACME,BETA,ACME,BETA,ACME,BETA,ACME,BETA\nDate,,,,,,,,\n"
        "2024-01-12,620.25,,1240.5,,1200.5,,1234500,\n"
        "2024-01-16,649.875,50.5,1299.75,50.5,1240.0,50.0,987600,700\n"),
        TWO_BARS,
        {},
    ),
    "yfinance, by ticker": (
        ("Ticker,ACME,ACME,ACME,ACME,BETA,BETA,BETA,BETA\n"
        "Price,Open,Close,Adj Close,Volume,Open,Close,Adj Close,Volume\nDate,,,,,,,,\n"
        "2024-01-12,1200.5,1240.5,620.25,1234500,,,,\n"
        "2024-01-16,1240.0,1299.75,649.875,987600,50.0,50.5,50.5,700\n"),
        TWO_BARS,
        {},
    ),
    "yfinance, old": (
        (",Adj Close,Adj Close,Close,Close,Open,Open,Volume,Volume\n,ACME,BETA,ACME,BETA,ACME,BETA,ACME,BETA\n"
        "Date,,,,,,,,\n2024-01-12,620.25,,1240.5,,1200.5,,1234500,\n"
        "2024-01-16,649.875,50.5,1299.75,50.5,1240.0,50.0,987600,700\n"),
        TWO_BARS,
        {},
    ),
    "Yahoo": (
        ("Date,Open,High,Low,Close,Adj Close,Volume\n2024-01-12,1200.5,1250.25,1199.75,1240.5,1240.5,1234500\n"
        "2024-01-15,null,null,null,null,null,null\n2024-01-16,1240.0,1300.0,1235.5,1299.75,1299.75,987600\n"
        "2024-01-17,1299.5,1310.25,1280.0,1285.5,1285.5,2000000\n"),
        OHLCV,
        {"instrument_id": "ACME"},
    ),
    "Nasdaq Data Link": (
        ("Date,Open,High,Low,Close,Volume,Ex-Dividend,Split Ratio,Adj. Open,Adj. High,Adj. Low,Adj. Close,Adj. Volume\n"
        "2024-01-12,1200.5,1250.25,1199.75,1240.5,1234500.0,0.0,1.0,1200.5,1250.25,1199.75,1240.5,1234500.0\n"
        "2024-01-16,1240.0,1300.0,1235.5,1299.75,987600.0,0.0,1.0,1240.0,1300.0,1235.5,1299.75,987600.0\n"
        "2024-01-17,1299.5,1310.25,1280.0,1285.5,2000000.0,0.0,1.0,1299.5,1310.25,1280.0,1285.5,2000000.0\n"),
        OHLCV,
        {"instrument_id": "ACME"},
    ),
    "nasdaq.com": (
        ("Date,Close/Last,Volume,Open,High,Low\n01/17/2024,$1285.50,2000000,$1299.50,$1310.25,$1280.00\n"
        "01/16/2024,$1299.75,987600,$1240.00,$1300.00,$1235.50\n"
        "01/12/2024,$1240.50,1234500,$1200.50,$1250.25,$1199.75\n"),
        OHLCV,
        {"instrument_id": "ACME"},
    ),
    "pandas, index without a name": (
        (",Open,High,Low,Close,Volume\n2024-01-12,1200.5,1250.25,1199.75,1240.5,1234500\n"
        "2024-01-16,1240.0,1300.0,1235.5,1299.75,987600\n2024-01-17,1299.5,1310.25,1280.0,1285.5,2000000\n"),
        OHLCV,
        {"instrument_id": "ACME"},
    ),
    "pandas, read and written again": (
        "Unnamed: 0,Close\n2024-01-12,1240.5\n2024-01-16,1299.75\n2024-01-17,1285.5\n",
        CLOSES,
        {"instrument_id": "ACME"},
    ),
    "pandas, numbered rows": (
        ",ticker,date,close\n0,ACME,2024-01-12,1240.5\n1,ACME,2024-01-16,1299.75\n2,ACME,2024-01-17,1285.5\n",
        CLOSES,
        {},
    ),
    "Kaggle": (
        ("date,open,high,low,close,volume,Name\n2024-01-12,1200.5,1250.25,1199.75,1240.5,1234500,ACME\n"
        "2024-01-16,1240.0,1300.0,1235.5,1299.75,987600,ACME\n2024-01-17,1299.5,1310.25,1280.0,1285.5,2000000,ACME\n"),
        OHLCV,
        {},
    ),
    "TradingView, epoch seconds": (
        ("time,open,high,low,close,Volume\n1705069800,1200.5,1250.25,1199.75,1240.5,1234500\n"
        "1705415400,1240,1300,1235.5,1299.75,987600\n1705501800,1299.5,1310.25,1280,1285.5,2000000\n"),
        OHLCV,
        {"instrument_id": "ACME"},
    ),
    "epoch milliseconds": (
        "timestamp,close\n1705017600000,1240.5\n1705363200000,1299.75\n1705449600000,1285.5\n",
        CLOSES,
        {"instrument_id": "ACME"},
    ),
    "MetaTrader 5": (
        ("<DATE>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
        "2024.01.12\t1200.500\t1250.250\t1199.750\t1240.500\t345\t1234500\t5\n"
        "2024.01.16\t1240.000\t1300.000\t1235.500\t1299.750\t346\t987600\t5\n"
        "2024.01.17\t1299.500\t1310.250\t1280.000\t1285.500\t347\t2000000\t5\n"),
        OHLCV,
        {"instrument_id": "ACME"},
    ),
    "Alpha Vantage": (
        ("timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient\r\n"
        "2024-01-17,1299.5000,1310.2500,1280.0000,1285.5000,1285.5,2000000,0.0000,1.0\r\n"
        "2024-01-16,1240.0000,1300.0000,1235.5000,1299.7500,1299.75,987600,0.0000,1.0\r\n"
        "2024-01-12,1200.5000,1250.2500,1199.7500,1240.5000,1240.5,1234500,0.0000,1.0\r\n"),
        OHLCV,
        {"instrument_id": "ACME"},
    ),
    "Bloomberg": (
        ("Date,PX_OPEN,PX_HIGH,PX_LOW,PX_LAST,PX_VOLUME\n1/12/2024,1200.5,1250.25,1199.75,1240.5,1234500\n"
        "1/15/2024,#N/A N/A,#N/A N/A,#N/A N/A,#N/A N/A,#N/A N/A\n"
        "1/16/2024,1240,1300,1235.5,1299.75,987600\n1/17/2024,1299.5,1310.25,1280,1285.5,2000000\n"),
        OHLCV,
        {"instrument_id": "ACME"},
    ),
    "FRED": (
        "observation_date,ACME\n2024-01-12,1240.50\n2024-01-15,.\n2024-01-16,1299.75\n2024-01-17,1285.50\n",
        CLOSES,
        {},
    ),
    "FRED, blank for missing": (
        "observation_date,ACME\n2024-01-12,1240.50\n2024-01-15,\n2024-01-16,1299.75\n2024-01-17,1285.50\n",
        CLOSES,
        {},
    ),
    "FRED, another name": (
        "observation_date,SP500\n2024-01-12,1240.50\n2024-01-15,.\n2024-01-16,1299.75\n2024-01-17,1285.50\n",
        CLOSES,
        {"instrument_id": "ACME"},
    ),
    "FRED, old": (
        "DATE,VALUE\n2024-01-12,1240.50\n2024-01-15,.\n2024-01-16,1299.75\n2024-01-17,1285.50\n",
        CLOSES,
        {"instrument_id": "ACME"},
    ),
    "wide": (
        "Date,ACME,BETA\n2024-01-12,1240.5,50.5\n2024-01-16,1299.75,\n2024-01-17,1285.5,51.25\n",
        TWO,
        {},
    ),
    "wide from Excel in German": (
        "Date;ACME;BETA\r\n12.01.2024;1.240,50;50,50\r\n16.01.2024;1.299,75;\r\n17.01.2024;1.285,50;51,25\r\n",
        TWO,
        {},
    ),
    "wide, dates by hand": (
        "Datum;ACME;BETA\r\n12.01.2024;1.240,50;50,50\r\n16.01.2024;1.299,75;\r\n17.01.2024;1.285,50;51,25\r\n",
        TWO,
        {"columns": {"trade_date": "Datum"}},
    ),
    "Excel in German, columns by hand": (
        ("Datum;Eröffnung;Hoch;Tief;Schluss;Stück\r\n12.01.2024;1.200,50;1.250,25;1.199,75;1.240,50;1.234.500\r\n"
        "16.01.2024;1.240,00;1.300,00;1.235,50;1.299,75;987.600\r\n"
        "17.01.2024;1.299,50;1.310,25;1.280,00;1.285,50;2.000.000\r\n"),
        OHLCV,
        {
            "instrument_id": "ACME",
            "columns": {
                "trade_date": "Datum", "open": "Eröffnung", "high": "Hoch", "low": "Tief", "close": "Schluss",
                "volume": "Stück",
            },
        },
    ),
    "Excel in French": (
        "date;close\r\n12/01/2024;1\u202f240,50\r\n16/01/2024;1\u202f299,75\r\n17/01/2024;1\u202f285,50\r\n",
        CLOSES,
        {"instrument_id": "ACME"},
    ),
    "SIX": (
        "Date;Close\r\n12.01.2024;1'240.50\r\n16.01.2024;1'299.75\r\n17.01.2024;1\u2019285.50\r\n",
        CLOSES,
        {"instrument_id": "ACME"},
    ),
    "Google Sheets": (
        "Date,Close\n1/12/2024 16:00:00,1240.5\n1/16/2024 16:00:00,1299.75\n1/17/2024 16:00:00,1285.5\n",
        CLOSES,
        {"instrument_id": "ACME"},
    ),
    "days by the name of the month": (
        "Date|Close\n12-Jan-24|1240.5\n16-Jan-24|1299.75\n17-Jan-24|1285.5\n",
        CLOSES,
        {"instrument_id": "ACME"},
    ),
}  # fmt: skip


def load(db_manager: DatabaseManager, path: Path, **options: Any) -> IngestReport:
    return PriceIngest(db_manager).ingest_prices([path], IngestOptions(today=TODAY, **options))


def stored(db_manager: DatabaseManager) -> list[Row]:
    with db_manager.get_historical_connection() as connection:
        return connection.execute(
            "SELECT instrument_id, trade_date, open, high, low, close, adjusted_close, volume, currency "
            "FROM prices_daily ORDER BY 1, 2"
        ).fetchall()


def rows_of(twin: str) -> list[Row]:
    """Return what a file in our own form says; a volume that is not known is stored as 0."""
    rows = [line.split(",") for line in twin.splitlines()[1:]]
    return [
        (
            name,
            date.fromisoformat(day),
            *(float(cell) if cell else None for cell in prices),
            float(volume or 0),
            currency,
        )
        for name, day, *prices, volume, currency in rows
    ]


def write(folder: Path, text: str, name: str = "prices.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("form", FORMS)
def test_a_vendor_s_file_stores_what_its_twin_says(db_manager: DatabaseManager, tmp_path: Path, form: str) -> None:
    text, twin, options = FORMS[form]
    load(db_manager, write(tmp_path, text), **options)
    found = stored(db_manager)
    assert found == rows_of(twin)
    again = load(db_manager, write(tmp_path, twin, "twin.csv"))
    assert (again.rows_written, again.rows_unchanged) == (0, len(found))


@pytest.mark.parametrize("group", ["Price first", "Ticker first"])
def test_a_frame_of_pairs_comes_through_parquet(db_manager: DatabaseManager, tmp_path: Path, group: str) -> None:
    pairs = [("Close", "ACME"), ("Close", "BETA")]
    named = pairs if group == "Price first" else [pair[::-1] for pair in pairs]
    days = pd.to_datetime(["2024-01-12", "2024-01-16", "2024-01-17"])
    values = [[1240.5, 50.5], [1299.75, np.nan], [1285.5, 51.25]]
    frame = pd.DataFrame(values, index=days.rename("Date"), columns=pd.MultiIndex.from_tuples(named))
    frame.to_parquet(tmp_path / "p.parquet")
    load(db_manager, tmp_path / "p.parquet")
    assert stored(db_manager) == rows_of(TWO)


def test_epochs_and_blanks_come_through_parquet(db_manager: DatabaseManager, tmp_path: Path) -> None:
    table = pa.table(
        {
            "time": [1705069800, 1705415400, 1705501800],
            "close": ["1,240.50", "1,299.75", "1,285.50"],
            "volume": pa.array([None, None, None], pa.int64()),
        }
    )
    pq.write_table(table, tmp_path / "p.parquet")
    load(db_manager, tmp_path / "p.parquet", instrument_id="ACME")
    assert stored(db_manager) == rows_of(CLOSES)


NOTES: dict[str, tuple[str, Sequence[str]]] = {
    "FRED": (
        FORMS["FRED"][0],
        (
            "each column is an instrument, its numbers are closes: 'ACME'",
            "no adjusted close; the close is taken for it",
            "no open, high, low; stored without",
            "no volume; stored as 0, not known",
            "1 cells or rows without any number are days without a bar",
        ),
    ),
    "blank cells": (
        "ticker,date,open,high,low,close,adj close,volume\nA,2024-01-12,,,1,1,1,\nA,2024-01-16,n/a,2,1,1,1,5\n",
        (
            "cells without a value, stored without: 2 of open, 1 of high",
            "1 bars without a volume; stored as 0, not known",
        ),
    ),
    "marks": (
        "ticker;date;close\nA;13.01.2023;1.234,5\n",
        ("numbers are read with decimal comma, thousands by point; dates are read as day first",),
    ),
}


@pytest.mark.parametrize("case", NOTES)
def test_what_was_made_of_a_file_is_said(db_manager: DatabaseManager, tmp_path: Path, case: str) -> None:
    text, notes = NOTES[case]
    said = load(db_manager, write(tmp_path, text), calendar="24/7").notes
    for note in notes:
        assert sum(note in each for each in said) == 1, said


REFUSED: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "day or month": (
        "Date,Close\n01/02/2024,1240.5\n01/03/2024,1241\n",
        {"instrument_id": "A"},
        (
            r"line 2, column Date: '01/02/2024' may be 1 February 2024 \(%d/%m/%Y\) or 2 January 2024 \(%m/%d/%Y\).*"
            r"say --date-format '%d/%m/%Y' or --date-format '%m/%d/%Y'"
        ),
        {"date_format": "%m/%d/%Y"},
    ),
    "day or month, with a clock": (
        "Date,Close\n1/2/24 16:00,1240.5\n",
        {"instrument_id": "A"},
        r"'1/2/24 16:00' may be .*--date-format '%d/%m/%y %H:%M'",
        {"date_format": "%m/%d/%y %H:%M"},
    ),
    "point or comma": (
        'Date,Close\n2024-01-02,"1,240"\n2024-01-03,"1,241"\n',
        {"instrument_id": "A"},
        (
            r"line 2, column Close: '1,240' may be 1\.24 \(decimal comma\) or 1240 \(decimal point, thousands by "
            r"comma\).*--decimal-mark"
        ),
        {"decimal_mark": "point"},
    ),
    "comma or point": (
        "Date;Close\n2024-01-02;1.240\n2024-01-03;1.241\n",
        {"instrument_id": "A"},
        r"'1\.240' may be 1\.24 \(decimal point\) or 1240 \(decimal comma, thousands by point\)",
        {"decimal_mark": "comma"},
    ),
    "no instrument": (
        "Date,Close\n2024-01-02,1240\n",
        {},
        r"no column instrument_id; found 'Date', 'Close'; name the instrument with --instrument-id",
        {"instrument_id": "A"},
    ),
    "names in another language": (
        "Datum,Schluss\n2024-01-02,1240\n",
        {"instrument_id": "A"},
        r"no column trade_date, close; found 'Datum', 'Schluss'; name them with --column trade_date=NAME --column ",
        {"columns": {"trade_date": "datum", "close": "Schluss"}},
    ),
    "words for instruments": (
        "Date,Apple,Pears\n2024-01-02,1240,\n",
        {"instrument_id": "A"},
        (
            r"no column close; found 'Date', 'Apple', 'Pears'; name the column with --column close=NAME; where each "
            r"column is an instrument, write its ticker in capitals"
        ),
        {"columns": {"close": "Apple"}},
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_way_out_of_a_refusal_leads_out(db_manager: DatabaseManager, tmp_path: Path, case: str) -> None:
    text, options, says, way_out = REFUSED[case]
    path = write(tmp_path, text)
    with pytest.raises(DataCheckError, match=says) as caught:
        load(db_manager, path, **options)
    assert caught.value.exit_code == 5
    assert str(path) in str(caught.value)
    assert stored(db_manager) == []
    load(db_manager, path, **{**options, **way_out})
    first = stored(db_manager)[0]
    assert (first[0], first[1], first[5]) == ("A", date(2024, 1, 2), pytest.approx(1240, abs=1))


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("2024.01.02,00:00,1.1,1.2,1.0,1.1,9\n", {"instrument_id": "A"}, "line 1 holds values, not names"),
        ("<TICKER>,<PER>,<DATE>,<CLOSE>\nA,60,20240102,1\n", {}, r"line 2, column <PER>: '60' is no period of daily"),
        ("ticker,date,close\n" + "A,2024-01-0%d,x\n" * 9 % (*range(1, 10),), {}, r"9 of 9 rows.*; correct close, or"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_named(
    db_manager: DatabaseManager, tmp_path: Path, text: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataCheckError, match=says) as caught:
        load(db_manager, write(tmp_path, text), **options)
    assert "quarantine" not in str(caught.value)


def test_a_field_that_does_not_exist_is_named(db_manager: DatabaseManager, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--column closing: no such field; known: instrument_id, trade_date, open"):
        load(db_manager, write(tmp_path, OHLCV), columns={"closing": "close"})


def test_a_bad_cell_of_a_wide_table_is_named_by_its_line(db_manager: DatabaseManager, tmp_path: Path) -> None:
    lines = ["Date,ACME,BETA", *(f"2024-01-{day},{day},{day}" for day in range(10, 27)), "2024-01-30,1,-5"]
    path = write(tmp_path, "\n".join(lines) + "\n")
    with pytest.raises(
        DataCheckError, match=r"1 of 36 rows .* line 19, column close: '-5' is refused as negative price"
    ):
        load(db_manager, path, calendar="24/7")
    target = tmp_path / "bad.csv"
    report = load(db_manager, path, calendar="24/7", on_error="quarantine", quarantine_path=target)
    assert (report.rejected, report.rows_written) == (1, 35)
    assert target.read_text().splitlines()[1].split(",")[1:7] == [
        "19", "close", "negative price", "BETA", "2024-01-30", "",
    ]  # fmt: skip


def test_a_dry_run_shows_how_a_file_was_understood(db_manager: DatabaseManager, tmp_path: Path) -> None:
    path = write(tmp_path, FORMS["wide from Excel in German"][0])
    notes = load(db_manager, path, dry_run=True).notes
    assert stored(db_manager) == []
    assert (
        f"{path}: understood columns: trade_date = 'Date', close = 'ACME', instrument_id = 'names of columns'" in notes
    )
    assert (
        f"{path}: understood cells: dates day first; instants are dated by the clock of America/New_York; numbers "
        "decimal comma, thousands by point"
    ) in notes
    shown = [note for note in notes if note.startswith("to be stored: ")]
    assert shown == [
        "to be stored: ACME 2024-01-12 open null high null low null close 1240.5 adjusted_close 1240.5 volume 0 USD",
        "to be stored: BETA 2024-01-12 open null high null low null close 50.5 adjusted_close 50.5 volume 0 USD",
        "to be stored: ACME 2024-01-16 open null high null low null close 1299.75 adjusted_close 1299.75 volume 0 USD",
    ]
