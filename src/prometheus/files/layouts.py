"""The shape of a table of prices: one row per bar, a column per instrument, or names on two or three lines.

Whatever the shape, a table is a column of dates and some blocks: an instrument and the columns of its fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from prometheus.errors import DataCheckError
from prometheus.files.columns import PRICE_FILE_FIELDS, list_names, match_columns
from prometheus.market.frames import Field, normalize_name
from prometheus.market.written import is_missing, is_ticker

NAME_ROWS = 2
"""Rows below the header that may hold names, too."""
_PAIR = re.compile(r"\(['\"](.*?)['\"], ['\"](.*?)['\"]\)")
_NUMBER_FIELDS = {field.name for field in PRICE_FILE_FIELDS if field.kind == "number"}
_BESIDES = frozenset({"dividends", "stocksplits", "capitalgains", "repaired?"})

Row = Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Block:
    """The columns of one instrument: the position of each field; `instrument` is None where a column names it."""

    instrument: str | None
    position: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Layout:
    """The blocks of a table, how many rows below its header are names, too, and what a user should hear of it."""

    blocks: tuple[Block, ...]
    n_name_rows: int = 0
    ignored: tuple[str, ...] = ()
    remark: str = ""


def find_layout(
    path: str, names: Sequence[str], first_rows: Sequence[Row], by_hand: Mapping[str, str], instrument_id: str | None
) -> Layout:
    """Return the shape of a table of prices; `DataCheckError` where no date or no close can be told.

    Parameters
    ----------
    names, first_rows
        The names of the columns, and up to `NAME_ROWS` rows below them as text, a cell for each name.
    by_hand
        The column of some fields, named by the user.
    instrument_id
        That of a table which names none.
    """
    two_levels = _find_two_levels(names, first_rows, instrument_id)
    if two_levels is not None:
        return two_levels
    wide = _find_wide(names, by_hand.get("trade_date"), instrument_id) if by_hand.keys() <= {"trade_date"} else None
    if wide is not None:
        return wide
    fields = price_fields(instrument_id)
    required = {"trade_date", "close"} | ({"instrument_id"} if instrument_id is None else set())
    try:
        columns = match_columns(path, names, fields, required, by_hand)
    except DataCheckError as error:
        if names and all(_is_number(name) for name in names):
            fault = "line 1 holds values, not names; name columns by their place, 1 for the first: --header-line 0 "
            fault += "--column trade_date=1 --column close=2"
            raise DataCheckError(f"{path}: {fault}") from error
        if _may_be_wide(names):
            raise DataCheckError(
                f"{error}; where each column is an instrument, write its ticker in capitals"
            ) from error
        raise DataCheckError(
            f"{error}; where the names stand on another line, say on which: --header-line N"
        ) from error
    return Layout((Block(None, columns.position),), 0, columns.ignored)


def price_fields(instrument_id: str | None) -> tuple[Field, ...]:
    """Return the fields of a file of prices; a column ``Name`` is one of instruments only where the user names none."""
    first, *others = PRICE_FILE_FIELDS
    return (first if instrument_id is None else replace(first, rare=frozenset()), *others)


def field_of(name: str) -> str | None:
    """Return the field of a file of prices that a name means by itself."""
    plain = normalize_name(name)
    return next((field.name for field in PRICE_FILE_FIELDS for rank in field.ranks if plain in rank), None)


def _find_two_levels(names: Sequence[str], first_rows: Sequence[Row], instrument_id: str | None) -> Layout | None:
    """Return the shape of a table whose names are pairs of field and ticker, as yfinance writes several of them."""
    pairs = [_PAIR.fullmatch(name) for name in names]
    if sum(pair is not None for pair in pairs) >= max(1, len(names) - 1):
        upper, lower = ([pair[level] if pair else "" for pair in pairs] for level in (1, 2))
        date_at = next((at for at, pair in enumerate(pairs) if pair is None or field_of(pair[1]) == "trade_date"), None)
        return None if date_at is None else _two_levels(upper, lower, date_at, 0, instrument_id)
    if not first_rows or len(names) < 2:
        return None
    lower = [cell or "" for cell in first_rows[0]]
    if any(not cell or _is_number(cell) for cell in lower[1:]):
        return None
    has_date_row = len(first_rows) > 1 and _is_date_row(first_rows[1])
    return _two_levels(list(names), lower, 0, 2 if has_date_row else 1, instrument_id)


def _two_levels(
    upper: Sequence[str], lower: Sequence[str], date_at: int, n_name_rows: int, instrument_id: str | None
) -> Layout | None:
    places = [at for at in range(len(upper)) if at != date_at]
    for fields, tickers in ((upper, lower), (lower, upper)):
        found = {at: field_of(fields[at]) for at in places}
        is_known = all(found[at] in _NUMBER_FIELDS or normalize_name(fields[at]) in _BESIDES for at in places)
        if not is_known or all(field_of(tickers[at]) in _NUMBER_FIELDS for at in places):
            continue
        positions: dict[str, dict[str, int]] = {}
        for at in places:
            field = found[at]
            if field is not None:
                positions.setdefault(tickers[at], {"trade_date": date_at}).setdefault(field, at)
        if not positions or not all("close" in position for position in positions.values()):
            return None
        is_named = instrument_id is not None and len(positions) == 1
        named = dict(zip([instrument_id or ""], positions.values(), strict=True)) if is_named else positions
        ignored = tuple(dict.fromkeys(fields[at] for at in places if found[at] is None))
        said = f"names stand on {n_name_rows + 1} lines; " if n_name_rows else ""
        remark = f"{said}instruments {list_names(list(named))}"
        return Layout(tuple(Block(*item) for item in named.items()), n_name_rows, ignored, remark)
    return None


def _is_date_row(row: Row) -> bool:
    return bool(row) and field_of(row[0] or "-") == "trade_date" and not any(row[1:])


def _is_number(text: str) -> bool:
    return is_missing(text) or (text.strip()[:1] in "0123456789.+-$" and text.strip()[-1:].isdigit())


def _may_be_wide(names: Sequence[str]) -> bool:
    """Return whether a table may be one of dates and a column for each instrument, whatever these are called."""
    known = [field_of(name) for name in names]
    return known.count("trade_date") == 1 and known.count(None) == len(names) - 1 > 1


def _find_wide(names: Sequence[str], date_name: str | None, instrument_id: str | None) -> Layout | None:
    """Return the shape of a table of dates and closes, a column per instrument, such as FRED's.

    A column is taken for an instrument where its name looks like a ticker, or where it is the only one and the user
    names the instrument. `date_name` is the column of dates where the user names it.
    """
    field = next(field for field in PRICE_FILE_FIELDS if field.name == "trade_date")
    dates = field.find(list(names)) if date_name is None else [at for at, name in enumerate(names) if name == date_name]
    others = [at for at in range(len(names)) if at not in dates]
    if len(dates) != 1 or not others or any(field_of(names[at]) is not None for at in others):
        return None
    date_at = dates[0]
    if instrument_id is not None:
        only = {"trade_date": date_at, "close": others[0]}
        remark = f"column {names[others[0]]} is taken for the close"
        return Layout((Block(None, only),), remark=remark) if len(others) == 1 else None
    if not all(is_ticker(names[at]) for at in others) or len({names[at] for at in others}) < len(others):
        return None
    blocks = tuple(Block(names[at], {"trade_date": date_at, "close": at}) for at in others)
    listed = list_names([names[at] for at in others])
    return Layout(blocks, remark=f"each column is an instrument, its numbers are closes: {listed}")
