"""The tables ``source_digests`` and ``state_digests``, which the databases keep themselves: what rows say.

A digest stands for the rows of one key (an instrument) and period (a year), in any order. Triggers keep it, so an edit
by SQL counts like one by a command. Which tables have one, and how a row is digested, is read from the triggers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import LiteralString, cast

import psycopg
from psycopg import sql

from prometheus.data.postgres.connections import Databases, Transactions

_SOURCES = """
    SELECT tgrelid::regclass::text, (array_agg(tgargs ORDER BY tgname))[1],
           array_agg(tgname::text ORDER BY tgname) FILTER (WHERE tgenabled = 'D')
    FROM pg_trigger WHERE tgfoid = %s::regproc GROUP BY tgrelid ORDER BY 1
"""
_FOUND = """
    SELECT {key} AS key, {period} AS period, count(*) AS n_rows, bit_xor({digest}) AS digest FROM {table} GROUP BY 1, 2
"""
_DISAGREEING = """
    SELECT key, period FROM ({found}) AS found
    FULL JOIN (SELECT * FROM {digests} WHERE source = {source}) AS stored USING (key, period)
    WHERE coalesce(found.n_rows, 0) <> coalesce(stored.n_rows, 0)
       OR coalesce(found.digest, 0) <> coalesce(stored.digest, 0)
    ORDER BY key COLLATE "C", period
"""
_REBUILD = """
    INSERT INTO {digests} (source, key, period, n_rows, digest)
    SELECT {source}, key, period, n_rows, digest FROM ({found}) AS found
"""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A digest, or a coverage, that does not tell what its rows say: where it stands and what is wrong with it."""

    table: str
    key: str
    reason: str
    code: str = "digest_disagrees"

    def __str__(self) -> str:
        return f"{self.table}: {self.key} {self.reason} [{self.code}]"


@dataclass(frozen=True, slots=True)
class _Source:
    table: str
    key: str
    period: str
    digest: str
    disabled: tuple[str, ...]
    digests: str

    def compose(self, query: LiteralString) -> sql.Composed:
        expressions = {
            name: sql.SQL(cast("LiteralString", getattr(self, name))) for name in ("key", "period", "digest")
        }
        found = sql.SQL(_FOUND).format(table=sql.Identifier(self.table), **expressions)
        return sql.SQL(query).format(found=found, source=self.table, digests=sql.Identifier(self.digests))


class SourceDigests:
    """Compares the digests of rows with the rows, and makes them anew."""

    digests = "source_digests"

    def __init__(self, db_manager: Databases) -> None:
        self._db = Transactions(db_manager.get_historical_connection)

    def check(self) -> list[Disagreement]:
        """Return the digests that disagree with their rows, and triggers that do not keep them, by table and key."""
        with self._db.connect() as connection:
            return [each for source in self._sources(connection) for each in _disagreeing(connection, source)]

    def rebuild(self) -> None:
        """Make all digests of the tables anew where one disagrees; writers of such a table wait meanwhile."""
        with self._db.connect() as connection:
            connection.execute("SET LOCAL statement_timeout = 0")
            for source in self._sources(connection):
                if connection.execute(source.compose(_DISAGREEING)).fetchone() is None:
                    continue
                connection.execute(sql.SQL("LOCK TABLE {} IN SHARE MODE").format(sql.Identifier(source.table)))
                connection.execute(source.compose("DELETE FROM {digests} WHERE source = {source}"))
                connection.execute(source.compose(_REBUILD))

    def _sources(self, connection: psycopg.Connection) -> Iterator[_Source]:
        for table, arguments, disabled in connection.execute(_SOURCES, (f"keep_{self.digests}",)).fetchall():
            key, period, digest, _end = bytes(arguments).decode().split("\0")
            yield _Source(table, key, period, digest, tuple(disabled or ()), self.digests)


class StateDigests(SourceDigests):
    """The same of the runtime database."""

    digests = "state_digests"

    def __init__(self, db_manager: Databases) -> None:
        self._db = Transactions(db_manager.get_runtime_connection)


def _disagreeing(connection: psycopg.Connection, source: _Source) -> Iterator[Disagreement]:
    connection.execute("SET LOCAL statement_timeout = 0")
    for name in source.disabled:
        reason = "is disabled, so changes are not noticed; the owner of the table can enable it"
        yield Disagreement(source.table, f"trigger {name}", reason, "digest_not_kept")
    for key, period in connection.execute(source.compose(_DISAGREEING)).fetchall():
        where = " ".join(filter(None, (key, str(period) if period else ""))) or "the table"
        yield Disagreement(source.table, where, "has rows that its digest does not tell")
