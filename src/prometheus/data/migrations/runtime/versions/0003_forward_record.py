"""What was said, in the order in which it was said, each row chained to the one before; no role may change it."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = (
    """
    CREATE TABLE forward_record (
        number          bigint           PRIMARY KEY CHECK (number > 0),
        region          text             NOT NULL,
        model_id        text             NOT NULL,
        as_of_date      date             NOT NULL,
        regime_label    text             NOT NULL,
        confidence      double precision NOT NULL,
        neutral         double precision,
        crisis          double precision,
        risk_off        double precision,
        carry           double precision,
        high_volatility double precision,
        threshold       double precision,
        is_held         boolean          NOT NULL,
        instruments     text[]           NOT NULL,
        input_hash      bigint,
        said_at         timestamptz      NOT NULL,
        hash            bytea            NOT NULL CHECK (octet_length(hash) = 32),
        UNIQUE (region, model_id, as_of_date)
    )
    """,
    """
    CREATE TABLE forward_record_head (
        is_only      boolean PRIMARY KEY DEFAULT true CHECK (is_only),
        n_statements bigint  NOT NULL CHECK (n_statements >= 0),
        hash         bytea   NOT NULL CHECK (octet_length(hash) = 32)
    )
    """,
    """
    CREATE FUNCTION refuse_to_change_the_record() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the forward record is never changed: % of % is refused', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation';
    END $$
    """,
    """
    CREATE TRIGGER forward_record_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON forward_record
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_the_record()
    """,
    """
    CREATE TRIGGER forward_record_head_stays BEFORE DELETE OR TRUNCATE ON forward_record_head
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_the_record()
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
