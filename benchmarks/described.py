"""Markets of a Parquet file as the benchmarks of forecasts read them, and their walk through the years."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prometheus.arrays import DateVector, Float32Matrix, Float64Vector
from prometheus.encoders.numeric.descriptors import WINDOW_DAYS
from prometheus.encoders.numeric.features import log_prices
from prometheus.encoders.numeric.scale_free import ScaleFreeNumericEmbeddingModel
from prometheus.market.outcomes import HORIZON_SESSIONS, forward_log_volatility
from prometheus.regime.calibration import SPAN_SESSIONS

LEARNED_FROM = 756
"""Sessions before the first year that is judged."""


@dataclass(frozen=True, slots=True, eq=False)
class DescribedMarket:
    """Sessions with a vector, shape (n,), and the vectors, shape (n, 384); highs and lows are over the close."""

    dates: DateVector
    closes: Float64Vector
    vectors: Float32Matrix
    highs: Float64Vector
    lows: Float64Vector

    @property
    def followed(self) -> Float64Vector:
        """Log volatility of the next 21 sessions, NaN where they are not over."""
        return forward_log_volatility(self.closes)


class Year(NamedTuple):
    """A calendar year's sessions, and those it may learn from: up to 3,000 before it."""

    span: slice
    sessions: slice

    def known(self, followed: Float64Vector) -> Float64Vector:
        """Return what had followed sessions of the span when the year began."""
        values = followed[self.span.start : max(self.span.start, self.span.stop - HORIZON_SESSIONS)]
        return values[np.isfinite(values)]


def read_markets(file: Path, until: str = "2100-01-01") -> dict[str, DescribedMarket]:
    """Return the markets of a file that are long enough to calibrate, by name."""
    names = pc.unique(pq.read_table(file, columns=["instrument_id"])["instrument_id"]).to_pylist()
    markets = {}
    for name in sorted(names):
        bars = read_bars(file, name, until=until)
        if len(bars[0]) >= WINDOW_DAYS + LEARNED_FROM + HORIZON_SESSIONS:
            markets[name] = describe_market(*bars)
    return markets


Bars = tuple[DateVector, Float64Vector, Float64Vector, Float64Vector]
"""Dates, closes, and highs and lows over the close."""


def read_bars(file: Path, name: str, since: str = "1900-01-01", until: str = "2100-01-01") -> Bars:
    """Return the bars of one market of a file, oldest first."""
    table = pq.read_table(file, columns=["instrument_id", "trade_date", "close", "high", "low"])
    rows = table.filter(pc.equal(table["instrument_id"], name)).sort_by("trade_date")
    dates = rows["trade_date"].to_numpy().astype("M8[D]")
    is_read = (dates >= np.datetime64(since)) & (dates < np.datetime64(until))
    closes, highs, lows = (rows[each].to_numpy().astype(np.float64)[is_read] for each in ("close", "high", "low"))
    return dates[is_read], closes, highs / closes, lows / closes


def describe_market(
    dates: DateVector, closes: Float64Vector, highs: Float64Vector, lows: Float64Vector
) -> DescribedMarket:
    """Return what is known of a market's sessions that have a vector; highs and lows are over the close."""
    ends = np.arange(WINDOW_DAYS, len(dates) + 1)
    vectors = ScaleFreeNumericEmbeddingModel().encode_table(log_prices(closes, highs, lows), ends, WINDOW_DAYS)
    seen = slice(WINDOW_DAYS - 1, None)
    return DescribedMarket(dates[seen], closes[seen], vectors, highs[seen], lows[seen])


def years_of(dates: DateVector) -> Iterator[Year]:
    """Return the years after the first 756 sessions."""
    years = dates.astype("M8[Y]")
    begins = [LEARNED_FROM, *(i for i in range(LEARNED_FROM + 1, len(dates)) if years[i] != years[i - 1]), len(dates)]
    for begin, end in pairwise(begins):
        yield Year(slice(max(0, begin - SPAN_SESSIONS), begin), slice(begin, end))
