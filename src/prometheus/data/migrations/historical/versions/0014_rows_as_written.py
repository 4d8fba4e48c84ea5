"""What ingest wrote into each bar, as a digest beside it, and numbers and vectors that must be finite (ADR-0038)."""

from alembic import op

from prometheus.data.migrations.row_digests import HASH_OF_ROW

revision = "0014"
down_revision = "0013"

FIELDS = "instrument_id, trade_date, open, high, low, close, adjusted_close, volume, currency, known_from"
# bytes 2 and 3 of a little-endian float32 hold its exponent: all ones is no finite number. On 384 values it takes 15
# microseconds, which embedding a text hardly notices and COPY of windows would three times over
FINITE_VECTOR = "encode(vector, 'hex') !~ '^(.{8})*.{4}[89a-f].[7f]f'"
FINITE = {
    "text_embeddings_vector_is_finite": ("text_embeddings", FINITE_VECTOR),
    "text_passages_vector_is_finite": ("text_passages", FINITE_VECTOR),
    "series_values_value_is_finite": ("series_values", "value > '-Infinity' AND value < 'Infinity'"),
    "price_decisions_close_is_finite": ("price_decisions", "close > '-Infinity' AND close < 'Infinity'"),
    "stance_heads_temperature_is_finite": ("stance_heads", "temperature < 'Infinity'"),
}
"""By name of the constraint, its table and what it demands; PostgreSQL holds NaN for greater than any other number."""
STATEMENTS = (
    # no trigger and no generated column: what another program changes must not bring its digest in step.
    # NULL in bars of earlier versions and of other programs: nothing says what ingest wrote
    "ALTER TABLE prices_daily ADD COLUMN written_digest bigint",
    f"""
    CREATE FUNCTION digest_of_written_bar(
        instrument_id text, trade_date date, open double precision, high double precision, low double precision,
        close double precision, adjusted_close double precision, volume double precision, currency text,
        known_from timestamptz
    ) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT {HASH_OF_ROW.format(FIELDS)}
    $$
    """,
    # a digest that is put beside a bar for the first time makes no revision of the bar
    """
    CREATE OR REPLACE FUNCTION keep_price_revisions() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF current_setting('prometheus.adopts_bars', true) = 'on' THEN
            RETURN NULL;
        END IF;
        INSERT INTO price_revisions
        SELECT o.instrument_id, o.trade_date, o.open, o.high, o.low, o.close, o.adjusted_close, o.volume, o.currency,
               o.known_from, now()
        FROM old_bars o
        ON CONFLICT DO NOTHING;
        RETURN NULL;
    END $$
    """,
    # without a scan; rows that are stored already must not end the migration, and `db verify` names them
    *(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({rule}) NOT VALID" for name, (table, rule) in FINITE.items()),
    *(
        f"""
        DO $$ BEGIN
            ALTER TABLE {table} VALIDATE CONSTRAINT {name};
        EXCEPTION WHEN check_violation THEN
            NULL;
        END $$
        """
        for name, (table, _rule) in FINITE.items()
    ),
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
