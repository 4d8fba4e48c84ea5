"""Markets and instruments, as the runtime database knows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus.data.postgres.connections import RuntimeDatabase
from prometheus.errors import UnknownMarketError


class InstrumentCatalog:
    """Reads ``markets`` and ``instruments``.

    Parameters
    ----------
    db_manager
        Where the runtime database is.
    """

    def __init__(self, db_manager: RuntimeDatabase) -> None:
        self._db = db_manager

    def list_instruments(self, market_id: str, limit: int | None = None, offset: int = 0) -> list[str]:
        """Return instrument ids of a market in order of id.

        Delisted instruments are included: today's status must not decide what existed on a past date.

        Raises
        ------
        UnknownMarketError
            The market has no row.
        """
        with self._db.get_runtime_connection() as connection:
            markets = [row[0] for row in connection.execute("SELECT market_id FROM markets ORDER BY 1")]
            if market_id not in markets:
                raise UnknownMarketError(market_id, markets)
            rows = connection.execute(
                "SELECT instrument_id FROM instruments WHERE market_id = %s ORDER BY instrument_id LIMIT %s OFFSET %s",
                (market_id, limit, offset),
            )
            return [row[0] for row in rows]

    def markets_of(self, instrument_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the market of each instrument that has a row."""
        query = "SELECT instrument_id, market_id FROM instruments WHERE instrument_id = ANY(%s)"
        with self._db.get_runtime_connection() as connection:
            return dict(connection.execute(query, (list(instrument_ids),)).fetchall())
