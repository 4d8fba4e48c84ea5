"""Numeric windows: what an encoder sees of a market on one date, and nothing dated after it.

All windows of many instruments and dates share one feature table; a window is a position in it. One date is a batch of
one, so there is one path and one set of bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Generic, TypeVar

import numpy as np
from numpy.lib.stride_tricks import as_strided

from prometheus.arrays import DateVector, FeatureCube, FeatureTable, Float32Matrix, Int64Vector, as_float32
from prometheus.encoders.numeric.features import CLOSE_VOLUME, LOG_RETURN, FeatureSet, window_hashes
from prometheus.encoders.numeric.plain import bar_source, sessions_of
from prometheus.errors import (
    CalendarRangeError,
    InputRefusedError,
    InsufficientHistoryError,
    StaleHistoryError,
    UsageError,
    WindowShapeError,
)
from prometheus.market.bars import PriceBars
from prometheus.protocols import (
    BarSource,
    BatchNumericEmbeddingModel,
    Calendar,
    NumericEmbeddingModel,
    PriceReader,
    Sessions,
    TableNumericEmbeddingModel,
)

INSTRUMENT = "INSTRUMENT"
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
        Shape (n_rows, n_features), C order, in the terms of `feature_set`.
    input_hashes
        Shape (n_windows,), int64: equal windows have equal hashes, whatever batch they came in.
    """

    window_days: int
    entity_ids: tuple[str, ...]
    entity_index: Int64Vector
    as_of_dates: DateVector
    last_sessions: DateVector
    ends: Int64Vector
    features: FeatureTable
    input_hashes: Int64Vector
    feature_set: FeatureSet

    @property
    def sources(self) -> None:
        """Nothing beside the entity itself: a window is made of the bars of one instrument."""
        return

    def __len__(self) -> int:
        return len(self.ends)

    def take(self, chosen: Int64Vector | slice) -> WindowBatch:
        """Return some of the windows, over the same feature table."""
        return replace(
            self,
            entity_index=self.entity_index[chosen],
            as_of_dates=self.as_of_dates[chosen],
            last_sessions=self.last_sessions[chosen],
            ends=self.ends[chosen],
            input_hashes=self.input_hashes[chosen],
        )

    def values(self) -> FeatureCube:
        """Return the windows themselves, shape (n_windows, window_days, n_features), a fresh array.

        The first session of a window has log return 0: the close before it is outside the window.
        """
        n_features = self.features.shape[1]
        row_bytes, value_bytes = self.features.strides
        n_positions = max(len(self.features) - self.window_days + 1, 0)
        all_windows = as_strided(
            self.features,
            shape=(n_positions, self.window_days, n_features),
            strides=(row_bytes, row_bytes, value_bytes),
            writeable=False,
        )
        windows = all_windows[self.ends - self.window_days]
        if LOG_RETURN in self.feature_set.names:
            windows[:, 0, self.feature_set.names.index(LOG_RETURN)] = 0.0
        return windows

    def vectors(self, model: NumericEmbeddingModel) -> Float32Matrix:
        """Return a model's vector of each window, shape (n_windows, dim)."""
        if isinstance(model, TableNumericEmbeddingModel):
            return model.encode_table(self.features, self.ends, self.window_days)
        if isinstance(model, BatchNumericEmbeddingModel):
            return as_float32(model.encode_batch(self.values()))
        vectors = [as_float32(model.encode(window)) for window in self.values()]
        return np.stack(vectors) if vectors else np.empty((0, 0), dtype=np.float32)


WindowsT = TypeVar("WindowsT")


@dataclass(frozen=True, slots=True, eq=False)
class WindowBuild(Generic[WindowsT]):
    """The windows that could be built, and why the others could not."""

    windows: WindowsT
    failures: tuple[InputRefusedError, ...]


