"""Levels of series, such as yields and indices, with the time at which each became known."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE series_values (
            series_id        text             NOT NULL CHECK (series_id <> ''),
            observation_date date             NOT NULL,
            known_at         timestamptz      NOT NULL,
            value            double precision NOT NULL,
            PRIMARY KEY (series_id, observation_date, known_at)
        )
        """
    )
