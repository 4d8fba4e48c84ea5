"""Where a file of prices says what its columns hold: below some title lines, or nowhere.

A header below titles is one that names a date and a number that we know, where nothing above it can be a row. A file
without one is read where its values leave a single reading: a date and closes, or bars in the order of all vendors.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from prometheus.arrays import Float64Matrix, Float64Vector
from prometheus.files.layouts import field_of
from prometheus.files.text_lines import find_separator
from prometheus.market.written import DateEvidence, DateStyle, is_ticker

MAX_TITLE_LINES = 20
SAMPLE_LINES = 200
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?|0{4}|0{6}", re.ASCII)
_DATE = re.compile(r"(?:1[89]|20)\d{2}[-/.]?\d{2}[-/.]?\d{2}", re.ASCII)
_BAR = ("open", "high", "low", "close")
_VOLUME_PER_PRICE, _ROUNDING = 10, 1.0001

Cells = Sequence[str]


@dataclass(frozen=True, slots=True)
class Header:
    """The line that names the columns, from 1, or 0 and the names that their values imply."""

    line: int
    names: tuple[str, ...] = ()


def find_header(lines: Sequence[str]) -> Header | None:
    """Return where the header is other than on line 1, None where that is it or no single reading is left.

    `lines` are the first ones of a file.
    """
    if not lines or _is_header(_split(lines[0])):
        return None
    separated = [_split(line) for line in lines]
    found = [at for at, cells in enumerate(separated[: MAX_TITLE_LINES + 1]) if _is_header(cells)]
    if found:
        return None if len(found) > 1 or any(map(_is_row, separated[: found[0]])) else Header(found[0] + 1)
    names = _names_of_values([cells for cells in separated if cells])
    return None if names is None else Header(0, names)


def _split(line: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=find_separator(line)), [])]
    except csv.Error:
        return []


def _is_header(cells: Cells) -> bool:
    found = {field_of(cell) for cell in cells if cell}
    return "trade_date" in found and bool(found & {"close", "open", "adjusted_close"})


def _is_row(cells: Cells) -> bool:
    """Return whether a line may be a bar: a date and a number beside it."""
    dates = [cell for cell in cells if _is_date(cell)]
    return bool(dates) and any(_NUMBER.fullmatch(cell) for cell in cells if cell not in dates)


def _is_date(cell: str) -> bool:
    if _DATE.fullmatch(cell):
        return True
    evidence = DateEvidence()
    evidence.add([cell])
    return evidence.style() != DateStyle() and not cell.lstrip("-").isdigit()


def _names_of_values(rows: Sequence[Cells]) -> tuple[str, ...] | None:
    """Return the names of columns of values, None where they leave no reading, or several."""
    if not rows or len({len(row) for row in rows}) > 1:
        return None
    columns = list(zip(*rows, strict=True))
    names: list[str] = []
    for name, is_such in _LEADING.items():
        if len(names) < len(columns) and all(map(is_such, columns[len(names)])):
            names.append(name)
    texts = columns[len(names) :]
    if "trade_date" not in names or not all(_NUMBER.fullmatch(cell) for column in texts for cell in column):
        return None
    numbers = np.array([[float(cell) for cell in column] for column in texts]).reshape(len(texts), len(rows))
    prices = _names_of_numbers(numbers)
    return (*names, *prices) if prices else None


def _names_of_numbers(numbers: Float64Matrix) -> tuple[str, ...]:
    """Return what rows of numbers, shape (n_columns, n_rows), are; () where they leave no reading, or several."""
    if len(numbers) == 1:
        return ("close",)
    if len(numbers) < len(_BAR) or not _are_bars(numbers[:4]):
        return ()
    more = _names_beside_bars(numbers[4:], numbers[1], numbers[3])
    return () if more is None else (*_BAR, *more)


def _names_beside_bars(numbers: Float64Matrix, highs: Float64Vector, closes: Float64Vector) -> tuple[str, ...] | None:
    is_volume = [_are_volumes(each, closes) for each in numbers]
    if is_volume in ([], [True]):
        return ("volume",) * len(is_volume)
    if len(is_volume) != 2:
        return None
    if is_volume[0] and not numbers[1].any():
        return ("volume", "(open interest)")
    is_adjusted = bool(((numbers[0] > 0) & (numbers[0] <= highs * _ROUNDING)).all())
    return ("adjusted_close", "volume") if is_adjusted and is_volume[1] else None


def _are_bars(numbers: Float64Matrix) -> bool:
    _, high, low, _ = numbers
    return bool((high == numbers.max(axis=0)).all() and (low == numbers.min(axis=0)).all() and (high > low).any())


def _are_volumes(numbers: Float64Vector, closes: Float64Vector) -> bool:
    is_whole = bool((numbers == np.floor(numbers)).all() and (numbers >= 0).all())
    return is_whole and (not numbers.any() or numbers.sum() > _VOLUME_PER_PRICE * closes.sum())


_LEADING: dict[str, Callable[[str], bool]] = {
    "instrument_id": lambda cell: is_ticker(cell) and not _NUMBER.fullmatch(cell) and not _is_date(cell),
    "(period)": lambda cell: cell == "D",
    "trade_date": _is_date,
    "(time)": lambda cell: _CLOCK.fullmatch(cell) is not None,
}
"""What may stand before the numbers, in this order, as Stooq and MetaTrader write it."""
