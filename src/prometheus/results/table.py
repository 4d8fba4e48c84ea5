"""What every result can do: be counted, walked through, shown, and handed to pandas or any reader of Arrow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeAlias, TypeVar, get_args, get_type_hints

import numpy as np

from prometheus.regime.types import RegimeLabel
from prometheus.spelling import spell_instant

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Row = TypeVar("Row", covariant=True)  # noqa: PLC0105 -- a row is only ever read
Kind: TypeAlias = Literal["date", "instant", "flag", "count", "number", "label", "text", "vector"]
UNKNOWN, GAP = "-", "…"
MAX_SHOWN_CHARACTERS = 120
N_HEAD = N_TAIL = 5
_N_SHOWN_VALUES = 3
_KINDS: dict[Any, Kind] = {
    date: "date", datetime: "instant", bool: "flag", int: "count", float: "number", RegimeLabel: "label",
}  # fmt: skip
_FORMS: dict[Kind, str] = {"count": ",.0f"}


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One column for frames, Arrow tables and what is shown.

    Attributes
    ----------
    values
        Shape (n,), None, NaN and NaT are unknown; of vectors (n, dim), float32.
    form
        How a number is shown, as in ``format(value, form)``.
    is_shown
        Whether it is printed, too.
    """

    name: str
    kind: Kind
    values: Sequence[Any] | np.ndarray[Any, np.dtype[Any]]
    form: str = ",.3f"
    is_shown: bool = True

    @property
    def is_number(self) -> bool:
        """Whether it holds one number per row."""
        return self.kind in {"count", "number"}

    def cell(self, value: Any) -> str:
        """Return one value as it is shown: short, and without characters that steer a terminal."""
        if value is None:
            return UNKNOWN
        if self.kind == "vector":
            return f"[{', '.join(format(each, self.form) for each in value[:_N_SHOWN_VALUES])}, …]"
        if self.kind == "instant":
            return spell_instant(value)
        return format(value, self.form) if self.is_number else shorten(str(value))

    def to_arrow(self) -> pa.Array:
        """Return the values as an Arrow array: date32, timestamp, number, string, dictionary or fixed-size list."""
        import pyarrow as pa  # noqa: PLC0415 -- slow to import

        if isinstance(self.values, np.ndarray) and self.kind == "vector":
            flat = pa.array(np.ascontiguousarray(self.values).reshape(-1), pa.float32())
            return pa.FixedSizeListArray.from_arrays(flat, self.values.shape[1])
        if self.kind == "label":
            names = [label.name for label in RegimeLabel]
            indices = pa.array([None if value is None else names.index(value) for value in self.values], pa.int8())
            return pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string()))
        types = {
            "date": pa.date32(), "instant": pa.timestamp("us", "UTC"), "flag": pa.bool_(), "count": pa.int64(),
            "number": pa.float64(), "text": pa.string(),
        }  # fmt: skip
        return pa.array(self.values, types[self.kind], from_pandas=True)


def columns_of(rows: Iterable[Any], kinds: Mapping[str, Kind], forms: Mapping[str, str] | None = None) -> list[Column]:
    """Return a column for each attribute of the rows that is named."""
    found, forms = list(rows), forms or {}
    return [
        Column(name, kind, [getattr(row, name) for row in found], forms.get(name, _FORMS.get(kind, ",.3f")))
        for name, kind in kinds.items()
    ]


