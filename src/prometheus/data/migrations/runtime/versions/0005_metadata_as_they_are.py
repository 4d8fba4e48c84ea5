"""The metadata of a state are kept as they come: packing half a kilobyte to four fifths took a third of its COPY."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("ALTER TABLE regimes ALTER COLUMN metadata SET STORAGE EXTERNAL")
