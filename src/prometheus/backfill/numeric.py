"""Backfill of numeric embeddings: read a chunk of bars, encode what changed, write it in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from prometheus.backfill.plan import (
    BackfillReport,
    DateSpan,
    NumericRequest,
    chunked,
    instruments_per_chunk,
    missing_windows,
)
from prometheus.encoders import EmbeddingBatch, NumericWindowBuilder, NumericWindowEncoder, WindowBatch, WindowBuild
from prometheus.encoders.windows import INSTRUMENT
from prometheus.errors import InputRefusedError, InsufficientHistoryError, UnknownInstrumentError, VectorError

Progress = Callable[[int, int | None], None]
"""Receives how many units are done, and of how many."""


class InstrumentSource(Protocol):
    """Tells which instruments have prices; `prometheus.data.reader.DataReader` is one."""

    def known_instruments(self, instrument_ids: Sequence[str]) -> set[str]:
        """Return those that have at least one bar."""


class NumericBackfill:
    """Fills ``numeric_window_embeddings``.

    Parameters
    ----------
    builder, encoder
        Make windows and vectors; the encoder's store receives them.
    instruments
        Tells an unknown instrument from one with too little history.
    """

    def __init__(
        self, builder: NumericWindowBuilder, encoder: NumericWindowEncoder, instruments: InstrumentSource
    ) -> None:
        self._builder = builder
        self._encoder = encoder
        self._instruments = instruments

    def run(self, request: NumericRequest, progress: Progress, *, dry_run: bool = False) -> BackfillReport:
        """Compute and store what is missing or changed; every chunk is a transaction of its own.

        A dry run reports as ``written`` what would be, and writes nothing.
        """
        if not dry_run:
            self._encoder.register()
        report, n_done, n_all = BackfillReport(), 0, len(request.instrument_ids)
        progress(0, n_all)
        for instrument_ids in chunked(
            sorted(request.instrument_ids), instruments_per_chunk(request.span, request.window_days)
        ):
            build = build_windows(self._builder, instrument_ids, request.span, request.window_days)
            report += self._run_chunk(build.windows, dry_run=dry_run)
            report += BackfillReport(failures=name_unknown(build.failures, self._instruments))
            n_done += len(instrument_ids)
            progress(n_done, n_all)
        return report

    def _run_chunk(self, windows: WindowBatch, *, dry_run: bool) -> BackfillReport:
        if len(windows) == 0:
            return BackfillReport()
        stored = self._encoder.store.load_input_hashes(
            INSTRUMENT, windows.entity_ids, self._encoder.model_id, windows.window_days, windows.as_of_dates
        )
        missing = windows.take(missing_windows(windows, stored))
        if dry_run or not len(missing):
            return BackfillReport(planned=len(windows), written=len(missing))
        batch, failures = self._encode_sound(missing)
        n_refused = len(missing) - len(batch)
        return BackfillReport(len(windows) - n_refused, self._encoder.save(batch, is_new=not len(stored)), failures)

    def _encode_sound(self, windows: WindowBatch) -> tuple[EmbeddingBatch, tuple[VectorError, ...]]:
        """Return the vectors of the windows that have one, and an error per instrument with a window that has none.

        One poisoned bar must not stop the other instruments of its chunk, nor the windows that do not hold it.
        """
        try:
            return self._encoder.encode(windows), ()
        except VectorError:
            refused = self._refused(windows)
        sound = np.setdiff1d(np.arange(len(windows)), list(refused))
        first_of_each = {int(windows.entity_index[row]): error for row, error in sorted(refused.items(), reverse=True)}
        return self._encoder.encode(windows.take(sound)), tuple(first_of_each[index] for index in sorted(first_of_each))

    def _refused(self, windows: WindowBatch) -> dict[int, VectorError]:
        refused = {}
        for row in range(len(windows)):
            try:
                self._encoder.encode(windows.take(slice(row, row + 1)))
            except VectorError as error:
                refused[row] = error
        return refused


def build_windows(
    builder: NumericWindowBuilder, instrument_ids: Sequence[str], span: DateSpan, window_days: int
) -> WindowBuild:
    """Return the windows of a span: of its one date, or of every session observed in it."""
    if span.is_range:
        return builder.build_range(instrument_ids, span.start, span.end, window_days)
    return builder.build_date(instrument_ids, span.start, window_days)


def name_unknown(failures: Sequence[InputRefusedError], instruments: InstrumentSource) -> tuple[InputRefusedError, ...]:
    """Return the failures, with those of instruments that have no bar at all said as such."""
    empty = [
        failure.instrument_id
        for failure in failures
        if isinstance(failure, InsufficientHistoryError) and failure.found == 0
    ]
    unknown = set(empty) - instruments.known_instruments(empty) if empty else set()
    return tuple(
        UnknownInstrumentError(failure.instrument_id)
        if isinstance(failure, InsufficientHistoryError) and failure.instrument_id in unknown
        else failure
        for failure in failures
    )