class ResultTable(ABC, Generic[Row]):
    """A frozen table of rows, all of its columns described once.

    It holds everything it shows: the connection it came through may be closed.
    """

    __slots__ = ()
    _index: ClassVar[str | None] = "as_of_date"
    _names: ClassVar[tuple[str, ...]] = ()
    """Attributes that say what the rows belong to."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __iter__(self) -> Iterator[Row]: ...

    def to_arrow(self) -> pa.Table:
        """Return an Arrow table; its schema says in ``metadata`` what the rows belong to."""
        import pyarrow as pa  # noqa: PLC0415 -- slow to import

        columns = self._columns()
        arrays = [column.to_arrow() for column in columns]
        return pa.table(arrays, names=[column.name for column in columns], metadata=dict(self._named()))

    def to_pandas(self) -> pd.DataFrame:
        """Return a frame: dates as datetime64, labels as categories, what the rows belong to in ``attrs``."""
        frame: pd.DataFrame = self.to_arrow().to_pandas(date_as_object=False)
        indexed = frame if self._index is None else frame.set_index(self._index)
        indexed.attrs.update(self._named())
        return indexed

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Export the table through Arrow's C stream interface, for polars, DuckDB and others that read it."""
        exported: object = self.to_arrow().__arrow_c_stream__(requested_schema)
        return exported

    def __repr__(self) -> str:
        columns, rows = self._shown()
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if column.is_number else cell.ljust(width)
                for cell, width, column in zip(row, widths, columns, strict=True)
            ).rstrip()
            for row in rows
        ]
        return "\n".join([shorten(self._headline()), *(lines if len(self) else []), *map(shorten, self._notes())])

    def _repr_html_(self) -> str:
        """Return the same as a table, every text escaped.

        No colour is set, so that it is read in a dark notebook as in a light one, and nothing is fetched. The classes
        keep MathJax from reading dollars in texts as formulas.
        """
        columns, (names, *rows) = self._shown()
        sides = ["right" if column.is_number else "left" for column in columns]
        body = "".join(f"<tr>{_html_cells('td', row, sides)}</tr>" for row in rows)
        table = f"<table><thead><tr>{_html_cells('th', names, sides)}</tr></thead><tbody>{body}</tbody></table>"
        below = "".join(f"<div>{escape(shorten(note))}</div>" for note in self._notes())
        headline = escape(shorten(self._headline()))
        shown = table if len(self) else ""
        return f'<div class="tex2jax_ignore mathjax_ignore"><div>{headline}</div>{shown}{below}</div>'

    def _shown(self) -> tuple[Sequence[Column], list[list[str]]]:
        """Return the columns, and their names and the first and last rows as texts."""
        columns, n_rows = [column for column in self._columns() if column.is_shown], len(self)
        table = self.to_arrow().select([column.name for column in columns])
        rows = [[column.name for column in columns]]
        is_cut = n_rows > N_HEAD + N_TAIL + 2
        for part in [table[:N_HEAD], table[n_rows - N_TAIL :]] if is_cut else [table]:
            cells = (map(column.cell, values.to_pylist()) for column, values in zip(columns, part.columns, strict=True))
            rows += map(list, zip(*cells, strict=True))
        if is_cut:
            rows.insert(1 + N_HEAD, [GAP for _ in columns])
        return columns, rows

    @abstractmethod
    def _columns(self) -> Sequence[Column]: ...

    @abstractmethod
    def _headline(self) -> str: ...

    def _named(self) -> Mapping[str, str]:
        """Return what the rows belong to: region, models, dates."""
        return {name: getattr(self, name) for name in self._names}

    def _notes(self) -> Sequence[str]:
        """Return lines to show below the rows."""
        return ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Listing(ResultTable[Row]):
    """Rows of one dataclass or named tuple, `kind`, a column per field; `forms` is as in `Column`, by field."""

    kind: type[Any]
    rows: tuple[Row, ...]
    title: str
    named: Mapping[str, str] = field(default_factory=dict)
    forms: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    _index: ClassVar[None] = None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def _columns(self) -> Sequence[Column]:
        kinds: dict[str, Kind] = {}
        for name, hint in get_type_hints(self.kind).items():
            kinds[name] = next((_KINDS[each] for each in (hint, *get_args(hint)) if each in _KINDS), "text")
        return [_plain(column) for column in columns_of(self.rows, kinds, self.forms)]

    def _headline(self) -> str:
        return self.title

    def _named(self) -> Mapping[str, str]:
        return self.named

    def _notes(self) -> Sequence[str]:
        return self.notes


def _plain(column: Column) -> Column:
    """Return a column with each tuple as one text, and counts of which some are unknown as numbers."""
    if any(isinstance(value, tuple) for value in column.values):
        return replace(column, kind="text", values=[", ".join(map(str, value)) for value in column.values])
    return replace(column, kind="number") if column.kind == "count" and None in column.values else column


def describe_span(what: str, dates: Sequence[Any] | np.ndarray[Any, Any]) -> str:
    """Return how many dates there are and from when to when.

    Examples
    --------
    >>> describe_span("sessions", ["2008-01-02", "2008-01-03"])
    '2 sessions from 2008-01-02 to 2008-01-03'
    """
    return f"{len(dates):,} {what} from {dates[0]} to {dates[-1]}" if len(dates) else f"no {what}"


def shorten(text: str) -> str:
    """Return a text on one line, cut where it is long, each character that cannot be printed as a space."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * MAX_SHOWN_CHARACTERS]).split())
    return line if len(line) <= MAX_SHOWN_CHARACTERS else f"{line[: MAX_SHOWN_CHARACTERS - 1].rstrip()}…"


def _html_cells(tag: str, cells: Sequence[str], sides: Sequence[str]) -> str:
    pairs = zip(cells, sides, strict=True)
    return "".join(f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>' for cell, side in pairs)
