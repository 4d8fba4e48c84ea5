"""Collects the refused rows of a run: counted always, written out where they are set aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from prometheus.arrays import Int64Vector
from prometheus.errors import DataCheckError
from prometheus.files.rejects import Faults, QuarantineFile, Reason, Rejection, RejectTally, describe_refusal
from prometheus.files.tables import RawBatch, TableFile
from prometheus.ingest.checks import MAX_CELL_LENGTH, cells_as_text, count_by_reason


class RejectLog:
    """The refused rows of one run.

    Parameters
    ----------
    fields
        The fields of the table, in the order of the quarantine file's columns.
    quarantine
        Where to write the rows; None keeps their number and the first of them only.
    max_cell_length
        Where to cut a cell; None keeps it whole, as a text must be that is corrected there and loaded again.
    """

    def __init__(
        self,
        fields: Sequence[str],
        quarantine: QuarantineFile | None,
        max_cell_length: int | None = MAX_CELL_LENGTH,
    ) -> None:
        self._fields = tuple(fields)
        self._quarantine = quarantine
        self._max_cell_length = max_cell_length
        self._first_row_word = "row"
        self.tally = RejectTally()

    @property
    def stops_the_run(self) -> bool:
        """Whether there are refused rows and nowhere to put them."""
        return self._quarantine is None and self.tally.n_rejected > 0

    def refusal(self, n_rows: int) -> DataCheckError:
        """Return the error that ends a run of `n_rows` rows."""
        return describe_refusal(self.tally, n_rows, self._first_row_word, self._fields)

    def take(self, file: TableFile, batch: RawBatch, faults: Faults) -> None:
        """Take the refused rows and malformed lines of a batch."""
        positions = faults.bad_positions
        if not len(positions) and not batch.malformed:
            return
        counts = Counter(count_by_reason(faults.reasons))
        counts.update(line.reason for line in batch.malformed)
        if self._quarantine is None:
            positions = positions[:1]
        rejections = self._malformed(file, batch) + self._faulty(file, batch, faults, positions)
        self._keep(file, sorted(rejections, key=lambda item: item.row), counts)

    def take_conflicts(self, file: TableFile, rows: Int64Vector, column: str) -> None:
        """Take rows found to contradict others; the file is read again for what they said.

        Parameters
        ----------
        rows
            Row numbers, ascending.
        column
            The field that stands for the key.
        """
        left = Counter({Reason.CONFLICTING_DUPLICATE: len(rows)})
        wanted = rows if self._quarantine is not None else rows[:1]
        for batch in file.batches():
            is_wanted = np.isin(batch.rows, wanted)
            if is_wanted.any():
                faults = Faults.none_of(len(batch.rows), self._fields)
                faults.mark(is_wanted, column, Reason.CONFLICTING_DUPLICATE)
                self._keep(file, self._faulty(file, batch, faults, np.flatnonzero(is_wanted)), left)
                left = Counter()
            if len(batch.rows) and batch.rows[-1] >= wanted[-1]:
                return

    def _keep(self, file: TableFile, rejections: Sequence[Rejection], counts: Counter[Reason]) -> None:
        if self.tally.first is None:
            self._first_row_word = file.row_word
        self.tally.add(rejections[0], counts)
        if self._quarantine is not None:
            self._quarantine.add(rejections)

    def _malformed(self, file: TableFile, batch: RawBatch) -> list[Rejection]:
        blank = ("",) * len(self._fields)
        path = str(file.path)
        return [Rejection(path, line.row, line.column, line.reason, blank, line.text) for line in batch.malformed]

    def _faulty(self, file: TableFile, batch: RawBatch, faults: Faults, positions: Int64Vector) -> list[Rejection]:
        cells = cells_as_text(batch.columns, self._fields, positions, self._max_cell_length)
        return [
            Rejection(
                file=str(file.path),
                row=int(batch.rows[position]),
                column=faults.fields[faults.columns[position]],
                reason=Reason(faults.reasons[position]),
                values=values,
            )
            for position, values in zip(positions, cells, strict=True)
        ]
