"""Heads that users fitted on labelled sentences, and the stance of each text that they read."""

from alembic import op

revision = "0010"
down_revision = "0009"

# What a stance says goes with the words of its text: where a text is removed or rewritten, the triggers of its table
# drop the row of text_words, and the stance of what is no longer said goes with it.
STATEMENTS = (
    """
    CREATE TABLE stance_heads (
        model_id        text             PRIMARY KEY CHECK (model_id <> ''),
        terms           text[]           NOT NULL,
        rarity          bytea            NOT NULL CHECK (octet_length(rarity) = 8 * cardinality(terms)),
        word_weights    bytea            NOT NULL,
        landmarks       bytea            NOT NULL,
        meaning_weights bytea            NOT NULL,
        temperature     double precision NOT NULL CHECK (temperature > 0),
        sureness        double precision NOT NULL CHECK (sureness BETWEEN 0 AND 1),
        labels_until    date,
        figures         jsonb            NOT NULL,
        created_at      timestamptz      NOT NULL DEFAULT now(),
        CHECK (octet_length(word_weights) = 4 * 3 * (cardinality(terms) + 1))
    )
    """,
    """
    CREATE TABLE text_stances (
        source_type text    NOT NULL,
        source_id   bigint  NOT NULL,
        model_id    text    NOT NULL REFERENCES stance_heads ON DELETE CASCADE,
        is_read     boolean NOT NULL,
        hawkish     integer NOT NULL CHECK (hawkish >= 0),
        dovish      integer NOT NULL CHECK (dovish >= 0),
        neutral     integer NOT NULL CHECK (neutral >= 0),
        not_sure    integer NOT NULL CHECK (not_sure >= 0),
        net         double precision GENERATED ALWAYS AS (
            (hawkish - dovish)::double precision / nullif(hawkish + dovish + neutral, 0)
        ) STORED,
        main        text    GENERATED ALWAYS AS (CASE
            WHEN hawkish > dovish AND hawkish > neutral THEN 'hawkish'
            WHEN dovish > hawkish AND dovish > neutral THEN 'dovish'
            WHEN neutral > hawkish AND neutral > dovish THEN 'neutral'
        END) STORED,
        created_at  timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (source_type, source_id, model_id),
        FOREIGN KEY (source_type, source_id) REFERENCES text_words ON DELETE CASCADE
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
