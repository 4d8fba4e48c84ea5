"""Plans and reports of backfills: pure decisions and sums, no clock, no database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Int64Vector
from prometheus.encoders.numeric.windows import WindowBatch, require_window_days
from prometheus.encoders.texts.portions import portions_of
from prometheus.errors import PrometheusError, UsageError

if TYPE_CHECKING:
    from prometheus.encoders.texts.documents import TextKey, TextSourceType

T = TypeVar("T")

CHUNK_WINDOWS = 16_384
"""Windows encoded and written at once: 24 MiB of vectors of 384 values."""
CHUNK_DAYS = CHUNK_WINDOWS * 365 // 262
"""Calendar days of one entity in a chunk; no market has more sessions than weekdays."""
SKIPPED_SHOWN = 10
"""Names in a line for people; machines get all."""
CHUNK_BARS = 4_000_000
"""Bars read at once: up to 160 MB as they come, far below the gigabyte that PostgreSQL puts into one value."""


@dataclass(frozen=True, slots=True)
class DateSpan:
    """One date, or every session observed in a range; UsageError if the end lies before the start."""

    start: date
    end: date
    is_range: bool

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise UsageError(f"the range ends {self.end}, before it starts {self.start}")

    def __str__(self) -> str:
        return f"{self.start}..{self.end}" if self.is_range else str(self.start)

    @classmethod
    def of_date(cls, as_of_date: date) -> DateSpan:
        """Return the span of one date."""
        return cls(as_of_date, as_of_date, is_range=False)

    @classmethod
    def of_range(cls, start: date, end: date) -> DateSpan:
        """Return the span from `start` to `end`, both included."""
        return cls(start, end, is_range=True)

    def pieces(self, n_days: int) -> list[DateSpan]:
        """Return consecutive spans of at most `n_days` calendar days."""
        if not self.is_range:
            return [self]
        cuts = range(self.start.toordinal(), self.end.toordinal() + 1, n_days)
        lasts = [min(first + n_days - 1, self.end.toordinal()) for first in cuts]
        return [
            DateSpan.of_range(date.fromordinal(first), date.fromordinal(last))
            for first, last in zip(cuts, lasts, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class NumericRequest:
    """Embeddings wanted of instruments, on some dates, by one model.

    `members` were selected by market, not by name: one whose history has ended, or not begun, is skipped; of a named
    instrument either is a failure.
    """

    instrument_ids: tuple[str, ...]
    span: DateSpan
    window_days: int
    model_id: str
    members: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        require_window_days(self.window_days)


@dataclass(frozen=True, slots=True)
class Chunk(ABC):
    """A piece of a backfill: keys of the rows wanted, small enough to send to another machine.

    `divided` names the field of its items; without one it stays whole.
    """

    divided: ClassVar[str | None] = None

    @property
    @abstractmethod
    def key(self) -> str:
        """A name that is the same in every run that wants the same rows."""

    @property
    def n_items(self) -> int:
        """Progress units."""
        return 1 if self.divided is None else len(getattr(self, self.divided))

    def halves(self) -> tuple[Self, ...]:
        """Return two smaller chunks, or nothing if it is not divided: this finds the item that kills workers."""
        middle = self.n_items // 2
        if self.divided is None or not middle:
            return ()
        items = getattr(self, self.divided)
        return tuple(replace(self, **{self.divided: part}) for part in (items[:middle], items[middle:]))


@dataclass(frozen=True, slots=True)
class NumericChunk(Chunk):
    """The windows of some instruments, ascending, of one market, on all dates of a span.

    Of a range that began at `since`, the span is the rest that was not known to be stored.
    """

    divided: ClassVar[str] = "instrument_ids"
    instrument_ids: tuple[str, ...]
    market: str
    span: DateSpan
    window_days: int
    model_id: str
    since: date | None = None

    @property
    def key(self) -> str:
        """Model, instruments and dates."""
        names = "..".join(dict.fromkeys((self.instrument_ids[0], self.instrument_ids[-1])))
        return f"{self.model_id}/{self.window_days} of {names}, {self.span}"


@dataclass(frozen=True, slots=True)
class RegimeChunk(Chunk):
    """The regimes of one region over a span of dates."""

    region: str
    span: DateSpan

    @property
    def key(self) -> str:
        """Region and dates."""
        return f"regimes of {self.region}, {self.span}"

    @property
    def n_items(self) -> int:
        """Calendar days."""
        return (self.span.end - self.span.start).days + 1


@dataclass(frozen=True, slots=True)
class TextChunk(Chunk):
    """Some texts of one kind, by row id, oldest first."""

    divided: ClassVar[str] = "source_ids"
    source_type: TextSourceType
    source_ids: tuple[int, ...]
    model_id: str

    @property
    def key(self) -> str:
        """Model, kind and rows."""
        first, last = self.source_ids[0], self.source_ids[-1]
        return f"{self.model_id} of {len(self.source_ids)} texts, {self.source_type} {first}..{last}"


@dataclass(frozen=True, slots=True)
class BackfillReport:
    """The result of a backfill; reports of chunks add up field by field, those of subclasses with fields of their own.

    Rows are `planned` if wanted and computable, `written` if new or changed, with vectors of `n_bytes`; `rewritten` are
    instruments with stored rows of other inputs. Stored rows are `dropped` if their dates have no window any more.
    """

    planned: int = 0
    written: int = 0
    failures: tuple[PrometheusError, ...] = ()
    n_bytes: int = 0
    rewritten: tuple[str, ...] = ()
    dropped: int = 0

    @property
    def unchanged(self) -> int:
        """Rows that needed no write."""
        return self.planned - self.written

    def __add__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "planned": self.planned,
            "written": self.written,
            "unchanged": self.unchanged,
            "failed": len(self.failures),
            "bytes": self.n_bytes,
            "dropped": self.dropped,
            "failures": [str(failure) for failure in self.failures],
        }


@dataclass(frozen=True, slots=True)
class Skipped:
    """Instruments, or regions, without rows by rule: their history has ended, or begins too late.

    `ended` holds the date of the last bar by name, `not_begun` that of the first: there are too few sessions up to the
    date asked for, or none yet.
    """

    ended: Mapping[str, date] = field(default_factory=dict)
    not_begun: Mapping[str, date] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.ended or self.not_begun)

    def __contains__(self, name: object) -> bool:
        return name in self.ended or name in self.not_begun

    def __add__(self, other: Skipped) -> Skipped:
        return Skipped({**self.ended, **other.ended}, {**self.not_begun, **other.not_begun})

    def rest(self, names: Iterable[str]) -> list[str]:
        """Return the names that are not skipped."""
        return [name for name in names if name not in self]

    def describe(self, noun: str = "instrument") -> str:
        """Return numbers, names and dates in words; empty if nothing was skipped."""
        said = ((self.ended, "ended", "on"), (self.not_begun, "not begun", "from"))
        return ", ".join(
            f"{len(days)} {noun}{'s' if len(days) > 1 else ''} {verb} ({_listed(days, preposition)})"
            for days, verb, preposition in said
            if days
        )

    def to_dict(self) -> dict[str, dict[str, str]]:
        """Return JSON values."""
        return {
            name: {key: str(day) for key, day in sorted(days.items())}
            for name, days in (("ended", self.ended), ("not_begun", self.not_begun))
        }


def _listed(days: Mapping[str, date], preposition: str) -> str:
    shown = [f"{name} {preposition} {days[name]}" for name in sorted(days)]
    more = f", and {len(shown) - SKIPPED_SHOWN} more" if len(shown) > SKIPPED_SHOWN else ""
    return ", ".join(shown[:SKIPPED_SHOWN]) + more


def numeric_chunks(request: NumericRequest, market: str) -> list[NumericChunk]:
    """Cut a request for instruments of one market into chunks of bounded size, in order of instrument."""
    size = instruments_per_chunk(request.span, request.window_days)
    return [
        NumericChunk(tuple(names), market, request.span, request.window_days, request.model_id)
        for names in chunked(sorted(set(request.instrument_ids)), size)
    ]


def regime_chunks(region: str, span: DateSpan) -> list[RegimeChunk]:
    """Cut a region's dates into chunks of bounded size, oldest first."""
    return [RegimeChunk(region, piece) for piece in span.pieces(CHUNK_DAYS)]


