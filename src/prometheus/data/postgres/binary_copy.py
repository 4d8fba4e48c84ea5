"""PostgreSQL's binary COPY format to and from numpy, without a Python loop over rows.

A row of fixed-width columns is a fixed-width record: a two-byte field count, then per field a four-byte length and the
value, all big-endian. One structured array therefore *is* the wire format. Source of the format: PostgreSQL
documentation, COPY, "Binary Format". Columns never hold NULL; callers send NaN and turn it into NULL in SQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from prometheus.arrays import DateVector, Float32Matrix

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"
POSTGRES_EPOCH = np.datetime64("2000-01-01", "D")
_WRITE_BYTES = 1 << 20
_READ_BYTES = 1 << 22

_SEND = {
    "i2": "int2send", "i4": "int4send", "i8": "int8send", "f4": "float4send", "f8": "float8send", "b1": "boolsend",
    "M8": "date_send",
}  # fmt: skip


def copy_in(cursor: psycopg.Cursor[Any], table: str, columns: Mapping[str, NDArray[Any]]) -> None:
    """Append equally long columns, by name, to a table.

    Shape (n,): integers, floats, booleans, datetime64[D] or bytes of one length; or shape (n, dim): float32, sent as
    little-endian bytes into a ``bytea`` column, or float16, sent into a ``halfvec`` column of pgvector.
    """
    copy_blocks_in(cursor, table, [columns])


def copy_blocks_in(
    cursor: psycopg.Cursor[Any], table: str, blocks: Iterable[Mapping[str, NDArray[Any]]], *, is_frozen: bool = False
) -> None:
    """Append one or more blocks of rows, each as in `copy_in` and of the same columns, to a table in one COPY.

    Rows are written as VACUUM would leave them if `is_frozen`: only into a table that this transaction emptied.
    """
    parts = iter(blocks)
    first = next(parts)
    names = sql.SQL(", ").join(map(sql.Identifier, first))
    options = sql.SQL("FORMAT BINARY, FREEZE" if is_frozen else "FORMAT BINARY")
    statement = sql.SQL("COPY {} ({}) FROM STDIN ({})").format(sql.Identifier(table), names, options)
    with cursor.copy(statement) as copy:
        copy.write(HEADER)
        for columns in chain([first], parts):
            raw = encode_rows(columns).view(np.uint8).data
            for start in range(0, len(raw), _WRITE_BYTES):
                copy.write(raw[start : start + _WRITE_BYTES])
        copy.write(TRAILER)


def constant_bytes(value: bytes, n_rows: int) -> NDArray[np.bytes_]:
    """Return a column of one value, for text, or for jsonb after a byte 1; shape (n_rows,).

    `ValueError` where the value is empty or ends with a zero byte, which numpy would drop.
    """
    if not value or value.endswith(b"\x00"):
        raise ValueError(f"{value!r} is no constant of a column")
    return np.full(n_rows, value, dtype=f"S{len(value)}")


def fetch_packed(cursor: psycopg.Cursor[Any], query: sql.Composable, dtypes: Sequence[tuple[str, str]]) -> NDArray[Any]:
    """Return the rows of a complete query as one structured array in native byte order.

    `dtypes` are name and numpy type of each result column, in order: ``i4``, ``f8``, ``M8[D]`` …, or ``V1536`` for
    ``bytea`` values of that many bytes. `psycopg.DataError` for NULL or a ``bytea`` of another length.

    The server packs all rows into one value. psycopg hands COPY's rows over one by one, which costs more than reading
    them: for rows of a few numbers this takes less than half the time.
    """
    names = [sql.Identifier(f"column_{number}") for number in range(len(dtypes))]
    packed = sql.SQL(" || ").join(_packed(name, np.dtype(kind)) for name, (_, kind) in zip(names, dtypes, strict=True))
    statement = sql.SQL("SELECT count(*), coalesce(string_agg({}, ''::bytea), ''::bytea) FROM ({}) AS rows ({})")
    cursor.execute(statement.format(packed, query, sql.SQL(", ").join(names)), binary=True)
    found = cursor.fetchone()
    n_rows, raw = (0, b"") if found is None else found
    wire = np.dtype([(name, _wire_dtype(np.dtype(kind))) for name, kind in dtypes])
    if len(raw) != n_rows * wire.itemsize:
        raise _odd_rows()
    return _native(np.frombuffer(raw, dtype=wire), dtypes)


def iter_copied(
    cursor: psycopg.Cursor[Any], query: sql.Composable, dtypes: Sequence[tuple[str, str]]
) -> Iterator[NDArray[Any]]:
    """Yield the rows of a complete query as `fetch_packed` returns them, block by block.

    For long rows, such as vectors: neither side holds more than one block, and a row is one call of psycopg's. Never
    empty. `psycopg.DataError` as there.
    """
    layout: list[tuple[str, Any]] = [("n_fields", ">i2")]
    for name, kind in dtypes:
        layout += [(f"{name}:length", ">i4"), (name, _wire_dtype(np.dtype(kind)))]
    wire = np.dtype(layout)
    left, n_at_once = b"", max(1, _READ_BYTES // wire.itemsize)
    with cursor.copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT BINARY)").format(query)) as copy:
        messages = iter(copy)
        left = bytes(next(messages, b""))[len(HEADER) :]
        while block := list(islice(messages, n_at_once)):
            raw = b"".join((left, *block))
            n_rows = len(raw) // wire.itemsize
            left = raw[n_rows * wire.itemsize :]
            if n_rows:
                yield _checked_rows(np.frombuffer(raw, wire, n_rows), dtypes)
    if left != TRAILER:
        raise _odd_rows()


def _checked_rows(records: NDArray[Any], dtypes: Sequence[tuple[str, str]]) -> NDArray[Any]:
    lengths = {name: records.dtype[name].itemsize for name, _ in dtypes}
    if any((records[f"{name}:length"] != length).any() for name, length in lengths.items()):
        raise _odd_rows()
    return _native(records, dtypes)


def _native(records: NDArray[Any], dtypes: Sequence[tuple[str, str]]) -> NDArray[Any]:
    rows = np.empty(len(records), dtype=np.dtype(list(dtypes)))
    for name, kind in dtypes:
        rows[name] = decode_dates(records[name]) if np.dtype(kind).kind == "M" else records[name]
    return rows


def _odd_rows() -> psycopg.DataError:
    return psycopg.DataError("a NULL, or a value of another length, stands in a result of fixed-width rows")


def unpack_vectors(stored: NDArray[np.void], dim: int) -> Float32Matrix:
    """Return the vectors of a column of stored bytes, shape (n, dim)."""
    return np.ascontiguousarray(stored).view("<f4").reshape(len(stored), dim)


def same_length(column: str, dim: int) -> sql.Composed:
    """Return what reads a column of vectors of `dim` values: one of another length becomes NaN."""
    unread = sql.Literal(np.full(dim, np.nan, "<f4").tobytes())
    return sql.SQL("CASE octet_length({0}) WHEN {1} THEN {0} ELSE {2} END").format(
        sql.Identifier(column), sql.Literal(4 * dim), unread
    )


def _packed(name: sql.Identifier, dtype: np.dtype[Any]) -> sql.Composed:
    if dtype.kind == "V":
        return sql.SQL("CASE octet_length({0}) WHEN {1} THEN {0} END").format(name, sql.Literal(dtype.itemsize))
    return sql.SQL("{}({})").format(sql.SQL(_SEND[_kind(dtype)]), name)


def encode_rows(columns: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Return the records of `copy_in`: a structured array whose bytes are the rows on the wire."""
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    n_rows = {len(values) for values in arrays.values()}
    if len(n_rows) != 1:
        raise ValueError(f"columns of different length: {sorted(n_rows)}")
    layout: list[tuple[str, Any]] = [("n_fields", ">i2")]
    for name, values in arrays.items():
        layout += [(f"{name}:length", ">i4"), (name, _column_dtype(values))]
    wire = np.dtype(layout)
    records = np.empty(n_rows.pop(), dtype=wire)
    records["n_fields"] = len(arrays)
    for name, values in arrays.items():
        records[f"{name}:length"] = wire[name].itemsize
        if values.dtype == np.float16:
            records[name]["dim"] = values.shape[1]
            records[name]["unused"] = 0
            records[name]["values"] = values
        else:
            records[name] = encode_dates(values) if values.dtype.kind == "M" else values
    return records


