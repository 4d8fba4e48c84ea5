"""Which Arrow types can hold which kind of field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from prometheus.errors import DataCheckError
from prometheus.files.columns import Field


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
