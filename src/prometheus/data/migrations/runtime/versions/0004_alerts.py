"""How far nights have told the changes of each region, and the outbox of alerts, which is also their log."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = (
    """
    CREATE TABLE nightly_marks (
        region     text NOT NULL,
        model_id   text NOT NULL,
        told_until date NOT NULL,
        PRIMARY KEY (region, model_id)
    )
    """,
    """
    CREATE TABLE alert_deliveries (
        kind       text        NOT NULL,
        region     text        NOT NULL,
        model_id   text        NOT NULL,
        as_of_date date        NOT NULL,
        detail     text        NOT NULL,
        channel    text        NOT NULL,
        rule       text        NOT NULL,
        message    text        NOT NULL,
        facts      jsonb       NOT NULL,
        state      text        NOT NULL CHECK (state IN ('PENDING', 'SENT', 'QUIET', 'DROPPED')),
        attempts   integer     NOT NULL DEFAULT 0,
        answer     text,
        tried_at   timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        sequence   bigint      GENERATED ALWAYS AS IDENTITY,
        PRIMARY KEY (kind, region, model_id, as_of_date, detail, channel)
    )
    """,
    "CREATE INDEX alert_deliveries_pending ON alert_deliveries (sequence) WHERE state = 'PENDING'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
