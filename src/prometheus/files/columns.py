"""Columns of a file: which holds which field, whatever its author called it, and its cells as texts and numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from prometheus.arrays import Float64Vector, Int64Vector
from prometheus.encoders.texts.documents import INSTRUMENT, MACRO, NEWS, TextTable
from prometheus.errors import DataCheckError
from prometheus.market.frames import PRICE_FIELDS, Field, FieldKind, normalize_name
from prometheus.market.written import is_missing

MISSING_CODE = -1
MAX_CELL_LENGTH = 1_000
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_RATIO = re.compile(r"\s*([0-9]+\.?[0-9]*)\s*[:/]\s*([0-9]+\.?[0-9]*)\s*")
_NOT_FINITE = {"nan": np.nan, "inf": np.inf, "infinity": np.inf}


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Where the fields stand in one file: name and index of each one's column; `ignored` are the other columns."""

    source: Mapping[str, str]
    position: Mapping[str, int]
    ignored: tuple[str, ...]


PRICE_FILE_FIELDS = (
    *PRICE_FIELDS,
    Field.of("split_ratio", "number", "stocksplits", "stocksplit", "splitfactor", "splits", rare=("splitcoefficient",)),
)
INSTRUMENT_FIELDS = (
    Field.of("instrument_id", "text", "ticker", "instrument"),
    Field.of("market_id", "text", "market"),
    Field.of("asset_class", "text"),
    Field.of("symbol", "text"),
    Field.of("name", "text"),
    Field.of("currency", "text", "ccy"),
    Field.of("status", "text"),
)


def _text_fields(
    table: TextTable,
    fallbacks: Mapping[str, tuple[str, ...]],
    rare: Mapping[str, tuple[str, ...]],
    **aliases: tuple[str, ...],
) -> tuple[Field, ...]:
    instants = {table.timestamp, "known_at"}
    return tuple(
        Field.of(
            name, "instant" if name in instants else "text", *aliases.get(name, ()),
            fallbacks=fallbacks.get(name, ()), rare=rare.get(name, ()),
        )
        for name in table.columns
    )  # fmt: skip


CONCERNED = Field.of(
    INSTRUMENT, "texts", "instrumentids", "instrument", "instruments", fallbacks=("ticker", "tickers"),
    rare=("symbol", "symbols"),
)  # fmt: skip
"""Which instruments a text concerns."""
MACRO_FIELDS = _text_fields(
    MACRO,
    {
        "event_type": ("category",),
        "country": ("currency",),
        "description": ("contents", "fulltext"),
        "timestamp": ("pubdate", "publishdate", "publisheddate"),
    },
    {"description": ("actual",)},
    event_type=("type", "event"),
    timestamp=("datetime", "date", "time", "releasedat", "releasedate", "availabledate", "publishedat"),
    known_at=("availableat",),
    country=("countrycode", "currencyarea"),
    source=("centralbank", "publisher"),
    description=("text", "body", "content", "eventtext"),
)
NEWS_FIELDS = _text_fields(
    NEWS,
    {
        "published_at": ("pubdate", "publishdate", "publisheddate", "publicationdate", "datepublished", "seendate"),
        "headline": ("headlinetext", "headlines", "articletitle"),
        "source": ("publication", "sourcename", "domain"),
        "body": ("article", "articletext", "articlebody", "fulltext", "contents"),
    },
    {"published_at": ("time",), "body": ("description", "summary")},
    published_at=("published", "timestamp", "datetime", "date", "releasedat"),
    known_at=("availableat",),
    language=("lang",),
    source=("publisher",),
    headline=("title",),
    body=("text", "content"),
)


def metadata_field(name: str) -> Field:
    """Return the field of a column that is kept beside a text under its own name."""
    return Field(name, "scalar", frozenset())


def match_columns(
    path: str,
    found: Sequence[str],
    fields: Sequence[Field],
    required: Collection[str],
    by_hand: Mapping[str, str] | None = None,
) -> ColumnMap:
    """Return where each field stands among the columns of a file; `DataCheckError` where one has none, or two.

    `by_hand` says the column of some fields, named by the user; one may serve several fields, and no other field takes
    it. Where it is given, even empty, a column with a field's own name goes before those with other names for it.
    """
    position = {field: _find_named(path, found, field, name) for field, name in (by_hand or {}).items()}
    named = set(position.values())
    for field in fields:
        if field.name in position:
            continue
        unnamed = [index for index in range(len(found)) if index not in named]
        hits = [unnamed[at] for at in field.find([found[index] for index in unnamed])]
        if by_hand is not None:
            own = [index for index in hits if normalize_name(found[index]) == normalize_name(field.name)]
            hits = own or hits
        if len(hits) > 1:
            raise DataCheckError(_describe_two(path, field.name, found[hits[0]], found[hits[1]], by_hand))
        if hits:
            position[field.name] = hits[0]
    missing = [field.name for field in fields if field.name in required and field.name not in position]
    if missing:
        raise DataCheckError(_describe_missing(path, missing, found, can_name=by_hand is not None))
    taken = set(position.values())
    ignored = tuple(name for index, name in enumerate(found) if index not in taken)
    return ColumnMap({field: found[index] for field, index in position.items()}, position, ignored)