def text_chunks(
    source_type: TextSourceType, keys: Iterable[TextKey], model_id: str, scale: int = 1
) -> Iterator[TextChunk]:
    """Cut texts into chunks of bounded size, in the order given; see `portions_of` for `scale`."""
    for portion in portions_of(keys, lambda key: key.n_characters, scale):
        yield TextChunk(source_type, tuple(key.source_id for key in portion), model_id)


def missing_windows(windows: WindowBatch, stored: NDArray[Any]) -> Int64Vector:
    """Return positions of the windows without a stored row of equal input, in order.

    `stored` is structured: ``entity_index``, ``as_of_date``, ``input_hash``; one row per key.
    """
    wanted_keys = _keys(windows.entity_index, windows.as_of_dates)
    stored_keys = _keys(stored["entity_index"].astype(np.int64), stored["as_of_date"])
    is_equal = is_stored(wanted_keys, windows.input_hashes, stored_keys, stored["input_hash"])
    return np.flatnonzero(~is_equal).astype(np.int64)


def is_stored(
    keys: NDArray[Any], hashes: Int64Vector, stored_keys: NDArray[Any], stored_hashes: Int64Vector
) -> NDArray[np.bool_]:
    """Return whether each key has a stored row of equal input; stored keys are unique, in any order."""
    if not len(stored_keys):
        return np.zeros(len(keys), dtype=np.bool_)
    order = np.argsort(stored_keys)
    stored_keys, stored_hashes = stored_keys[order], stored_hashes[order]
    at = np.minimum(np.searchsorted(stored_keys, keys), len(stored_keys) - 1)
    is_equal: NDArray[np.bool_] = (stored_keys[at] == keys) & (stored_hashes[at] == hashes)
    return is_equal


