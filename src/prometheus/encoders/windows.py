"""Numeric windows: what an encoder sees of a market on one date, and nothing dated after it.

All windows of many instruments and dates share one feature table; a window is a position in it. One date is a batch of
one, so there is one path and one set of bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided

from prometheus.arrays import DateVector, Float32Cube, Float32Matrix, Float64Vector, Int64Vector
from prometheus.data.bars import PriceBars
from prometheus.errors import (
    CalendarRangeError,
    InputRefusedError,
    InsufficientHistoryError,
    StaleHistoryError,
    UsageError,
    WindowShapeError,
)

INSTRUMENT = "INSTRUMENT"
FEATURES = ("close", "volume", "log_return")
BAR_FIELDS = ("close", "volume")
MAX_AGE_SESSIONS = 5
"""A last bar older than this many sessions makes a window stale."""
MAX_WINDOW_DAYS = 20_000


@dataclass(frozen=True, slots=True)
class NumericWindowSpec:
    """Whose window, and how many sessions long.

    Raises
    ------
    UsageError
        `window_days` is not between 1 and 20,000.
    """

    entity_type: str
    entity_id: str
    window_days: int

    def __post_init__(self) -> None:
        require_window_days(self.window_days)


def require_window_days(window_days: int) -> int:
    """Return `window_days` if it is a possible length, else raise `UsageError`."""
    if not 1 <= window_days <= MAX_WINDOW_DAYS:
        raise UsageError(f"window_days must be between 1 and {MAX_WINDOW_DAYS}, got {window_days}")
    return window_days


@dataclass(frozen=True, slots=True, eq=False)
class WindowBatch:
    """Windows of one length over a shared feature table, sorted by entity, then by date.

    Attributes
    ----------
    entity_ids
        Names; `entity_index` points into them.
    entity_index, as_of_dates, last_sessions, ends
        Shape (n_windows,): the entity, the date asked for, the date of the newest row, and one past its position.
    features
        Shape (n_rows, 3), float32, C order: close, volume, log return of the close against the row before.
    input_hashes
        Shape (n_windows,), int64: equal windows have equal hashes, whatever batch they came in.
    """

    window_days: int
    entity_ids: tuple[str, ...]
    entity_index: Int64Vector
    as_of_dates: DateVector
    last_sessions: DateVector
    ends: Int64Vector
    features: Float32Matrix
    input_hashes: Int64Vector

    def __len__(self) -> int:
        return len(self.ends)

    def take(self, chosen: Int64Vector | slice) -> WindowBatch:
        """Return some of the windows, over the same feature table."""
        return WindowBatch(
            window_days=self.window_days,
            entity_ids=self.entity_ids,
            entity_index=self.entity_index[chosen],
            as_of_dates=self.as_of_dates[chosen],
            last_sessions=self.last_sessions[chosen],
            ends=self.ends[chosen],
            features=self.features,
            input_hashes=self.input_hashes[chosen],
        )

    def values(self) -> Float32Cube:
        """Return the windows themselves, shape (n_windows, window_days, 3), a fresh array.

        The first session of a window has log return 0: the close before it is outside the window.
        """
        n_features = len(FEATURES)
        row_bytes, value_bytes = self.features.strides
        n_positions = max(len(self.features) - self.window_days + 1, 0)
        all_windows = as_strided(
            self.features,
            shape=(n_positions, self.window_days, n_features),
            strides=(row_bytes, row_bytes, value_bytes),
            writeable=False,
        )
        windows = all_windows[self.ends - self.window_days]
        windows[:, 0, FEATURES.index("log_return")] = 0.0
        return windows


@dataclass(frozen=True, slots=True, eq=False)
class WindowBuild:
    """The windows that could be built, and why the others could not."""

    windows: WindowBatch
    failures: tuple[InputRefusedError, ...]


class BarSource(Protocol):
    """Where bars come from; `prometheus.data.reader.DataReader` is one."""

    def load_bars(
        self, instrument_ids: Sequence[str], first: date, last: date, n_before: int, fields: Sequence[str]
    ) -> PriceBars:
        """Return bars from `first` to `last` and the ones that windows ending there reach back to."""


class SessionCounter(Protocol):
    """What a window needs of a calendar; `prometheus.core.time.TradingCalendar` is one."""

    def n_sessions_after(self, start: date, end: date) -> int:
        """Return how many sessions lie in (`start`, `end`]."""


class NumericWindowBuilder:
    """Builds windows from stored bars.

    Parameters
    ----------
    reader
        Source of bars.
    calendar
        Tells how old a bar is, in sessions; asked only when it is more than five days old.
    """

    def __init__(self, reader: BarSource, calendar: SessionCounter) -> None:
        self._reader = reader
        self._calendar = calendar

    def build_window(self, spec: NumericWindowSpec, as_of_date: date) -> Float32Matrix:
        """Return one window, shape (window_days, 3), float32: close, volume, log return; oldest session first.

        Raises
        ------
        InsufficientHistoryError, StaleHistoryError
            The message names the counts.
        """
        window: Float32Matrix = self.build_one(spec, as_of_date).values()[0]
        return window

    def build_one(self, spec: NumericWindowSpec, as_of_date: date) -> WindowBatch:
        """Return a batch of one window, or raise what is wrong with it."""
        build = self.build_date([spec.entity_id], as_of_date, spec.window_days)
        if build.failures:
            raise build.failures[0]
        return build.windows

    def build_date(self, instrument_ids: Sequence[str], as_of_date: date, window_days: int) -> WindowBuild:
        """Return the windows of many instruments on one date."""
        require_window_days(window_days)
        bars = self._reader.load_bars(instrument_ids, as_of_date, as_of_date, window_days, BAR_FIELDS)
        return windows_on_date(bars, as_of_date, window_days, self._calendar)

    def build_range(self, instrument_ids: Sequence[str], start: date, end: date, window_days: int) -> WindowBuild:
        """Return one window for every session observed from `start` to `end` that has enough history."""
        require_window_days(window_days)
        bars = self._reader.load_bars(instrument_ids, start, end, window_days, BAR_FIELDS)
        return windows_in_range(bars, start, end, window_days)


def windows_on_date(bars: PriceBars, as_of_date: date, window_days: int, calendar: SessionCounter) -> WindowBuild:
    """Return the window of every instrument that ends at or shortly before `as_of_date`.

    An instrument with too few bars, or whose last one is more than five sessions old, becomes a failure.
    """
    entities: list[int] = []
    ends: list[int] = []
    failures: list[InputRefusedError] = []
    as_of = np.datetime64(as_of_date, "D")
    for index, instrument_id in enumerate(bars.instrument_ids):
        first, stop = bars.offsets[index], bars.offsets[index + 1]
        dates = bars.dates[first:stop]
        found = int(np.searchsorted(dates, as_of, side="right"))
        failure = _date_failure(instrument_id, dates[:found], as_of_date, window_days, calendar)
        if failure is not None:
            failures.append(failure)
            continue
        entities.append(index)
        ends.append(int(first) + found)
    positions = np.array(ends, dtype=np.int64)
    as_of_dates = np.full(len(positions), as_of)
    windows = _window_batch(bars, np.array(entities, dtype=np.int64), as_of_dates, positions, window_days)
    return WindowBuild(windows, tuple(failures))


def windows_in_range(bars: PriceBars, start: date, end: date, window_days: int) -> WindowBuild:
    """Return one window per instrument and observed session in the range.

    Sessions with fewer than `window_days` bars up to them have no window; that is the beginning of a history, not a
    failure. An instrument without a single window in the range is one.
    """
    entities: list[Int64Vector] = []
    ends: list[Int64Vector] = []
    failures: list[InputRefusedError] = []
    for index, instrument_id in enumerate(bars.instrument_ids):
        first, stop = int(bars.offsets[index]), int(bars.offsets[index + 1])
        dates = bars.dates[first:stop]
        begin = max(int(np.searchsorted(dates, np.datetime64(start, "D"))), window_days - 1)
        finish = int(np.searchsorted(dates, np.datetime64(end, "D"), side="right"))
        if begin >= finish:
            failures.append(_range_failure(instrument_id, start, end, window_days, finish))
            continue
        entities.append(np.full(finish - begin, index, dtype=np.int64))
        ends.append(np.arange(first + begin + 1, first + finish + 1, dtype=np.int64))
    positions = np.concatenate(ends) if ends else np.empty(0, dtype=np.int64)
    entity_index = np.concatenate(entities) if entities else np.empty(0, dtype=np.int64)
    windows = _window_batch(bars, entity_index, bars.dates[positions - 1], positions, window_days)
    return WindowBuild(windows, tuple(failures))


def _date_failure(
    instrument_id: str, dates: DateVector, as_of_date: date, window_days: int, calendar: SessionCounter
) -> InputRefusedError | None:
    if len(dates) < window_days:
        return InsufficientHistoryError(instrument_id, as_of_date, window_days, len(dates))
    last_session: date = dates[-1].item()
    if (as_of_date - last_session).days <= MAX_AGE_SESSIONS:  # n days hold at most n sessions
        return None
    try:
        age = calendar.n_sessions_after(last_session, as_of_date)
    except CalendarRangeError as error:  # one bar from before all calendars must not stop the other instruments
        return InputRefusedError(f"{instrument_id}: the age of its last bar, of {last_session}, is unknown ({error})")
    if age <= MAX_AGE_SESSIONS:
        return None
    return StaleHistoryError(instrument_id, as_of_date, last_session, age, MAX_AGE_SESSIONS)


def _range_failure(instrument_id: str, start: date, end: date, window_days: int, found: int) -> InputRefusedError:
    if found < window_days:
        return InsufficientHistoryError(instrument_id, end, window_days, found)
    return InputRefusedError(
        f"{instrument_id}: no bar from {start} to {end}; load newer bars or ask for an earlier range"
    )


def _window_batch(
    bars: PriceBars, entity_index: Int64Vector, as_of_dates: DateVector, ends: Int64Vector, window_days: int
) -> WindowBatch:
    starts = ends - window_days
    if len(starts) and starts.min() < 0:
        raise WindowShapeError("window", (int(starts.min()),), ("a start at or after the first bar",))
    features = feature_table(bars)
    return WindowBatch(
        window_days=window_days,
        entity_ids=bars.instrument_ids,
        entity_index=entity_index,
        as_of_dates=as_of_dates,
        last_sessions=bars.dates[ends - 1],
        ends=ends,
        features=features,
        input_hashes=window_hashes(bars, starts, ends),
    )


def feature_table(bars: PriceBars) -> Float32Matrix:
    """Return close, volume and log return of every bar, shape (n_rows, 3), float32.

    The log return is taken in float64 and then narrowed. The first bar of an instrument has return 0.
    """
    close = bars.column("close")
    table = np.empty((len(close), len(FEATURES)), dtype=np.float32)
    with np.errstate(over="ignore"):  # a volume beyond float32 becomes infinite and is refused with the vector
        table[:, 0] = close
        table[:, 1] = bars.column("volume")
    table[:, 2] = log_returns(close)
    table[bars.offsets[:-1][bars.offsets[:-1] < len(close)], 2] = 0.0
    return table


def log_returns(close: Float64Vector) -> Float64Vector:
    """Return ln(close[t] / close[t-1]) with 0 first, shape (n,), float64."""
    returns = np.zeros_like(close)
    with np.errstate(over="ignore", divide="ignore"):  # between two instruments any ratio can occur; it is not used
        np.log(close[1:] / close[:-1], out=returns[1:])
    return returns


def window_hashes(bars: PriceBars, starts: Int64Vector, ends: Int64Vector) -> Int64Vector:
    """Return a 64-bit digest of each window's bars, shape (n_windows,), int64 (ADR-0004).

    A polynomial in an odd constant over mixed row digests, modulo 2**64, from prefix sums: exact, equal for equal bars
    wherever they stand, and linear in the number of bars instead of windows times length.
    """
    rows = _row_digests(bars)
    n_rows = len(rows)
    powers = np.ones(n_rows + 1, dtype=np.uint64)
    inverses = np.ones(n_rows + 1, dtype=np.uint64)
    np.cumprod(np.full(n_rows, _BASE), out=powers[1:])
    np.cumprod(np.full(n_rows, _BASE_INVERSE), out=inverses[1:])
    prefix = np.zeros(n_rows + 1, dtype=np.uint64)
    np.cumsum(rows * powers[:-1], out=prefix[1:])
    digests = (prefix[ends] - prefix[starts]) * inverses[starts]
    return _mix(digests).view(np.int64)


_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so it has an inverse modulo 2**64; 2**64 divided by the golden ratio
_BASE_INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 2**64))


def _row_digests(bars: PriceBars) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    digests = _mix(bars.dates.astype(np.int64).view(np.uint64))
    for field in BAR_FIELDS:
        digests = _mix(digests ^ bars.column(field).view(np.uint64))
    return digests


def _mix(values: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Return the finaliser of SplitMix64 of each value (Steele, Lea and Flood, 2014)."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