def encode_dates(dates: DateVector) -> NDArray[np.int32]:
    """Return days since PostgreSQL's epoch."""
    return (dates.astype("M8[D]") - POSTGRES_EPOCH).astype(np.int32)


def decode_dates(days: NDArray[np.int32]) -> DateVector:
    """Return the dates of days since PostgreSQL's epoch."""
    return POSTGRES_EPOCH + days.astype("m8[D]")


def _column_dtype(values: NDArray[Any]) -> np.dtype[Any]:
    if values.ndim == 2 and values.dtype == np.float16:  # as pgvector's halfvec_recv reads it
        return np.dtype([("dim", ">i2"), ("unused", ">i2"), ("values", ">f2", (values.shape[1],))])
    if values.ndim == 2:
        return np.dtype(("<f4", (values.shape[1],)))
    return _wire_dtype(values.dtype)


def _wire_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind in "VS":  # bytes of one length
        return dtype
    if _kind(dtype) not in _SEND:
        raise TypeError(f"no fixed-width PostgreSQL form for numpy dtype {dtype}")
    return np.dtype(">i4") if dtype.kind == "M" else dtype.newbyteorder(">")


def _kind(dtype: np.dtype[Any]) -> str:
    return "M8" if dtype.kind == "M" else f"{dtype.kind}{dtype.itemsize}"
