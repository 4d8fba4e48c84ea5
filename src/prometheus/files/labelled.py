"""Files of labelled sentences: CSV, JSON lines or Parquet, whatever their columns are called."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np

from prometheus.encoders.stance.labels import LabelledRow
from prometheus.errors import InputRefusedError, UsageError
from prometheus.files.columns import cells_as_text
from prometheus.files.opening import open_text_table
from prometheus.files.tables import RawBatch, TableFile
from prometheus.market.frames import Field
from prometheus.market.written import is_missing

LABELLED_FIELDS = (
    Field.of("text", "text", "sentence", fallbacks=("sentences", "content", "description")),
    Field.of("label", "scalar", "stance", fallbacks=("labelname", "stancelabel", "class")),
    Field.of("date", "scalar", "year", fallbacks=("day", "timestamp", "releasedate", "publishedat")),
    Field.of("bank", "text", "centralbank"),
)
NAMES = tuple(field.name for field in LABELLED_FIELDS)
_YEAR = re.compile(r"([12]\d{3})(?:\.0+)?")
_MOST_LETTERS = 20_000


def read_labelled(paths: Sequence[Path], by_hand: Mapping[str, str], encoding: str | None = None) -> list[LabelledRow]:
    """Return the rows of files, in their order.

    A year without a date counts as its last day, so that no text of it is taken for one after the labels.
    `DataCheckError` where a column is missing or two may be meant, `InputRefusedError`, which names the row, for one
    that cannot be read.
    """
    unknown = [name for name in by_hand if name not in NAMES]
    if unknown:
        raise UsageError(f"--column {unknown[0]}: no such field; known: {', '.join(NAMES)}")
    files = [open_text_table(path, LABELLED_FIELDS, {"text", "label"}, by_hand, encoding) for path in paths]
    return [row for file in files for batch in file.batches() for row in _rows(file, batch)]


def _rows(file: TableFile, batch: RawBatch) -> Iterator[LabelledRow]:
    for line in batch.malformed:
        raise InputRefusedError(f"{file.path} {file.row_word} {line.row}: {line.reason.label}; mend the row")
    everything = np.arange(len(batch.rows), dtype=np.int64)
    cells = cells_as_text(batch.columns, NAMES, everything, max_length=_MOST_LETTERS)
    for number, (text, label, day, bank) in zip(batch.rows.tolist(), cells, strict=True):
        try:
            yield LabelledRow(text, _plain_number(label), _day(day), bank.strip())
        except ValueError:
            place = f"{file.path} {file.row_word} {file.row_of(number)}"
            raise InputRefusedError(f"{place}: {day[:40]!r} is no date; write a year or YYYY-MM-DD") from None


def _plain_number(label: str) -> str:
    """Return a whole number that a column of decimals holds as one: 1.0 as 1."""
    return label.removesuffix(".0") if label[:-2].isdigit() else label


def _day(cell: str) -> date | None:
    """Return the date that a cell says, None where it is empty; ValueError for any other text."""
    text = cell.strip()
    if not text or is_missing(text):
        return None
    year = _YEAR.fullmatch(text)
    return date(int(year[1]), 12, 31) if year else date.fromisoformat(text[:10])
