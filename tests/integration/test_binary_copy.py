"""Binary COPY against PostgreSQL itself: the same bytes, and the same values back."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql
from tests.property.strategies import bounded, finite_float32

from prometheus.app.databases import DatabaseManager
from prometheus.data.postgres.binary_copy import (
    HEADER,
    TRAILER,
    constant_bytes,
    copy_blocks_in,
    copy_in,
    encode_rows,
    fetch_packed,
    iter_copied,
)

pytestmark = pytest.mark.tcp

TYPES = {
    "small": "int2", "whole": "int4", "big": "int8", "single": "float4", "wide": "float8", "flag": "bool",
    "day": "date", "vector": "bytea",
}  # fmt: skip
DTYPES = {"small": "i2", "whole": "i4", "big": "i8", "single": "f4", "wide": "f8", "flag": "b1", "day": "M8[D]"}
EXTREMES: dict[str, np.ndarray[Any, Any]] = {
    "small": np.array([-(2**15), 2**15 - 1, 0], dtype=np.int16),
    "whole": np.array([-(2**31), 2**31 - 1, 0], dtype=np.int32),
    "big": np.array([-(2**63), 2**63 - 1, 0], dtype=np.int64),
    "single": np.array([1e-45, -3.4028235e38, np.inf], dtype=np.float32),
    "wide": np.array([5e-324, -1.7976931348623157e308, np.nan]),
    "flag": np.array([True, False, True]),
    "day": np.array(["0001-01-01", "9999-12-31", "1999-12-31"], dtype="M8[D]"),
    "vector": np.array([[0.0, -0.0], [1.5, -2.25], [1e-45, 3e38]], dtype=np.float32),
}


def create_table(cursor: psycopg.Cursor[Any]) -> None:
    """A temporary table with a column of every type."""
    columns = sql.SQL(", ").join(
        sql.SQL("{} {} NOT NULL").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in TYPES.items()
    )
    cursor.execute(sql.SQL("CREATE TEMP TABLE wire ({}) ON COMMIT DROP").format(columns))


def insert_slowly(cursor: psycopg.Cursor[Any], columns: dict[str, np.ndarray[Any, Any]]) -> None:
    """Send every value as a query parameter, the driver's way."""
    for row in range(len(columns["day"])):
        values = [columns[name][row].item() for name in DTYPES] + [columns["vector"][row].astype("<f4").tobytes()]
        cursor.execute("INSERT INTO wire VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", values)


def copied_by_postgresql(cursor: psycopg.Cursor[Any]) -> bytes:
    """What the server itself writes for the rows of the table."""
    with cursor.copy("COPY wire TO STDOUT (FORMAT BINARY)") as copy:
        return b"".join(copy)


def test_encoded_rows_are_the_bytes_the_server_writes_for_the_same_values(db_manager: DatabaseManager) -> None:
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        create_table(cursor)
        insert_slowly(cursor, EXTREMES)
        assert HEADER + encode_rows(EXTREMES).tobytes() + TRAILER == copied_by_postgresql(cursor)


@st.composite
def column_sets(draw: st.DrawFn) -> dict[str, np.ndarray[Any, Any]]:
    """Equally long columns of every type."""
    n_rows, dim = draw(st.integers(0, 8)), draw(st.integers(1, 5))

    def column(values: st.SearchStrategy[Any], dtype: str) -> np.ndarray[Any, Any]:
        return np.array(draw(st.lists(values, min_size=n_rows, max_size=n_rows)), dtype=dtype)

    vectors = draw(st.lists(finite_float32, min_size=n_rows * dim, max_size=n_rows * dim))
    return {
        "small": column(st.integers(-(2**15), 2**15 - 1), "i2"),
        "whole": column(st.integers(-(2**31), 2**31 - 1), "i4"),
        "big": column(st.integers(-(2**63), 2**63 - 1), "i8"),
        "single": column(st.floats(width=32), "f4"),
        "wide": column(st.floats(), "f8"),
        "flag": column(st.booleans(), "?"),
        "day": column(st.dates(), "M8[D]"),
        "vector": np.array(vectors, dtype=np.float32).reshape(n_rows, dim),
    }


@bounded(40)
@given(columns=column_sets())
def test_whatever_goes_in_comes_out(migrated: DatabaseManager, columns: dict[str, np.ndarray[Any, Any]]) -> None:
    with migrated.get_historical_connection() as connection, connection.cursor() as cursor:
        create_table(cursor)
        copy_in(cursor, "wire", columns)
        names = sql.SQL(", ").join(map(sql.Identifier, DTYPES))
        query = sql.SQL("SELECT {} FROM wire").format(names)
        rows = fetch_packed(cursor, query, list(DTYPES.items()))
        stored = cursor.execute("SELECT vector FROM wire").fetchall()
        blocks = list(iter_copied(cursor, query, list(DTYPES.items())))
        connection.rollback()
    assert b"".join(block.tobytes() for block in blocks) == rows.tobytes()
    for name in DTYPES:
        assert rows[name].dtype.isnative
        assert rows[name].tobytes() == columns[name].tobytes()
    assert [row[0] for row in stored] == [vector.astype("<f4").tobytes() for vector in columns["vector"]]


