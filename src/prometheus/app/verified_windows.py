"""Stored numeric vectors compared with what the bars give again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from prometheus.app.verified import Sample, TableReport, WrongRow, describe_vectors, is_sound
from prometheus.arrays import VECTOR_DTYPE
from prometheus.data.verification import StoredWindows, VectorRow, WindowSeries
from prometheus.encoders.numeric.encoder import EmbeddingBatch
from prometheus.encoders.numeric.windows import INSTRUMENT, NumericWindowSpec
from prometheus.errors import InputRefusedError, PrometheusError

if TYPE_CHECKING:
    from prometheus.app.wiring import Subject, Wiring

TABLE = "numeric_window_embeddings"
NO_WAY = "nothing makes it again; delete the row"


class VerifyWindows:
    """Makes the windows of stored rows again and compares bytes; with `repair` it stores what they should be."""

    def __init__(self, wired: Wiring, sample: Sample, *, repair: bool) -> None:
        self._wired, self._sample, self._repair = wired, sample, repair
        self._stored = StoredWindows(wired.db_manager)

    def verify(self, entity_ids: Sequence[str] | None, told: Callable[[int], None]) -> TableReport:
        """Return the sums over the vectors of some entities, or of all; `told` how many rows were looked at."""
        series = self._stored.series(entity_ids)
        report = TableReport(TABLE, sum(each.n_rows for each in series))
        healed_models = set()
        for each, places in zip(series, self._sample.choose(TABLE, [one.n_rows for one in series]), strict=True):
            rows = [] if places == [] else self._stored.rows(each, places)
            before = report.n_healed
            self._compare(each, rows, report)
            if report.n_healed > before:
                healed_models.add(each.model_id)
            told(len(rows))
        for model_id in sorted(healed_models):
            self._wired.sync_window_index(model_id)
        return report

    def _compare(self, series: WindowSeries, rows: list[VectorRow], report: TableReport) -> None:
        if not rows:
            return
        try:
            subject = self._subject(series)
            subject.encoder.require_same()
            made = _made_again(subject, series, [row.as_of_date for row in rows])
        except PrometheusError as error:
            report.unread.append(f"{_name(series)}: {error}")
            report.n_unread += len(rows)
            broken = [_unsound(series, row) for row in rows if not is_sound(row.vector)]
            report.found(broken, are_healed=False)
            return
        wrong, batches = [], []
        for row in rows:
            again = made.get(row.as_of_date)
            is_same = again is not None and again.input_hashes is not None and again.input_hashes[0] == row.input_hash
            if not is_same and is_sound(row.vector):
                report.n_unknown += row.input_hash is None
                report.n_stale += row.input_hash is not None
                continue
            report.n_compared += 1
            wanted = None if again is None else again.vectors.astype(VECTOR_DTYPE).tobytes()
            if wanted == row.vector:
                continue
            wrong.append(_unsound(series, row) if wanted is None else _wrong(series, row, wanted))
            batches += [] if again is None else [again]
        can_heal = self._repair and len(batches) == len(wrong)
        for batch in batches if can_heal else []:
            subject.encoder.save(batch)
        report.found(wrong, are_healed=can_heal)

    def _subject(self, series: WindowSeries) -> Subject:
        is_region = series.entity_type != INSTRUMENT
        name = None if is_region else series.entity_id
        return self._wired.subject_of(series.entity_id, name, series.model_id, series.window_days, series.model_id)


def _made_again(subject: Subject, series: WindowSeries, dates: Sequence[date]) -> dict[date, EmbeddingBatch]:
    """Return the rows that the bars give for some dates, ascending; those that they give none for are left out."""
    encoder, spec = subject.encoder, NumericWindowSpec(series.entity_type, series.entity_id, series.window_days)
    made = {}
    try:
        windows = subject.builder.build_range([series.entity_id], dates[0], dates[-1], series.window_days).windows
    except InputRefusedError:
        windows = None
    if windows is not None and len(windows):
        chosen = np.flatnonzero(np.isin(windows.as_of_dates, np.array(dates, "M8[D]")))
        if len(chosen):
            batch = encoder.encode(windows.take(chosen), series.entity_type)
            made = {day: batch.take(slice(at, at + 1)) for at, day in enumerate(batch.as_of_dates.tolist())}
    for day in dates:
        if day not in made:  # a date that had no bar of its own when it was asked for alone
            try:
                made[day] = encoder.encode(subject.builder.build_one(spec, day), series.entity_type)
            except InputRefusedError:
                continue
    return made


def _name(series: WindowSeries) -> str:
    return f"{series.entity_id} ({series.model_id}, {series.window_days} sessions)"


def _wrong(series: WindowSeries, row: VectorRow, wanted: bytes) -> WrongRow:
    stored, should = describe_vectors(row.vector, wanted)
    code = "row_differs" if is_sound(row.vector) else "not_finite"
    return WrongRow(TABLE, f"{_name(series)} {row.as_of_date}", "vector", stored, should, code)


def _unsound(series: WindowSeries, row: VectorRow) -> WrongRow:
    return WrongRow(
        TABLE, f"{_name(series)} {row.as_of_date}", "vector", "not finite", "a vector", "not_finite", NO_WAY
    )
