"""Digests of what a night reads of the runtime database: states of regions, instruments and markets (ADR-0033)."""

from alembic import op

from prometheus.data.migrations.row_digests import HASH_OF_ROW, digest_rows, digest_table

revision = "0006"
down_revision = "0005"

OF_STATE = """
    model_id, as_of_date, regime_label, confidence, encoder_model_id, regime_embedding, metadata, input_hash, created_at
"""
SOURCES = {
    "regimes": ("region", "extract(year FROM as_of_date)::integer", OF_STATE),
    "instruments": ("''", "0", "instrument_id, market_id, asset_class, symbol, name, currency, status"),
    "markets": ("''", "0", "market_id, name, calendar, currency, status"),
}
"""Of each table that is digested: the expressions of key and period of a row, and the fields that count."""


def upgrade() -> None:
    for statement in digest_table("state"):
        op.execute(statement)
    for table, (key, period, fields) in SOURCES.items():
        for statement in digest_rows("state", table, key, period, HASH_OF_ROW.format(fields)):
            op.execute(statement)
