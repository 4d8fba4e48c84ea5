"""What leads to a connection, how it is asked, and whether it answers in time."""

from __future__ import annotations

import selectors
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic, LiteralString, Protocol, TypeAlias, TypeVar

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql
from psycopg.conninfo import make_conninfo

from prometheus.arrays import DateVector, Float32Matrix
from prometheus.core.dsn import read_dsn
from prometheus.core.runs import retry_lost_connection
from prometheus.data.migrations import DatabaseName
from prometheus.data.postgres.binary_copy import fetch_packed, iter_copied, same_length, unpack_vectors
from prometheus.errors import DatabaseError

if TYPE_CHECKING:
    from prometheus.core.config import PrometheusConfig

T = TypeVar("T")
Query: TypeAlias = LiteralString | sql.Composed

FORMS = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
}
"""How values are written on every connection, whatever a role, a database, a DSN or the environment say."""


class HistoricalDatabase(Protocol):
    """Leads to prices, embeddings and models."""

    def get_historical_connection(self) -> AbstractContextManager[psycopg.Connection]:
        """Yield a connection; committed at the end, rolled back on an error."""


class OwnedDatabase(HistoricalDatabase, Protocol):
    """A historical database in which tables may be made and emptied."""

    def get_owner_connection(self, database: DatabaseName, /) -> AbstractContextManager[psycopg.Connection]:
        """Yield a connection of the owner of the tables; committed at the end, rolled back on an error."""


class RuntimeDatabase(Protocol):
    """Leads to instruments and regimes."""

    def get_runtime_connection(self) -> AbstractContextManager[psycopg.Connection]:
        """Yield a connection; committed at the end, rolled back on an error."""


class Databases(HistoricalDatabase, RuntimeDatabase, Protocol):
    """Leads to both."""


class Transactions:
    """Reads and writes one database, each time in a transaction of its own."""

    def __init__(self, connect: Callable[[], AbstractContextManager[psycopg.Connection]]) -> None:
        self.connect = connect

    def write(self, work: Callable[[psycopg.Cursor], T]) -> T:
        """Return what `work` returns, done again if the connection is lost; see `retry_lost_connection`."""

        def once() -> T:
            with self.connect() as connection, connection.cursor() as cursor:
                return work(cursor)

        return retry_lost_connection(once)

    def read(self, work: Callable[[psycopg.Connection], T]) -> T:
        """Return what `work`, which only reads, returns; done again if the connection is lost."""

        def once() -> T:
            with self.connect() as connection:
                return work(connection)

        return retry_lost_connection(once)

    def rows(self, query: Query, parameters: Any = None, *, binary: bool = False) -> list[tuple[Any, ...]]:
        """Return all rows; in PostgreSQL's binary form, which is faster for ``bytea``, if `binary`."""
        return self.read(lambda connection: connection.execute(query, parameters, binary=binary).fetchall())

    def row(self, query: Query, parameters: Any = None, *, binary: bool = False) -> tuple[Any, ...] | None:
        """Return the first row, or None."""
        return self.read(lambda connection: connection.execute(query, parameters, binary=binary).fetchone())

    def value(self, query: Query, parameters: Any = None) -> Any:
        """Return the first value of the first row; None without a row."""
        row = self.row(query, parameters)
        return None if row is None else row[0]

    def column(self, query: Query, parameters: Any = None) -> list[Any]:
        """Return the first value of every row."""
        return [row[0] for row in self.rows(query, parameters)]

    def packed(self, query: sql.Composable, dtypes: Sequence[tuple[str, str]]) -> NDArray[Any]:
        """Return the rows of a query of fixed-width columns as `fetch_packed` does."""
        return self.write(lambda cursor: fetch_packed(cursor, query, dtypes))

    def iter_copied(self, query: sql.Composable, dtypes: Sequence[tuple[str, str]]) -> Iterator[NDArray[Any]]:
        """Yield the rows of a query of fixed-width columns, block by block, as `binary_copy.iter_copied` does."""
        with self.connect() as connection, connection.cursor() as cursor:
            yield from iter_copied(cursor, query, dtypes)

    def vectors(self, query: sql.Composable, dim: int) -> tuple[DateVector, Float32Matrix]:
        """Return the dates, ascending, and the vectors, shape (n, dim), of a query of ``as_of_date`` and ``vector``.

        A vector of another length is NaN.
        """
        even = sql.SQL("SELECT as_of_date, {} FROM ({}) AS stored").format(same_length("vector", dim), query)
        rows = self.packed(even, [("as_of_date", "M8[D]"), ("vector", f"V{4 * dim}")])
        rows = rows[np.argsort(rows["as_of_date"])]
        return np.ascontiguousarray(rows["as_of_date"]), unpack_vectors(rows["vector"], dim)


