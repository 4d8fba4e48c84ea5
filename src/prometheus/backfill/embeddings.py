"""Backfills of numeric embeddings: read a chunk, encode what is new, write it in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float32Matrix
from prometheus.backfill.plan import BackfillReport, NumericChunk, lost_dates, missing_windows, rewritten_entities
from prometheus.encoders.numeric.encoder import EmbeddingBatch, NumericWindowEncoder
from prometheus.encoders.numeric.windows import INSTRUMENT, NumericWindowBuilder, WindowBatch, WindowBuild
from prometheus.errors import InputRefusedError, InsufficientHistoryError, VectorError, unknown_instrument
from prometheus.protocols import InstrumentSource


@dataclass(frozen=True, slots=True, eq=False)
class MissingWindows:
    """The windows of a chunk without a stored row of equal input, and once encoded their vectors.

    `n_wanted` counts stored ones too; `is_new`: nothing of the chunk is stored; `rewritten`: instruments whose rows
    change; `lost`: by instrument, stored dates without a window; `refused`: instruments with a window that has no
    vector.
    """

    windows: WindowBatch
    n_wanted: int
    is_new: bool
    failures: tuple[InputRefusedError, ...]
    rewritten: tuple[str, ...] = ()
    lost: Mapping[str, DateVector] = field(default_factory=dict)
    batch: EmbeddingBatch | None = None
    refused: tuple[VectorError, ...] = ()


def _lost(windows: WindowBatch, stored: NDArray[Any]) -> dict[str, DateVector]:
    """Return by instrument the stored dates that have no window any more."""
    found: dict[str, DateVector] = {}
    for index in sorted(set(stored["entity_index"].tolist())):
        wanted = windows.as_of_dates[windows.entity_index == index]
        if len(wanted):
            lost = lost_dates(stored["as_of_date"][stored["entity_index"] == index], wanted)
            found |= {windows.entity_ids[index]: lost} if len(lost) else {}
    return found


def _n_lost(windows: MissingWindows) -> int:
    return sum(map(len, windows.lost.values()))


@dataclass(frozen=True, slots=True)
class NumericBackfill:
    """Fills ``numeric_window_embeddings``; a `prometheus.backfill.work.ChunkWork`.

    `builder_of` returns the window builder of a market; `instruments` tells an unknown one from one with too little
    history.
    """

    builder_of: Callable[[str], NumericWindowBuilder]
    encoder: NumericWindowEncoder
    instruments: InstrumentSource

    def read(self, chunk: NumericChunk) -> MissingWindows:
        """Build the windows of a chunk and keep those without a stored row of equal input.

        Bars and stored hashes of a range are read in parallel, each on its own server core.
        """
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prometheus-hashes") as side:
            stored_later = side.submit(self._load_stored, chunk) if chunk.span.is_range else None
            build = _build_windows(self.builder_of(chunk.market), chunk)
        windows, failures = build.windows, name_unknown(build.failures, self.instruments)
        if len(windows) == 0:
            return MissingWindows(windows, 0, is_new=True, failures=failures)
        stored = self._load_stored(chunk) if stored_later is None else stored_later.result()
        missing = windows.take(missing_windows(windows, stored))
        lost = _lost(windows, stored)
        rewritten = rewritten_entities(missing, stored)
        return MissingWindows(missing, len(windows), not len(stored), failures, rewritten, lost)

    def _load_stored(self, chunk: NumericChunk) -> NDArray[Any]:
        dates = np.array([chunk.span.start, chunk.span.end], dtype="M8[D]")
        store, model_id = self.encoder.store, self.encoder.model_id
        return store.load_input_hashes(INSTRUMENT, chunk.instrument_ids, model_id, chunk.window_days, dates)

    def count(self, wanted: MissingWindows) -> BackfillReport:
        """Return the number of rows to write."""
        n_missing = len(wanted.windows)
        each = vector_bytes(self._encode_sound(wanted.windows.take(slice(0, 1)))[0].vectors) if n_missing else 0
        return BackfillReport(wanted.n_wanted, n_missing, wanted.failures, n_missing * each, (), _n_lost(wanted))

    def encode(self, wanted: MissingWindows) -> MissingWindows:
        """Return the windows with their vectors; an instrument with a window that has no vector is a failure."""
        if not len(wanted.windows):
            return wanted
        batch, refused = self._encode_sound(wanted.windows)
        return replace(wanted, batch=batch, refused=refused)

    def write(self, encoded: MissingWindows) -> BackfillReport:
        """Store the rows of a chunk in one transaction."""
        batch = encoded.batch
        for name, dates in encoded.lost.items():
            windows = encoded.windows
            self.encoder.store.drop(INSTRUMENT, name, self.encoder.model_id, windows.window_days, dates)
        if batch is None:
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
