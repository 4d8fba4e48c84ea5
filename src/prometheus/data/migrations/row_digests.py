"""Digests of rows, and the triggers that keep them, in both databases, which may be one (ADR-0033).

Historical revisions 0012 and 0013 and runtime revision 0006 are made of it, so it never changes: another form of digest
takes other names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["source", "state"]
"""``source_digests`` is of the historical database, ``state_digests`` of the runtime one."""

# Field by field in PostgreSQL's own hash of a record, then once more: that hash is a sum over the fields, so two rows
# that exchange a value would leave the combined digest as it was. The hash takes -0.0 for 0.0, an input hash does not.
HASH_OF_ROW = "hashtextextended(hash_record_extended(ROW({}), 0)::text, 0)"

_TABLE = """
    CREATE TABLE {kind}_digests (
        source text    NOT NULL,
        key    text    NOT NULL,
        period integer NOT NULL,
        n_rows bigint  NOT NULL,
        digest bigint  NOT NULL,
        PRIMARY KEY (source, key, period)
    )
"""
# Rows of one key and period in any order: their digests are combined by exclusive or, so that what a statement takes
# away or adds is one more operand. The arguments are the expressions of key, period and digest of a row.
_FUNCTION = """
    CREATE FUNCTION keep_{kind}_digests() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    DECLARE
        rows CONSTANT text := format('SELECT %s AS key, %s AS period, %s AS digest, ', VARIADIC TG_ARGV);
        added CONSTANT text := rows || '1 AS n FROM new_rows';
        removed CONSTANT text := rows || '-1 AS n FROM old_rows';
    BEGIN
        IF TG_TABLE_SCHEMA <> current_schema() THEN
            RAISE EXCEPTION '% is no table whose rows are digested', TG_RELID::regclass;
        END IF;
        IF TG_OP = 'TRUNCATE' THEN
            DELETE FROM {kind}_digests WHERE source = TG_TABLE_NAME;
            RETURN NULL;
        END IF;
        EXECUTE format(
            'INSERT INTO {kind}_digests AS stored (source, key, period, n_rows, digest)
             SELECT %L, key, period, sum(n), bit_xor(digest) FROM (%s) AS changed
             GROUP BY key, period ORDER BY key COLLATE "C", period
             ON CONFLICT (source, key, period) DO UPDATE
             SET n_rows = stored.n_rows + excluded.n_rows, digest = stored.digest # excluded.digest
             WHERE excluded.n_rows <> 0 OR excluded.digest <> 0',
            TG_TABLE_NAME,
            CASE TG_OP WHEN 'INSERT' THEN added WHEN 'DELETE' THEN removed ELSE added || ' UNION ALL ' || removed END
        );
        RETURN NULL;
    END $$
"""
# Another role that could make a trigger of it would have expressions evaluated with the rights of the owner. A dump may
# be restored without privileges, so the function looks at the schema, too: only the owner makes tables there.
_REVOKE = "REVOKE EXECUTE ON FUNCTION keep_{kind}_digests() FROM PUBLIC"
_TRIGGERS = (
    """
    CREATE TRIGGER digest_new_rows AFTER INSERT ON {table}
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION keep_{kind}_digests({arguments})
    """,
    """
    CREATE TRIGGER digest_changed_rows AFTER UPDATE ON {table}
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keep_{kind}_digests({arguments})
    """,
    """
    CREATE TRIGGER digest_removed_rows AFTER DELETE ON {table}
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION keep_{kind}_digests({arguments})
    """,
    """
    CREATE TRIGGER digest_no_rows AFTER TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION keep_{kind}_digests({arguments})
    """,
    """
    INSERT INTO {kind}_digests (source, key, period, n_rows, digest)
    SELECT '{table}', {key}, {period}, count(*), bit_xor({digest}) FROM {table} GROUP BY 2, 3
    """,
)


def digest_table(kind: Kind) -> list[str]:
    """Return the statements that make a table of digests, and the function of the triggers that keep it."""
    return [statement.replace("{kind}", kind) for statement in (_TABLE, _FUNCTION, _REVOKE)]


def digest_rows(kind: Kind, table: str, key: str, period: str, digest: str) -> Iterator[str]:
    """Yield the statements that digest the rows of a table from now on; the expressions are of one row."""
    arguments = ", ".join("'{}'".format(each.replace("'", "''")) for each in (key, period, digest))
    for statement in _TRIGGERS:
        yield statement.format(kind=kind, table=table, key=key, period=period, digest=digest, arguments=arguments)
