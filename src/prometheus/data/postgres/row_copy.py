"""Single rows of any length in PostgreSQL's binary COPY format, where their bytes themselves matter.

Source of the format: PostgreSQL documentation, COPY, "Binary Format"; values as the ``send`` functions of their types
write them. Columns of fixed width go faster through `prometheus.data.postgres.binary_copy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from struct import Struct
from typing import Any, TypeAlias

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from prometheus.data.postgres.binary_copy import HEADER, TRAILER, encode_rows

JSONB_VERSION = b"\x01"
"""What the text of a ``jsonb`` column stands behind."""
Column: TypeAlias = NDArray[Any] | Sequence[Any]
"""The values of one column, an array where all have one width."""
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.date().toordinal()
_MICROSECOND = timedelta(microseconds=1)
_TEXT_OID = 25
_COUNT, _LENGTH, _ARRAY, _DIMENSION = Struct(">h"), Struct(">i"), Struct(">iii"), Struct(">ii")
_FLOAT, _BIGINT, _DATE, _BOOLEAN = Struct(">id"), Struct(">iq"), Struct(">ii"), Struct(">i?")
_NULL = _LENGTH.pack(-1)


def copy_rows_in(cursor: psycopg.Cursor[Any], statement: sql.Composed, n_fields: int, rows: Iterable[bytes]) -> None:
    """Append rows, each the bytes of its fields, by a ``COPY … FROM STDIN (FORMAT BINARY)``."""
    count = _COUNT.pack(n_fields)
    with cursor.copy(statement) as copy:
        copy.write(HEADER + b"".join([count + row for row in rows]) + TRAILER)


def copy_rows_out(cursor: psycopg.Cursor[Any], statement: sql.Composed) -> Iterator[bytes]:
    """Yield the bytes of the fields of each row of a ``COPY … TO STDOUT (FORMAT BINARY)``, as they come."""
    with cursor.copy(statement) as copy:
        for message in copy:  # one for each row, the header before the first, the trailer after the last
            row = bytes(message).removeprefix(HEADER)
            if row != TRAILER:
                yield row[_COUNT.size :]


def encode_column(values: Column) -> list[bytes]:
    """Return each value behind its length: of an array as `binary_copy.copy_in` sends it, else by the type of each.

    None, float, int (as bigint), bool, str, bytes, date, datetime, or a tuple of texts, for a column ``text[]``.
    """
    if not isinstance(values, np.ndarray):
        return [_ENCODERS[type(value)](value) for value in values]
    records = encode_rows({"value": values}).view(np.uint8).reshape(len(values), -1)[:, _COUNT.size :]
    fields: list[bytes] = np.ascontiguousarray(records).view(f"V{records.shape[1]}").ravel().tolist()
    return fields


def joined_rows(columns: Iterable[Sequence[bytes]]) -> Iterator[bytes]:
    """Return the bytes of the fields of each row, of columns that `encode_column` wrote."""
    return map(b"".join, zip(*columns, strict=True))


def split_field(row: bytes) -> tuple[bytes | None, bytes]:
    """Return the first field of a row, None for NULL, and the bytes of the fields after it."""
    (length,) = _LENGTH.unpack_from(row)
    if length < 0:
        return None, row[_LENGTH.size :]
    end = _LENGTH.size + length
    return row[_LENGTH.size : end], row[end:]


def _sized(raw: bytes) -> bytes:
    return _LENGTH.pack(len(raw)) + raw


@lru_cache
def _encode_text(text: str) -> bytes:
    return _sized(text.encode())


@lru_cache
def _encode_instant(instant: datetime) -> bytes:
    return _BIGINT.pack(8, (instant - _EPOCH) // _MICROSECOND)


@lru_cache
def _encode_texts(texts: tuple[str, ...]) -> bytes:
    dimensions = (
        _ARRAY.pack(1, 0, _TEXT_OID) + _DIMENSION.pack(len(texts), 1) if texts else _ARRAY.pack(0, 0, _TEXT_OID)
    )
    return _sized(dimensions + b"".join(map(_encode_text, texts)))


_ENCODERS: Mapping[type, Callable[[Any], bytes]] = {
    type(None): lambda _: _NULL,
    float: lambda value: _FLOAT.pack(8, value),
    int: lambda value: _BIGINT.pack(8, value),
    bool: lambda value: _BOOLEAN.pack(1, value),
    str: _encode_text,
    bytes: _sized,
    date: lambda value: _DATE.pack(4, value.toordinal() - _EPOCH_DAY),
    datetime: _encode_instant,
    tuple: _encode_texts,
}
