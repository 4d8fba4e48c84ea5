"""Stored rows that break a rule of their table: rows older than the rule, and vectors that no rule forbids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import sql

from prometheus.data.postgres.connections import Databases, Transactions

# a constraint that held for every row is validated: its table is not read
_UNPROVED = """
    SELECT c.conrelid::regclass::text, c.conname, pg_get_expr(c.conbin, c.conrelid),
           (SELECT array_agg(a.attname ORDER BY place) FROM pg_index AS i
            CROSS JOIN unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS key(number, place)
            JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = key.number
            WHERE i.indrelid = c.conrelid AND i.indisprimary)
    FROM pg_constraint AS c
    WHERE c.contype = 'c' AND NOT c.convalidated AND c.connamespace = current_schema()::regnamespace ORDER BY 1, 2
"""
_BROKEN = "SELECT {key} FROM {table} WHERE NOT ({rule}) ORDER BY {key}"
_JOINT_KEY = ("entity_scope->>'region'", "model_id", "as_of_date", "numeric_model_id")
_FINITE = "encode(vector, 'hex') !~ '^(.{8})*.{4}[89a-f].[7f]f' AND octet_length(vector) > 0"


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A row, by the values of its key, and the name of the rule that it breaks."""

    table: str
    rule: str
    key: tuple[Any, ...]


class TableRules:
    """Finds rows that a table would not take today."""

    def __init__(self, db_manager: Databases) -> None:
        self._databases = [
            Transactions(connect)
            for connect in (db_manager.get_historical_connection, db_manager.get_runtime_connection)
        ]

    def broken(self) -> list[BrokenRow]:
        """Return the rows that break a constraint that was added after them, by table, rule and key.

        Databases that are one are asked twice, and each row is named once.
        """
        found: dict[BrokenRow, None] = {}
        for database in self._databases:
            for table, name, rule, key in database.rows(_UNPROVED):
                columns = sql.SQL(", ").join(map(sql.Identifier, key))
                query = sql.SQL(_BROKEN).format(key=columns, table=sql.Identifier(table), rule=sql.SQL(rule))
                found |= {BrokenRow(table, name, row): None for row in database.rows(query)}
        return list(found)

    def unsound_joint_rows(self) -> list[BrokenRow]:
        """Return the joint rows whose vectors are not finite, which no constraint forbids.

        Their keys are region, model, date and numeric model, None where that is unknown.
        """
        query = sql.SQL(_BROKEN).format(
            key=sql.SQL(", ").join(map(sql.SQL, _JOINT_KEY)), table=sql.Identifier("joint_embeddings"),
            rule=sql.SQL(_FINITE),
        )  # fmt: skip
        return [BrokenRow("joint_embeddings", "finite", row) for row in self._databases[0].rows(query)]
