"""What a backfill need not look at again, and what it may say of a chunk that it has looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from prometheus.backfill.plan import DateSpan, NumericChunk, NumericRequest, numeric_chunks
from prometheus.encoders.numeric.coverage import CoveredSpan, SpanState, digest_of_keys
from prometheus.encoders.numeric.windows import WindowBatch


class WindowCoverage(Protocol):
    """Remembers which spans have all their windows stored; `prometheus.data.coverage.NumericCoverage` does."""

    def states(
        self, instrument_ids: Sequence[str], model_id: str, window_days: int, made_by: int, first: date, last: date
    ) -> list[SpanState]:
        """Return what is known of each instrument, in order, for a span: all of one moment."""

    def record(self, model_id: str, window_days: int, spans: Sequence[CoveredSpan]) -> object:
        """Remember spans, but for those of which something else was written since `SpanState` was asked for."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is covered of a model's windows; `made_by` digests what makes them in a market, but for the bars."""

    store: WindowCoverage
    made_by: Callable[[str], int]

    def states(
        self, instrument_ids: Sequence[str], market: str, model_id: str, window_days: int, span: DateSpan
    ) -> list[SpanState]:
        """Return what is known of each instrument of a market for a range, in order."""
        made_by = self.made_by(market)
        return self.store.states(instrument_ids, model_id, window_days, made_by, span.start, span.end)


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left of a request: `chunks` to look at, beside `n_covered` rows that are known to be stored."""

    chunks: tuple[NumericChunk, ...]
    n_covered: int = 0

    @classmethod
    def of(cls, request: NumericRequest, market: str, states: Iterable[SpanState]) -> Remaining:
        """Return what is left by the states of all instruments of a request, which asks for a range.

        Of an instrument that is covered from the start of the range on, only what comes after is looked at.
        """
        span, n_covered = request.span, 0
        whole: list[str] = []
        tails: dict[date, list[str]] = {}
        for state in states:
            if state.covered is None or not state.n_stored:
                whole.append(state.entity_id)
                continue
            n_covered += state.n_stored
            if state.has_tail:
                tails.setdefault(state.covered.last + timedelta(days=1), []).append(state.entity_id)
        chunks = numeric_chunks(replace(request, instrument_ids=tuple(whole)), market)
        for first, names in sorted(tails.items()):
            tail = replace(request, instrument_ids=tuple(names), span=DateSpan.of_range(first, span.end))
            chunks += [replace(chunk, since=span.start) for chunk in numeric_chunks(tail, market)]
        return cls(tuple(chunks), n_covered)


def completed_spans(
    first_date: date, windows: WindowBatch, stored: NDArray[Any], states: Sequence[SpanState]
) -> tuple[CoveredSpan, ...]:
    """Return what will be covered once the missing windows from a date on are stored.

    `windows` are all that there are, `stored` the rows of those dates, and `states` what was known of each instrument
    before either was read. An instrument with a row on a date without a window is left out.
    """
    if not states:  # of single dates none are asked for
        return ()
    strays = {windows.entity_ids[index] for index in _stray_entities(windows, stored)}
    bounds = np.searchsorted(windows.entity_index, np.arange(len(windows.entity_ids) + 1)).tolist()
    spans = []
    for state, (first, stop) in zip(states, pairwise(bounds), strict=False):
        if first == stop or state.entity_id in strays:
            continue
        digest = digest_of_keys(windows.as_of_dates[first:stop], windows.input_hashes[first:stop])
        found = state.covers(first_date, stop - first, digest)
        if found != state.covered:
            spans.append(found)
    return tuple(spans)


def _stray_entities(windows: WindowBatch, stored: NDArray[Any]) -> list[int]:
    """Return the entities with a stored row on a date without a window."""
    wanted = (windows.entity_index << 32) + windows.as_of_dates.astype("M8[D]").astype(np.int64)
    found = (stored["entity_index"].astype(np.int64) << 32) + stored["as_of_date"].astype(np.int64)
    strays: list[int] = np.unique(stored["entity_index"][~np.isin(found, wanted)]).tolist()
    return strays
