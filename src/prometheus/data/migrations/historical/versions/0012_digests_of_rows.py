"""Digests of the rows that backfills read, and which stored vectors are known to be complete for them (ADR-0033)."""

from alembic import op

revision = "0012"
down_revision = "0011"

# Field by field in PostgreSQL's own hash of a record, then once more: that hash is a sum over the fields, so two rows
# that exchange a value would leave the combined digest as it was. The hash takes -0.0 for 0.0, an input hash does not.
HASH = "SELECT hashtextextended(hash_record_extended(ROW({fields}), 0)::text, 0)"

STATEMENTS = (
    """
    CREATE TABLE source_digests (
        source text    NOT NULL,
        key    text    NOT NULL,
        period integer NOT NULL,
        n_rows bigint  NOT NULL,
        digest bigint  NOT NULL,
        PRIMARY KEY (source, key, period)
    )
    """,
    # Rows of one key and period in any order: their digests are combined by exclusive or, so that what a statement
    # takes away or adds is one more operand. The arguments are the expressions of key, period and digest of a row.
    """
    CREATE FUNCTION keep_source_digests() RETURNS trigger
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
            DELETE FROM source_digests WHERE source = TG_TABLE_NAME;
            RETURN NULL;
        END IF;
        EXECUTE format(
            'INSERT INTO source_digests AS stored (source, key, period, n_rows, digest)
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
    # Another role that could make a trigger of it would have expressions evaluated with the rights of the owner. A dump
    # may be restored without privileges, so the function looks at the schema, too: only the owner makes tables there.
    "REVOKE EXECUTE ON FUNCTION keep_source_digests() FROM PUBLIC",
    f"""
    CREATE FUNCTION digest_of_bar(
        trade_date date, open double precision, high double precision, low double precision, close double precision,
        adjusted_close double precision, volume double precision, currency text
    ) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        {
        HASH.format(
            fields="trade_date, open, high, low, close, adjusted_close, volume, "
            "CASE WHEN volume = 0 THEN float8send(volume) END, currency"
        )
    }
    $$
    """,
    f"""
    CREATE FUNCTION digest_of_decision(
        trade_date date, decided_at timestamptz, verdict text, close double precision, is_in_force boolean
    ) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        {HASH.format(fields="trade_date, decided_at, verdict, close, is_in_force")}
    $$
    """,
    # Statements that write vectors and keep no coverage themselves; each ends the coverage of the whole table. A
    # transition table would tell which rows they touch, and cost as much as writing those rows.
    """
    CREATE TABLE outside_writes (
        table_name text   PRIMARY KEY,
        n_writes   bigint NOT NULL
    )
    """,
    """
    CREATE FUNCTION count_outside_write() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    BEGIN
        IF current_setting('prometheus.keeps_coverage', true) IS DISTINCT FROM 'on' THEN
            INSERT INTO outside_writes AS counted (table_name, n_writes) VALUES (TG_TABLE_NAME, 1)
            ON CONFLICT (table_name) DO UPDATE SET n_writes = counted.n_writes + 1;
        END IF;
        RETURN NULL;
    END $$
    """,
    # every window from first_date to last_date is stored, made of sources with that digest up to last_date
    """
    CREATE TABLE numeric_coverage (
        entity_type      text    NOT NULL,
        entity_id        text    NOT NULL,
        model_id         text    NOT NULL,
        window_days      integer NOT NULL,
        first_date       date    NOT NULL,
        last_date        date    NOT NULL CHECK (last_date >= first_date),
        sources          bigint  NOT NULL,
        made_by          bigint  NOT NULL,
        n_outside_writes bigint  NOT NULL,
        n_rows           bigint  NOT NULL CHECK (n_rows > 0),
        digest           bigint  NOT NULL,
        PRIMARY KEY (entity_type, entity_id, model_id, window_days)
    )
    """,
    """
    CREATE TRIGGER count_outside_write AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON numeric_window_embeddings
    FOR EACH STATEMENT EXECUTE FUNCTION count_outside_write()
    """,
)
SOURCES = {
    "prices_daily": (
        "instrument_id",
        "extract(year FROM trade_date)::integer",
        "digest_of_bar(trade_date, open, high, low, close, adjusted_close, volume, currency)",
    ),
    "price_decisions": (
        "instrument_id",
        "0",
        "digest_of_decision(trade_date, decided_at, verdict, close, reopened_at IS NULL)",
    ),
}
"""Of each table that is digested: the expressions of key, period and digest of a row."""

TRIGGERS = (
    """
    CREATE TRIGGER digest_new_rows AFTER INSERT ON {table}
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION keep_source_digests({arguments})
    """,
    """
    CREATE TRIGGER digest_changed_rows AFTER UPDATE ON {table}
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keep_source_digests({arguments})
    """,
    """
    CREATE TRIGGER digest_removed_rows AFTER DELETE ON {table}
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION keep_source_digests({arguments})
    """,
    """
    CREATE TRIGGER digest_no_rows AFTER TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION keep_source_digests({arguments})
    """,
    """
    INSERT INTO source_digests (source, key, period, n_rows, digest)
    SELECT '{table}', {key}, {period}, count(*), bit_xor({digest}) FROM {table} GROUP BY 2, 3
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
    for table, (key, period, digest) in SOURCES.items():
        arguments = ", ".join(f"'{expression}'" for expression in (key, period, digest))
        for statement in TRIGGERS:
            op.execute(statement.format(table=table, key=key, period=period, digest=digest, arguments=arguments))
