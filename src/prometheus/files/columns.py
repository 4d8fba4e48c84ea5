"""Which column of a file holds which field, whatever its author called it, and whether its type can."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from prometheus.encoders.texts.documents import MACRO, NEWS, TextTable
from prometheus.errors import DataCheckError
from prometheus.market.frames import PRICE_FIELDS, Field, FieldKind, normalize_name

__all__ = [
    "INSTRUMENT_FIELDS", "MACRO_FIELDS", "NEWS_FIELDS", "PRICE_FIELDS", "ColumnMap", "Field", "FieldKind",
    "match_columns", "metadata_field", "normalize_name",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Where the fields stand in one file.

    `source` maps a field to the name of its column, `position` to its index; `ignored` names the columns no field
    wants.
    """

    source: Mapping[str, str]
    position: Mapping[str, int]
    ignored: tuple[str, ...]


INSTRUMENT_FIELDS = (
    Field.of("instrument_id", "text", "ticker", "instrument"),
    Field.of("market_id", "text", "market"),
    Field.of("asset_class", "text"),
    Field.of("symbol", "text"),
    Field.of("name", "text"),
    Field.of("currency", "text", "ccy"),
    Field.of("status", "text"),
)


def _text_fields(table: TextTable, **aliases: tuple[str, ...]) -> tuple[Field, ...]:
    instants = {table.timestamp, "known_at"}
    return tuple(
        Field.of(name, "instant" if name in instants else "text", *aliases.get(name, ())) for name in table.columns
    )


MACRO_FIELDS = _text_fields(
    MACRO,
    event_type=("type", "event", "category"),
    timestamp=("datetime", "date", "time", "releasedat", "releasedate", "availabledate", "publishedat"),
    known_at=("availableat",),
    country=("countrycode", "currencyarea"),
    source=("centralbank", "publisher"),
    description=("text", "body", "content", "eventtext"),
)
NEWS_FIELDS = _text_fields(
    NEWS,
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
    raise DataCheckError(f"{path}: {fault}, named for {field}; found {_list_names(found)}")


def _describe_two(path: str, field: str, first: str, second: str, by_hand: Mapping[str, str] | None) -> str:
    way_out = "remove or rename one" if by_hand is None else f"choose one, such as --column {field}={second}"
    return f"{path}: columns {first!r} and {second!r} both mean {field}; {way_out}"


def _describe_missing(path: str, missing: Sequence[str], found: Sequence[str], *, can_name: bool) -> str:
    way_out = ""
    if len(found) == 1 and any(mark in found[0] for mark in ";\t|"):
        way_out = "; separate the columns by commas"
    elif missing == ["instrument_id"]:
        way_out = "; name the instrument with --instrument-id"
    elif missing == ["event_type"]:
        way_out = "; name the type with --event-type, or its column with --column event_type=NAME"
    elif can_name:
        way_out = f"; name the column with --column {missing[0]}=NAME"
    return f"{path}: no column {', '.join(missing)}; found {_list_names(found)}{way_out}"


def _list_names(found: Sequence[str]) -> str:
    return (", ".join(repr(name[:40]) for name in found[:30]) + (", …" if len(found) > 30 else "")) or "none"


def require_kinds(path: Path, fields: Sequence[Field], types: Mapping[str, pa.DataType]) -> None:
    """Raise `DataCheckError` for a column whose type cannot hold its field."""
    accepts: dict[str, tuple[str, Any]] = {
        "text": ("text", is_text),
        "number": ("numbers", lambda kind: is_text(kind) or is_number(kind)),
        "date": ("dates", lambda kind: is_text(kind) or is_date(kind)),
        "instant": ("timestamps", lambda kind: is_text(kind) or is_date(kind)),
        "scalar": (
            "texts, numbers or dates",
            lambda kind: is_text(kind) or is_number(kind) or is_date(kind) or pa.types.is_boolean(kind),
        ),
    }
    for field in fields:
        if field.name not in types:
            continue
        wanted, accept = accepts[field.kind]
        found = types[field.name]
        if not pa.types.is_null(found) and not accept(plain_type(found)):
            raise DataCheckError(f"{path}: column {field.name} has type {shorten_type(found)}, expected {wanted}")


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the value type of a dictionary type, any other type as it is."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def shorten_type(kind: pa.DataType) -> str:
    """Return the name of a type, cut where it is nested deeply."""
    name = str(kind)
    return name if len(name) <= 60 else f"{name[:59]}…"


def is_text(kind: pa.DataType) -> bool:
    """Return whether a type holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_number(kind: pa.DataType) -> bool:
    """Return whether a type holds numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_date(kind: pa.DataType) -> bool:
    """Return whether a type holds dates, or integers that may be dates such as 20240131."""
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_integer(kind))
