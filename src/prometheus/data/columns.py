"""Which column of a file holds which field, whatever its author called it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus.errors import DataCheckError

FieldKind = Literal["text", "date", "number"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of our own, and the names others give it (lower case, without spaces, underscores and hyphens)."""

    name: str
    kind: FieldKind
    aliases: frozenset[str]


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Where the fields stand in one file.

    `source` maps a field to the name of its column, `position` to its index; `ignored` names the columns no field
    wants.
    """

    source: Mapping[str, str]
    position: Mapping[str, int]
    ignored: tuple[str, ...]


def _field(name: str, kind: FieldKind, *aliases: str) -> Field:
    return Field(name, kind, frozenset({normalize_name(name), *aliases}))


def normalize_name(name: str) -> str:
    """Return a column name without what authors vary: case, spaces, underscores, hyphens.

    Examples
    --------
    >>> normalize_name(" Adj_Close ")
    'adjclose'
    """
    return "".join(name.split()).replace("_", "").replace("-", "").casefold()


PRICE_FIELDS = (
    _field("instrument_id", "text", "ticker", "symbol", "instrument"),
    _field("trade_date", "date", "date", "datetime", "timestamp"),
    _field("open", "number"),
    _field("high", "number"),
    _field("low", "number"),
    _field("close", "number"),
    _field("adjusted_close", "number", "adjclose"),
    _field("volume", "number", "vol"),
    _field("currency", "text", "ccy"),
)

INSTRUMENT_FIELDS = (
    _field("instrument_id", "text", "ticker", "instrument"),
    _field("market_id", "text", "market"),
    _field("asset_class", "text"),
    _field("symbol", "text"),
    _field("name", "text"),
    _field("currency", "text", "ccy"),
    _field("status", "text"),
)


def match_columns(path: str, found: Sequence[str], fields: Sequence[Field], required: Collection[str]) -> ColumnMap:
    """Return where each field stands among the columns of a file.

    Raises
    ------
    DataCheckError
        A required field has no column, or a field has two.
    """
    position: dict[str, int] = {}
    for index, name in enumerate(found):
        field = next((field for field in fields if normalize_name(name) in field.aliases), None)
        if field is None:
            continue
        if field.name in position:
            first = found[position[field.name]]
            raise DataCheckError(f"{path}: columns {first!r} and {name!r} both mean {field.name}; remove or rename one")
        position[field.name] = index
    missing = [field.name for field in fields if field.name in required and field.name not in position]
    if missing:
        raise DataCheckError(_describe_missing(path, missing, found))
    taken = set(position.values())
    ignored = tuple(name for index, name in enumerate(found) if index not in taken)
    return ColumnMap({field: found[index] for field, index in position.items()}, position, ignored)


def _describe_missing(path: str, missing: Sequence[str], found: Sequence[str]) -> str:
    names = ", ".join(repr(name[:40]) for name in found[:30]) + (", …" if len(found) > 30 else "")
    way_out = ""
    if len(found) == 1 and any(mark in found[0] for mark in ";\t|"):
        way_out = "; separate the columns by commas"
    elif missing == ["instrument_id"]:
        way_out = "; name the instrument with --instrument-id"
    return f"{path}: no column {', '.join(missing)}; found {names or 'none'}{way_out}"
