"""A log of backfills, and what each joint row was joined from."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = (
    # A log, as a log file is one: no plan reads it to find out what is stored.
    """
    CREATE TABLE backfill_runs (
        run_id      text             PRIMARY KEY CHECK (run_id <> ''),
        kind        text             NOT NULL,
        model_id    text             NOT NULL,
        finished_at timestamptz      NOT NULL DEFAULT now(),
        planned     bigint           NOT NULL CHECK (planned >= 0),
        written     bigint           NOT NULL CHECK (written >= 0),
        failed      bigint           NOT NULL CHECK (failed >= 0),
        n_bytes     bigint           NOT NULL CHECK (n_bytes >= 0),
        seconds     double precision NOT NULL CHECK (seconds >= 0 AND seconds < 'Infinity'),
        version     text             NOT NULL
    )
    """,
    "CREATE INDEX backfill_runs_by_kind ON backfill_runs (kind, model_id, finished_at)",
    # NULL in rows of earlier versions: unknown, so a corrected price cannot find them
    "ALTER TABLE joint_embeddings ADD COLUMN numeric_model_id text, ADD COLUMN text_model_id text",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