class NumericWindowBuilder:
    """Builds windows, of close, volume and log return by default, from the bars of a reader.

    The calendar tells how old a bar is, in sessions; it is asked only when that is more than five days old.
    """

    def __init__(
        self, reader: BarSource | PriceReader, calendar: Sessions | Calendar, feature_set: FeatureSet | None = None
    ) -> None:
        self._reader = bar_source(reader)
        self._calendar = sessions_of(calendar)
        self._feature_set = CLOSE_VOLUME if feature_set is None else feature_set

    def build_window(self, spec: NumericWindowSpec, as_of_date: date) -> Float32Matrix:
        """Return one window, oldest session first.

        Shape (window_days, 3), float32: close, volume, log return; or as the builder's feature set says.

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

    def build_trailing(self, spec: NumericWindowSpec, as_of_date: date, n_windows: int) -> WindowBatch:
        """Return the windows of the last `n_windows` sessions up to a date, oldest first, or raise what is wrong.

        The message of an `InsufficientHistoryError` counts the sessions that all of them together need.
        """
        n_sessions = spec.window_days + n_windows - 1
        bars = self._load([spec.entity_id], as_of_date, as_of_date, n_sessions)
        newest = windows_on_date(bars, as_of_date, n_sessions, self._calendar, self._feature_set)
        if newest.failures:
            raise newest.failures[0]
        return lead_into(bars, newest.windows, spec.window_days, n_windows, self._feature_set)

    def build_date(self, instrument_ids: Sequence[str], as_of_date: date, window_days: int) -> WindowBuild[WindowBatch]:
        """Return the windows of many instruments on one date."""
        require_window_days(window_days)
        bars = self._load(instrument_ids, as_of_date, as_of_date, window_days)
        return windows_on_date(bars, as_of_date, window_days, self._calendar, self._feature_set)

    def build_range(
        self, instrument_ids: Sequence[str], start: date, end: date, window_days: int, warm_up: int = 0
    ) -> WindowBuild[WindowBatch]:
        """Return one window for every session observed from `start` to `end` that has enough history.

        With `warm_up`, also those of that many sessions before the first, so far as there is history for them.
        """
        require_window_days(window_days)
        bars = self._load(instrument_ids, start, end, window_days + warm_up)
        return windows_in_range(bars, start, end, window_days, self._feature_set, warm_up)

    def _load(self, instrument_ids: Sequence[str], first: date, last: date, n_before: int) -> PriceBars:
        return self._reader.load_bars(instrument_ids, first, last, n_before, self._feature_set.bar_fields)


def windows_on_date(
    bars: PriceBars,
    as_of_date: date,
    window_days: int,
    calendar: Sessions,
    feature_set: FeatureSet | None = None,
) -> WindowBuild[WindowBatch]:
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
    windows = _window_batch(
        bars, np.array(entities, dtype=np.int64), as_of_dates, positions, window_days, feature_set or CLOSE_VOLUME
    )
    return WindowBuild(windows, tuple(failures))


def windows_in_range(
    bars: PriceBars,
    start: date,
    end: date,
    window_days: int,
    feature_set: FeatureSet | None = None,
    warm_up: int = 0,
) -> WindowBuild[WindowBatch]:
    """Return one window per instrument and observed session in the range.

    Sessions with fewer than `window_days` bars up to them have no window; that is the beginning of a history, not a
    failure. An instrument without a single window in the range is one. With `warm_up`, the windows of up to that many
    sessions before the first one in the range come too.
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
        begin = max(begin - warm_up, window_days - 1)
        entities.append(np.full(finish - begin, index, dtype=np.int64))
        ends.append(np.arange(first + begin + 1, first + finish + 1, dtype=np.int64))
    positions = np.concatenate(ends) if ends else np.empty(0, dtype=np.int64)
    entity_index = np.concatenate(entities) if entities else np.empty(0, dtype=np.int64)
    windows = _window_batch(
        bars, entity_index, bars.dates[positions - 1], positions, window_days, feature_set or CLOSE_VOLUME
    )
    return WindowBuild(windows, tuple(failures))


def lead_into(
    bars: PriceBars, newest: WindowBatch, window_days: int, n_windows: int, feature_set: FeatureSet
) -> WindowBatch:
    """Return the last `n_windows` windows up to the end of a longer one; the newest keeps the date it was asked for."""
    end = int(newest.ends[0])
    ends = np.arange(end - n_windows + 1, end + 1, dtype=np.int64)
    as_of_dates = bars.dates[ends - 1].copy()
    as_of_dates[-1] = newest.as_of_dates[0]
    return _window_batch(bars, np.zeros(n_windows, dtype=np.int64), as_of_dates, ends, window_days, feature_set)


def _date_failure(
    instrument_id: str, dates: DateVector, as_of_date: date, window_days: int, calendar: Sessions
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
    bars: PriceBars,
    entity_index: Int64Vector,
    as_of_dates: DateVector,
    ends: Int64Vector,
    window_days: int,
    feature_set: FeatureSet,
) -> WindowBatch:
    starts = ends - window_days
    if len(starts) and starts.min() < 0:
        raise WindowShapeError("window", (int(starts.min()),), ("a start at or after the first bar",))
    return WindowBatch(
        window_days=window_days,
        entity_ids=bars.instrument_ids,
        entity_index=entity_index,
        as_of_dates=as_of_dates,
        last_sessions=bars.dates[ends - 1],
        ends=ends,
        features=feature_set.tabulate(bars),
        input_hashes=window_hashes(bars, starts, ends, feature_set.bar_fields),
        feature_set=feature_set,
    )
