"""Numeric windows: what an encoder sees of a market on one date, and nothing dated after it.

All windows of many instruments and dates share one feature table; a window is a position in it. One date is a batch of
one. A reader that only has `read_prices` and a calendar that only has `trading_days_between` are enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import ArrayLike, NDArray

from prometheus.arrays import (
    DateVector,
    FeatureCube,
    FeatureTable,
    Float32Matrix,
    Float64Vector,
    Int64Vector,
    as_float32,
)
from prometheus.encoders.identity import completed
from prometheus.encoders.numeric.features import CLOSE_VOLUME, LOG_RETURN, FeatureSet, window_hashes
from prometheus.encoders.numeric.judged import JudgedBars, load_judged
from prometheus.errors import (
    CalendarRangeError,
    InputRefusedError,
    InsufficientHistoryError,
    StaleHistoryError,
    UsageError,
)
from prometheus.market.bars import PriceBars
from prometheus.market.quality import AGED, Verdict
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
MAX_AGE_SESSIONS = 5  # a last bar older than this many sessions makes a window stale
MAX_WINDOW_DAYS = 20_000
_FIRST_DATE = date(1800, 1, 1)  # from here on bars are asked for where a first look found too few


@dataclass(frozen=True, slots=True)
class NumericWindowSpec:
    """Whose window, and how many sessions long, from 1 to 20,000."""

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

    `entity_index` points into `entity_ids`; `ends` are one past the newest row. Equal windows have equal hashes,
    whatever batch they came in. `features` have shape (n_rows, n_features), C order, in the terms of `feature_set`. A
    window `is_held` where the bar of its date was suspect: it is the one that ended before. `closes` are those of all
    sound bars, on one scale; the one of a window's last bar stands before `close_ends`.
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
    is_held: NDArray[np.bool_]
    closes: Float64Vector
    close_ends: Int64Vector
    sources: None = None

    def __len__(self) -> int:
        return len(self.ends)

    def take(self, chosen: Int64Vector | slice) -> WindowBatch:
        """Return some of the windows, over the same feature table."""
        names = ("entity_index", "as_of_dates", "last_sessions", "ends", "input_hashes", "is_held", "close_ends")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})

    def values(self) -> FeatureCube:
        """Return the windows themselves, shape (n_windows, window_days, n_features), a fresh array.

        The first session of a window has log return 0: the close before it is outside the window.
        """
        n_positions = max(len(self.features) - self.window_days + 1, 0)
        shape, strides = (n_positions, self.window_days, self.features.shape[1]), self.features.strides
        all_windows = as_strided(self.features, shape, (strides[0], *strides), writeable=False)
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
    """Builds windows, of close, volume and log return by default; the calendar tells how old a bar is, in sessions."""

    def __init__(
        self, reader: BarSource | PriceReader, calendar: Sessions | Calendar, feature_set: FeatureSet | None = None
    ) -> None:
        user = "NumericWindowBuilder"
        self._reader: BarSource = completed(reader, user, "reader", ("load_bars",), "read_prices", _FrameBars)
        self._calendar: Sessions = completed(
            calendar, user, "calendar", ("n_sessions_after",), "trading_days_between", _ListedSessions
        )
        self._feature_set = CLOSE_VOLUME if feature_set is None else feature_set

    def build_window(self, spec: NumericWindowSpec, as_of_date: date) -> Float32Matrix:
        """Return one window, oldest session first; `InsufficientHistoryError` or `StaleHistoryError` names the counts.

        Shape (window_days, 3), float32: close, volume, log return; or as the builder's feature set says.
        """
        window: Float32Matrix = self.build_one(spec, as_of_date).values()[0]
        return window

    def build_one(self, spec: NumericWindowSpec, as_of_date: date) -> WindowBatch:
        """Return a batch of one window, or raise what is wrong with it."""
        return self.build_trailing(spec, as_of_date, 1)

    def build_trailing(self, spec: NumericWindowSpec, as_of_date: date, n_windows: int) -> WindowBatch:
        """Return the windows of the last `n_windows` sessions up to a date, oldest first, or raise what is wrong."""
        bars = self._load([spec.entity_id], as_of_date, as_of_date, spec.window_days, n_windows - 1)
        find = _on_date(as_of_date, spec.window_days, n_windows, self._calendar)
        found = _windows_found(bars, find, spec.window_days, self._feature_set)
        if found.failures:
            raise found.failures[0]
        found.windows.as_of_dates[-1] = as_of_date
        return found.windows

    def build_date(self, instrument_ids: Sequence[str], as_of_date: date, window_days: int) -> WindowBuild[WindowBatch]:
        """Return the windows of many instruments on one date."""
        require_window_days(window_days)
        bars = self._load(instrument_ids, as_of_date, as_of_date, window_days)
        return windows_on_date(bars, as_of_date, window_days, self._calendar, self._feature_set)

    def build_range(
        self, instrument_ids: Sequence[str], start: date, end: date, window_days: int, warm_up: int = 0
    ) -> WindowBuild[WindowBatch]:
        """Return a window for every session from `start` to `end`, and `warm_up` before, that has enough history."""
        require_window_days(window_days)
        bars = self._load(instrument_ids, start, end, window_days, warm_up)
        return windows_in_range(bars, start, end, window_days, self._feature_set, warm_up)

    def _load(
        self, instrument_ids: Sequence[str], first: date, last: date, window_days: int, warm_up: int = 0
    ) -> JudgedBars:
        return load_judged(
            self._reader, instrument_ids, first, last, window_days, warm_up, self._feature_set, self._calendar
        )


def windows_on_date(
    bars: JudgedBars | PriceBars,
    as_of_date: date,
    window_days: int,
    calendar: Sessions,
    feature_set: FeatureSet | None = None,
) -> WindowBuild[WindowBatch]:
    """Return the window of every instrument that ends at or shortly before `as_of_date`, and why others have none.

    Bars that were not judged are all believed.
    """
    find = _on_date(as_of_date, window_days, 1, calendar)
    found = _windows_found(bars, find, window_days, feature_set or CLOSE_VOLUME)
    found.windows.as_of_dates[:] = as_of_date
    return found


def windows_in_range(
    bars: JudgedBars | PriceBars,
    start: date,
    end: date,
    window_days: int,
    feature_set: FeatureSet | None = None,
    warm_up: int = 0,
) -> WindowBuild[WindowBatch]:
    """Return one window per instrument and observed session in the range, and of up to `warm_up` sessions before.

    Sessions with fewer than `window_days` bars up to them have no window; an instrument without any is a failure.
    """

    def find(instrument_id: str, bars: JudgedBars) -> Int64Vector | InputRefusedError:
        finish = int(np.searchsorted(bars.dates, np.datetime64(end, "D"), side="right"))
        rows = np.flatnonzero(bars.have_window(window_days)[:finish])
        begin = int(np.searchsorted(bars.dates[rows], np.datetime64(start, "D")))
        if begin < len(rows):
            return rows[max(begin - warm_up, 0) :]
        if not len(rows):
            n_known = int(bars.n_known[finish - 1]) if finish else 0
            return InsufficientHistoryError(instrument_id, end, window_days, min(n_known, window_days - 1))
        return InputRefusedError(
            f"{instrument_id}: no bar from {start} to {end}; load newer bars or ask for an earlier range"
        )

    return _windows_found(bars, find, window_days, feature_set or CLOSE_VOLUME)


Find: TypeAlias = Callable[[str, JudgedBars], Int64Vector | InputRefusedError]
"""Chooses the dates of one instrument whose windows are wanted, or says why it has no such date."""


def _on_date(as_of_date: date, window_days: int, n_windows: int, calendar: Sessions) -> Find:
    """Return what finds the last windows up to a date, if there are as many and the bar there is young."""

    def find(instrument_id: str, bars: JudgedBars) -> Int64Vector | InputRefusedError:
        known = bars.take(slice(0, int(np.searchsorted(bars.dates, np.datetime64(as_of_date, "D"), side="right"))))
        is_aged = np.isin(known.verdicts, AGED)
        living = np.flatnonzero(~is_aged)
        n_known = int(known.n_known[living[-1]]) if len(living) else 0
        rows = np.flatnonzero(known.have_window(window_days))
        found = n_known if n_known < window_days else len(rows) + window_days - 1
        if found < window_days + n_windows - 1:
            return InsufficientHistoryError(instrument_id, as_of_date, window_days + n_windows - 1, found)
        last_session: date = known.dates[living[-1]].item()
        failure = _age_failure(instrument_id, last_session, as_of_date, calendar, is_aged=bool(is_aged[-1]))
        return rows[len(rows) - n_windows :] if failure is None else failure

    return find


def _windows_found(
    bars: JudgedBars | PriceBars, find: Find, window_days: int, feature_set: FeatureSet
) -> WindowBuild[WindowBatch]:
    """Return the windows of the dates that `find` chooses of each instrument."""
    bars = JudgedBars.of_all(bars) if isinstance(bars, PriceBars) else bars
    entities, chosen = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    failures: list[InputRefusedError] = []
    for index, instrument_id in enumerate(bars.bars.instrument_ids):
        found = bars.unjudged.get(instrument_id) or find(instrument_id, bars.take(bars.of(index)))
        if isinstance(found, InputRefusedError):
            failures.append(found)
            continue
        entities.append(np.full(len(found), index, dtype=np.int64))
        chosen.append(bars.offsets[index] + found)
    windows = _window_batch(bars, np.concatenate(entities), np.concatenate(chosen), window_days, feature_set)
    return WindowBuild(windows, tuple(failures))


def _age_failure(
    instrument_id: str, last_session: date, as_of_date: date, calendar: Sessions, *, is_aged: bool
) -> InputRefusedError | None:
    """Return why the last sound bar is too old; `is_aged` says that later bars are not sound."""
    if (as_of_date - last_session).days <= MAX_AGE_SESSIONS and not is_aged:  # n days hold at most n sessions
        return None
    try:
        age = calendar.n_sessions_after(last_session, as_of_date)
    except CalendarRangeError as error:  # one bar from before all calendars must not stop the other instruments
        return InputRefusedError(f"{instrument_id}: the age of its last bar, of {last_session}, is unknown ({error})")
    if age <= MAX_AGE_SESSIONS and not is_aged:
        return None
    return StaleHistoryError(instrument_id, as_of_date, last_session, age, MAX_AGE_SESSIONS)


def _window_batch(
    bars: JudgedBars, entity_index: Int64Vector, chosen: Int64Vector, window_days: int, feature_set: FeatureSet
) -> WindowBatch:
    ends = bars.ends[chosen]
    return WindowBatch(
        window_days=window_days,
        entity_ids=bars.bars.instrument_ids,
        entity_index=entity_index,
        as_of_dates=bars.dates[chosen],
        last_sessions=bars.bars.dates[ends - 1],
        ends=ends,
        features=feature_set.tabulate(bars.bars),
        input_hashes=window_hashes(bars.bars, ends - window_days, ends, feature_set.bar_fields),
        feature_set=feature_set,
        is_held=bars.verdicts[chosen] == Verdict.SUSPECT,
        closes=bars.closes,
        close_ends=bars.close_ends[chosen],
    )


@dataclass(frozen=True, slots=True)
class _ListedSessions:
    calendar: Calendar

    def n_sessions_after(self, start: date, end: date) -> int:
        return len(self.calendar.trading_days_between(start + timedelta(days=1), end))


@dataclass(frozen=True, slots=True)
class _FrameBars:
    reader: PriceReader

    def load_bars(
        self, instrument_ids: Sequence[str], first: date, last: date, n_before: int, fields: Sequence[str]
    ) -> PriceBars:
        ids = tuple(dict.fromkeys(instrument_ids))
        some_time_ago = first - timedelta(days=30 + 2 * n_before)
        bars = self._read(ids, max(some_time_ago, _FIRST_DATE), last, fields)
        n_known = np.append(0, np.cumsum(bars.dates <= np.datetime64(first, "D")))[bars.offsets]
        if (np.diff(n_known) < n_before).any():
            bars = self._read(ids, _FIRST_DATE, last, fields)
        return bars

    def _read(self, ids: tuple[str, ...], start: date, end: date, fields: Sequence[str]) -> PriceBars:
        frame = self.reader.read_prices(list(ids), start, end)
        ordinals = {name: number for number, name in enumerate(ids)}
        names = np.array([ordinals.get(str(name), -1) for name in self._column(frame, "instrument_id")], dtype=np.int64)
        dates = _dates_of(self._column(frame, "trade_date"))
        within = (names >= 0) & (dates >= np.datetime64(start, "D")) & (dates <= np.datetime64(end, "D"))
        chosen = np.flatnonzero(within)
        order = chosen[np.lexsort((dates[chosen], names[chosen]))]
        names, dates = names[order], dates[order]
        doubled = np.flatnonzero((np.diff(names) == 0) & (np.diff(dates) == np.timedelta64(0, "D")))
        if len(doubled):
            name, day = ids[int(names[doubled[0]])], dates[doubled[0]]
            raise InputRefusedError(f"{type(self.reader).__qualname__}.read_prices gave two bars of {name} on {day}")
        columns = [np.asarray(self._column(frame, field), dtype=np.float64)[order] for field in fields]
        offsets = np.searchsorted(names, np.arange(len(ids) + 1)).astype(np.int64)
        return PriceBars(ids, offsets, dates, tuple(fields), np.array(columns).reshape(len(fields), len(order)))

    def _column(self, frame: Any, name: str) -> Any:
        try:
            return frame[name]
        except (KeyError, TypeError) as error:
            if isinstance(error, KeyError) and not len(frame):  # an empty frame may have no columns at all
                return ()
            raise InputRefusedError(f"{type(self.reader).__qualname__}.read_prices gave no column {name!r}") from error


def _dates_of(column: ArrayLike) -> DateVector:
    values = np.asarray(column)
    if values.dtype.kind == "O":
        values = np.array([each.date() if isinstance(each, datetime) else each for each in values], dtype="M8[D]")
    return values.astype("M8[D]")
