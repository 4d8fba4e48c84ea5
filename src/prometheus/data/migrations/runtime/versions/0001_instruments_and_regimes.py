"""Markets, instruments, regimes and their transitions."""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = (
    """
    CREATE TABLE markets (
        market_id text PRIMARY KEY CHECK (market_id <> ''),
        name      text NOT NULL,
        calendar  text NOT NULL,
        currency  text,
        status    text NOT NULL DEFAULT 'ACTIVE'
    )
    """,
    """
    CREATE TABLE instruments (
        instrument_id text PRIMARY KEY CHECK (instrument_id <> ''),
        market_id     text NOT NULL REFERENCES markets,
        asset_class   text NOT NULL DEFAULT 'EQUITY',
        symbol        text NOT NULL,
        name          text,
        currency      text NOT NULL,
        status        text NOT NULL DEFAULT 'ACTIVE'
    )
    """,
    "CREATE INDEX instruments_by_market ON instruments (market_id, instrument_id)",
    """
    CREATE TABLE regimes (
        region           text             NOT NULL CHECK (region <> ''),
        model_id         text             NOT NULL,
        as_of_date       date             NOT NULL CHECK (isfinite(as_of_date)),
        regime_label     text             NOT NULL
                         CHECK (regime_label IN ('NEUTRAL', 'CRISIS', 'RISK_OFF', 'CARRY')),
        confidence       double precision NOT NULL CHECK (confidence >= 0 AND confidence <= 1),
        encoder_model_id text             NOT NULL,
        dim              integer          NOT NULL CHECK (dim > 0),
        regime_embedding bytea            NOT NULL,
        metadata         jsonb            NOT NULL DEFAULT '{}',
        created_at       timestamptz      NOT NULL DEFAULT now(),
        PRIMARY KEY (region, model_id, as_of_date),
        CHECK (octet_length(regime_embedding) = 4 * dim)
    )
    """,
    "ALTER TABLE regimes ALTER COLUMN regime_embedding SET STORAGE EXTERNAL",
    """
    CREATE TABLE regime_transitions (
        region        text        NOT NULL,
        model_id      text        NOT NULL,
        as_of_date    date        NOT NULL,
        previous_date date        NOT NULL,
        from_label    text        NOT NULL,
        to_label      text        NOT NULL,
        created_at    timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (region, model_id, as_of_date),
        CHECK (from_label <> to_label),
        CHECK (previous_date < as_of_date)
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
