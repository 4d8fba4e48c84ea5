"""Which instruments each text concerns: none, one or several."""

from alembic import op

revision = "0011"
down_revision = "0010"

# One table for both kinds of text, as for their vectors. The computed columns let the database itself remove the links
# of a text that is removed. Instruments may be in another database, so no key leads to them.
STATEMENTS = (
    """
    CREATE TABLE text_instruments (
        source_type   text   NOT NULL CHECK (source_type IN ('MACRO', 'NEWS')),
        source_id     bigint NOT NULL,
        instrument_id text   NOT NULL CHECK (instrument_id <> ''),
        event_id      bigint GENERATED ALWAYS AS (CASE source_type WHEN 'MACRO' THEN source_id END) STORED
                      REFERENCES macro_events ON DELETE CASCADE,
        article_id    bigint GENERATED ALWAYS AS (CASE source_type WHEN 'NEWS' THEN source_id END) STORED
                      REFERENCES news_articles ON DELETE CASCADE,
        PRIMARY KEY (source_type, source_id, instrument_id)
    )
    """,
    "CREATE INDEX text_instruments_by_instrument ON text_instruments (instrument_id, source_type, source_id)",
    "CREATE INDEX text_instruments_by_event ON text_instruments (event_id) WHERE event_id IS NOT NULL",
    "CREATE INDEX text_instruments_by_article ON text_instruments (article_id) WHERE article_id IS NOT NULL",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
