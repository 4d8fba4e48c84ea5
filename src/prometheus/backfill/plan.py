"""What a backfill has to do: pure decisions, no clock, no database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Int64Vector
from prometheus.encoders import WindowBatch
from prometheus.encoders.windows import require_window_days
from prometheus.errors import PrometheusError, UsageError

T = TypeVar("T")

CHUNK_WINDOWS = 16_384
"""Windows encoded and written at once: 24 MiB of vectors of 384 values."""
CHUNK_BARS = 4_000_000
"""Bars read at once: up to 160 MB as they come, far below the gigabyte that PostgreSQL puts into one value."""


@dataclass(frozen=True, slots=True)
class DateSpan:
    """One date, or every session observed in a range.

    Raises
    ------
    UsageError
        The end lies before the start.
    """

    start: date
    end: date
    is_range: bool

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise UsageError(f"the range ends {self.end}, before it starts {self.start}")

    @classmethod
    def of_date(cls, as_of_date: date) -> DateSpan:
        """Return the span of one date."""
        return cls(as_of_date, as_of_date, is_range=False)

    @classmethod
    def of_range(cls, start: date, end: date) -> DateSpan:
        """Return the span from `start` to `end`, both included."""
        return cls(start, end, is_range=True)


@dataclass(frozen=True, slots=True)
class NumericRequest:
    """Embeddings wanted: these instruments, on these dates, by this model."""

    instrument_ids: tuple[str, ...]
    span: DateSpan
    window_days: int
    model_id: str

    def __post_init__(self) -> None:
        require_window_days(self.window_days)


@dataclass(frozen=True, slots=True)
class BackfillReport:
    """What a backfill did.

    Attributes
    ----------
    planned
        Rows wanted that could be computed.
    written
        Rows that were new or changed.
    failures
        One error per item that could not be done.
    """

    planned: int = 0
    written: int = 0
    failures: tuple[PrometheusError, ...] = ()

    @property
    def unchanged(self) -> int:
        """Rows that were already as wanted."""
        return self.planned - self.written

    @property
    def exit_code(self) -> int:
        """0, or 3 when some items failed."""
        return 3 if self.failures else 0

    def __add__(self, other: BackfillReport) -> BackfillReport:
        return BackfillReport(
            self.planned + other.planned, self.written + other.written, self.failures + other.failures
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "planned": self.planned,
            "written": self.written,
            "unchanged": self.unchanged,
            "failed": len(self.failures),
            "failures": [str(failure) for failure in self.failures],
        }


def missing_windows(windows: WindowBatch, stored: NDArray[Any]) -> Int64Vector:
    """Return positions of the windows without a stored row of equal input, in order.

    Parameters
    ----------
    stored
        Structured: ``entity_index``, ``as_of_date``, ``input_hash``; one row per key.
    """
    wanted_keys = _keys(windows.entity_index, windows.as_of_dates)
    stored_keys = _keys(stored["entity_index"].astype(np.int64), stored["as_of_date"])
    order = np.argsort(stored_keys)
    stored_keys, stored_hashes = stored_keys[order], stored["input_hash"][order]
    if len(stored_keys) == 0:
        return np.arange(len(windows), dtype=np.int64)
    at = np.minimum(np.searchsorted(stored_keys, wanted_keys), len(stored_keys) - 1)
    is_equal = (stored_keys[at] == wanted_keys) & (stored_hashes[at] == windows.input_hashes)
    return np.flatnonzero(~is_equal).astype(np.int64)


def chunked(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield consecutive slices of at most `size` items."""
    for first in range(0, len(items), size):
        yield items[first : first + size]


def instruments_per_chunk(span: DateSpan, window_days: int, chunk_windows: int = CHUNK_WINDOWS) -> int:
    """Return how many instruments to read at once: about `chunk_windows` windows, at most `CHUNK_BARS` bars."""
    sessions = 1 if not span.is_range else max(1, (span.end - span.start).days * 261 // 365)
    return max(1, min(chunk_windows // sessions, CHUNK_BARS // (sessions + window_days)))


def _keys(entity_index: Int64Vector, dates: NDArray[np.datetime64]) -> Int64Vector:
    """Return one integer per (entity, date); dates of years 0001-9999 stay within 22 bits either side of 1970."""
    return (entity_index << np.int64(32)) + dates.astype("M8[D]").astype(np.int64)
