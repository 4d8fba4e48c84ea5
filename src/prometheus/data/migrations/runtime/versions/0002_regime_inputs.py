"""What each state was made of, so that a run that changes nothing need not compute it again."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE regimes ADD COLUMN input_hash bigint")  # NULL: unknown, computed again by the next run
