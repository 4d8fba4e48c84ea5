"""Slow, obvious twins of the backfills: one query and one insert per window, one query per joint date, each committed.

Also a command, to be timed as a whole process: ``python -m tests.reference.loops sql|api AS_OF WINDOW_DAYS ID…``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
import psycopg
from tests.reference.windows import float32_bytes, slow_vector, slow_window

from prometheus.app.databases import DatabaseManager
from prometheus.core.config import load_config
from prometheus.data.reader import DataReader
from prometheus.encoders import NumericEmbeddingStore, NumericWindowBuilder, NumericWindowEncoder, NumericWindowSpec
from prometheus.encoders.catalogue import create_numeric_model
from prometheus.encoders.identity import NUM_REGIME_CORE_V1
from prometheus.market.calendar import TradingCalendar

_WINDOW = """
    SELECT trade_date, close, volume FROM prices_daily
    WHERE instrument_id = %s AND trade_date <= %s ORDER BY trade_date DESC LIMIT %s
"""
_INSERT = """
    INSERT INTO numeric_window_embeddings
        (entity_type, entity_id, model_id, window_days, as_of_date, window_spec, dim, vector)
    VALUES ('INSTRUMENT', %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (entity_type, entity_id, model_id, window_days, as_of_date)
    DO UPDATE SET vector = excluded.vector, dim = excluded.dim
"""
_TEXTS = """
    SELECT vector FROM macro_events JOIN text_embeddings
      ON source_type = 'MACRO' AND source_id = event_id::text AND model_id = %s
    WHERE timestamp >= %s AND timestamp < %s::timestamptz + interval '1 day'
      AND coalesce(known_at, timestamp) < %s::timestamptz + interval '1 day'
    ORDER BY event_id
"""
_REGIME = "SELECT regime_embedding FROM regimes WHERE region = %s AND encoder_model_id = %s AND as_of_date = %s"
_JOIN = """
    INSERT INTO joint_embeddings (joint_type, as_of_date, model_id, entity_scope, dim, vector)
    VALUES ('REGIME_MACRO_V0', %s, %s, %s, %s, %s)
    ON CONFLICT (joint_type, as_of_date, model_id, entity_scope) DO UPDATE SET vector = excluded.vector
"""


def embed_one_by_one(
    connection: psycopg.Connection, wanted: Iterable[tuple[str, date]], window_days: int, model_id: str, dim: int = 384
) -> None:
    """Store ``num-regime-core-v1`` of each (instrument, date)."""
    spec = json.dumps({"window_days": window_days, "features": ["close", "volume", "log_return"]})
    for instrument_id, day in wanted:
        rows: list[Any] = connection.execute(_WINDOW, (instrument_id, day, window_days)).fetchall()
        features = slow_window(rows, day, window_days)
        if features is not None:
            vector = float32_bytes(slow_vector(features, dim))
            connection.execute(_INSERT, (instrument_id, model_id, window_days, day, spec, dim, vector))
        connection.commit()


def join_one_by_one(
    historical: psycopg.Connection,
    runtime: psycopg.Connection,
    region: str,
    dates: Sequence[date],
    models: tuple[str, str, str],
) -> None:
    """Store ``joint-regime-core-v1`` of each date that has a regime and a macro text.

    Parameters
    ----------
    models
        Of the numeric branch, of the texts, and of the rows.
    """
    numeric_model_id, text_model_id, model_id = models
    scope = json.dumps({"region": region, "source": "regime+macro", "macro_filters": {}})
    for day in dates:
        midnight = datetime.fromisoformat(f"{day}T00:00:00+00:00")
        regime = runtime.execute(_REGIME, (region, numeric_model_id, day)).fetchone()
        texts = historical.execute(_TEXTS, (text_model_id, midnight, midnight, midnight)).fetchall()
        if regime is not None and texts:
            numeric = np.frombuffer(regime[0], dtype="<f4")
            mean = np.mean([np.frombuffer(row[0], dtype="<f4") for row in texts], axis=0, dtype=np.float64)
            joined = (0.5 * numeric.astype(np.float64) + 0.5 * mean.astype(np.float32)) / 1.0
            vector = joined.astype("<f4").tobytes()
            historical.execute(_JOIN, (day, model_id, scope, len(vector) // 4, vector))
        historical.commit()


def embed_by_the_api(
    db_manager: DatabaseManager, wanted: Iterable[tuple[str, date]], window_days: int, model_id: str
) -> None:
    """Store the same with one call of `NumericWindowEncoder.embed_and_store` for each (instrument, date)."""
    builder = NumericWindowBuilder(DataReader(db_manager=db_manager), TradingCalendar())
    encoder = NumericWindowEncoder(
        builder=builder,
        model=create_numeric_model(NUM_REGIME_CORE_V1),
        store=NumericEmbeddingStore(db_manager=db_manager),
        model_id=model_id,
    )
    for instrument_id, day in wanted:
        encoder.embed_and_store(NumericWindowSpec("INSTRUMENT", instrument_id, window_days), day)


def main() -> None:
    """Store the windows of some instruments on one date under ``looped``, by plain SQL or by the API."""
    way, as_of, window_days, *names = sys.argv[1:]
    db_manager = DatabaseManager(load_config())
    wanted = [(name, date.fromisoformat(as_of)) for name in names]
    if way == "api":
        embed_by_the_api(db_manager, wanted, int(window_days), "looped")
    else:
        with db_manager.get_historical_connection() as connection:
            embed_one_by_one(connection, wanted, int(window_days), "looped")
    db_manager.close_all()


if __name__ == "__main__":
    main()
