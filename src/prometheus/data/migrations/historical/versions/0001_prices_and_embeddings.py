"""Prices, numeric window embeddings and the registry of models."""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = (
    """
    CREATE TABLE prices_daily (
        instrument_id  text             NOT NULL CHECK (instrument_id <> ''),
        trade_date     date             NOT NULL CHECK (isfinite(trade_date)),
        open           double precision CHECK (open  > 0 AND open  < 'Infinity'),
        high           double precision CHECK (high  > 0 AND high  < 'Infinity'),
        low            double precision CHECK (low   > 0 AND low   < 'Infinity'),
        close          double precision NOT NULL CHECK (close > 0 AND close < 'Infinity'),
        adjusted_close double precision NOT NULL CHECK (adjusted_close > 0 AND adjusted_close < 'Infinity'),
        volume         double precision NOT NULL CHECK (volume >= 0 AND volume < 'Infinity'),
        currency       text             NOT NULL,
        PRIMARY KEY (instrument_id, trade_date),
        CHECK (high >= low)
    )
    """,
    """
    CREATE TABLE models (
        model_id    text        PRIMARY KEY CHECK (model_id <> ''),
        kind        text        NOT NULL,
        fingerprint text        NOT NULL,
        config      jsonb       NOT NULL,
        created_at  timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE numeric_window_embeddings (
        entity_type text        NOT NULL,
        entity_id   text        NOT NULL,
        model_id    text        NOT NULL CHECK (model_id <> ''),
        window_days integer     NOT NULL CHECK (window_days > 0),
        as_of_date  date        NOT NULL CHECK (isfinite(as_of_date)),
        window_spec jsonb       NOT NULL,
        dim         integer     NOT NULL CHECK (dim > 0),
        vector      bytea       NOT NULL,
        input_hash  bigint,
        created_at  timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (entity_type, entity_id, model_id, window_days, as_of_date),
        CHECK (octet_length(vector) = 4 * dim)
    )
    """,
    # float32 bytes do not compress; EXTERNAL saves the attempt on every long vector
    "ALTER TABLE numeric_window_embeddings ALTER COLUMN vector SET STORAGE EXTERNAL",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
