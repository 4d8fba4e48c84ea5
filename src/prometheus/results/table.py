"""What every result can do: be counted, walked through, shown, and handed to pandas or to whoever reads Arrow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from prometheus.results.columns import Column
from prometheus.results.display import to_html, to_text

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Row = TypeVar("Row", covariant=True)  # noqa: PLC0105 -- a row is only ever read


class ResultTable(ABC, Generic[Row]):
    """A frozen table of rows, all of its columns described once.

    It holds everything it shows: the connection it came through may be closed.
    """

    __slots__ = ()
    _index: ClassVar[str | None] = "as_of_date"

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    @abstractmethod
    def __iter__(self) -> Iterator[Row]:
        """Yield the rows."""

    def to_arrow(self) -> pa.Table:
        """Return an Arrow table; its schema says in ``metadata`` what the rows belong to."""
        import pyarrow as pa  # noqa: PLC0415 -- slow to import

        columns = self._columns()
        arrays = [column.to_arrow() for column in columns]
        return pa.table(arrays, names=[column.name for column in columns], metadata=dict(self._named()))

    def to_pandas(self) -> pd.DataFrame:
        """Return a frame: dates as datetime64, labels as categories, what the rows belong to in ``attrs``."""
        frame: pd.DataFrame = self.to_arrow().to_pandas(date_as_object=False)
        return self._with_index(frame)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Export the table through Arrow's C stream interface, for polars, DuckDB and others that read it."""
        exported: object = self.to_arrow().__arrow_c_stream__(requested_schema)
        return exported

    def __repr__(self) -> str:
        return to_text(self._headline(), self._columns(), len(self), self._notes())

    def _repr_html_(self) -> str:
        return to_html(self._headline(), self._columns(), len(self), self._notes())

    def _with_index(self, frame: pd.DataFrame) -> pd.DataFrame:
        indexed = frame if self._index is None else frame.set_index(self._index)
        indexed.attrs.update(self._named())
        return indexed

    @abstractmethod
    def _columns(self) -> Sequence[Column]:
        """Return the columns, of equal length."""

    @abstractmethod
    def _headline(self) -> str:
        """Return one line that says what the table is."""

    @abstractmethod
    def _named(self) -> Mapping[str, str]:
        """Return what the rows belong to: region, models, dates."""

    def _notes(self) -> Sequence[str]:
        """Return lines to show below the rows."""
        return ()


def describe_span(n: int, what: str, first: object, last: object) -> str:
    """Return how many there are and from when to when.

    Examples
    --------
    >>> describe_span(4026, "sessions", "2008-01-02", "2023-12-28")
    '4,026 sessions from 2008-01-02 to 2023-12-28'
    """
    return f"{n:,} {what} from {first} to {last}" if n else f"no {what}"
