"""Digests of texts and of what is made of them, and the work that was found to have nothing left to do (ADR-0033)."""

from alembic import op

from prometheus.data.migrations.row_digests import HASH_OF_ROW, digest_rows

revision = "0013"
down_revision = "0012"

# Texts, and what is made of each, are digested by blocks of 2,048 ids: an id never changes, a time may. Ids that are no
# numbers, which only callers of the Python API give, share a block.
BLOCK = "({} / 2048 % 2147483648)::integer"
TEXT_BLOCK = f"CASE WHEN source_id ~ '^[0-9]{{1,18}}$' THEN {BLOCK.format('source_id::bigint')} ELSE -1 END"
OF_MODEL = "source_type || ' ' || model_id"
SOURCES = {
    "macro_events": (
        "''", BLOCK.format("event_id"),
        "event_id, event_type, timestamp, known_at, country, source, description, metadata",
    ),
    "news_articles": (
        "''", BLOCK.format("article_id"),
        "article_id, published_at, known_at, language, source, headline, body, metadata",
    ),
    "text_embeddings": (OF_MODEL, TEXT_BLOCK, "source_id, vector, text_hash, n_chunks, flags"),
    "text_passages": (OF_MODEL, TEXT_BLOCK, "source_id, position, first_char, last_char, vector"),
    "text_stances": (OF_MODEL, BLOCK.format("source_id"), "source_id, is_read, hawkish, dovish, neutral, not_sure"),
    "stance_heads": ("''", "0", "model_id, word_weights, meaning_weights, temperature, sureness, created_at"),
    "joint_embeddings": (
        "coalesce(entity_scope->>'region', '')", "extract(year FROM as_of_date)::integer",
        "joint_type, as_of_date, model_id, entity_scope, vector, numeric_model_id, text_model_id, created_at",
    ),
    "series_values": ("series_id", "extract(year FROM observation_date)::integer", "observation_date, known_at, value"),
    "models": ("model_id", "0", "kind, fingerprint, config"),
}  # fmt: skip
"""Of each table that is digested: the expressions of key and period of a row, and the fields that count."""
STATEMENTS = (
    # `sources` is a digest of all that the work reads and of the rows it wants; `account` is what it said
    """
    CREATE TABLE settled_work (
        kind       text        NOT NULL,
        key        text        NOT NULL,
        period     integer     NOT NULL,
        sources    bytea       NOT NULL,
        account    jsonb       NOT NULL,
        settled_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (kind, key, period)
    )
    """,
    *(
        f"""
        CREATE TRIGGER count_outside_write AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION count_outside_write()
        """
        for table in ("text_embeddings", "text_passages", "joint_embeddings")
    ),
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
    for table, (key, period, fields) in SOURCES.items():
        for statement in digest_rows("source", table, key, period, HASH_OF_ROW.format(fields)):
            op.execute(statement)
