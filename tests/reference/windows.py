"""Slow, obvious twins of windows and encoders: Python lists, one row at a time, no numpy arithmetic."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TypeAlias

import numpy as np
import pyarrow.parquet as pq
from tests.fixtures.market import random_walk

from prometheus.ingest.sample import PRICES
from prometheus.market.bars import PriceBars

Row: TypeAlias = tuple[date, float, float]
"""Date, close, volume."""
Bar: TypeAlias = tuple[date, float, float, float, float, float]
"""A row with adjusted close, high and low after it; the last two may be NaN."""
Features: TypeAlias = list[tuple[float, float, float]]
Histories: TypeAlias = Mapping[str, Sequence[tuple[date, float, float, *tuple[float, ...]]]]
"""Instruments and their rows, short or long."""
CLOSE_AND_VOLUME = ("close", "volume")
BAR_FIELDS = (*CLOSE_AND_VOLUME, "adjusted_close", "high", "low")


def slow_window(rows: Sequence[Row], as_of_date: date, window_days: int) -> Features | None:
    """Close, volume and log return of the last `window_days` rows up to a date; None where there are too few."""
    known = [row for row in sorted(rows) if row[0] <= as_of_date]
    if len(known) < window_days:
        return None
    features: Features = []
    for position, (_, close, volume) in enumerate(known[len(known) - window_days :]):
        log_return = 0.0 if position == 0 else math.log(close / features[-1][0])
        features.append((close, volume, log_return))
    return features


def slow_vector(features: Features, dim: int | None = None) -> list[float]:
    """The window row by row; with `dim`, zeros appended or the end cut off until it has that length."""
    flat = [value for row in features for value in row]
    if dim is None:
        return flat
    return (flat + [0.0] * dim)[:dim]


def float32_bytes(values: Sequence[float]) -> bytes:
    """Little-endian float32, as C rounds."""
    return struct.pack(f"<{len(values)}f", *values)


def bars_of_histories(
    histories: Histories, instrument_ids: Sequence[str] | None = None, fields: Sequence[str] = CLOSE_AND_VOLUME
) -> PriceBars:
    """Everything that is known of the instruments, in the form the reader hands over."""
    ids = tuple(histories) if instrument_ids is None else tuple(dict.fromkeys(instrument_ids))
    rows = [sorted(histories.get(name, ())) for name in ids]
    flat = [row for history in rows for row in history]
    columns = [1 + BAR_FIELDS.index(name) for name in fields]
    return PriceBars(
        instrument_ids=ids,
        offsets=np.cumsum([0, *map(len, rows)]).astype(np.int64),
        dates=np.array([row[0] for row in flat], dtype="M8[D]"),
        fields=tuple(fields),
        values=np.array([[row[at] for row in flat] for at in columns], dtype=np.float64),
    )


class MemoryBars:
    """A source of bars without a database; it returns what `DataReader.load_bars` promises, no more and no less."""

    def __init__(self, histories: Histories) -> None:
        self.histories = histories

    def load_bars(
        self, instrument_ids: Sequence[str], first: date, last: date, n_before: int, fields: Sequence[str]
    ) -> PriceBars:
        loaded = {}
        for name in instrument_ids:
            rows = sorted(self.histories.get(name, ()))
            reaching_back = [row for row in rows if row[0] <= first][-n_before:]
            loaded[name] = reaching_back + [row for row in rows if first < row[0] <= last]
        return bars_of_histories(loaded, fields=fields)


class WeekdayCalendar:
    """Every weekday is a session."""

    def n_sessions_after(self, start: date, end: date) -> int:
        days = [start + timedelta(days=1 + n) for n in range((end - start).days)]
        return sum(day.weekday() < 5 for day in days)


class NoDatabase:
    """Proof that a computation needs no server: whoever asks for a connection fails."""

    def get_historical_connection(self) -> object:
        raise AssertionError("a connection was asked for")


def weekday_list(n: int, last: date = date(2025, 1, 31)) -> list[date]:
    """The `n` weekdays up to `last`, which is one."""
    days: list[date] = []
    day = last
    while len(days) < n:
        days += [day] if day.weekday() < 5 else []
        day -= timedelta(days=1)
    return days[::-1]


def walk(n: int, last: date = date(2025, 1, 31), seed: int = 7) -> list[Row]:
    """Rows of a seeded random walk on weekdays; the values of `tests.fixtures.market.random_walk`."""
    closes, volumes = random_walk(n, seed)
    return list(zip(weekday_list(n, last), closes.tolist(), volumes.tolist(), strict=True))


def bar_walk(n: int, last: date = date(2025, 1, 31), seed: int = 7) -> list[Bar]:
    """The same walk with dividends in the adjusted close, and a high and a low around each close."""
    generator = np.random.default_rng(seed)
    above, below = (1 + generator.uniform(0, 0.02, n)).tolist(), (1 - generator.uniform(0, 0.02, n)).tolist()
    return [
        (day, close, volume, close * 0.9999 ** (n - at), close * above[at], close * below[at])
        for at, (day, close, volume) in enumerate(walk(n, last, seed))
    ]


def sample_bars(instrument_id: str) -> list[Bar]:
    """The bars of one instrument of the packaged sample."""
    table = pq.read_table(PRICES, columns=["trade_date", *BAR_FIELDS], filters=[("instrument_id", "==", instrument_id)])
    return [(row["trade_date"], *(row[name] for name in BAR_FIELDS)) for row in table.to_pylist()]
