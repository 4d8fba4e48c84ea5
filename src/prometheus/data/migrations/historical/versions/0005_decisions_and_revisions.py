"""What users decided of single bars, and the bars as they were before a correction."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = (
    # NULL in bars of earlier versions: known before anybody asked
    "ALTER TABLE prices_daily ADD COLUMN known_from timestamptz",
    "ALTER TABLE prices_daily ALTER COLUMN known_from SET DEFAULT now()",
    """
    CREATE TABLE price_revisions (
        instrument_id  text             NOT NULL,
        trade_date     date             NOT NULL,
        open           double precision,
        high           double precision,
        low            double precision,
        close          double precision NOT NULL,
        adjusted_close double precision NOT NULL,
        volume         double precision NOT NULL,
        currency       text             NOT NULL,
        known_from     timestamptz,
        known_until    timestamptz      NOT NULL,
        PRIMARY KEY (instrument_id, trade_date, known_until)
    )
    """,
    # triggers, so that no way to change a bar forgets the old one; transition tables, so that thousands cost one insert
    """
    CREATE FUNCTION keep_price_revisions() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO price_revisions
        SELECT o.instrument_id, o.trade_date, o.open, o.high, o.low, o.close, o.adjusted_close, o.volume, o.currency,
               o.known_from, now()
        FROM old_bars o
        ON CONFLICT DO NOTHING;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER keep_changed_bars AFTER UPDATE ON prices_daily
    REFERENCING OLD TABLE AS old_bars FOR EACH STATEMENT EXECUTE FUNCTION keep_price_revisions()
    """,
    """
    CREATE TRIGGER keep_removed_bars AFTER DELETE ON prices_daily
    REFERENCING OLD TABLE AS old_bars FOR EACH STATEMENT EXECUTE FUNCTION keep_price_revisions()
    """,
    """
    CREATE TABLE price_decisions (
        instrument_id text             NOT NULL,
        trade_date    date             NOT NULL,
        verdict       text             NOT NULL CHECK (verdict IN ('ACCEPTED', 'REJECTED')),
        close         double precision NOT NULL,
        decided_by    text             NOT NULL CHECK (decided_by <> ''),
        decided_at    timestamptz      NOT NULL DEFAULT now(),
        reason        text             NOT NULL,
        reopened_by   text             CHECK (reopened_by <> ''),
        reopened_at   timestamptz,
        reopened_for  text,
        PRIMARY KEY (instrument_id, trade_date, decided_at),
        CHECK ((reopened_at IS NULL) = (reopened_by IS NULL) AND (reopened_at IS NULL) = (reopened_for IS NULL))
    )
    """,
    """
    CREATE UNIQUE INDEX price_decisions_in_force ON price_decisions (instrument_id, trade_date)
    WHERE reopened_at IS NULL
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