class HistoricalTables:
    """What works on tables of the historical database."""

    def __init__(self, db_manager: HistoricalDatabase) -> None:
        self._db = Transactions(db_manager.get_historical_connection)


class SharedAttempt(Generic[T]):
    """Slow work done by one background thread for all callers; it goes on after a caller gives up waiting."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._running: Future[T] | None = None

    def result(self, timeout_s: float) -> T:
        """Return what the work returns, or raise what it raises, or `TimeoutError`; start it if it is not running."""
        with self._lock:
            running = self._running
            if running is None:
                running = self._running = Future()
                threading.Thread(target=self._run, args=(running,), daemon=True).start()
        return running.result(timeout_s)

    def _run(self, running: Future[T]) -> None:
        try:
            found = self._work()
        except BaseException as error:
            self._running = None
            running.set_exception(error)
        else:
            self._running = None
            running.set_result(found)


def fix_forms(connection: psycopg.Connection[Any]) -> None:
    """Make an idle connection write and read values in `FORMS`; done after the login, where PGTZ and the like win."""
    settings = [sql.SQL("set_config({}, {}, false)").format(name, value) for name, value in FORMS.items()]
    connection.autocommit = True
    connection.execute(sql.SQL("SELECT {}").format(sql.SQL(", ").join(settings)))
    connection.autocommit = False


def require_answer(connection: psycopg.Connection[Any], timeout_s: float) -> None:
    """Send an empty query; `psycopg.OperationalError`, and the connection closed, without an answer in time.

    A stopped server, or a network that drops packets, leaves connections open and silent; psycopg's own check blocks.
    """
    link = connection.pgconn
    link.send_query(b"")
    link.flush()
    deadline = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        selector.register(link.socket, selectors.EVENT_READ)
        while True:
            while link.is_busy():
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    connection.close()
                    raise psycopg.OperationalError(f"no answer within {timeout_s:.0f} s")
                link.consume_input()
            if link.get_result() is None:
                return


def with_defaults(base: str, database: DatabaseName, config: PrometheusConfig, *, read_only: bool) -> str:
    """Add deadlines and a name to a DSN; what the user wrote wins, but for the right to write and `fix_forms`."""
    given = read_dsn(base, f"PROMETHEUS_{database.upper()}_DSN")
    options = (
        f"-c statement_timeout={config.statement_timeout_s}s "
        r"-c default_transaction_isolation=read\ committed "  # after waiting for a lock, see what its holder did
        # else a machine that lost its power in a transaction would block others that write its rows for two hours
        "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
    )
    last = ["-c default_transaction_read_only=on"] if read_only else []
    return make_conninfo(
        base,
        connect_timeout=given.get("connect_timeout", config.connect_timeout_s),
        application_name=given.get("application_name", "prometheus"),
        keepalives_idle=given.get("keepalives_idle", 30),
        tcp_user_timeout=given.get("tcp_user_timeout", 30_000),
        client_encoding="UTF8",
        options=" ".join([options, *([str(given["options"])] if given.get("options") else []), *last]),
    )


def require_utf8(database: DatabaseName, connection: psycopg.Connection) -> None:
    """Refuse a database, and close the connection to it, that cannot hold every text."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding == "UTF8":
        return
    name = connection.info.dbname
    connection.close()
    way_out = "create one with ENCODING 'UTF8' TEMPLATE template0"
    raise DatabaseError(
        f"{database} database: {name} is in {encoding}, not UTF8, and cannot hold every text; {way_out}"
    )


_GUESSES = ("Is the server running", "This probably means", "before or while processing")
"""What libpq adds to a fault."""


def one_line(error: BaseException) -> str:
    """Return what the server says is wrong, or the last line of libpq's message, which lists each address it tried."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return error.diag.message_primary
    said = (line.strip() for line in str(error).splitlines())
    lines = [line for line in said if line and not any(guess in line for guess in _GUESSES)]
    return lines[-1] if lines else type(error).__name__