def lost_dates(stored: DateVector, wanted: DateVector, refused: Iterable[date] = ()) -> DateVector:
    """Return the stored dates after the first one wanted that are neither wanted nor refused: their bars are gone.

    `wanted` ascends.
    """
    nearest = wanted[np.minimum(np.searchsorted(wanted, stored), len(wanted) - 1)]
    lost: DateVector = stored[(nearest != stored) & (stored > wanted[0])]
    kept = set(refused)
    return lost[[day not in kept for day in lost.tolist()]] if kept else lost


def rewritten_entities(missing: WindowBatch, stored: NDArray[Any]) -> tuple[str, ...]:
    """Return the entities of missing windows with a stored row of another input; `stored` as above."""
    stored_keys = _keys(stored["entity_index"].astype(np.int64), stored["as_of_date"])
    is_stored = np.isin(_keys(missing.entity_index, missing.as_of_dates), stored_keys)
    return tuple(missing.entity_ids[index] for index in sorted(set(missing.entity_index[is_stored].tolist())))


def chunked(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield consecutive slices of at most `size` items."""
    for first in range(0, len(items), size):
        yield items[first : first + size]


def instruments_per_chunk(span: DateSpan, window_days: int, chunk_windows: int = CHUNK_WINDOWS) -> int:
    """Return the number of instruments per read: about `chunk_windows` windows, at most `CHUNK_BARS` bars."""
    sessions = 1 if not span.is_range else max(1, (span.end - span.start).days * 261 // 365)
    return max(1, min(chunk_windows // sessions, CHUNK_BARS // (sessions + window_days)))


def _keys(entity_index: Int64Vector, dates: NDArray[np.datetime64]) -> Int64Vector:
    """Return one integer per (entity, date); dates of years 0001-9999 stay within 22 bits either side of 1970."""
    return (entity_index << np.int64(32)) + dates.astype("M8[D]").astype(np.int64)
