"""What a text is, whatever its file says of language, country and source: the same text is found again by it."""

from alembic import op

revision = "0006"
down_revision = "0005"

# Not unique: two agencies publish one text, and earlier versions stored one again when its language was named.
STATEMENTS = (
    """
    ALTER TABLE macro_events ADD COLUMN identity_hash text NOT NULL GENERATED ALWAYS AS (md5(
        event_type || E'\\x1f' || extract(epoch FROM timestamp AT TIME ZONE 'UTC')::text || E'\\x1f' || description
    )) STORED
    """,
    "CREATE INDEX macro_events_by_identity ON macro_events (identity_hash)",
    """
    ALTER TABLE news_articles ADD COLUMN identity_hash text NOT NULL GENERATED ALWAYS AS (md5(
        extract(epoch FROM published_at AT TIME ZONE 'UTC')::text || E'\\x1f' || headline || E'\\x1f' || body
    )) STORED
    """,
    "CREATE INDEX news_articles_by_identity ON news_articles (identity_hash)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
