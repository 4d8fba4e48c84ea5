"""Digests of what a night reads of the runtime database: states of regions, instruments and markets (ADR-0033)."""

from alembic import op

revision = "0006"
down_revision = "0005"

# A table and a function of their own, as both databases may be one.
STATEMENTS = (
    """
    CREATE TABLE state_digests (
        source text    NOT NULL,
        key    text    NOT NULL,
        period integer NOT NULL,
        n_rows bigint  NOT NULL,
        digest bigint  NOT NULL,
        PRIMARY KEY (source, key, period)
    )
    """,
    """
    CREATE FUNCTION keep_state_digests() RETURNS trigger
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
            DELETE FROM state_digests WHERE source = TG_TABLE_NAME;
            RETURN NULL;
        END IF;
        EXECUTE format(
            'INSERT INTO state_digests AS stored (source, key, period, n_rows, digest)
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
    """,
    # as of `keep_source_digests`: expressions would be evaluated with the rights of the owner
    "REVOKE EXECUTE ON FUNCTION keep_state_digests() FROM PUBLIC",
)
OF_STATE = """
    model_id, as_of_date, regime_label, confidence, encoder_model_id, regime_embedding, metadata, input_hash, created_at
"""
SOURCES = {
    "regimes": ("region", "extract(year FROM as_of_date)::integer", OF_STATE),
    "instruments": ("''", "0", "instrument_id, market_id, asset_class, symbol, name, currency, status"),
    "markets": ("''", "0", "market_id, name, calendar, currency, status"),
}
"""Of each table that is digested: the expressions of key and period of a row, and the fields that count."""
DIGEST = "hashtextextended(hash_record_extended(ROW({}), 0)::text, 0)"

TRIGGERS = (
    """
    CREATE TRIGGER digest_new_rows AFTER INSERT ON {table}
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION keep_state_digests({arguments})
    """,
    """
    CREATE TRIGGER digest_changed_rows AFTER UPDATE ON {table}
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keep_state_digests({arguments})
    """,
    """
    CREATE TRIGGER digest_removed_rows AFTER DELETE ON {table}
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION keep_state_digests({arguments})
    """,
    """
    CREATE TRIGGER digest_no_rows AFTER TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION keep_state_digests({arguments})
    """,
    """
    INSERT INTO state_digests (source, key, period, n_rows, digest)
    SELECT '{table}', {key}, {period}, count(*), bit_xor({digest}) FROM {table} GROUP BY 2, 3
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
    for table, (key, period, fields) in SOURCES.items():
        digest = DIGEST.format(fields)
        arguments = ", ".join("'{}'".format(each.replace("'", "''")) for each in (key, period, digest))
        for trigger in TRIGGERS:
            op.execute(trigger.format(table=table, key=key, period=period, digest=digest, arguments=arguments))
