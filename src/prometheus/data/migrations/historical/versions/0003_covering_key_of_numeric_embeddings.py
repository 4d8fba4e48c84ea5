"""The key of numeric window embeddings holds the input hash, too (ADR-0013)."""

from alembic import op

revision = "0003"
down_revision = "0002"

# A backfill that is run again reads dates and hashes from the index alone, not from rows a hundred times as wide. While
# the index is built the table can be read and not written; only the exchange locks readers out.
STATEMENTS = (
    """
    CREATE UNIQUE INDEX numeric_window_embeddings_key ON numeric_window_embeddings
        (entity_type, entity_id, model_id, window_days, as_of_date) INCLUDE (input_hash)
    """,
    """
    ALTER TABLE numeric_window_embeddings
        DROP CONSTRAINT numeric_window_embeddings_pkey,
        ADD CONSTRAINT numeric_window_embeddings_pkey PRIMARY KEY USING INDEX numeric_window_embeddings_key
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
