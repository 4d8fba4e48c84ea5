"""Backfills of numeric embeddings: read a chunk, encode what is new, write it in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float32Matrix
from prometheus.backfill.coverage import Coverage, Remaining, completed_spans
from prometheus.backfill.plan import (
    BackfillReport,
    DateSpan,
    NumericChunk,
    NumericRequest,
    lost_dates,
    missing_windows,
    numeric_chunks,
    rewritten_entities,
)
from prometheus.encoders.numeric.coverage import CoveredSpan, SpanState
from prometheus.encoders.numeric.encoder import EmbeddingBatch, NumericWindowEncoder
from prometheus.encoders.numeric.windows import INSTRUMENT, NumericWindowBuilder, WindowBatch, WindowBuild
from prometheus.errors import InputRefusedError, InsufficientHistoryError, VectorError, unknown_instrument
from prometheus.protocols import InstrumentSource


@dataclass(frozen=True, slots=True, eq=False)
class MissingWindows:
    """The windows of a chunk without a stored row of equal input, and once encoded their vectors.

    `n_wanted` counts stored ones too; `is_new`: nothing of the chunk is stored; `rewritten`: instruments whose rows
    change; `lost`: by instrument, stored dates without a window; `refused`: instruments with a window that has no
    vector; `completes`: the spans of which everything is stored in the end; `whole`: the windows of instruments that
    had to be looked at from the start of the range.
    """

    windows: WindowBatch
    n_wanted: int
    is_new: bool
    failures: tuple[InputRefusedError, ...]
    rewritten: tuple[str, ...] = ()
    lost: Mapping[str, DateVector] = field(default_factory=dict)
    batch: EmbeddingBatch | None = None
    refused: tuple[VectorError, ...] = ()
    completes: tuple[CoveredSpan, ...] = ()
    whole: MissingWindows | None = None


def _lost(windows: WindowBatch, stored: NDArray[Any], *, is_rest: bool) -> dict[str, DateVector]:
    """Return by instrument the stored dates that have no window any more; of the rest of a range, all such dates."""
    found: dict[str, DateVector] = {}
    for index in sorted(set(stored["entity_index"].tolist())):
        wanted = windows.as_of_dates[windows.entity_index == index]
        if len(wanted):
            dates = stored["as_of_date"][stored["entity_index"] == index]
            lost = np.setdiff1d(dates, wanted) if is_rest else lost_dates(dates, wanted)
            found |= {windows.entity_ids[index]: lost} if len(lost) else {}
    return found


def _n_lost(windows: MissingWindows) -> int:
    return sum(map(len, windows.lost.values()))


@dataclass(frozen=True, slots=True)
class NumericBackfill:
    """Fills ``numeric_window_embeddings``; a `prometheus.backfill.work.ChunkWork`.

    `builder_of` returns the window builder of a market; `instruments` tells an unknown one from one with too little
    history; `coverage` remembers what need not be looked at again.
    """

    builder_of: Callable[[str], NumericWindowBuilder]
    encoder: NumericWindowEncoder
    instruments: InstrumentSource
    coverage: Coverage | None = None

    def remaining(self, request: NumericRequest, market: str) -> Remaining:
        """Return what has to be looked at of a request for instruments of one market."""
        if self.coverage is None or not request.span.is_range:
            return Remaining(tuple(numeric_chunks(request, market)))
        names = sorted(set(request.instrument_ids))
        states = self.coverage.states(names, market, self.encoder.model_id, request.window_days, request.span)
        return Remaining.of(request, market, states)

    def read(self, chunk: NumericChunk) -> MissingWindows:
        """Build the windows of a chunk and keep those without a stored row of equal input.

        What is covered is asked first: what changes meanwhile must not pass as covered.
        """
        states = self._states(chunk)
        build, stored = self._read_both(chunk)
        windows = build.windows
        n_of_each = np.bincount(windows.entity_index, minlength=len(windows.entity_ids))
        without = tuple(windows.entity_ids[index] for index in np.flatnonzero(n_of_each == 0).tolist())
        whole = self._read_whole(chunk, chunk.since, without) if chunk.since is not None and without else None
        failures = name_unknown(build.failures, self.instruments) if whole is None else ()
        if len(windows) == 0:
            return MissingWindows(windows, 0, is_new=True, failures=failures, whole=whole)
        missing = windows.take(missing_windows(windows, stored))
        return MissingWindows(
            missing,
            len(windows),
            is_new=not len(stored),
            failures=failures,
            rewritten=rewritten_entities(missing, stored),
            lost=_lost(windows, stored, is_rest=chunk.since is not None),
            completes=completed_spans(chunk.span.start, windows, stored, states),
            whole=whole,
        )

    def _read_both(self, chunk: NumericChunk) -> tuple[WindowBuild[WindowBatch], NDArray[Any]]:
        """Return the windows of a chunk and what is stored; of a range in parallel, each on its own server core."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prometheus-hashes") as side:
            stored_later = side.submit(self._load_stored, chunk) if chunk.span.is_range else None
            build = _build_windows(self.builder_of(chunk.market), chunk)
        return build, self._load_stored(chunk) if stored_later is None else stored_later.result()

    def _read_whole(self, chunk: NumericChunk, since: date, names: tuple[str, ...]) -> MissingWindows:
        """Return what a range lacks of instruments without a window in the rest of it: that alone says why.

        Rows before the rest are counted already, as known to be stored.
        """
        span = DateSpan.of_range(since, chunk.span.end)
        found = self.read(replace(chunk, instrument_ids=names, span=span, since=None))
        before = DateSpan.of_range(since, chunk.span.start - timedelta(days=1))
        n_counted = len(self._load_stored(replace(chunk, instrument_ids=names, span=before)))
        return replace(found, n_wanted=found.n_wanted - n_counted)

    def _states(self, chunk: NumericChunk) -> list[SpanState]:
        if self.coverage is None or not chunk.span.is_range:
            return []
        model_id, days = self.encoder.model_id, chunk.window_days
        return self.coverage.states(chunk.instrument_ids, chunk.market, model_id, days, chunk.span)

    def _load_stored(self, chunk: NumericChunk) -> NDArray[Any]:
        dates = np.array([chunk.span.start, chunk.span.end], dtype="M8[D]")
        store, model_id = self.encoder.store, self.encoder.model_id
        return store.load_input_hashes(INSTRUMENT, chunk.instrument_ids, model_id, chunk.window_days, dates)

    def count(self, wanted: MissingWindows) -> BackfillReport:
        """Return the number of rows to write."""
        n_missing = len(wanted.windows)
        each = vector_bytes(self._encode_sound(wanted.windows.take(slice(0, 1)))[0].vectors) if n_missing else 0
        report = BackfillReport(wanted.n_wanted, n_missing, wanted.failures, n_missing * each, (), _n_lost(wanted))
        return report if wanted.whole is None else report + self.count(wanted.whole)

    def encode(self, wanted: MissingWindows) -> MissingWindows:
        """Return the windows with their vectors; an instrument with a window that has no vector is a failure."""
        if wanted.whole is not None:
            wanted = replace(wanted, whole=self.encode(wanted.whole))
        if not len(wanted.windows):
            return wanted
        batch, refused = self._encode_sound(wanted.windows)
        completes = () if refused else wanted.completes
        return replace(wanted, batch=replace(batch, completes=completes), refused=refused)

    def write(self, encoded: MissingWindows) -> BackfillReport:
        """Store the rows of a chunk in one transaction."""
        report = self._written(encoded)
        return report if encoded.whole is None else report + self._written(encoded.whole)

    def _written(self, encoded: MissingWindows) -> BackfillReport:
        batch, model_id, window_days = encoded.batch, self.encoder.model_id, encoded.windows.window_days
        for name, dates in encoded.lost.items():
            self.encoder.store.drop(INSTRUMENT, name, model_id, window_days, dates)
        if batch is None:
            if self.coverage is not None and encoded.completes:
                self.coverage.store.record(model_id, window_days, encoded.completes)
            return BackfillReport(encoded.n_wanted, 0, encoded.failures, dropped=_n_lost(encoded))
        n_written = self.encoder.save(batch, is_new=encoded.is_new)
        n_planned = encoded.n_wanted - (len(encoded.windows) - len(batch))
        failures = (*encoded.failures, *encoded.refused)
        n_bytes = n_written * vector_bytes(batch.vectors)
        return BackfillReport(n_planned, n_written, failures, n_bytes, encoded.rewritten, _n_lost(encoded))

    def _encode_sound(self, windows: WindowBatch) -> tuple[EmbeddingBatch, tuple[VectorError, ...]]:
        """Return the vectors, and one error per instrument with a window that has none.

        One bad bar must not stop the other instruments of its chunk, nor windows without it.
        """
        try:
            return self.encoder.encode(windows), ()
        except VectorError:
            refused = self._refused(windows)
        sound = np.setdiff1d(np.arange(len(windows)), list(refused))
        first_of_each = {int(windows.entity_index[row]): error for row, error in sorted(refused.items(), reverse=True)}
        return self.encoder.encode(windows.take(sound)), tuple(first_of_each[index] for index in sorted(first_of_each))

    def _refused(self, windows: WindowBatch) -> dict[int, VectorError]:
        refused = {}
        for row in range(len(windows)):
            try:
                self.encoder.encode(windows.take(slice(row, row + 1)))
            except VectorError as error:
                refused[row] = error
        return refused


def vector_bytes(vectors: Float32Matrix) -> int:
    """Return the size of one vector, shape (n, dim)."""
    return int(vectors.shape[1]) * vectors.itemsize


def _build_windows(builder: NumericWindowBuilder, chunk: NumericChunk) -> WindowBuild[WindowBatch]:
    span = chunk.span
    if span.is_range:
        return builder.build_range(chunk.instrument_ids, span.start, span.end, chunk.window_days)
    return builder.build_date(chunk.instrument_ids, span.start, chunk.window_days)


def name_unknown(failures: Sequence[InputRefusedError], instruments: InstrumentSource) -> tuple[InputRefusedError, ...]:
    """Return the failures, with instruments that have no bar at all named as unknown."""
    empty = {
        failure.instrument_id
        for failure in failures
        if isinstance(failure, InsufficientHistoryError) and failure.found == 0
    }
    unknown = empty - instruments.known_instruments(sorted(empty)) if empty else set()
    return tuple(
        unknown_instrument(failure.instrument_id)
        if isinstance(failure, InsufficientHistoryError) and failure.instrument_id in unknown
        else failure
        for failure in failures
    )
