"""The columns of a result: one description of each for frames, Arrow tables and what is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from prometheus.regime.history import LABELS

if TYPE_CHECKING:
    import pyarrow as pa

UNKNOWN = "-"
MAX_SHOWN_CHARACTERS = 120
_N_SHOWN_VALUES = 3


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One column.

    Attributes
    ----------
    values
        Shape (n,): dates (datetime64[D]), instants in UTC (datetime64[us]), numbers, or texts (object); of vectors
        (n, dim), float32. NaT, NaN and None stand for what nobody knows.
    form
        How a number is shown, as in ``format(value, form)``.
    categories
        The texts there may be, where they are few and known.
    """

    name: str
    values: np.ndarray[Any, np.dtype[Any]]
    form: str = ",.3f"
    categories: tuple[str, ...] = ()

    @property
    def is_number(self) -> bool:
        """Whether it holds one number per row."""
        return self.values.dtype.kind in "if" and self.values.ndim == 1

    def cell(self, at: int) -> str:
        """Return one value as it is shown: short, and without characters that steer a terminal."""
        value = self.values[at]
        if self.values.ndim == 2:
            return f"[{', '.join(format(each, self.form) for each in value[:_N_SHOWN_VALUES].tolist())}, …]"
        if value is None or value != value:  # noqa: PLR0124 -- NaN and NaT alone differ from themselves
            return UNKNOWN
        if isinstance(value, np.datetime64):
            return np.datetime_as_string(value, "auto" if self.values.dtype == "M8[D]" else "m").replace("T", " ")
        return format(value, self.form) if self.is_number else shorten(str(value))

    def to_arrow(self) -> pa.Array:
        """Return the values as an Arrow array: date32, timestamp, number, string, dictionary or fixed-size list."""
        import pyarrow as pa  # noqa: PLC0415 -- slow to import

        if self.values.ndim == 2:
            flat = pa.array(np.ascontiguousarray(self.values).reshape(-1), pa.float32())
            return pa.FixedSizeListArray.from_arrays(flat, self.values.shape[1])
        if self.categories:
            codes = {name: code for code, name in enumerate(self.categories)}
            indices = pa.array([codes.get(value) for value in self.values.tolist()], pa.int8())
            return pa.DictionaryArray.from_arrays(indices, pa.array(self.categories, pa.string()))
        kinds = {"M": pa.timestamp("us", "UTC"), "O": pa.string()}
        kind = pa.date32() if self.values.dtype == "M8[D]" else kinds.get(self.values.dtype.kind)
        return pa.array(self.values, kind, from_pandas=True)


def labels(name: str, values: Sequence[str | None]) -> Column:
    """Return a column of regime labels."""
    return Column(name, texts(values), categories=tuple(label.name for label in LABELS))


def texts(values: Sequence[str | None]) -> np.ndarray[Any, np.dtype[Any]]:
    """Return texts as an array of objects, shape (n,)."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def dates(values: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.datetime64]]:
    """Return dates, None among them, as datetime64[D], shape (n,)."""
    return np.array(values, dtype="M8[D]")


def numbers(values: Sequence[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return numbers, None among them as NaN, shape (n,)."""
    return np.array(values, dtype=np.float64)


def shorten(text: str) -> str:
    """Return a text on one line, cut where it is long, each character that cannot be printed as a space."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * MAX_SHOWN_CHARACTERS]).split())
    return line if len(line) <= MAX_SHOWN_CHARACTERS else f"{line[: MAX_SHOWN_CHARACTERS - 1].rstrip()}…"
