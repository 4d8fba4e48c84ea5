"""From Arrow columns of any accepted type to numpy texts and numbers, and back to what their file wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from prometheus.arrays import Float64Vector, Int64Vector
from prometheus.files.columns import is_text

MISSING_CODE = -1
MAX_CELL_LENGTH = 1_000
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_NOT_FINITE = {"nan": np.nan, "inf": np.inf, "infinity": np.inf}


@dataclass(frozen=True, slots=True, eq=False)
class TextColumn:
    """Texts as codes into their distinct values: `codes` of shape (n,), `MISSING_CODE` if the cell is empty."""

    codes: Int64Vector
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class NumberColumn:
    """Numbers, shape (n,): NaN if the cell is empty, and `is_unreadable` where there is something else."""

    values: Float64Vector
    is_unreadable: NDArray[np.bool_]


def read_texts(column: pa.Array) -> TextColumn:
    """Return a text column as codes; only values that occur are kept, in order of first appearance."""
    codes, values = distinct_values(column)
    texts = values.to_pylist()
    if None in texts:  # a dictionary may hold a null
        is_null = np.array([text is None for text in texts] + [True])
        codes = np.where(is_null[codes], MISSING_CODE, codes)
    return TextColumn(codes, tuple(text or "" for text in texts))


def distinct_values(column: pa.Array) -> tuple[Int64Vector, pa.Array]:
    """Return each row's position among the values that occur, `MISSING_CODE` for null, and those values.

    The values stand in order of first appearance. A dictionary is never written out row by row: its longest text may
    stand in every row.
    """
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    codes = pc.fill_null(encoded.indices.cast(pa.int64()), MISSING_CODE).to_numpy(zero_copy_only=False)
    present, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    order = order[present[order] != MISSING_CODE]
    new_codes = np.full(len(present), MISSING_CODE, np.int64)
    new_codes[order] = np.arange(len(order))
    return new_codes[inverse], encoded.dictionary.take(pa.array(present[order]))


def read_numbers(column: pa.Array) -> NumberColumn:
    """Return a numeric or text column as float64; float32 is widened exactly (17.66 becomes 17.659999847…).

    A text is a number when it is written in digits with a point, with or without sign and exponent, spaces around it
    aside; ``nan`` counts as missing, ``inf`` as infinite, all else (``1,234.5``, ``$12``, ``n/a``) as unreadable.
    """
    if pa.types.is_dictionary(column.type):
        codes, values = distinct_values(column)
        distinct = read_numbers(values)
        return NumberColumn(np.append(distinct.values, np.nan)[codes], np.append(distinct.is_unreadable, False)[codes])
    if pa.types.is_null(column.type):
        return NumberColumn(np.full(len(column), np.nan), np.zeros(len(column), dtype=bool))
    if is_text(column.type):
        return _read_written_numbers(column.cast(pa.large_string()))
    return NumberColumn(_to_float64(column), np.zeros(len(column), dtype=bool))


def _read_written_numbers(texts: pa.Array) -> NumberColumn:
    try:
        values = _to_float64(texts)
    except pa.ArrowInvalid:
        pass
    else:
        if np.isfinite(values).all():
            return NumberColumn(values, np.zeros(len(values), dtype=bool))
    trimmed = pc.ascii_trim_whitespace(texts)
    is_number = pc.match_substring_regex(trimmed, _NUMBER)
    values = _to_float64(pc.if_else(is_number, trimmed, None))
    is_other = pc.fill_null(pc.invert(is_number), False).to_numpy(zero_copy_only=False)
    is_unreadable = np.zeros(len(values), dtype=bool)
    for position in np.flatnonzero(is_other):
        text = trimmed[int(position)].as_py()
        word = text.removeprefix("-").removeprefix("+").lower()
        values[position] = _NOT_FINITE.get(word, np.nan)
        is_unreadable[position] = bool(text) and word not in _NOT_FINITE
    return NumberColumn(values, is_unreadable)


def _to_float64(column: pa.Array) -> Float64Vector:
    floats = pc.cast(column, pa.float64(), safe=False)
    values: Float64Vector = np.array(pc.fill_null(floats, np.nan).to_numpy(zero_copy_only=False), dtype=np.float64)
    return values


def cells_as_text(
    columns: Mapping[str, pa.Array],
    names: Sequence[str],
    positions: Int64Vector,
    max_length: int | None = MAX_CELL_LENGTH,
) -> list[tuple[str, ...]]:
    """Return the cells of some rows as their file wrote them, cut after `max_length`; "" for a missing one."""
    taken = {name: _as_texts(columns[name].take(pa.array(positions)), max_length) for name in names if name in columns}
    blank = [""] * len(positions)
    return list(zip(*(taken.get(name, blank) for name in names), strict=True))


def _as_texts(column: pa.Array, max_length: int | None) -> list[str]:
    codes, values = distinct_values(column)
    try:
        texts = values.cast(pa.large_string()).to_pylist()
    except pa.ArrowException:  # a timestamp no calendar can show
        texts = values.cast(pa.int64(), safe=False).cast(pa.string()).to_pylist()
    cut = ["" if text is None else text[:max_length] for text in texts]
    cut.append("")
    return [cut[code] for code in codes.tolist()]
