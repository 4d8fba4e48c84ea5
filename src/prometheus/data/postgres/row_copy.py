"""Single rows of any length in PostgreSQL's binary COPY format, where their bytes themselves matter.

Source of the format: PostgreSQL documentation, COPY, "Binary Format"; values as the ``send`` functions of their types
write them. Columns of fixed width go faster through `prometheus.data.postgres.binary_copy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import chain, groupby, repeat
from struct import Struct
from typing import Any, TypeAlias, TypeVar

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql
from pydantic_core import to_json

from prometheus.arrays import Coded
from prometheus.data.postgres.binary_copy import HEADER, TRAILER, encode_rows

JSONB_VERSION = b"\x01"
"""What the text of a ``jsonb`` column stands behind."""
Column: TypeAlias = NDArray[Any] | Sequence[Any]
"""The values of one column: an array where all have one width, `Coded` where few differ."""
_LARGE = 1e15
PieceT = TypeVar("PieceT")
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
        copy.write(HEADER + count.join([b"", *rows]) + TRAILER)


def copy_pieces_in(
    cursor: psycopg.Cursor[Any],
    statement: sql.Composed,
    columns_of: Callable[[PieceT], Sequence[Column]],
    pieces: Sequence[PieceT],
) -> None:
    """Append the rows whose columns a function gives of each piece, by one COPY.

    A piece is encoded while the one before is sent. An error of the function ends the COPY and its transaction.
    """
    with cursor.copy(statement) as copy:
        copy.write(HEADER)
        for raw in _one_ahead(lambda piece: encoded_block(columns_of(piece)), pieces):
            copy.write(raw)
        copy.write(TRAILER)


def _one_ahead(write: Callable[[PieceT], bytes], pieces: Sequence[PieceT]) -> Iterator[bytes]:
    if len(pieces) == 1:
        yield write(pieces[0])
        return
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 -- one date needs no second thread

    with ThreadPoolExecutor(1, "prometheus-encoding") as pool:
        following = [pool.submit(write, piece) for piece in pieces[:1]]
        for number in range(len(pieces)):
            raw = following.pop().result()
            following = [pool.submit(write, piece) for piece in pieces[number + 1 : number + 2]]
            yield raw


def copy_rows_out(cursor: psycopg.Cursor[Any], statement: sql.Composed) -> Iterator[bytes]:
    """Yield the bytes of the fields of each row of a ``COPY … TO STDOUT (FORMAT BINARY)``, as they come."""
    with cursor.copy(statement) as copy:
        for message in copy:  # one for each row, the header before the first, the trailer after the last
            row = bytes(message).removeprefix(HEADER)
            if row != TRAILER:
                yield row[_COUNT.size :]


def write_numbers(values: list[float]) -> list[str]:
    """Return finite numbers as JSON, which ``jsonb`` keeps as it keeps what `json` writes of them.

    Both write the shortest digits that name the number, this one in a seventh of the time. They put the exponent
    differently, which ``jsonb`` does not keep; of the largest numbers it keeps whether a fraction was written.
    """
    if not values:
        return []
    if max(map(abs, values)) >= _LARGE:
        return list(map(repr, values))
    return to_json(values)[1:-1].decode().split(",")


def encode_column(values: Column) -> list[bytes]:
    """Return each value behind its length: of an array as `binary_copy.copy_in` sends it, else by the type of each.

    None, float, int (as bigint), bool, str, bytes, date, datetime, or a tuple of texts, for a column ``text[]``.
    """
    if isinstance(values, np.ndarray):
        return _encode_run([values])
    if isinstance(values, Coded):
        encoded = [_ENCODERS[type(value)](value) for value in values.values]
        return [encoded[code] for code in values.codes.tolist()]
    return [_ENCODERS[type(value)](value) for value in values]


def encoded_rows(columns: Iterable[Column]) -> Iterator[bytes]:
    """Return the bytes of the fields of each row, which `encode_column` would write one by one.

    Neighbours of fixed width are written together, so a row costs a few objects instead of one for each field.
    """
    return map(b"".join, zip(*_encoded_parts(columns), strict=True))


def encoded_block(columns: Sequence[Column]) -> bytes:
    """Return rows as a COPY has them, each behind its number of fields."""
    counts = repeat(_COUNT.pack(len(columns)), len(columns[0]))
    return b"".join(chain.from_iterable(zip(counts, *_encoded_parts(columns), strict=True)))


def _encoded_parts(columns: Iterable[Column]) -> list[list[bytes]]:
    """Return what follows on each other in each row."""
    parts: list[list[bytes]] = []
    for is_fixed, group in groupby(columns, key=_is_fixed):
        run = list(group)
        parts += [_encode_run(run)] if is_fixed else map(encode_column, run)
    return parts


def _is_fixed(column: Column) -> bool:
    """Return whether all fields of a column have one width, and bytes."""
    if not isinstance(column, Coded):
        return isinstance(column, np.ndarray)
    return len(column.values) == 1 and len(_ENCODERS[type(column.values[0])](column.values[0])) > _LENGTH.size


def _encode_run(columns: Sequence[Column]) -> list[bytes]:
    """Return the fields of fixed width of each row."""
    named = {str(number): _array(column) for number, column in enumerate(columns)}
    records = encode_rows(named)
    raw = records.view(np.uint8).reshape(len(records), records.itemsize)[:, _COUNT.size :]
    fields: list[bytes] = np.ascontiguousarray(raw).view(f"V{raw.shape[1]}").ravel().tolist()
    return fields


def _array(column: Column) -> NDArray[Any]:
    if not isinstance(column, Coded):
        return np.asarray(column)
    raw = _ENCODERS[type(column.values[0])](column.values[0])[_LENGTH.size :]
    return np.broadcast_to(np.array(np.void(raw)), len(column))


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
