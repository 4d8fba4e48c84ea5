"""Collaborators with only their fixed names, made into what windows and encoders ask for.

A reader that has `read_prices`, a calendar that has `trading_days_between`, a builder that has `build_window` and a
store that has `save_embedding` are each enough; the bytes are those of the full path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prometheus.arrays import DateVector, Float32Matrix, Int64Vector, as_float32
from prometheus.encoders.numeric.features import CLOSE_VOLUME, FeatureSet
from prometheus.errors import InputRefusedError, UsageError, VectorError, WindowShapeError
from prometheus.market.bars import PriceBars
from prometheus.protocols import (
    BarSource,
    Calendar,
    EncodableWindows,
    NumericEmbeddingModel,
    PriceReader,
    Sessions,
    StoringEncoder,
    WindowBuilder,
    WindowSource,
    offers,
    require_methods,
)

if TYPE_CHECKING:
    from prometheus.encoders.numeric.windows import NumericWindowSpec

Encode: TypeAlias = "Callable[[Any, NumericWindowSpec, date, NumericEmbeddingModel], ArrayLike]"
"""Makes a vector of what a collaborator gives for a spec and a date."""

_FIRST_DATE = date(1800, 1, 1)
"""From here on everything is asked for where a first look found too little."""


def bar_source(reader: BarSource | PriceReader) -> BarSource:
    """Return where bars come from; a reader that only has `read_prices` is enough."""
    if offers(reader, "load_bars"):
        return cast("BarSource", reader)
    require_methods(reader, "NumericWindowBuilder", "reader", "read_prices")
    return _FrameBars(cast("PriceReader", reader))


def sessions_of(calendar: Sessions | Calendar) -> Sessions:
    """Return what counts sessions; a calendar that only has `trading_days_between` is enough."""
    if offers(calendar, "n_sessions_after"):
        return cast("Sessions", calendar)
    require_methods(calendar, "NumericWindowBuilder", "calendar", "trading_days_between")
    return _ListedSessions(cast("Calendar", calendar))


def window_source(builder: WindowSource | WindowBuilder) -> WindowSource:
    """Return what makes windows; a builder that only has `build_window` is enough for one at a time."""
    if offers(builder, "build_one", "build_trailing"):
        return cast("WindowSource", builder)
    require_methods(builder, "NumericWindowEncoder", "builder", "build_window")
    return _SingleWindows(builder, _encoded_window)


def stored_vectors(encoder: StoringEncoder) -> WindowSource:
    """Return an encoder that only has `embed_and_store` as a source of windows that are encoded and stored already."""
    require_methods(encoder, "a regime model", "encoder", "embed_and_store")
    return _SingleWindows(encoder, lambda owner, spec, day, _model: owner.embed_and_store(spec, day))


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
        rows = _rows_needed(bars, first, n_before)
        if any(n_known < n_before for _, _, n_known in rows):
            bars = self._read(ids, _FIRST_DATE, last, fields)
            rows = _rows_needed(bars, first, n_before)
        chosen = np.concatenate([np.arange(start, stop) for start, stop, _ in rows] or [np.empty(0, dtype=np.int64)])
        offsets = np.cumsum([0, *(stop - start for start, stop, _ in rows)]).astype(np.int64)
        return PriceBars(ids, offsets, bars.dates[chosen], bars.fields, bars.values[:, chosen])

    def _read(self, ids: tuple[str, ...], start: date, end: date, fields: Sequence[str]) -> PriceBars:
        """Return all bars that the reader gives between two dates; what it gives beyond them is not looked at."""
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
            raise InputRefusedError(f"{_name_of(self.reader)}.read_prices gave two bars of {name} on {day}")
        columns = [np.asarray(self._column(frame, field), dtype=np.float64)[order] for field in fields]
        offsets = np.searchsorted(names, np.arange(len(ids) + 1)).astype(np.int64)
        return PriceBars(ids, offsets, dates, tuple(fields), np.array(columns).reshape(len(fields), len(order)))

    def _column(self, frame: Any, name: str) -> Any:
        try:
            return frame[name]
        except (KeyError, TypeError) as error:
            if isinstance(error, KeyError) and not len(frame):  # an empty frame may have no columns at all
                return ()
            raise InputRefusedError(f"{_name_of(self.reader)}.read_prices gave no column {name!r}") from error


def _rows_needed(bars: PriceBars, first: date, n_before: int) -> list[tuple[int, int, int]]:
    """Return of each instrument the first row wanted, one past the last, and how many rows there are up to `first`."""
    needed = []
    for start, stop in zip(bars.offsets[:-1].tolist(), bars.offsets[1:].tolist(), strict=True):
        n_known = int(np.searchsorted(bars.dates[start:stop], np.datetime64(first, "D"), side="right"))
        needed.append((start + max(n_known - n_before, 0), stop, n_known))
    return needed


def _dates_of(column: ArrayLike) -> DateVector:
    values = np.asarray(column)
    if values.dtype.kind == "O":
        values = np.array([each.date() if isinstance(each, datetime) else each for each in values], dtype="M8[D]")
    return values.astype("M8[D]")


@dataclass(frozen=True, slots=True)
class _SingleWindows:
    """One window at a time, of a builder or of an encoder that stores by itself."""

    owner: Any
    encode: Encode

    def build_one(self, spec: NumericWindowSpec, as_of_date: date) -> EncodableWindows:
        return _SingleWindow(self.owner, spec, as_of_date, self.encode)

    def build_trailing(self, spec: NumericWindowSpec, as_of_date: date, n_windows: int) -> EncodableWindows:
        if n_windows != 1:
            raise UsageError(
                f"{_name_of(self.owner)} has no method 'build_trailing', which a model that looks back on "
                f"{n_windows - 1} sessions needs"
            )
        return self.build_one(spec, as_of_date)


@dataclass(frozen=True, slots=True, eq=False)
class _SingleWindow:
    """A batch of one window of unknown inputs."""

    owner: Any
    spec: NumericWindowSpec
    as_of_date: date
    encode: Encode

    @property
    def window_days(self) -> int:
        return self.spec.window_days

    @property
    def entity_ids(self) -> tuple[str, ...]:
        return (self.spec.entity_id,)

    @property
    def entity_index(self) -> Int64Vector:
        return np.zeros(1, dtype=np.int64)

    @property
    def as_of_dates(self) -> DateVector:
        return np.array([self.as_of_date], dtype="M8[D]")

    @property
    def input_hashes(self) -> None:
        return None

    @property
    def feature_set(self) -> FeatureSet:
        return CLOSE_VOLUME

    @property
    def sources(self) -> None:
        return None

    def __len__(self) -> int:
        return 1

    def vectors(self, model: NumericEmbeddingModel, /) -> Float32Matrix:
        vector = self.encode(self.owner, self.spec, self.as_of_date, model)
        name = f"{_name_of(self.owner)}, {self.spec.entity_id} on {self.as_of_date}"
        if vector is None:
            raise VectorError(name, "gave no vector")
        values = as_float32(vector)
        if values.ndim != 1:
            raise VectorError(name, f"shape {values.shape} is not that of a vector")
        return values[np.newaxis]


def _encoded_window(
    builder: WindowBuilder, spec: NumericWindowSpec, as_of_date: date, model: NumericEmbeddingModel
) -> ArrayLike:
    window = builder.build_window(spec, as_of_date)
    values: NDArray[Any] = np.asarray(() if window is None else window)
    if values.ndim != 2 or len(values) != spec.window_days:
        name = f"{_name_of(builder)}, window of {spec.entity_id} on {as_of_date}"
        raise WindowShapeError(name, values.shape, (spec.window_days, "n_features"))
    return model.encode(values)


def _name_of(collaborator: object) -> str:
    return type(collaborator).__qualname__
