"""What people tell of instruments and markets: renamed, ended, closed on a day (ADR-0039)."""

from alembic import op

revision = "0008"
down_revision = "0007"

STATEMENTS = (
    """
    CREATE TABLE instrument_renames (
        old_id        text        PRIMARY KEY CHECK (old_id <> ''),
        new_id        text        NOT NULL CHECK (new_id <> '' AND new_id <> old_id),
        from_date     date        NOT NULL CHECK (isfinite(from_date)),
        carried_until date        CHECK (carried_until < from_date),
        told_by       text        NOT NULL CHECK (told_by <> ''),
        told_at       timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE instrument_ends (
        instrument_id text        PRIMARY KEY CHECK (instrument_id <> ''),
        last_date     date        NOT NULL CHECK (isfinite(last_date)),
        reason        text        NOT NULL,
        told_by       text        NOT NULL CHECK (told_by <> ''),
        told_at       timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE market_closures (
        market_id text        NOT NULL CHECK (market_id <> ''),
        day       date        NOT NULL CHECK (isfinite(day)),
        reason    text        NOT NULL,
        told_by   text        NOT NULL CHECK (told_by <> ''),
        told_at   timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (market_id, day)
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
