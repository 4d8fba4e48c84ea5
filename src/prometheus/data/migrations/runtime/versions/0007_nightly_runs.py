"""The log of nights: one row each, written as it begins and again as it ends (ADR-0042)."""

from alembic import op

revision = "0007"
down_revision = "0006"

STATEMENTS = (
    """
    CREATE TABLE nightly_runs (
        run_id       text        PRIMARY KEY,
        command      text        NOT NULL,
        as_of_date   date,
        sessions     jsonb       NOT NULL DEFAULT '{}',
        started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
        ended_at     timestamptz,
        seconds      float8,
        result       text        NOT NULL
                     CHECK (result IN ('RUNNING', 'COMPLETED', 'INCOMPLETE', 'REFUSED', 'FAILED', 'INTERRUPTED',
                                       'LOST')),
        exit_code    integer,
        message      text,
        rows_written jsonb       NOT NULL DEFAULT '{}',
        standings    jsonb       NOT NULL DEFAULT '{}',
        skipped      jsonb       NOT NULL DEFAULT '[]',
        failures     jsonb       NOT NULL DEFAULT '[]',
        findings     jsonb       NOT NULL DEFAULT '{}',
        backfills    jsonb       NOT NULL DEFAULT '[]',
        version      text        NOT NULL
    )
    """,
    "CREATE INDEX nightly_runs_newest ON nightly_runs (started_at DESC, run_id DESC)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