def test_a_batch_larger_than_many_network_writes_arrives_whole(db_manager: DatabaseManager) -> None:
    generator = np.random.default_rng(11)
    vectors = generator.normal(size=(5_000, 384)).astype(np.float32)
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE many (n int4, vector bytea) ON COMMIT DROP")
        copy_in(cursor, "many", {"n": np.arange(5_000, dtype=np.int32), "vector": vectors})
        query = sql.SQL("SELECT vector FROM many ORDER BY n")
        stored = cursor.execute(query, binary=True).fetchall()
        blocks = list(iter_copied(cursor, query, [("vector", "V1536")]))
    assert b"".join(row[0] for row in stored) == vectors.tobytes()
    assert len(blocks) > 1
    assert b"".join(block.tobytes() for block in blocks) == vectors.tobytes()


def test_no_rows_are_no_rows(db_manager: DatabaseManager) -> None:
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE few (n int4) ON COMMIT DROP")
        copy_in(cursor, "few", {"n": np.empty(0, dtype=np.int32)})
        rows = fetch_packed(cursor, sql.SQL("SELECT n FROM few"), [("n", "i4")])
        assert list(iter_copied(cursor, sql.SQL("SELECT n FROM few"), [("n", "i4")])) == []
    assert len(rows) == 0
    assert rows.dtype.names == ("n",)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT NULL::int4, 1::float8",
        "SELECT 1::int4, NULL::float8",
        "SELECT n, x FROM (VALUES (1, 1.0::float8), (NULL, 2), (3, NULL)) AS t(n, x)",
    ],
)
def test_null_is_refused_and_never_read_as_a_number(db_manager: DatabaseManager, query: str) -> None:
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg.DataError, match="NULL"):
            fetch_packed(cursor, sql.SQL(query), [("n", "i4"), ("x", "f8")])
        connection.rollback()
        with pytest.raises(psycopg.DataError, match="NULL"):
            list(iter_copied(cursor, sql.SQL(query), [("n", "i4"), ("x", "f8")]))
        connection.rollback()


def test_null_is_noticed_even_where_the_missing_bytes_add_up_to_a_row(db_manager: DatabaseManager) -> None:
    # a row of int2 and float8 has 20 bytes; two NULLs of each leave out 2 + 2 + 8 + 8
    query = (
        "SELECT CASE WHEN n > 2 THEN n::int2 END, CASE WHEN n NOT IN (3, 4) THEN 1.0::float8 END"
        " FROM generate_series(1, 6) AS t(n) ORDER BY n"
    )
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg.DataError, match="NULL"):
            fetch_packed(cursor, sql.SQL(query), [("n", "i2"), ("x", "f8")])
        connection.rollback()
        with pytest.raises(psycopg.DataError, match="NULL"):
            list(iter_copied(cursor, sql.SQL(query), [("n", "i2"), ("x", "f8")]))
        connection.rollback()


def test_a_column_of_another_width_is_refused(db_manager: DatabaseManager) -> None:
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        with pytest.raises((psycopg.DataError, psycopg.errors.UndefinedFunction)):
            fetch_packed(cursor, sql.SQL("SELECT 1::int8, 1::int4"), [("n", "i4"), ("x", "i8")])
        connection.rollback()


def test_a_failed_row_leaves_nothing_behind(db_manager: DatabaseManager) -> None:
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE positive (n int4 CHECK (n > 0)) ON COMMIT DROP")
        with pytest.raises(psycopg.errors.CheckViolation), connection.transaction():
            copy_in(cursor, "positive", {"n": np.array([1, 2, -3], dtype=np.int32)})
        assert cursor.execute("SELECT count(*) FROM positive").fetchone() == (0,)


def test_names_are_quoted(db_manager: DatabaseManager) -> None:
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        cursor.execute('CREATE TEMP TABLE "odd; name" ("select" date) ON COMMIT DROP')
        copy_in(cursor, "odd; name", {"select": np.array([date(2025, 1, 31)], dtype="M8[D]")})
        row = cursor.execute('SELECT "select" FROM "odd; name"').fetchone()
    assert row == (date(2025, 1, 31),)


def test_blocks_of_texts_of_different_length_arrive_in_one_copy(db_manager: DatabaseManager) -> None:
    names = ["É", "a longer name", "x"]
    blocks = [
        {"name": constant_bytes(name.encode(), n), "n": np.arange(n, dtype=np.int32)}
        for n, name in enumerate(names, start=1)
    ]
    with db_manager.get_historical_connection() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE named (name text, n int4) ON COMMIT DROP")
        copy_blocks_in(cursor, "named", blocks)
        stored = cursor.execute("SELECT name, n FROM named").fetchall()
    assert stored == [(name, row) for n, name in enumerate(names, start=1) for row in range(n)]


@pytest.mark.parametrize("value", [b"", b"ends\x00"])
def test_a_constant_that_numpy_would_cut_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="no constant"):
        constant_bytes(value, 3)
