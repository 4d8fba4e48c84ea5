"""Digests of the rows that backfills read, and which stored vectors are known to be complete for them (ADR-0033)."""

from alembic import op

from prometheus.data.migrations.row_digests import HASH_OF_ROW, digest_rows, digest_table

revision = "0012"
down_revision = "0011"

HASH = f"SELECT {HASH_OF_ROW}"

STATEMENTS = (
    *digest_table("source"),
    f"""
    CREATE FUNCTION digest_of_bar(
        trade_date date, open double precision, high double precision, low double precision, close double precision,
        adjusted_close double precision, volume double precision, currency text
    ) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        {
        HASH.format(
            "trade_date, open, high, low, close, adjusted_close, volume, "
            "CASE WHEN volume = 0 THEN float8send(volume) END, currency"
        )
    }
    $$
    """,
    f"""
    CREATE FUNCTION digest_of_decision(
        trade_date date, decided_at timestamptz, verdict text, close double precision, is_in_force boolean
    ) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        {HASH.format("trade_date, decided_at, verdict, close, is_in_force")}
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


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
    for table, expressions in SOURCES.items():
        for statement in digest_rows("source", table, *expressions):
            op.execute(statement)
