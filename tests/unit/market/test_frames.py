"""Prices as users hold them become the same bars; what cannot be used is refused with its column and first row."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tests.fixtures.commands import run_process

from prometheus.errors import InputRefusedError, PrometheusError
from prometheus.market.bars import PriceBars

DAYS = pd.date_range("2024-01-01", periods=5, freq="B")
CLOSES = pd.Series([10.0, 11.0, 12.5, 12.0, 13.0], index=DAYS, name="close")
ARRAY, STAMPS = CLOSES.to_numpy(), DAYS.to_numpy()
FRAME = CLOSES.rename_axis("Date").reset_index()
STRUCTURED = np.array(list(zip(STAMPS.astype("M8[D]"), ARRAY, strict=True)), dtype=[("date", "M8[D]"), ("close", "f8")])
TWO_LEVELS = pd.concat({("Close", "SPY"): CLOSES, ("High", "SPY"): CLOSES + 1, ("Low", "SPY"): CLOSES - 1}, axis=1)
LONG = pd.concat([CLOSES.to_frame().assign(ticker=name) for name in ("B", "A")])

SAME: dict[str, Any] = {
    "series": CLOSES,
    "series named as adjusted": CLOSES.rename("Adj Close"),
    "series with a zone": CLOSES.tz_localize("America/New_York"),
    "series with a zone east of UTC": CLOSES.tz_localize("Asia/Tokyo"),
    "series of texts": CLOSES.set_axis(DAYS.strftime("%Y-%m-%d")),
    "series of dates": CLOSES.set_axis(DAYS.date),
    "series at the close of the session": CLOSES.set_axis(DAYS + pd.Timedelta(hours=16)),
    "nullable": CLOSES.astype("Float64"),
    "arrow-backed": CLOSES.astype("double[pyarrow]"),
    "frame": CLOSES.to_frame(),
    "frame with a date column": FRAME,
    "frame with slashes": FRAME.assign(Date=DAYS.strftime("%Y/%m/%d")),
    "frame with numbers as dates": FRAME.assign(Date=DAYS.strftime("%Y%m%d").astype(int)),
    "frame of decimals": CLOSES.map(lambda close: Decimal(str(close))).to_frame(),
    "two levels": TWO_LEVELS[["Close"]],
    "two levels, ticker first": TWO_LEVELS[["Close"]].swaplevel(axis=1),
    "frame of texts": FRAME.assign(close=["10", "11.0", " 12.5 ", "12", "13.00"]),
    "frame of a decimal comma": FRAME.assign(close=["10,0", "11,0", "12,5", "12,0", "13,0"]),
    "frame with months by name": FRAME.assign(Date=DAYS.strftime("%b %d, %Y")),
    "frame of epochs": FRAME.assign(Date=DAYS.astype("M8[s]").astype("int64")),
    "frame of one ticker": CLOSES.to_frame("SPY"),
    "polars": pl.DataFrame({"date": DAYS.date, "Price": ARRAY}),
    "polars instants": pl.from_pandas(FRAME),
    "arrow": pa.table({"Date": DAYS.date, "close": ARRAY}),
    "arrow with a zone": pa.Table.from_pandas(FRAME.assign(Date=DAYS.tz_localize("US/Eastern"))),
    "mapping of arrays": {"date": STAMPS, "close": ARRAY},
    "dates and closes": (STAMPS, ARRAY),
    "structured array": STRUCTURED,
}


@pytest.mark.parametrize("given", SAME.values(), ids=SAME.keys())
def test_every_form_gives_the_same_bars(given: Any) -> None:
    bars = PriceBars.from_frame(given, "X")
    assert bars.dates.tolist() == list(DAYS.date)
    assert bars.column("close").tolist() == bars.column("adjusted_close").tolist() == ARRAY.tolist()
    assert np.isnan(bars.column("high")).all()
    assert bars.instrument_ids in {("X",), ("SPY",)}
    assert bars.offsets.tolist() == [0, 5]


def test_names_come_from_the_prices_unless_the_user_gives_one() -> None:
    assert PriceBars.from_frame(CLOSES).instrument_ids == ("prices",)
    assert PriceBars.from_frame(CLOSES.rename("SPY")).instrument_ids == ("SPY",)
    assert PriceBars.from_frame(CLOSES.rename("SPY"), "X").instrument_ids == ("X",)
    assert PriceBars.from_frame(TWO_LEVELS, "X").instrument_ids == ("SPY",)


def test_rare_names_change_nothing_that_has_others() -> None:
    frame = CLOSES.to_frame().assign(last=1.0, name="Apple", time="noon", px_high=0.5)
    bars = PriceBars.from_frame(frame)
    assert bars.instrument_ids == ("prices",)
    assert bars.column("close").tolist() == ARRAY.tolist()
    assert np.isnan(bars.column("high")).all()
    assert (
        PriceBars.from_frame({"time": STAMPS, "PX_LAST": ARRAY, "PX_HIGH": ARRAY}).column("high").tolist()
        == ARRAY.tolist()
    )


def test_of_a_wide_frame_each_column_is_an_instrument() -> None:
    frame = pd.DataFrame({"SPY": CLOSES, "^Q": CLOSES.where(CLOSES != 12) / 2})
    for given in (
        frame,
        frame.rename_axis("Date").reset_index(),
        pl.from_pandas(frame.rename_axis("date").reset_index()),
    ):
        spy, q = PriceBars.from_frame(given).each()
        assert (spy.instrument_ids, q.instrument_ids) == (("SPY",), ("^Q",))
        assert spy.column("close").tolist() == ARRAY.tolist()
        assert q.dates.tolist() == [day for day, close in zip(DAYS.date, ARRAY, strict=True) if close != 12]
        assert q.column("close").tolist() == [close / 2 for close in ARRAY if close != 12]
    assert PriceBars.from_frame(CLOSES.to_frame("SPY")).instrument_ids == ("SPY",)


def test_highs_and_lows_come_too_and_may_be_missing() -> None:
    assert PriceBars.from_frame(TWO_LEVELS).column("low").tolist() == (ARRAY - 1).tolist()
    frame = CLOSES.to_frame().assign(High=CLOSES + 1, Low=np.nan)
    assert PriceBars.from_frame(frame).column("high").tolist() == (ARRAY + 1).tolist()
    assert np.isnan(PriceBars.from_frame(frame).column("low")).all()


@pytest.mark.parametrize(
    "given", [LONG, LONG.sort_index(kind="stable"), LONG.rename_axis("date").set_index("ticker", append=True)]
)
def test_a_long_frame_is_read_by_instrument(given: pd.DataFrame) -> None:
    bars = PriceBars.from_frame(given)
    assert bars.instrument_ids == ("B", "A")
    for part in bars.each():
        assert part.dates.tolist() == list(DAYS.date)
        assert part.column("close").tolist() == ARRAY.tolist()


def test_of_two_tickers_each_has_its_own_sessions() -> None:
    frame = pd.concat({("Close", "SPY"): CLOSES, ("Close", "Q"): CLOSES.iloc[1:4]}, axis=1)
    assert [len(part) for part in PriceBars.from_frame(frame).each()] == [5, 3]


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "missing close": (lambda: CLOSES.where(CLOSES != 12), r"column 'close', row 3, 2024-01-04: the price is missing"),
    "null": (
        lambda: pl.DataFrame({"date": DAYS.date, "close": [1.0, None, 3.0, 4.0, 5.0]}),
        "column 'close', row 1, 2024-01-02: the price is missing",
    ),
    "unsorted": (lambda: CLOSES.iloc[[0, 2, 1]], "column 'index', row 2, 2024-01-02: comes after a later date"),
    "twice": (lambda: CLOSES.iloc[[0, 1, 1]], "column 'index', row 2, 2024-01-02: the date stands there twice"),
    "twice in a day": (
        lambda: CLOSES.set_axis(DAYS[0] + pd.to_timedelta(range(5), unit="h")),
        "row 1, 2024-01-01: the date stands there twice",
    ),
    "intraday": (
        lambda: CLOSES.set_axis(DAYS.tz_localize("US/Eastern") + pd.Timedelta("9h")),
        r"column 'index', row 0: 2024-01-01T09.* an instant within a day of US/Eastern; resample to daily bars",
    ),
    "midnights of another zone": (
        lambda: CLOSES.tz_localize("US/Eastern").tz_convert("UTC"), "an instant within a day of UTC"
    ),
    "intraday texts": (
        lambda: {"date": ["2024-01-02T09:30:00-05:00"], "close": [1.0]}, "column 'date', row 0: .* within a day"
    ),
    "objects": (
        lambda: CLOSES.astype(object).where(CLOSES != 12.5, "n/a").to_frame(),
        "column 'close', row 2, 2024-01-03: n/a: no number; convert the column to float",
    ),
    "texts": (
        lambda: CLOSES.astype(str).where(CLOSES != 11, "ten").to_frame("Close"),
        "column 'Close', row 1, 2024-01-02: ten: no number",
    ),
    "a comma": (
        lambda: {"date": STAMPS[:1], "close": ["1,250"]},
        r"column 'close', row 0: '1,250' may be 1\.25 \(decimal comma\) or 1250 .*; convert the column to float",
    ),
    "booleans": (lambda: CLOSES > 2, "column 'close', row 0, 2024-01-01: True: bool is no number"),
    "no close": (lambda: CLOSES.to_frame("Spy"), "no column 'close'; found 'Spy'"),
    "a volume alone": (lambda: CLOSES.rename("Volume"), "no column 'close'; found 'Volume'"),
    "two closes": (lambda: CLOSES.to_frame().assign(Close=1.0), "columns 'close' and 'Close' both mean close"),
    "integers": (lambda: CLOSES.reset_index(drop=True), "column 'index', row 0: the index holds no dates"),
    "integers as index": (lambda: CLOSES.to_frame().reset_index(drop=True), "the index holds no dates"),
    "days since 1970": (lambda: {"date": np.arange(5), "close": ARRAY}, "column 'date', row 0: 0 is no date"),
    "before 1800": (lambda: (STAMPS.astype("M8[D]") - 90_000, ARRAY), "from before 1800"),
    "ambiguous": (
        lambda: CLOSES.set_axis(DAYS.strftime("%d/%m/%Y")), "row 1: '02/01/2024' may be 2 January 2024 .*to dates"
    ),
    "missing date": (lambda: {"date": [*STAMPS[:4], np.datetime64("NaT")], "close": ARRAY}, "4: the date is missing"),
    "zero": (lambda: CLOSES.where(CLOSES != 11, 0.0), "row 1, 2024-01-02: 0.0: a price must be above 0"),
    "negative": (lambda: CLOSES.to_frame().assign(open=-1.0), "column 'open', row 0, 2024-01-01: -1.0: a price"),
    "infinite": (lambda: CLOSES.where(CLOSES != 11, np.inf), "row 1, 2024-01-02: inf: not a finite number"),
    "high below low": (lambda: CLOSES.to_frame().assign(high=1.0, low=2.0), "column 'high', row 0, .*below the low"),
    "negative volume": (lambda: CLOSES.to_frame().assign(vol=-1), "column 'vol', row 0, .*volume cannot be negative"),
    "missing adjusted": (
        lambda: CLOSES.to_frame().assign(adj_close=[1, 2, np.nan, 4, 5]), "column 'adj_close', row 2, 2024-01-03"
    ),
    "no ticker": (lambda: LONG.assign(ticker=np.nan), "column 'ticker', row 0: names no instrument"),
    "unsorted instrument": (
        lambda: pd.concat([LONG, CLOSES.iloc[:1].to_frame().assign(ticker="A")]),
        "^A, column 'index', row 10, 2024-01-01: comes after a later date",
    ),
    "no rows": (lambda: CLOSES.iloc[:0], "there are no rows"),
    "no dates": (lambda: pl.Series([1.0, 2.0]), "no column 'date'"),
    "numbers alone": (lambda: ARRAY, r"prices cannot be read .*give a frame or series"),
    "nothing": (lambda: None, "prices cannot be read"),
    "lengths": (lambda: {"date": STAMPS, "close": ARRAY[:3]}, r"column 'close': shape \(3,\) against 5 dates"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_used_names_column_and_first_row(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(PrometheusError, match=message) as caught:
        PriceBars.from_frame(make())
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value).splitlines()) == 1
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_bars_answer_as_a_database_would() -> None:
    bars = PriceBars.from_frame(LONG)
    found = bars.load_bars(["A", "C", "A"], DAYS.date[2], DAYS.date[3], 2, ["close"])
    assert found.instrument_ids == ("A", "C")
    assert found.offsets.tolist() == [0, 3, 3]
    assert found.dates.tolist() == DAYS.date[1:4].tolist()
    assert found.column("close").tolist() == ARRAY[1:4].tolist()
    assert bars.load_bars(["B"], date(1990, 1, 1), date(2030, 1, 1), 0, ["close"]).dates.tolist() == DAYS.date.tolist()
    assert len(bars.load_bars(["B"], date(1990, 1, 1), date(1991, 1, 1), 5, ["close"])) == 0
    assert bars.known_instruments(["A", "C"]) == {"A"}


def test_market_imports_no_library_of_frames() -> None:
    heavy = ("pandas", "polars", "pyarrow", "narwhals", "psycopg", "matplotlib")
    outcome = run_process(
        "-c",
        "import sys, prometheus.market.bars, prometheus.market.frames, prometheus.results.in_memory\n"
        "from prometheus import RegimeClassifier\nRegimeClassifier()\n"
        f"print(*[name for name in {heavy!r} if name in sys.modules])",
    )
    assert (outcome.stdout, outcome.stderr) == ("\n", "")


@pytest.mark.parametrize("step", [5, 21])
def test_bars_that_are_not_daily_are_refused(step: int) -> None:
    days = np.busday_offset(np.datetime64("2020-01-01"), np.arange(0, 60 * step, step), roll="forward")
    with pytest.raises(InputRefusedError, match=f"^prices: the median step between bars is {step} sessions"):
        PriceBars.from_frame((days, np.linspace(10, 20, len(days))))
