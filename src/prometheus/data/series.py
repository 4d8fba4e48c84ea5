"""Values of series on their way into `series_values`; a revision is a row of its own, by when it became known."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

import psycopg

_STAGE = "CREATE TEMPORARY TABLE staged_series (LIKE series_values) ON COMMIT DROP"
_COPY = "COPY staged_series (series_id, observation_date, known_at, value) FROM STDIN"
_UPSERT = """
    INSERT INTO series_values AS stored
    SELECT * FROM staged_series ORDER BY series_id, observation_date, known_at
    ON CONFLICT (series_id, observation_date, known_at) DO UPDATE SET value = excluded.value
    WHERE stored.value IS DISTINCT FROM excluded.value
"""


def store_series(connection: psycopg.Connection[Any], rows: Iterable[tuple[str, date, datetime, float]]) -> int:
    """Store values (series, day, known at, value), no two of one key; return how many were new or changed."""
    connection.execute(_STAGE)
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        for row in rows:
            copy.write_row(row)
    return connection.execute(_UPSERT).rowcount
