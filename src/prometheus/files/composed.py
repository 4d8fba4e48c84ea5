"""Fields whose parts stand in several columns: a date beside its clock time and zone, the figures of a calendar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prometheus.files.columns import ColumnMap, cells_as_text
from prometheus.files.tables import RawBatch, TableFile
from prometheus.files.written_times import ZONE
from prometheus.market.frames import Field, normalize_name

CLOCK_NAMES, DAY_NAMES = frozenset({"time", "releasetime"}), frozenset({"date", "day", "releasedate"})
_FIGURES = ("forecast", "previous")
_SAYS_ZONE = rf":\d{{2}}.*(?:{ZONE})$|/[A-Za-z_]+$"


@dataclass(frozen=True, slots=True)
class ClockField(Field):
    """The clock time of a date that stands in a column of its own."""

    def find(self, names: list[str]) -> list[int]:
        """Return the positions of the columns that may be this field, none where none holds the date."""
        return Field.find(self, names) if DAY_NAMES.intersection(map(normalize_name, names)) else []


PARTS = (
    ClockField("clock", "instant", CLOCK_NAMES),
    Field.of("timezone", "text", fallbacks=("tz",)),
)
CALENDAR_PARTS = (
    Field.of("forecast", "text", fallbacks=("consensus",), rare=("survey",)),
    Field.of("previous", "text", fallbacks=("prior",)),
    Field.of("reference", "text", fallbacks=("period",)),
)
ACTUAL = "actual"
"""The column of a calendar that makes its facts; a row without one tells none."""


def is_calendar(columns: ColumnMap) -> bool:
    """Return whether a file of macro events has figures in place of descriptions."""
    return normalize_name(columns.source.get("description", "")) == ACTUAL


@dataclass(frozen=True, slots=True)
class ComposedTable(TableFile):
    """A file with fields made of several of its columns: `instants` of date, clock time and zone, and descriptions."""

    inner: TableFile
    instants: tuple[str, ...]

    def select(self, columns: ColumnMap, fields: Sequence[Field]) -> TableFile:
        """Return the same file: its fields need the columns that they are made of."""
        del columns, fields
        return self

    def type_of(self, field: str) -> pa.DataType:
        """Return the type of a field's column."""
        return pa.large_string() if field in self.instants else self.inner.type_of(field)

    def batches(self) -> Iterator[RawBatch]:
        """Yield the rows in order, a description null where a row of a calendar tells no fact."""
        for batch in self.inner.batches():
            columns = {**batch.columns, **{field: self._instant(batch.columns, field) for field in self.instants}}
            if is_calendar(self.columns):
                columns["description"] = pa.array(_facts(batch), pa.large_string())
            yield replace(batch, columns=columns)

    def _instant(self, columns: Mapping[str, pa.Array], field: str) -> pa.Array:
        written = columns[field].cast(pa.large_string())
        if field == self.instants[0] and "clock" in columns:
            written = _beside(written, columns["clock"])
        if "timezone" not in columns:
            return written
        return pc.if_else(pc.match_substring_regex(written, _SAYS_ZONE), written, _beside(written, columns["timezone"]))


def _beside(first: pa.Array, second: pa.Array) -> pa.Array:
    mark = pa.scalar(" ", pa.large_string())
    return pc.binary_join_element_wise(first, second.cast(pa.large_string()), mark, null_handling="skip")


def compose(file: TableFile, timestamp: str, by_hand: Mapping[str, str]) -> TableFile:
    """Return a file with the fields that stand in several of its columns; one without such fields as it is.

    A clock time found by its name is left alone where `by_hand` names the column of the timestamp.
    """
    found = file.columns.source
    if "clock" in found and timestamp in by_hand and "clock" not in by_hand:
        file = file.select(_without(file.columns, "clock"), ())
    instants = [name for name in (timestamp, "known_at") if name in found] if "timezone" in found else [timestamp]
    parts = {"clock", "timezone"}.intersection(file.columns.source)
    if timestamp not in found or not (parts or is_calendar(file.columns)):
        return file
    made = tuple(instants) if parts else ()
    return ComposedTable(file.path, file.columns, file, made, n_rows=file.n_rows, remarks=file.remarks)


def _without(columns: ColumnMap, field: str) -> ColumnMap:
    source, position = dict(columns.source), dict(columns.position)
    del position[field]
    return ColumnMap(source, position, (*columns.ignored, source.pop(field)))


def _facts(batch: RawBatch) -> list[str | None]:
    """Return what each row of a calendar tells, None where it has no actual figure."""
    names = ("event_type", "country", "reference", "description", *_FIGURES)
    cells = cells_as_text(batch.columns, names, np.arange(len(batch.rows)))
    return [_fact(*map(str.strip, row)) for row in cells]


def _fact(event: str, country: str, reference: str, actual: str, *figures: str) -> str | None:
    """Return the fact of a released figure.

    Examples
    --------
    >>> _fact("CPI m/m", "US", "Jan", "0.3%", "0.2%", "")
    'CPI m/m (US, Jan): 0.3%, forecast 0.2%'
    """
    if not actual:
        return None
    of = ", ".join(filter(None, (country, reference)))
    known = (f", {name} {figure}" for name, figure in zip(_FIGURES, figures, strict=True) if figure)
    return f"{event}{f' ({of})' if of else ''}: {actual}{''.join(known)}"
