"""How far the bars of instruments reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from prometheus.data.postgres.connections import HistoricalDatabase


@dataclass(frozen=True, slots=True)
class BarExtent:
    """The first and the newest bar of an instrument, of those up to a date."""

    first: date
    newest: date


def load_bar_extents(
    db_manager: HistoricalDatabase, instrument_ids: Sequence[str], as_of_date: date
) -> dict[str, BarExtent]:
    """Return how far the bars of each instrument reach up to a date; those without any are left out."""
    query = """
        SELECT wanted.id, reach.first, reach.newest
        FROM unnest(%s::text[]) AS wanted(id) CROSS JOIN LATERAL (
            SELECT min(trade_date) AS first, max(trade_date) AS newest FROM prices_daily
            WHERE instrument_id = wanted.id AND trade_date <= %s
        ) AS reach
        WHERE reach.newest IS NOT NULL
    """
    with db_manager.get_historical_connection() as connection:
        rows = connection.execute(query, (list(instrument_ids), as_of_date)).fetchall()
    return {name: BarExtent(first, newest) for name, first, newest in rows}
