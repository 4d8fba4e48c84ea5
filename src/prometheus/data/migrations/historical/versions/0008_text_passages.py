"""Vectors of the passages of long texts, beside the text's own."""

from alembic import op

revision = "0008"
down_revision = "0007"

# A passage goes with the vector of its text: where that is removed, so are the passages.
STATEMENTS = (
    """
    CREATE TABLE text_passages (
        source_type text    NOT NULL,
        source_id   text    NOT NULL,
        model_id    text    NOT NULL,
        position    integer NOT NULL CHECK (position >= 0),
        first_char  integer NOT NULL CHECK (first_char >= 0),
        last_char   integer NOT NULL CHECK (last_char >= first_char),
        dim         integer NOT NULL CHECK (dim > 0),
        vector      bytea   NOT NULL,
        PRIMARY KEY (source_type, source_id, model_id, position),
        FOREIGN KEY (source_type, source_id, model_id) REFERENCES text_embeddings ON DELETE CASCADE,
        CHECK (octet_length(vector) = 4 * dim)
    )
    """,
    "ALTER TABLE text_passages ALTER COLUMN vector SET STORAGE EXTERNAL",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