def _find_named(path: str, found: Sequence[str], field: str, name: str) -> int:
    hits = [index for index, column in enumerate(found) if column == name]
    hits = hits or [index for index, column in enumerate(found) if normalize_name(column) == normalize_name(name)]
    if len(hits) == 1:
        return hits[0]
    fault = f"{len(hits)} columns {name!r}" if hits else f"no column {name[:40]!r}"
    raise DataCheckError(f"{path}: {fault}, named for {field}; found {list_names(found)}")


def _describe_two(path: str, field: str, first: str, second: str, by_hand: Mapping[str, str] | None) -> str:
    way_out = "remove or rename one" if by_hand is None else f"choose one, such as --column {field}={second}"
    return f"{path}: columns {first!r} and {second!r} both mean {field}; {way_out}"


def _describe_missing(path: str, missing: Sequence[str], found: Sequence[str], *, can_name: bool) -> str:
    way_out = ""
    if missing == ["instrument_id"]:
        way_out = "; name the instrument with --instrument-id"
    elif missing == ["event_type"]:
        way_out = "; name the type with --event-type, or its column with --column event_type=NAME"
    elif can_name and len(missing) == 1:
        way_out = f"; name the column with --column {missing[0]}=NAME"
    elif can_name:
        way_out = f"; name them with {' '.join(f'--column {field}=NAME' for field in missing)}"
    return f"{path}: no column {', '.join(missing)}; found {list_names(found)}{way_out}"


def list_names(found: Sequence[str]) -> str:
    """Return names for a message: quoted, cut, at most thirty."""
    return (", ".join(repr(name[:40]) for name in found[:30]) + (", …" if len(found) > 30 else "")) or "none"


def require_kinds(path: Path, fields: Sequence[Field], types: Mapping[str, pa.DataType]) -> None:
    """Raise `DataCheckError` for a column whose type cannot hold its field."""
    accepts: dict[FieldKind, tuple[str, tuple[Callable[[Any], bool], ...]]] = {
        "text": ("text", (is_text,)),
        "texts": ("texts or lists of texts", (is_text, is_number, is_list)),
        "number": ("numbers", (is_text, is_number)),
        "date": ("dates", (is_text, is_date)),
        "instant": ("timestamps", (is_text, is_date)),
        "scalar": ("texts, numbers or dates", (is_text, is_number, is_date, pa.types.is_boolean)),
    }
    for field in fields:
        found = types.get(field.name, pa.null())
        wanted, checks = accepts[field.kind]
        if not pa.types.is_null(found) and not any(check(plain_type(found)) for check in checks):
            name = str(found) if len(str(found)) <= 60 else f"{str(found)[:59]}…"
            raise DataCheckError(f"{path}: column {field.name} has type {name}, expected {wanted}")


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the value type of a dictionary type, any other type as it is."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def is_text(kind: pa.DataType) -> bool:
    """Return whether a type holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_list(kind: pa.DataType) -> bool:
    """Return whether a type holds lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def lists_as_texts(column: pa.Array) -> pa.Array:
    """Return each list as one JSON text, null for null."""
    cells = [None if cell is None else json.dumps(cell, ensure_ascii=False, default=str) for cell in column.to_pylist()]
    return pa.array(cells, pa.large_string())


def is_number(kind: pa.DataType) -> bool:
    """Return whether a type holds numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_date(kind: pa.DataType) -> bool:
    """Return whether a type holds dates, or integers that may be dates such as 20240131."""
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_integer(kind))


@dataclass(frozen=True, slots=True, eq=False)
class TextColumn:
    """Texts as codes into their distinct values: `codes` of shape (n,), `MISSING_CODE` if the cell is empty."""

    codes: Int64Vector
    values: tuple[str, ...]

    def cells(self, missing: str | None = None) -> list[str | None]:
        """Return the text of each row, `missing` where the cell is empty."""
        values = [*(text or missing for text in self.values), missing]  # MISSING_CODE, -1, is the last one
        return [values[code] for code in self.codes.tolist()]


@dataclass(frozen=True, slots=True, eq=False)
class NumberColumn:
    """Numbers, shape (n,): NaN if the cell is empty, and `is_unreadable` where there is something else."""

    values: Float64Vector
    is_unreadable: NDArray[np.bool_]

    def keep(self, is_kept: NDArray[np.bool_]) -> NumberColumn:
        """Return the numbers of some rows."""
        return NumberColumn(self.values[is_kept], self.is_unreadable[is_kept])


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

    They stand in order of first appearance. A dictionary is never written out: its longest text may be in every row.
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
    aside; ``nan``, ``null``, ``n/a`` and other words of `prometheus.market.written.MISSING_WORDS` count as missing,
    ``inf`` as infinite, all else (``1,234.5``, ``$12``) as unreadable.
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


def read_ratios(column: pa.Array) -> NumberColumn:
    """Return ratios as `read_numbers` returns numbers; a text may also be two numbers, such as 7:1 or 7/1."""
    if not is_text(plain_type(column.type)):
        return read_numbers(column)
    codes, values = distinct_values(column)
    written = pa.array([_divide(text) for text in values.to_pylist()], pa.large_string())
    return read_numbers(pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes == MISSING_CODE), written))


def _divide(text: str | None) -> str | None:
    parts = _RATIO.fullmatch(text or "")
    if parts is None or float(parts[2]) == 0:
        return text
    return repr(float(parts[1]) / float(parts[2]))


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
        is_unreadable[position] = word not in _NOT_FINITE and not is_missing(text)
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
